"""When calls return, what the flow sees in each pass, and when the app ends."""

import sys
import threading
import time
import types

import pytest

from payloadfs import WorkError
from payloadfs.works import App, Flow, Work


class Job(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.result = None
        self.bad = False

    def run(self, number=0):
        if self.bad:
            raise ValueError(f"bad {number}")
        self.result = number


class Loop(Flow):
    """A flow that calls its work in each pass, catches its exceptions, and stops in the fifth pass."""

    def __init__(self, bad, **options):
        super().__init__()
        self.job = Job(**options)
        self.job.bad = bad
        self._passes = self._caught = 0

    def run(self):
        self._passes += 1
        if self._passes == 5:
            self.stop("enough")
        try:
            self.job.run(7)
        except WorkError as error:
            self._caught += "ValueError: bad 7" in str(error)


@pytest.mark.parametrize("raise_exception", [True, False])
@pytest.mark.parametrize("cache_calls", [True, False])
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("bad", [False, True])
def test_every_combination_ends(run, parallel, cache_calls, raise_exception, bad):
    flow = Loop(bad, parallel=parallel, cache_calls=cache_calls, raise_exception=raise_exception)
    if bad and parallel and raise_exception:
        with pytest.raises(WorkError, match="bad 7"):
            run(flow)
        return
    app = run(flow)
    has_stopped = app.message == "enough"
    assert app.stage == ("finished" if has_stopped or not bad else "idle")
    assert has_stopped or cache_calls
    if cache_calls and not has_stopped:
        assert flow.job.status.count == 1 or bad
        assert flow.job.has_failed is bad
        assert flow.job.has_succeeded is not bad
        assert flow._passes == 2 if not parallel else flow._passes in (2, 3)
    else:
        # Parallel: one call for each pass in which the previous call had ended.
        assert flow.job.status.count == (4 if not parallel else flow.job.status.count) >= 1
    assert flow.job.result == (None if bad else 7)
    assert flow._caught == (4 if bad and not parallel and raise_exception else 0)


def test_a_pass_sees_one_state_of_a_parallel_work(run, monkeypatch):
    go, done = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "a_gate", types.SimpleNamespace(go=go, done=done))
    seen = []

    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.gate = Gate(parallel=True)
            self.n = 0

        def run(self):
            before = self.gate.status.stage, self.gate.opened
            self.gate.run()
            called = self.gate.status.stage, self.gate.opened
            if self.n == 1:
                go.set()
                assert done.wait(60)
                time.sleep(0.05)
            seen.append((before, called, (self.gate.status.stage, self.gate.opened)))
            self.n = min(self.n + 1, 2)

    run(Main())
    no, on, yes = ("not-started", None), ("running", None), ("succeeded", True)
    assert seen[:3] == [(no, on, on), (on, on, on), (yes, yes, yes)]


class Gate(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.opened = None

    def run(self):
        # This class is pickled by value, which is not possible for events.
        gate = sys.modules["a_gate"]
        assert gate.go.wait(60)
        self.opened = True
        gate.done.set()


def test_statuses_have_times_and_counts(run):
    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.job = Job(cache_calls=False)
            self.statuses = []

        def run(self):
            if len(self.statuses) < 2:
                self.job.run(len(self.statuses))
                status = self.job.status
                self.statuses = [*self.statuses, [status.stage, status.count, status.started_s, status.ended_s]]

    flow = run(Main()).flow
    assert [status[:2] for status in flow.statuses] == [["succeeded", 1], ["succeeded", 2]]
    times = [time_s for status in flow.statuses for time_s in status[2:]]
    assert times == sorted(times)


class Sleep(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.slept = 0

    def run(self, seconds=600, n=0):
        time.sleep(seconds)
        self.slept += 1


class Stopping(Flow):
    def __init__(self):
        super().__init__()
        self.sleep = Sleep(parallel=True)
        self.quick = Sleep(parallel=True)
        self.step = 0

    def run(self):
        if self.step == 0:
            self.sleep.run(600, 1)
            self.sleep.run(600, 2)
            self.sleep.run(600, 3)
        elif self.step == 1:
            self.sleep.stop()
            assert self.sleep.has_stopped
            assert not self.sleep.is_running
            self.sleep.run(0, 4)
        elif self.sleep.has_succeeded:
            self.stop("done")
        self.step = min(self.step + 1, 2)


def test_stopped_calls_are_dropped_and_the_next_runs(run, processes):
    app = run(Stopping(), processes)
    assert app.message == "done"
    assert (app.flow.sleep.slept, app.flow.sleep.status.count) == (1, 4)


def test_stopping_the_flow_stops_its_works(run, processes):
    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.sleeps = [Sleep(parallel=True) for _ in range(4)]
            self.kept = None

        def run(self):
            for sleep in self.sleeps:
                sleep.run()
            self.kept = "kept"
            self.stop("that was it")

    events = []
    app = run(Main(), processes, on_event=lambda event: events.append(event.kind))
    assert (app.stage, app.message, app.flow.kept) == ("finished", "that was it", "kept")
    assert all(sleep.has_stopped for sleep in app.flow.sleeps)
    assert events[-1] == "run-finished"
    assert events.count("call-stopped") == 4


def test_a_parallel_failure_ends_the_app_while_the_flow_waits(run, processes):
    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.job = Job(parallel=True)
            self.job.bad = True
            self.sleep = Sleep()

        def run(self):
            self.job.run()
            try:
                self.sleep.run(600)
            except Exception:  # noqa: BLE001
                raise AssertionError("the flow must not be able to catch it") from None

    with pytest.raises(WorkError, match=r"root.job"):
        run(Main(), processes)


def test_a_flow_with_nothing_to_do_ends(run):
    class Idle(Flow):
        def run(self):
            pass

    app = run(Idle())
    assert app.stage == "idle"
    assert app.message == "nothing is left to do, but not all works succeeded, and the flow did not call stop()"


def test_a_flow_continues_while_its_attributes_change(run):
    class Count(Flow):
        def __init__(self):
            super().__init__()
            self.items = []

        def run(self):
            if len(self.items) < 5:
                self.items.append(len(self.items))

    assert run(Count()).flow.items == [0, 1, 2, 3, 4]


def test_true_and_1_are_different_values(run):
    class Turn(Flow):
        def __init__(self):
            super().__init__()
            self.x = 1
            self.passes = []

        def run(self):
            self.x = {int: True, bool: 1.0, float: 1.0}[type(self.x)]

    flow = run(Turn()).flow
    assert type(flow.x) is float


def test_an_app_can_run_again_with_new_counts(run):
    flow = Loop(False)
    app = App(flow)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        app.run(executor=pool)
        first = app.run_name
        flow._passes = 0
        app.run(executor=pool)
    assert app.run_name != first
    assert flow.job.status.count == 1
