"""What the example apps of Lightning App do, one after the other: run here, or refused by name."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import payloadfs
import payloadfs.lightning as lapp
from payloadfs import ConfigError, EncodeError, WorkError
from payloadfs.lightning.storage import Payload
from payloadfs.lightning.structures import Dict, List

CPU = lapp.CloudCompute()
PAGE = r"docs/how-to/run-lightning-programs\.md"


@pytest.fixture(autouse=True)
def by_value(tmp_path: Path) -> Iterator[None]:
    """Pickle the classes of this file by value: no other process can import it."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with payloadfs.using(tmp_path / "store", fsync=False):
        yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


class Steps(lapp.LightningFlow):
    """A flow whose pass is a function, so that each test can define its own."""

    def __init__(self, step: Callable[[Any], None], **attributes: Any) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)
        self._step = step

    def run(self) -> None:
        self._step(self)


def run(root: Any, **options: Any) -> lapp.LightningApp:
    app = lapp.LightningApp(root, log_level="debug")
    app.run(max_workers=2, **options)
    return app


class Write(lapp.LightningWork):
    def __init__(self, cloud_compute: lapp.CloudCompute = CPU, **options: Any) -> None:
        super().__init__(parallel=True, cloud_compute=cloud_compute, **options)
        self.content: Any = None

    def run(self) -> None:
        self.content = Payload(b"hello")


class Read(lapp.LightningWork):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: Any = None

    def run(self, content: Payload) -> None:
        self.seen = [content.value.decode(), self.host, self.port, self.cloud_compute.name]


def one_after_the_other(flow: Any) -> None:
    if "src" not in flow.both:
        flow.both["src"] = Write()
    flow.both["src"].run()
    if flow.both["src"].has_succeeded:
        if "dst" not in flow.both:
            flow.both["dst"] = Read(port=1111, cloud_compute=lapp.CloudCompute("gpu", idle_timeout=60))
        flow.both["dst"].run(flow.both["src"].content)
        flow.stop("the end")


def test_works_of_a_dict_that_are_created_with_a_machine_type_when_they_are_needed() -> None:
    app = run(Steps(one_after_the_other, both=Dict()))
    expected = ["hello", "127.0.0.1", 1111, "gpu"]
    assert app.message == "the end"
    assert app.root.both["dst"].seen == expected  # type: ignore[attr-defined]
    resumed = run(Steps(one_after_the_other, both=Dict()), resume=app.run_name)
    assert resumed.root.both["dst"].seen == expected  # type: ignore[attr-defined]
    assert resumed.root.both["dst"].cloud_compute.name == "gpu"  # type: ignore[attr-defined]


class Collect(lapp.LightningWork):
    def __init__(self) -> None:
        super().__init__()
        self.train: Any = None
        self.test: Any = None

    def run(self) -> None:
        self.train, self.test = Payload([1.0, 2.0]), Payload([3.0])


class Fit(lapp.LightningWork):
    def __init__(self, power: int, parallel: bool) -> None:
        super().__init__(parallel=parallel)
        self.power, self.error = power, None

    def run(self, train: Payload, test: Payload) -> None:
        self.error = abs(sum(train.value) ** self.power - test.value[0])


class Dag(lapp.LightningFlow):
    """Data, models that are fitted in parallel, and their errors."""

    def __init__(self, powers: list[int]) -> None:
        super().__init__()
        self.collect = Collect()
        self.models = Dict(**{f"p{power}": Fit(power, parallel=True) for power in powers})
        self.has_completed, self.errors = False, {}

    def run(self) -> None:
        self.collect.run()
        for name, model in self.models.items():
            model.run(train=self.collect.train, test=self.collect.test)
            if model.error is not None:
                self.errors[name] = model.error
                model.stop()
        self.has_completed = len(self.errors) == len(self.models)


class ScheduledDag(lapp.LightningFlow):
    """A new graph at each time of the schedule, three in all."""

    def __init__(self, dag_class: type[Dag], **arguments: Any) -> None:
        super().__init__()
        self.dags = List()
        self._dag_class = dag_class
        self.arguments = arguments

    def run(self) -> None:
        if len(self.dags) < 3 and self.schedule("* * * * *"):
            self.dags.append(self._dag_class(**self.arguments))
        for dag in self.dags:
            if not dag.has_completed:
                dag.run()
        if len(self.dags) == 3 and all(dag.has_completed for dag in self.dags):
            self.stop()


def test_a_graph_that_is_scheduled_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a time of the schedule in each hundredth of a second, so that the test need not wait for minutes."""
    monkeypatch.setattr(lapp, "next_time", lambda pattern, after_s: after_s + 0.01)
    app = run(ScheduledDag(Dag, powers=[1, 2]))
    resumed = run(ScheduledDag(Dag, powers=[1, 2]), resume=app.run_name)
    for flow in (app.root, resumed.root):
        assert [dag.errors for dag in flow.dags] == [{"p1": 0.0, "p2": 6.0}] * 3  # type: ignore[attr-defined]
        # In the framework, a work that is stopped after its end counts as stopped.
        assert all(model.has_succeeded for model in flow.dags[0].models.values())  # type: ignore[attr-defined]


class Number(lapp.LightningWork):
    def __init__(self) -> None:
        super().__init__()
        self.number: Any = None

    def run(self) -> None:
        class Float(float):
            """As numpy's: it would come back as a float."""

        self.number = Float(1.5)


def test_numbers_of_other_classes_are_refused_with_what_to_do() -> None:
    with pytest.raises(WorkError, match=r"Float would come back as another class.*Payload\("):
        run(Steps(lambda flow: flow.work.run(), work=Number()))


class Check(lapp.LightningWork):
    def run(self, image: bytes) -> None:
        raise AssertionError(image)


class Answer(lapp.LightningWork):
    def run(self) -> bool:  # type: ignore[override]
        return True


def test_bytes_as_arguments_and_results_of_run_are_refused_with_what_to_do() -> None:
    with pytest.raises(EncodeError, match=r"root.work.run\(\), argument 1, .*bytes.*wrap it in Payload"):
        run(Steps(lambda flow: flow.work.run(b"pickle"), work=Check()))
    with pytest.raises(WorkError, match=r"run must return None: assign the result to an attribute"):
        run(Steps(lambda flow: flow.work.run(), work=Answer()))


class Named(lapp.LightningWork):
    def run(self) -> None:
        pass


def test_names_for_people_and_works_that_are_started_later() -> None:
    first, second = Named(), Named(start_with_flow=False)
    first.display_name, second.display_name = "First", "Second"

    def step(flow: Any) -> None:
        for work in flow.works():
            work.start()
            work.run()
        flow.stop()

    app = run(Steps(step, first=first, second=second))
    assert [work.display_name for work in app.root.works()] == ["First", "Second"]  # type: ignore[attr-defined]
    assert [name for name, _ in app.root.named_works()] == ["root.first", "root.second"]  # type: ignore[attr-defined]
    assert [work.status.count for work in app.root.works()] == [1, 1]  # type: ignore[attr-defined]


def test_the_machine_type_is_known_to_the_flow() -> None:
    def step(flow: Any) -> None:
        assert flow.work.cloud_compute.name == "gpu"
        flow.stop()

    assert run(Steps(step, work=Write(lapp.CloudCompute("gpu")))).stage == "finished"


def test_an_app_of_one_work() -> None:
    app = run(Collect())
    assert app.stage == "finished"
    assert app.root.work.train.value == [1.0, 2.0]  # type: ignore[attr-defined]
    assert run(Collect(), resume=app.run_name).root.work.has_succeeded  # type: ignore[attr-defined]


class Word(lapp.LightningFlow):
    def __init__(self, letter: str) -> None:
        super().__init__()
        self.letter = self.repeats = letter

    def run(self) -> None:
        self.repeats += self.letter

    def configure_layout(self) -> None:
        raise AssertionError


def test_flows_that_change_in_each_pass_and_have_a_user_interface(caplog: pytest.LogCaptureFixture) -> None:
    def step(flow: Any) -> None:
        flow.word.run()
        if len(flow.word.repeats) == 5:
            flow.stop()

    with caplog.at_level(logging.WARNING):
        assert run(Steps(step, word=Word("a"))).root.word.repeats == "aaaaa"  # type: ignore[attr-defined]
    assert "Word.configure_layout is never called. See docs/how-to/run-lightning-programs.md." in caplog.text


class Trial(lapp.LightningWork):
    def __init__(self) -> None:
        super().__init__(parallel=True)
        self.metric, self.is_known = None, False

    def run(self, x: float) -> None:
        self.metric = x * x


def test_a_search_that_takes_notes_in_its_works() -> None:
    def step(flow: Any) -> None:
        for number in range(2):
            name = f"trial_{number}"
            if name not in flow.trials:
                flow.trials[name] = Trial()
            trial = flow.trials[name]
            if not trial.has_started:
                trial.run(x=number + 1.0)
            if trial.metric is not None and not trial.is_known:
                flow.best = min(flow.best, trial.metric)
                trial.is_known = True
        if all(trial.is_known for trial in flow.trials.values()):
            flow.stop()

    assert run(Steps(step, trials=Dict(), best=100.0)).root.best == 1.0  # type: ignore[attr-defined]


class Lit(lapp.LightningWork):
    def __init__(self) -> None:
        super().__init__()
        self.path = ""

    def run(self) -> None:
        self.path = "lit://file.txt"


@pytest.mark.parametrize(
    "statement",
    [
        "from payloadfs.lightning.components import TracerPythonScript",
        "from payloadfs.lightning.components import MultiNode",
        "from payloadfs.lightning.frontend import StaticWebFrontend",
        "from payloadfs.lightning.api import Post",
        "from payloadfs.lightning.core import LightningApp",
        "import payloadfs.lightning.components",
        "from payloadfs.lightning.storage import Drive",
        "from payloadfs.lightning.storage import Mount",
        "from payloadfs.lightning.storage import Path",
    ],
)
def test_missing_modules_and_names_are_refused_with_a_pointer_to_the_page(statement: str) -> None:
    with pytest.raises(ImportError, match=PAGE):
        exec(statement, {})


def test_missing_attributes_are_refused_with_a_pointer_to_the_page() -> None:
    work = Lit()
    with pytest.raises(ConfigError, match=rf"'lit://file.txt'.*{PAGE}"):
        work.run()
    for component, name in ((work, "url"), (work, "num_successes"), (Word("a"), "state"), (Word("a"), "reload")):
        with pytest.raises(AttributeError, match=rf"no attribute '{name}': .*{PAGE}"):
            getattr(component, name)
    with pytest.raises(AttributeError, match=r"no attribute 'other'$"):
        work.other  # noqa: B018


def test_a_work_must_be_assigned_to_a_declared_attribute() -> None:
    def step(flow: Any) -> None:
        flow.later = Collect()

    with pytest.raises(AttributeError, match=r"has no attribute 'later'; declare it in __init__"):
        run(Steps(step))
