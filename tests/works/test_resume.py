"""Resumed runs: after a failure, an interrupt or a full disk, with another program, and with a concurrent driver."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import payloadfs
from payloadfs import ConfigError, NotFoundError, Payload, StoreError, WorkError
from payloadfs.works import App, Flow, Work
from payloadfs.works._journal import Journal


class Step(Work):
    """A work that fails while the file ``bad NAME`` exists."""

    def __init__(self, log, **options):
        super().__init__(**options)
        self.log = str(log)
        self.data = None

    def run(self, name, wait_s=0.0):
        with open(os.path.join(self.log, "log"), "a", encoding="utf-8") as file:
            file.write(name + "\n")
        time.sleep(wait_s)
        if os.path.exists(os.path.join(self.log, f"bad {name}")):
            raise ValueError(f"{name} is bad")
        self.data = Payload(f"data of {name}")


class Main(Flow):
    def __init__(self, log, **options):
        super().__init__()
        self.a = Step(log)
        self.b = Step(log, **options)
        self.c = Step(log)
        self.n = 0

    def run(self):
        self.n = 1
        self.a.run("a")
        self.b.run("b")
        self.c.run("c")


@pytest.fixture
def begun(tmp_path):
    return lambda: (tmp_path / "log").read_text().split()


@pytest.fixture
def bad(tmp_path):
    (tmp_path / "bad b").touch()
    return tmp_path / "bad b"


def test_a_failed_call_is_repeated_after_a_fix(run, tmp_path, begun, bad, threads):
    app = App(Main(tmp_path))
    with pytest.raises(WorkError, match="b is bad"):
        app.run(executor=threads)
    assert app.stage == "failed"
    with pytest.raises(WorkError, match="b is bad"):
        App(Main(tmp_path)).run(executor=threads, resume=app.run_name)
    bad.unlink()
    again = run(Main(tmp_path), resume=app.run_name)
    assert begun() == ["a", "b", "b", "b", "c"]
    assert again.flow.a.data.value == "data of a"
    assert (again.stage, again.flow.n, again.run_name) == ("finished", 1, app.run_name)


def test_a_failed_parallel_call_is_repeated(run, tmp_path, begun, bad, threads):
    app = App(Main(tmp_path, parallel=True))
    with pytest.raises(WorkError, match="b is bad"):
        app.run(executor=threads)
    bad.unlink()
    run(Main(tmp_path, parallel=True), resume=app.run_name)
    assert sorted(set(begun())) == ["a", "b", "c"]
    assert begun().count("a") == 1
    assert begun().count("b") == 2


def test_a_failed_call_that_the_flow_caught_is_repeated(run, tmp_path, begun, bad, threads):
    class Twice(Main):
        def run(self):
            if self.n == 0:
                try:
                    self.b.run("b")
                except WorkError:
                    self.n = 1
                    return
            self.b.run("b")

    app = App(Twice(tmp_path))
    with pytest.raises(WorkError, match="b is bad"):
        app.run(executor=threads)
    assert begun() == ["b", "b"]
    bad.unlink()
    assert run(Twice(tmp_path), resume=app.run_name).flow.b.has_succeeded


def test_a_tolerated_failure_is_not_repeated(run, tmp_path, begun, bad, threads):
    class Fails(Main):
        def run(self):
            super().run()
            if not os.path.exists(self.a.log + "/fine"):
                raise LookupError("raised by the flow")

    app = App(Fails(tmp_path, raise_exception=False))
    with pytest.raises(LookupError):
        app.run(executor=threads)
    (tmp_path / "fine").touch()
    flow = run(Fails(tmp_path, raise_exception=False), resume=app.run_name).flow
    assert begun() == ["a", "b", "c"]
    assert flow.b.has_failed


def test_resuming_a_finished_run_runs_nothing(run, tmp_path, begun):
    app = run(Main(tmp_path))
    events = []
    again = run(Main(tmp_path), resume=app.run_name, on_event=lambda event: events.append(event.kind))
    assert begun() == ["a", "b", "c"]
    assert again.flow.c.data.value == "data of c"
    assert again.flow.c.has_succeeded
    assert events == ["run-resumed"]


def test_a_run_that_does_not_exist(run, tmp_path):
    with pytest.raises(NotFoundError, match="Run 'never' not found"):
        run(Main(tmp_path), resume="never")


def test_another_program_is_refused(run, tmp_path, begun, threads):
    app = run(Main(tmp_path))

    class More(Main):
        def __init__(self, log):
            super().__init__(log)
            self.d = Step(log)

    class Fewer(Flow):
        def __init__(self):
            super().__init__()
            self.a = Step(tmp_path)

    class Other(Main):
        def __init__(self, log):
            Flow.__init__(self)
            self.a, self.b, self.c = Step(log), Step(log), Step(log)

    for flow, message in (
        (More(tmp_path), "Its works and flows are"),
        (Fewer(), "works and flows"),
        (Other(tmp_path), "'n'"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            run(flow, resume=app.run_name)
        assert caught.value.kind == "other-program"
    assert begun() == ["a", "b", "c"]


def test_a_program_with_a_new_attribute_can_resume(run, tmp_path, bad, threads):
    app = App(Main(tmp_path))
    with pytest.raises(WorkError):
        app.run(executor=threads)
    bad.unlink()

    class More(Main):
        def __init__(self, log):
            super().__init__(log)
            self.new = "new"

    flow = run(More(tmp_path), resume=app.run_name).flow
    assert (flow.new, flow.n) == ("new", 1)


PROGRAM = """
import os, sys, time
from payloadfs.works import App, Flow, Work
class Step(Work):
    def run(self, name, wait_s=0.0):
        with open(sys.argv[2], "a") as file:
            file.write(name + "\\n")
        time.sleep(wait_s)
class Main(Flow):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = Step(), Step(parallel=True), Step()
        self.first = sys.argv[3] == "first"
    def run(self):
        self.a.run("a")
        self.b.run("b", float(sys.argv[4]))
        self.c.run("c", float(sys.argv[4]))
app = App(Main())
try:
    app.run(store=sys.argv[1], max_workers=2, resume=None if sys.argv[3] == "first" else sys.argv[3])
except KeyboardInterrupt:
    print(app.stage, app.message)
    sys.exit(130)
print(app.stage)
"""


def start(tmp_path, which, wait_s):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "store"), str(tmp_path / "log"), which, str(wait_s)]
    # pytest-xdist's workers may ignore interrupts, and that is inherited.
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(condition):
    # The test's own time limit ends a wait in vain.
    while not condition():
        time.sleep(0.01)


def test_an_interrupted_run_is_resumed(tmp_path, begun, store):
    process = start(tmp_path, "first", 60)
    wait_for(lambda: (tmp_path / "log").exists() and len(begun()) == 3)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "interrupted stopped at the keyboard\n")
    (run_name,) = os.listdir(store / "runs")
    assert Journal(payloadfs.Repository(), run_name).load()["run"][""]["stage"] == "interrupted"
    assert start(tmp_path, run_name, 0).communicate(timeout=60)[0] == "finished\n"
    assert begun()[0] == "a"
    assert sorted(begun()[3:]) in (["b", "c"], ["b", "b", "c", "c"])


def test_of_two_drivers_the_one_that_resumed_continues(tmp_path, store, threads):
    """The first driver gets an error at its next change, and does no harm."""
    go = tmp_path / "go"

    class Wait(Work):
        def __init__(self):
            super().__init__()
            self.by = None

        def run(self, path, by):
            ends_s = time.monotonic() + 60
            while not os.path.exists(path) and time.monotonic() < ends_s:
                time.sleep(0.01)
            self.by = by

    class Two(Flow):
        def __init__(self, by):
            super().__init__()
            self.one, self.two = Wait(), Wait()
            self._by = by

        def run(self):
            self.one.run(str(go), self._by)
            self.two.run(str(go), self._by)

    first, errors = App(Two("first")), []

    def drive():
        try:
            with payloadfs.using(store, fsync=False):
                first.run(executor=threads)
        except StoreError as error:
            errors.append(error)

    thread = threading.Thread(target=drive)
    thread.start()
    wait_for(
        lambda: first.run_name and (store / "runs" / first.run_name / "state").exists() and first.flow.one.is_running
    )
    time.sleep(0.2)
    second = App(Two("second"))
    other = threading.Thread(target=lambda: _drive(second, store, threads, first.run_name))
    other.start()
    wait_for(lambda: second.flow.one.is_running)
    time.sleep(0.2)
    go.touch()
    other.join(60)
    thread.join(60)
    assert [error.kind for error in errors] == ["concurrent-driver"]
    assert first.stage == "failed"
    assert (second.stage, second.flow.two.by) == ("finished", "second")
    assert Journal(payloadfs.Repository(), first.run_name).load()["run"][""]["stage"] == "finished"


def _drive(app, store, threads, run_name):
    with payloadfs.using(store, fsync=False):
        app.run(executor=threads, resume=run_name)


def test_two_drivers_that_resume_at_the_same_time_write_different_checkpoints(tmp_path, threads, bad, monkeypatch):
    """S3 accepts an object a second time if its bytes are the same; then both drivers would continue."""
    app = App(Main(tmp_path))
    with pytest.raises(WorkError):
        app.run(executor=threads)
    tried = []

    def record(self, key, body):
        tried.append(b"".join(map(bytes, body)).partition(b'"document"')[2])
        raise StoreError("not now")

    with monkeypatch.context() as patch:
        patch.setattr("payloadfs.stores._local.LocalStore.put", record)
        for _ in range(2):
            with pytest.raises(StoreError, match="not now"):
                App(Main(tmp_path)).run(executor=threads, resume=app.run_name)
    assert len(set(tried)) == len(tried) == 4


@pytest.mark.parametrize("fails_at", range(1, 12))
def test_a_store_that_fails_in_the_middle(run, tmp_path, begun, store, threads, monkeypatch, fails_at):
    """A clear error, the last checkpoint is intact, and stored results are not computed again."""
    from payloadfs.stores._local import LocalStore

    put, left = LocalStore.put, [fails_at]

    def full(self, key, body):
        left[0] -= 1
        if left[0] < 0:
            raise StoreError(f"Can't write {key!r}: No space left on device.", transient=True)
        put(self, key, body)

    app = App(Main(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", full)
        with contextlib.suppress(StoreError, WorkError):
            app.run(executor=threads)
    if app.stage == "finished":
        assert fails_at > 8
        return
    assert "No space left on device" in app.message
    assert app.stage == "failed"
    before = begun() if (tmp_path / "log").exists() else []
    known = Journal(payloadfs.Repository(), app.run_name).load()
    ended = {c["arguments"][0][0] for c in known.get("call", {}).values() if c["stage"] == "succeeded"}
    again = run(Main(tmp_path), resume=app.run_name)
    assert again.stage == "finished"
    assert not ended & set(begun()[len(before) :])
    assert [work.data.value for work in (again.flow.a, again.flow.b, again.flow.c)] == [f"data of {n}" for n in "abc"]
    for info in payloadfs.Repository().list():
        assert info.size_bytes


def test_what_a_resumed_flow_sees(run, tmp_path, threads, bad):
    """Statuses and attributes are those at the beginning of the repeated pass."""
    seen = []

    class Seeing(Main):
        def run(self):
            seen.append((self.n, self.a.status.stage, self.b.status.stage, self.a.data and self.a.data.value))
            super().run()

    app = App(Seeing(tmp_path))
    with pytest.raises(WorkError):
        app.run(executor=threads)
    bad.unlink()
    run(Seeing(tmp_path), resume=app.run_name)
    assert seen[0] == seen[1] == (0, "not-started", "not-started", None)
    assert seen[2] == (1, "succeeded", "succeeded", "data of a")
