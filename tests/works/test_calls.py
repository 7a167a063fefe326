"""Arguments and results of calls, and the errors for wrong ones."""

import pytest

from payloadfs import EncodeError, Payload, WorkError
from payloadfs.works import Flow, Work


class Echo(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.seen = None
        self.note = {"tags": ["a"]}
        self.calls = 0

    def run(self, *args, **kwargs):
        self.calls += 1
        self.seen = {"args": list(args), "kwargs": kwargs, "note": self.note}


class Typed(Work):
    def __init__(self):
        super().__init__()
        self.seen = None

    def run(self, a, b=2, *, c=3):
        self.seen = [a, b, c]


def flow_of(function, **parts):
    """Return a flow with works (or values) as attributes, and `function` as its run."""

    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.log = []
            for name, part in parts.items():
                setattr(self, name, part)

        def run(self):
            function(self)

    return Main()


def test_later_changes_to_arguments_do_not_affect_a_call(run):
    items = [1, {"k": [2]}]

    def drive(flow):
        if flow.echo.has_started:
            return
        flow.echo.run(items, tags=items)
        items[1]["k"].append("late")
        flow.echo.note["tags"].append("late")

    echo = run(flow_of(drive, echo=Echo(parallel=True, cache_calls=True))).flow.echo
    assert echo.seen["args"][0] == [1, {"k": [2]}]
    assert echo.seen["note"] == {"tags": ["a"]}


def test_a_work_cannot_change_the_callers_arguments(run):
    class Spoil(Work):
        def run(self, items, frame):
            items.append("spoilt")
            frame.value.append("spoilt")

    items, frame = [1], Payload([1])
    run(flow_of(lambda flow: flow.spoil.run(items, frame), spoil=Spoil()))
    assert items == [1]
    assert frame.value == [1]


def test_a_work_in_a_thread_gets_a_copy(run):
    """Threads share memory, but the work must still get a copy."""

    class Change(Work):
        def __init__(self):
            super().__init__(raise_exception=False)
            self.items = [1]

        def run(self):
            self.items.append(2)
            raise ValueError

    assert run(flow_of(lambda flow: flow.w.run(), w=Change())).flow.w.items == [1]


def test_payloads_are_found_at_any_depth(run):
    one, two = Payload([1]), Payload("two")
    flow = run(flow_of(lambda flow: flow.echo.run(one, {"deep": [two]}, None, key=one, more=[1.5]), echo=Echo())).flow
    args, kwargs = flow.echo.seen["args"], flow.echo.seen["kwargs"]
    assert args[0].value == [1]
    assert args[1]["deep"][0].value == "two"
    assert args[2] is None
    assert kwargs["key"].value == [1]
    assert kwargs["more"] == [1.5]


def test_defaults_and_keyword_arguments(run):
    def drive(flow):
        flow.w.run(1)
        flow.log.append(flow.w.seen)
        flow.w.run(b=5, a=4, c=6)
        flow.log.append(flow.w.seen)
        if len(flow.log) > 2:
            flow.stop()

    assert run(flow_of(drive, w=Typed())).flow.log[:2] == [[1, 2, 3], [4, 5, 6]]


def test_positional_and_keyword_arguments_are_the_same_call(run):
    def drive(flow):
        flow.w.run(1, 5)
        flow.w.run(b=5, a=1)
        flow.w.run(1, b=5)

    assert run(flow_of(drive, w=Typed())).flow.w.status.count == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.run(), "missing a required argument: 'a'"),
        (lambda w: w.run(1, 2, 3), "too many positional"),
        (lambda w: w.run(1, d=1), "unexpected keyword argument 'd'"),
        (lambda w: w.run(1, a=1), "multiple values for argument 'a'"),
    ],
)
def test_wrong_arguments_raise_at_the_call(run, call, message):
    started = []

    def drive(flow):
        with pytest.raises(TypeError, match=message) as error:
            call(flow.w)
        assert "root.w.run()" in str(error.value)
        raise error.value

    with pytest.raises(TypeError, match=message) as caught:
        run(flow_of(drive, w=Typed()), on_event=lambda event: started.append(event.kind))
    assert "call-started" not in started
    assert any(entry.path.name == "test_calls.py" and entry.name == "<lambda>" for entry in caught.traceback)


def test_arguments_that_are_not_json_raise_at_the_call(run):
    def drive(flow):
        with pytest.raises(EncodeError, match=r"root.w.run\(\), argument 1,\[1\] cannot be stored.*Payload"):
            flow.w.run([1, (2,)])
        with pytest.raises(EncodeError, match=r"argument c, cannot"):
            flow.w.run(1, c={1})

    assert not run(flow_of(drive, w=Typed())).flow.w.has_started


@pytest.mark.parametrize("result", [0, "", [], False, Payload])
def test_run_must_return_none(run, result):
    class Returning(Work):
        def run(self):
            return result

    with pytest.raises(WorkError, match=r"root.w.run\(\) failed: TypeError: Returning.run\(\) returned a"):
        run(flow_of(lambda flow: flow.w.run(), w=Returning()))


@pytest.mark.filterwarnings("ignore:coroutine")
def test_run_must_not_be_a_generator_or_coroutine(run):
    class Lazy(Work):
        def run(self):
            yield 1

    class Soon(Work):
        async def run(self):
            pass

    for cls, kind in ((Lazy, "generator"), (Soon, "coroutine")):
        with pytest.raises(WorkError, match=f"returned a {kind}"):
            run(flow_of(lambda flow: flow.w.run(), w=cls()))


def test_a_work_without_run_fails(run):
    with pytest.raises(WorkError, match="does not define run"):
        run(flow_of(lambda flow: flow.w.run(), w=Work()))


def test_attributes_cannot_be_assigned_while_the_work_runs(run):
    def drive(flow):
        flow.echo.run()
        if flow.echo.is_running:
            with pytest.raises(AttributeError, match=r"root.echo is running on a copy"):
                flow.echo.seen = 1
            flow.echo._private = 1

    run(flow_of(drive, echo=Echo(parallel=True)))


def test_the_flow_can_assign_before_and_after_a_call(run):
    def drive(flow):
        if not flow.log:
            flow.echo.note = {"tags": ["set"]}
            flow.echo.run()
            flow.echo.note = None
            flow.log.append(flow.echo.seen)

    flow = run(flow_of(drive, echo=Echo())).flow
    assert flow.log[0]["note"] == {"tags": ["set"]}
    assert flow.echo.note is None


def test_a_payload_can_be_passed_to_the_work_that_created_it(run):
    class Grow(Work):
        def __init__(self):
            super().__init__()
            self.items = None

        def run(self, items=None):
            self.items = Payload([*(items.value if items else []), len(items.value) if items else 0])

    def drive(flow):
        if flow.grow.items is None or len(flow.grow.items.value) < 3:
            flow.grow.run(flow.grow.items)

    assert run(flow_of(drive, grow=Grow())).flow.grow.items.value == [0, 1, 2]


def test_only_new_content_runs_the_consumer_again(run):
    class Make(Work):
        def __init__(self):
            super().__init__(cache_calls=False)
            self.frame = None

        def run(self, content):
            self.frame = Payload(content)

    def drive(flow):
        pos = len(flow.log)
        if pos < 4:
            flow.make.run([[1], [1], [2], [1]][pos])
            flow.echo.run(flow.make.frame)
            flow.log.append(flow.echo.calls)

    assert run(flow_of(drive, make=Make(), echo=Echo())).flow.log == [1, 1, 2, 2]


def test_two_equal_calls_without_a_cache_are_two_calls(run):
    def drive(flow):
        if not flow.log:
            flow.echo.run(1)
            flow.echo.run(1)
            flow.log.append(flow.echo.calls)

    assert run(flow_of(drive, echo=Echo(cache_calls=False))).flow.log == [2]


def test_calls_of_a_parallel_work_run_in_sequence(run):
    log = []

    def drive(flow):
        flow.echo.run(1)
        flow.echo.run(2)
        flow.echo.run(1)
        log.append([flow.echo.calls, flow.echo.status.stage])

    flow = run(flow_of(drive, echo=Echo(parallel=True))).flow
    assert flow.echo.calls == 2
    assert flow.echo.seen["args"] == [2]
    assert log[0] == [0, "running"]
    assert log[-1] == [2, "succeeded"]
