"""Known flaws of the framework that Payload comes from, one test each, and the correct behaviour."""

import os
import threading
import time

import pandas as pd
import pytest

import payloadfs
from payloadfs import Payload, WorkError
from payloadfs.works import App, Flow, LocalExecutor, Work


class Source(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.v = None

    def run(self, content="content", how="well"):
        held = [content]
        self.v = Payload(held)
        held.append("changed after it was assigned")
        if how == "raise":
            raise ValueError("after assigning")
        if how == "die":
            os._exit(1)
        if how == "sleep":
            time.sleep(600)


class Sink(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.inbox = None
        self.other = None
        self.seen = []

    def run(self, *payloads):
        self.seen = [*self.seen, *(p.value for p in payloads), *([self.inbox.value] if self.inbox else [])]
        self.other = payloads[0] if payloads else None


class Main(Flow):
    def __init__(self, drive, src=None, dst=None):
        super().__init__()
        self.src = src or Source()
        self.dst = dst or Sink()
        self.kept = None
        self.n = 0
        self._drive = drive

    def run(self):
        self._drive(self)


def both(flow):
    flow.src.run()
    flow.dst.run(flow.src.v)


def test_changes_after_assignment_have_no_effect(run):
    assert run(Main(both)).flow.dst.seen == [["content"]]


def test_new_content_in_the_same_attribute_runs_a_cached_consumer_again(run):
    def drive(flow):
        if flow.n < 3:
            flow.src.run(["old", "new", "new"][flow.n])
            flow.dst.run(flow.src.v)
            flow.n += 1

    flow = run(Main(drive, Source(cache_calls=False), Sink(cache_calls=True))).flow
    assert flow.dst.seen == [["old"], ["new"]]


@pytest.mark.parametrize("turn", range(5))
def test_equal_attribute_names_in_parallel(run, processes, turn):
    class Pairs(Flow):
        def __init__(self):
            super().__init__()
            self.sources = [Source(parallel=True) for _ in range(4)]
            self.sinks = [Sink(parallel=True) for _ in range(4)]

        def run(self):
            for n, (source, sink) in enumerate(zip(self.sources, self.sinks, strict=True)):
                source.run(n)
                if source.v:
                    sink.run(source.v)

    assert [sink.seen for sink in run(Pairs(), processes).flow.sinks] == [[[n]] for n in range(4)]


@pytest.mark.parametrize("how", ["raise", "die"])
def test_a_producer_that_failed_or_was_killed_changes_nothing(run, processes, how):
    def drive(flow):
        flow.src.run("x", how)
        if flow.src.v is not None:
            flow.dst.run(flow.src.v)

    flow = run(Main(drive, Source(raise_exception=False)), processes).flow
    assert flow.src.has_failed
    assert flow.src.v is None
    assert not flow.dst.has_started


def test_a_later_failure_keeps_earlier_results(run, processes):
    def drive(flow):
        flow.src.run("first")
        flow.src.run("second", "die")
        flow.dst.run(flow.src.v)

    assert run(Main(drive, Source(raise_exception=False)), processes).flow.dst.seen == [["first"]]


def test_stopping_a_producer_after_its_call_keeps_its_result(run, processes):
    def drive(flow):
        flow.src.run()
        flow.src.stop()
        flow.dst.run(flow.src.v)

    assert run(Main(drive), processes).flow.dst.seen == [["content"]]


def test_stopping_a_producer_during_its_call_discards_its_result(run, processes):
    def drive(flow):
        if flow.n == 0:
            flow.src.run("x", "sleep")
        elif flow.n == 1:
            flow.src.stop()
        flow.n = min(flow.n + 1, 2)

    flow = run(Main(drive, Source(parallel=True)), processes).flow
    assert flow.src.has_stopped
    assert flow.src.v is None


def test_a_killed_work_does_not_stay_running(run, processes):
    def drive(flow):
        flow.src.run("x", "die")

    flow = run(Main(drive, Source(raise_exception=False, parallel=True)), processes).flow
    assert flow.src.has_failed
    assert "exit code 1" in flow.src.status.message


def test_a_payload_that_the_flow_sets_on_another_work_arrives(run):
    def drive(flow):
        flow.src.run()
        flow.dst.inbox = flow.src.v
        flow.dst.run()

    assert run(Main(drive)).flow.dst.seen == [["content"]]


def test_a_flow_can_keep_a_payload(run):
    def drive(flow):
        flow.src.run()
        flow.kept = flow.src.v
        flow.dst.run(flow.kept)

    flow = run(Main(drive)).flow
    assert flow.dst.seen == [["content"]]
    assert flow.kept.value == ["content"]


def test_a_flow_can_read_a_payload(run):
    def drive(flow):
        flow.src.run()
        flow.n = len(flow.src.v.value)

    assert run(Main(drive)).flow.n == 1


def test_a_payload_can_be_reassigned_and_passed_on(run, processes):
    class Three(Main):
        def __init__(self):
            super().__init__(None)
            self.last = Sink()

        def run(self):
            self.src.run()
            self.dst.run(self.src.v)
            self.last.run(self.dst.other)

    assert run(Three(), processes).flow.last.seen == [["content"]]


def test_payloads_in_lists_and_dicts_are_state(run):
    class Many(Work):
        def __init__(self):
            super().__init__()
            self.parts = []
            self.named = {}

        def run(self):
            self.parts.append(Payload("one"))
            self.named["two"] = [Payload("two")]

    def drive(flow):
        flow.src.run()
        flow.dst.run(*flow.src.parts, *flow.src.named["two"])

    assert run(Main(drive, Many())).flow.dst.seen == ["one", "two"]


def test_a_bare_object_as_argument_is_refused_at_the_call(run):
    with pytest.raises(
        payloadfs.EncodeError, match=r"root.dst.run\(\), argument 1, cannot .*pandas.DataFrame.*Payload"
    ):
        run(Main(lambda flow: flow.dst.run(pd.DataFrame())))


def test_a_payload_created_in_the_flow(run):
    assert run(Main(lambda flow: flow.dst.run(Payload(["made"])))).flow.dst.seen == [["made"]]


def test_an_object_that_cannot_be_stored_fails_only_its_work(run):
    class Locked(Work):
        def __init__(self):
            super().__init__(raise_exception=False)
            self.v = None

        def run(self):
            self.v = Payload(threading.Lock())

    def drive(flow):
        flow.src.run()
        flow.dst.run()

    flow = run(Main(drive, Locked())).flow
    assert flow.src.has_failed
    assert "lock" in flow.src.status.message
    assert flow.dst.has_succeeded


@pytest.mark.parametrize("empty", [None, [], 0, ""], ids=repr)
def test_a_payload_of_an_empty_value(run, empty):
    def drive(flow):
        if flow.kept:
            flow.dst.run(flow.kept)
        elif flow.n == 0:
            flow.kept = Payload(empty)
            flow.n = 1

    assert run(Main(drive)).flow.dst.seen == [empty]


def test_a_payload_is_not_visible_before_run_ends(run, processes):
    seen = []

    def drive(flow):
        flow.src.run("x", "sleep")
        seen.append(flow.src.v)
        flow.n += 1
        if flow.n == 3:
            flow.stop()

    run(Main(drive, Source(parallel=True)), processes)
    assert seen == [None, None, None]


def test_an_uncached_work_does_not_block_the_lines_after_it(run):
    def drive(flow):
        if flow.n < 2:
            flow.src.run()
            flow.n += 1

    assert run(Main(drive, Source(cache_calls=False))).flow.n == 2


def test_nothing_is_left_in_the_working_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    app = App(Main(both))
    with LocalExecutor(1) as pool:
        app.run(executor=pool)
    assert list((tmp_path / "here").iterdir()) == []
    assert app.flow.dst.seen == [["content"]]


def test_a_failure_of_a_parallel_work_ends_the_app(run, processes):
    with pytest.raises(WorkError):
        run(Main(lambda flow: flow.src.run("x", "raise"), Source(parallel=True)), processes)


def test_a_list_grows_once_per_run(run, processes):
    class Growing(Work):
        def __init__(self):
            super().__init__(cache_calls=False)
            self.items = []

        def run(self):
            self.items.append(len(self.items))

    def drive(flow):
        if flow.n < 10:
            flow.src.run()
            flow.n += 1

    assert run(Main(drive, Growing()), processes).flow.src.items == list(range(10))
