"""Which names attributes may have, and how works and flows are put together."""

import pickle

import pytest

from payloadfs import ConfigError, EncodeError, Payload
from payloadfs.works import App, Flow, Work


class Step(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.count = 0
        self.items = []
        self._secret = "mine"

    def run(self, by=1):
        self.count += by
        self.items.append(by)
        self._secret = "changed"


class Chain(Flow):
    def __init__(self):
        super().__init__()
        self.first = Step()
        self.steps = [Step(), Step()]
        self.named = {"a": Step(), "b": Step()}
        self.passes = 0

    def run(self):
        self.first.run()
        for step in (*self.steps, *self.named.values()):
            step.run(self.first.count + 1)


class Outer(Flow):
    def __init__(self):
        super().__init__()
        self.inner = Chain()
        self.chains = {"x": Chain()}

    def run(self):
        self.inner.run()
        self.chains["x"].run()


def test_works_in_lists_dicts_and_flows_have_names_and_run(run):
    app = run(Outer())
    inner = app.flow.inner
    assert [part.name for part in app.flow._tree()][:4] == [
        "root",
        "root.inner",
        "root.inner.first",
        "root.inner.steps.0",
    ]
    assert app.flow.chains["x"].named["b"].name == "root.chains.x.named.b"
    for chain in (inner, app.flow.chains["x"]):
        assert [step.count for step in (chain.first, *chain.steps, *chain.named.values())] == [1, 2, 2, 2, 2]


def test_private_attributes_stay_where_they_are(run):
    assert run(Chain()).flow.first._secret == "mine"


@pytest.mark.parametrize("kind", [Step, Chain])
def test_undeclared_names_are_refused(kind):
    part = kind()
    with pytest.raises(AttributeError, match="declare it in __init__"):
        part.typo = 1
    with pytest.raises(AttributeError, match=r"did you mean|declare it"):
        part.cuont = 1
    part._private = object()


def test_state_can_not_be_deleted():
    step = Step()
    with pytest.raises(AttributeError, match="assign None"):
        del step.count
    del step._secret


@pytest.mark.parametrize("name", ["run", "name", "stop"])
@pytest.mark.parametrize("kind", [Work, Flow])
def test_our_names_are_no_attributes(kind, name):
    part = kind()
    with pytest.raises(AttributeError, match=f"'{name}' has a meaning of its own"):
        setattr(part, name, 1)


@pytest.mark.parametrize("name", ["status", "has_succeeded", "parallel"])
def test_a_works_names_are_no_attributes(name):
    with pytest.raises(AttributeError, match="meaning of its own"):
        setattr(Step(), name, 1)


@pytest.mark.parametrize("name", ["_name", "_status", "_stop", "_prefix", "_restore", "_values", "_children"])
def test_private_names_of_ours_are_not_overwritten_by_chance(name):
    with pytest.raises(AttributeError, match="meaning of its own"):
        setattr(Step(), name, "mine")
    with pytest.raises(ConfigError, match=f"Mine.{name}.*meaning of its own"):
        type("Mine", (Work,), {name: lambda self: None, "__module__": "theirs", "__qualname__": "Mine"})


def test_a_class_can_not_take_the_name_of_its_place():
    with pytest.raises(ConfigError, match=r"Mine.name"):
        type("Mine", (Work,), {"name": "source", "__module__": "theirs", "__qualname__": "Mine"})


def test_properties_of_a_class_are_its_own_matter():
    class Scaled(Work):
        def __init__(self):
            super().__init__()
            self.metres = 0.0

        @property
        def kilometres(self):
            return self.metres / 1000

        @kilometres.setter
        def kilometres(self, value):
            self.metres = value * 1000

    work = Scaled()
    work.kilometres = 2
    assert work._values() == {"metres": 2000}


def test_a_work_holds_no_works():
    class Holding(Work):
        def __init__(self):
            super().__init__()
            self.inner = Step()

    with pytest.raises(ConfigError, match="A Holding can't hold the Step 'inner'"):
        Holding()


def test_works_come_before_the_run(run):
    class Late(Flow):
        def __init__(self):
            super().__init__()
            self.x = None
            self.steps = [Step()]

        def run(self):
            self.x = Step()

    with pytest.raises(AttributeError, match=r"root.x came later"):
        run(Late())


def test_a_work_that_is_slipped_into_a_list_later_is_found(run):
    class Late(Flow):
        def __init__(self):
            super().__init__()
            self.steps = [Step()]

        def run(self):
            self.steps.append(Step())
            self.steps[-1].run()

    with pytest.raises(ConfigError, match="declared in __init__"):
        run(Late())


@pytest.mark.parametrize(
    "value",
    [[[Step()]], {"a": [Step()]}, (Step(),), [Payload(1), [Step()]]],
    ids=["list", "dict", "tuple", "beside a payload"],
)
def test_works_deeper_down_are_refused(value):
    class Deep(Flow):
        def __init__(self):
            super().__init__()
            self.deep = value

    with pytest.raises(EncodeError, match=r"^deep"):
        Deep()


@pytest.mark.parametrize("value", [[Step(), 1], {"a": Step(), "b": Payload(1)}], ids=["list", "dict"])
def test_works_and_other_things_do_not_mix(value):
    class Mixed(Flow):
        def __init__(self):
            super().__init__()
            self.parts = value

    with pytest.raises(ConfigError, match="use two attributes"):
        Mixed()


def test_what_is_mixed_in_place_is_found():
    class Mixed(Flow):
        def __init__(self):
            super().__init__()
            self.parts = [Step()]
            self.parts.append(1)

    with pytest.raises(ConfigError, match="use two attributes"):
        App(Mixed())


def test_one_work_stands_in_one_place():
    class Twice(Flow):
        def __init__(self):
            super().__init__()
            self.a = Step()
            self.b = self.a

    with pytest.raises(ConfigError, match=r"root.b is the same Step as root.a: make two"):
        App(Twice())

    class Itself(Flow):
        def __init__(self):
            super().__init__()
            self.me = self

    with pytest.raises(ConfigError, match="same Itself as root"):
        App(Itself())


def test_one_name_has_one_work():
    class Same(Flow):
        def __init__(self):
            super().__init__()
            self.parts = {1: Step(), "1": Step()}

    with pytest.raises(ConfigError, match=r"called root.parts.1"):
        App(Same())


def test_a_flow_runs_once_at_a_time(run):
    class Nested(Flow):
        def __init__(self):
            super().__init__()
            self.step = Step()

        def run(self):
            App(self).run()

    flow = Nested()
    with pytest.raises(ConfigError, match="runs already"):
        run(flow)
    flow.step.run()
    assert flow.step.count == 1  # an ordinary method again


def test_an_app_runs_flows_only():
    for thing in (Step(), None, Chain):
        with pytest.raises(ConfigError, match="needs a Flow"):
            App(thing)


def test_a_copy_of_a_work_is_on_its_own():
    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.step = Step()

    flow = Main()
    App(flow)
    copy = pickle.loads(pickle.dumps(flow.step)) if Step.__module__ in __import__("sys").modules else flow.step
    assert copy.name == "root.step"


def test_a_payload_from_init_is_saved_with_the_run(run, store, tmp_path):
    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.numbers = Payload([1, 2, 3])
            self.sum = Sum()

        def run(self):
            self.sum.run(self.numbers)

    flow = Main()
    assert not store.exists()
    app = run(flow, store=str(tmp_path / "elsewhere"))
    assert flow.sum.total == 6
    assert not store.exists()
    assert flow.numbers.pointer.key.startswith(f"runs/{app.run_name}/payloads/")


class Sum(Work):
    def __init__(self):
        super().__init__()
        self.total = None

    def run(self, numbers):
        self.total = sum(numbers.value)
