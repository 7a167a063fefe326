"""Failed calls: retries, time limits, what runs when a work is stopped, and waiting in flows."""

import contextlib
import os
import threading
import time

import pytest

from payloadfs import ConfigError, Payload, WorkError
from payloadfs.works import App, Flow, LocalExecutor, Map, Work


def count(path):
    """Count in a file, across processes, and return the count."""
    with open(path, "a") as file:
        file.write("x")
    return os.path.getsize(path)


class Flaky(Work):
    """Fails until its call with the given number."""

    def __init__(self, path, good=3, **options):
        super().__init__(**options)
        self.path, self.good, self.made = str(path), good, None

    def run(self, how="raise"):
        if count(self.path) < self.good:
            if how == "die":
                os._exit(3)
            while how == "wait" and not os.path.exists(f"{self.path} go"):
                time.sleep(0.01)
            if how == "hang":
                time.sleep(600)
            raise ValueError("not yet")
        self.made = Payload([how])


class Main(Flow):
    def __init__(self, drive, **works):
        super().__init__()
        self.n = 0
        self.work = works.pop("work", None)
        self.parts = works
        self._drive = drive

    def run(self):
        self._drive(self)


@pytest.mark.parametrize("how", ["raise", "die", "hang"])
@pytest.mark.parametrize("parallel", [False, True])
def test_failed_attempts_are_repeated(run, processes, tmp_path, how, parallel):
    events = []
    options = {"retries": 2, "backoff": "10ms", "parallel": parallel}
    if how == "hang":  # on a busy machine, a good attempt may exceed the limit too
        options |= {"retries": 100, "timeout_s": 0.5}
    flow = Main(lambda flow: flow.work.run(how), work=Flaky(tmp_path / "n", **options))
    run(flow, processes, on_event=events.append)
    assert flow.work.has_succeeded
    assert flow.work.made.value == [how]
    attempts = flow.work.status.attempts
    assert flow.work.status.count == 1
    assert attempts >= 3 if how == "hang" else attempts == 3
    assert [event.kind for event in events].count("call-retried") == attempts - 1
    assert [event.kind for event in events].count("call-failed") == 0


def test_after_the_last_attempt_the_call_has_failed(run, tmp_path):
    flow = Main(lambda flow: flow.work.run(), work=Flaky(tmp_path / "n", 9, retries=2, backoff=0))
    with pytest.raises(WorkError, match="not yet"):
        run(flow)
    assert os.path.getsize(tmp_path / "n") == 3


def test_options_of_one_call(run, tmp_path):
    def drive(flow):
        flow.work.with_options(retries=2, backoff=0).run()

    flow = Main(drive, work=Flaky(tmp_path / "n"))
    assert run(flow).flow.work.status.attempts == 3
    assert flow.work.with_options(timeout_s="5m").run.__self__._call_options.timeout_s == 300
    for wrong in ({"retries": -1}, {"backoff": "soon"}, {"timeout_s": -1}, {"timeout_s": True}):
        with pytest.raises(ConfigError):
            flow.work.with_options(**wrong)
    with pytest.raises(TypeError, match="not an option of a call"):
        flow.work.with_options(retry=1)


@pytest.mark.parametrize("options", [{}, {"raise_exception": False}], ids=["raises", "tolerates"])
def test_a_failed_call_runs_again_when_the_flow_has_seen_the_failure(run, tmp_path, options):
    def drive(flow):
        while not flow.work.has_succeeded:
            try:
                flow.work.run()
            except WorkError:
                flow.n += 1
        flow.work.run()

    flow = run(Main(drive, work=Flaky(tmp_path / "n", **options))).flow
    assert os.path.getsize(tmp_path / "n") == 3
    assert flow.work.status.count == 3
    assert flow.n == (0 if options else 2)


def test_a_failed_call_runs_again_in_a_later_pass(run, tmp_path):
    def drive(flow):
        flow.work.run()
        if flow.work.has_succeeded:
            flow.stop()

    assert run(Main(drive, work=Flaky(tmp_path / "n", parallel=True, raise_exception=False))).stage == "finished"


def test_a_flow_that_only_repeats_failures_ends(run, tmp_path):
    def drive(flow):
        with contextlib.suppress(WorkError):
            flow.work.run()

    app = run(Main(drive, work=Flaky(tmp_path / "n", 10**6)))
    assert (app.stage, app.message) == ("idle", "10 passes in a row only repeated calls that fail")


def test_a_resumed_run_continues_to_retry(run, tmp_path, processes):
    def drive(flow):
        flow.work.run("hang")

    (tmp_path / "n").write_text("x" * 9)
    app = App(Main(drive, work=Flaky(tmp_path / "n", 11, retries=3, timeout_s=600, parallel=True)))

    def interrupt(event):
        if event.kind == "call-started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        app.run(executor=processes, on_event=interrupt)
    (tmp_path / "n").write_text("x" * 10)
    resumed = run(Main(drive, work=Flaky(tmp_path / "n", 11, retries=3, parallel=True)), processes, resume=app.run_name)
    assert resumed.flow.work.has_succeeded


class Careful(Work):
    """Cleans up when it is stopped."""

    def __init__(self, path, **options):
        super().__init__(parallel=True, raise_exception=False, **options)
        self.path = str(path)

    def run(self, stubborn=False):
        try:
            count(f"{self.path} began")
            time.sleep(600)
        finally:
            count(f"{self.path} ended")
            while stubborn:
                time.sleep(0.01)


@pytest.mark.parametrize("how", ["work.stop", "flow.stop", "timeout", "interrupt"])
def test_a_work_that_is_stopped_cleans_up(tmp_path, how):
    path = tmp_path / "work"

    def drive(flow):
        flow.work.run()
        if flow.has_elapsed(0.02):
            flow.restart_timer()
            flow.n += 1
        if not os.path.exists(f"{path} began"):
            _ = flow.work.has_failed  # on a busy machine, the limit may end it before it begins: then it is repeated
            return
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "flow.stop":
            flow.stop()
        if how == "work.stop" or flow.work.has_failed:
            flow.work.stop()
            flow.stop()

    app = App(Main(drive, work=Careful(path, timeout_s=0.3 if how == "timeout" else None)))
    try:
        app.run(max_workers=1, grace_s="30s")
    except KeyboardInterrupt:
        assert how == "interrupt"
    assert os.path.exists(f"{path} ended")


def test_a_work_that_does_not_end_is_killed_after_the_grace_period(tmp_path):
    def drive(flow):
        flow.work.with_options(timeout_s=0.2).run(True)
        if flow.work.has_failed:
            flow.stop(flow.work.status.message)

    app = App(Main(drive, work=Careful(tmp_path / "work")))
    app.run(max_workers=1, grace_s=0.2)
    assert app.message == "It was still running after 0.2 s (timeout_s) and was stopped."


def test_a_limit_on_other_executors(run, tmp_path):
    flow = Main(
        lambda flow: flow.work.run("wait"), work=Flaky(tmp_path / "n", 2, retries=100, backoff=0, timeout_s=0.3)
    )
    assert run(flow).flow.work.has_succeeded
    (tmp_path / "n go").touch()
    for thread in threading.enumerate():
        if thread.name == "payloadfs-call":
            thread.join(60)


class Nosy(Work):
    def __init__(self):
        super().__init__(cache_calls=False)
        self.seen = None

    def run(self, folder):
        self.seen = [os.getcwd() == folder, os.environ.pop("PATH", None) is not None, os.environ.get("LEFT")]
        os.chdir(folder)
        os.environ["LEFT"] = "behind"


def test_working_directory_and_environment_do_not_leak(run, tmp_path):
    def drive(flow):
        for _ in range(2):
            flow.work.run(str(tmp_path))
            assert flow.work.seen == [False, True, None]
        flow.stop()

    with LocalExecutor(1) as pool:
        run(Main(drive, work=Nosy()), pool)


def test_one_process_for_each_call():
    with LocalExecutor(1, max_calls_per_process=1) as pool:
        assert len({pool.submit(os.getpid).result() for _ in range(3)}) == 3


def test_a_flow_wakes_up_by_time(run):
    def drive(flow):
        if flow.has_elapsed("50ms"):
            flow.n += 1
            if flow.n == 3:
                flow.stop("three times")
            flow.restart_timer()

    app = run(Main(drive))
    assert (app.message, app.flow.n) == ("three times", 3)


class Square(Work):
    def __init__(self):
        super().__init__(parallel=True)
        self.result = None

    def run(self, number):
        self.result = number**2


class Squares(Flow):
    def __init__(self):
        super().__init__()
        self.squares = Map(Square)
        self.total = 0

    def run(self):
        self.squares.run(range(5))
        if self.squares.is_done:
            self.total = sum(work.result for work in self.squares.works)
            self.stop()


def test_a_map_over_data(run):
    app = run(Squares())
    assert app.flow.total == 30
    assert run(Squares(), resume=app.run_name).flow.squares.works[4].result == 16


class Server(Work):
    """Publishes a payload and then serves until it is stopped."""

    def __init__(self, **options):
        super().__init__(parallel=True, **options)
        self.url = self.model = None

    def run(self):
        self.url = "here"
        self.model = Payload([1, 2])
        time.sleep(600)


def test_a_live_work_shows_its_attributes_before_it_ends(run, processes):
    def drive(flow):
        flow.work.run()
        if flow.work.model is not None:
            assert flow.work.is_running
            flow.stop(f"{flow.work.url} {flow.work.model.value}")

    assert run(Main(drive, work=Server(live=True)), processes).message == "here [1, 2]"


def test_resources_are_passed_to_executors_that_know_them(threads, run, caplog):
    class Knowing:
        def __getattr__(self, name):
            return getattr(threads, name)

    wanted = []

    class Scheduler(type(threads)):
        def with_resources(self, resources):
            wanted.append(resources)
            return threads

    work = Square()
    work._set_internal(_call_resources={"cpus": 2})
    with Scheduler(1) as pool:
        run(Main(lambda flow: flow.work.run(3), work=work), pool)
    assert wanted == [{"cpus": 2}]
