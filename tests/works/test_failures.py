"""Works that fail in every way a process can: the app never hangs, and reports what happened."""

import asyncio
import json
import os
import signal
import sys
import threading
import time

import pytest

from payloadfs import Payload, WorkError
from payloadfs.works import Flow, Work


class Bad(Work):
    def __init__(self, how, **options):
        super().__init__(**options)
        self.how = how
        self.result = None

    def run(self):
        self.result = "incomplete"
        HOW[self.how]()


class Main(Flow):
    def __init__(self, how, **options):
        super().__init__()
        self.bad = Bad(how, **options)
        self.caught = ""

    def run(self):
        try:
            self.bad.run()
        except WorkError as error:
            self.caught = str(error)


class Unpicklable(Exception):
    def __init__(self, a, b):
        super().__init__("cannot be sent")
        self.lock = threading.Lock()


class BrokenStr(Exception):
    def __str__(self):
        raise ValueError("no text")


def recurse(n=0):
    return recurse(n + 1)


def raising(error):
    def fail():
        raise error

    return fail


def chained():
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer") from error


def noted():
    error = ValueError("with a note")
    error.add_note("the note")
    raise error


# Created where they are raised: some of these cannot be pickled.
HOW = {
    "value": lambda: raising(ValueError("first line\nsecond line"))(),
    "empty": lambda: raising(ValueError())(),
    "key": lambda: raising(KeyError("k"))(),
    "exit": lambda: sys.exit(3),
    "exit text": lambda: sys.exit("bye"),
    "interrupt": lambda: raising(KeyboardInterrupt())(),
    "cancelled": lambda: raising(asyncio.CancelledError())(),
    "base": lambda: raising(type("Odd", (BaseException,), {})("odd"))(),
    "generator": lambda: raising(GeneratorExit())(),
    "stop iteration": lambda: raising(StopIteration())(),
    "recursion": lambda: recurse(),
    "unpicklable": lambda: raising(Unpicklable(1, 2))(),
    "broken str": lambda: raising(BrokenStr())(),
    "chained": chained,
    "noted": noted,
    "group": lambda: raising(ExceptionGroup("many", [ValueError("a"), KeyError("b")]))(),
    "huge": lambda: raising(ValueError("x" * 10_000_000))(),
    "surrogate": lambda: raising(ValueError("\ud800"))(),
    "syntax": lambda: compile("a b", "their.py", "exec"),
}
MESSAGES = {
    "value": "ValueError: first line",
    "empty": "ValueError",
    "key": "KeyError: 'k'",
    "exit": "SystemExit: 3",
    "exit text": "SystemExit: bye",
    "interrupt": "KeyboardInterrupt",
    "cancelled": "CancelledError",
    "base": "Odd: odd",
    "generator": "GeneratorExit",
    "stop iteration": "StopIteration",
    "recursion": "RecursionError: maximum recursion depth exceeded",
    "unpicklable": "Unpicklable: cannot be sent",
    "broken str": "BrokenStr: (str of the exception failed)",
    "chained": "ValueError: outer",
    "noted": "ValueError: with a note",
    "group": "ExceptionGroup: many (2 sub-exceptions)",
    "huge": "ValueError: xxxx",
    "surrogate": "ValueError: \ud800",
    "syntax": "SyntaxError: invalid syntax",
}


@pytest.mark.parametrize("where", ["threads", "processes"])
@pytest.mark.parametrize("how", HOW)
def test_an_exception_of_a_work_is_raised_at_the_call(run, request, how, where):
    flow = run(Main(how), request.getfixturevalue(where)).flow
    assert flow.caught.startswith(f"root.bad.run() failed: {MESSAGES[how]}")
    assert flow.bad.result is None
    status = flow.bad.status
    assert status.stage == "failed"
    assert status.message.startswith(MESSAGES[how])
    assert len(status.message) < 20_000
    assert status.started_s <= status.ended_s


@pytest.mark.parametrize("where", ["threads", "processes"])
def test_the_traceback_of_the_work_is_attached(run, request, where):
    class Raising(Main):
        def run(self):
            self.bad.run()

    with pytest.raises(WorkError, match=r"root.bad.run\(\) failed: ValueError: outer\n") as caught:
        run(Raising("chained"), request.getfixturevalue(where))
    note = "\n".join(caught.value.__notes__)
    line = chained.__code__.co_firstlineno + 4
    assert f'test_failures.py", line {line}, in chained' in note
    assert "KeyError: 'inner'" in note
    assert "payloadfs/works" not in note
    assert caught.value.work == "root.bad"
    assert any(entry.path.name == "test_failures.py" for entry in caught.traceback)


class Dying(Work):
    def __init__(self, how, **options):
        super().__init__(**options)
        self.how = how

    def run(self):
        if self.how == "exit":
            os._exit(0)
        elif self.how == "exit code":
            os._exit(41)
        elif self.how == "segfault":
            import ctypes

            ctypes.string_at(0)
        elif self.how == "abort":
            os.abort()
        elif self.how == "connection":
            os.closerange(3, 1000)
        else:
            os.kill(os.getpid(), getattr(signal, self.how))
            time.sleep(60)


EXPECTED = {
    "exit": "ended during the call, with exit code 0",
    "exit code": "ended during the call, with exit code 41",
    "segfault": "killed during the call, by SIGSEGV",
    "abort": "killed during the call, by SIGABRT",
    "connection": "ended during the call, with exit code 1",
    "SIGKILL": "killed during the call, by SIGKILL",
    "SIGTERM": "SystemExit: stopped by SIGTERM",
}


class Others(Flow):
    def __init__(self, how):
        super().__init__()
        self.dying = Dying(how, raise_exception=False)
        self.after = Dying("none")

    def run(self):
        self.dying.run()


@pytest.mark.parametrize("how", EXPECTED)
def test_a_process_that_dies_fails_only_its_call(run, processes, how):
    app = run(Others(how), processes)
    assert app.stage == "idle"
    assert EXPECTED[how] in app.flow.dying.status.message
    assert app.flow.dying.has_failed


def test_a_work_that_cannot_be_pickled_fails(run):
    class Locked(Work):
        def __init__(self, **options):
            super().__init__(**options)
            self._lock = threading.Lock()

        def run(self):
            pass

    class Keeps(Flow):
        def __init__(self, **options):
            super().__init__()
            self.w = Locked(**options)
            self.caught = []

        def run(self):
            for _ in range(2):
                try:
                    self.w.run()
                except WorkError as error:
                    self.caught = [*self.caught, str(error)][:2]

    expected = (
        "root.w.run() failed: EncodeError: root.w._lock cannot be sent to another process: cannot pickle '_thread.lock'"
    )
    flow = run(Keeps()).flow
    assert [message.startswith(expected) for message in flow.caught] == [True, True]
    assert run(Keeps(raise_exception=False)).flow.w.has_failed
    with pytest.raises(WorkError, match="_lock cannot be sent"):
        run(Keeps(parallel=True))


def test_an_object_that_cannot_be_stored_fails_where_it_is_assigned(run):
    class Storing(Work):
        def __init__(self):
            super().__init__()
            self.model = None

        def run(self):
            self.model = Payload({"lock": threading.Lock()})

    class Flow_(Flow):
        def __init__(self):
            super().__init__()
            self.w = Storing()

        def run(self):
            self.w.run()

    with pytest.raises(WorkError, match=r"EncodeError: .*lock") as caught:
        run(Flow_())
    assert "in run\n    self.model = Payload(" in caught.value.__notes__[0]


def test_an_executor_that_was_shut_down_ends_the_app(run):
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    pool.shutdown()

    class Stubborn(Main):
        def run(self):
            while True:
                try:
                    self.bad.run()
                except Exception:  # noqa: BLE001  # a flow that catches everything and tries again
                    self.caught += "x"

    with pytest.raises(WorkError, match=r"executor no longer accepts calls.*shutdown") as caught:
        run(Stubborn("value", raise_exception=False), pool)
    assert caught.value.kind == "executor"


def test_an_exception_of_the_flow_is_raised_by_the_app(run):
    class Wrong(Flow):
        def __init__(self):
            super().__init__()
            self.x = 0

        def run(self):
            self.x = 1
            raise LookupError("mine")

    from payloadfs.works import App

    flow = Wrong()
    app = App(flow)
    events = []
    with pytest.raises(LookupError, match="mine"):
        app.run(on_event=lambda event: events.append(event.kind))
    assert (app.stage, app.message) == ("failed", "LookupError: mine")
    assert events[-1] == "run-failed"


class Panicking(Flow):
    def run(self):
        raise type("Panic", (BaseException,), {})("in a Rust library")


def test_a_panic_in_a_flow_ends_the_run_as_failed(run, store):
    events = []
    with pytest.raises(BaseException, match="in a Rust library"):
        run(Panicking(), on_event=events.append)
    assert [event.kind for event in events] == ["run-started", "run-failed"]
    (state,) = store.glob("runs/*/state/")
    assert json.loads(max(state.iterdir()).read_text())["document"]["run"]["stage"] == "failed"
