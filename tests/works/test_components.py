"""Names of attributes, and how works and flows are composed."""

import functools
import pickle

import pytest

from payloadfs import ConfigError, EncodeError, Payload
from payloadfs.works import App, Flow, Work
from payloadfs.works._component import state_attributes, walk


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
    assert [part.name for part in walk(app.flow)][:4] == [
        "root",
        "root.inner",
        "root.inner.first",
        "root.inner.steps.0",
    ]
    assert app.flow.chains["x"].named["b"].name == "root.chains.x.named.b"
    for chain in (inner, app.flow.chains["x"]):
        assert [step.count for step in (chain.first, *chain.steps, *chain.named.values())] == [1, 2, 2, 2, 2]


def test_attributes_are_assigned_by_their_path():
    app = App(Outer())
    assert app.work_names[:2] == ["root.inner.first", "root.inner.steps.0"]
    app.assign("inner.passes", 3)
    app.assign("chains.x.named.b.count", 5)
    assert app.flow.inner.passes == 3
    assert app.flow.chains["x"].named["b"].count == 5
    for path, message in (("inner.pases", "did you mean 'inner.passes'"), ("inner", "Declared: inner.passes")):
        with pytest.raises(ConfigError, match=message) as caught:
            app.assign(path, 1)
        assert caught.value.kind == "set-option"


def test_private_attributes_are_not_sent_back(run):
    assert run(Chain()).flow.first._secret == "mine"


@pytest.mark.parametrize("kind", [Step, Chain])
def test_undeclared_names_are_refused(kind):
    part = kind()
    with pytest.raises(AttributeError, match="declare it in __init__"):
        part.typo = 1
    with pytest.raises(AttributeError, match=r"did you mean|declare it"):
        part.cuont = 1
    part._private = object()


def test_state_cannot_be_deleted():
    step = Step()
    with pytest.raises(AttributeError, match="assign None"):
        del step.count
    del step._secret


@pytest.mark.parametrize("name", ["run", "name", "stop"])
@pytest.mark.parametrize("kind", [Work, Flow])
def test_reserved_names_of_works_and_flows(kind, name):
    part = kind()
    with pytest.raises(AttributeError, match=f"'{name}' is reserved"):
        setattr(part, name, 1)


@pytest.mark.parametrize("name", ["status", "has_succeeded", "parallel"])
def test_reserved_names_of_works(name):
    with pytest.raises(AttributeError, match="is reserved"):
        setattr(Step(), name, 1)


@pytest.mark.parametrize(
    "name", ["_name", "_status", "_stop", "_prefix", "_restore_state", "_encode_state", "_children"]
)
def test_internal_names_cannot_be_overwritten(name):
    with pytest.raises(AttributeError, match="is reserved"):
        setattr(Step(), name, "mine")
    with pytest.raises(ConfigError, match=f"Mine.{name}.*is reserved"):
        type("Mine", (Work,), {name: lambda self: None, "__module__": "theirs", "__qualname__": "Mine"})


def test_a_class_cannot_define_its_name():
    with pytest.raises(ConfigError, match=r"Mine.name"):
        type("Mine", (Work,), {"name": "source", "__module__": "theirs", "__qualname__": "Mine"})


def test_a_class_can_define_properties():
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
    assert state_attributes(work) == {"metres": 2000}


def test_a_work_cannot_contain_works():
    class Holding(Work):
        def __init__(self):
            super().__init__()
            self.inner = Step()

    with pytest.raises(ConfigError, match="A Holding cannot contain a Step \\(attribute 'inner'\\)"):
        Holding()


def test_works_cannot_be_assigned_outside_of_a_run():
    flow = Late()
    with pytest.raises(
        AttributeError, match=r"root.x: works and flows are created in __init__, or in the run of a flow"
    ):
        flow.x = Step()


class Late(Flow):
    """Creates works while it runs, at each place."""

    def __init__(self, forget=False):
        super().__init__()
        self.x = None
        self.listed = []
        self.named = {"first": Step()}
        self.deep = None
        self.forget = forget

    def run(self):
        if self.x is None:
            self.x = Step()
        self.x.run()
        if len(self.listed) < 3:
            self.listed.append(Step())
            self.listed[-1].run(len(self.listed))
        if "second" not in self.named:
            self.named["second"] = Step()
        self.named["second"].run(5)
        if self.deep is None:
            self.deep = Deep(7)
        self.deep.run()
        if self.forget:
            self.listed.pop()


class Deep(Flow):
    def __init__(self, by):
        super().__init__()
        self.by = by
        self.step = Step()

    def run(self):
        self.step.run(self.by)


def counts(flow):
    return [flow.x.count, [step.count for step in flow.listed], flow.named["second"].count, flow.deep.step.count]


def test_works_can_be_created_while_the_flow_runs(run):
    app = run(Late())
    assert counts(app.flow) == [1, [1, 2, 3], 5, 7]
    resumed = run(Late(), resume=app.run_name)
    assert counts(resumed.flow) == [1, [1, 2, 3], 5, 7]
    assert all(step.status.count == 1 for step in resumed.flow.listed)
    assert resumed.flow.deep.by == 7


def test_works_cannot_be_removed_while_the_flow_runs(run):
    with pytest.raises(ConfigError, match=r"root.listed.0 was removed while the flow was running: stop it instead"):
        run(Late(forget=True))


@pytest.mark.parametrize(
    "hide",
    [
        lambda w: w,
        lambda w: [w],
        lambda w: (w,),
        lambda w: {"a": [w]},
        lambda w: w.run,
        lambda w: functools.partial(w.run),
    ],
    ids=["alone", "list", "tuple", "nested", "method", "partial"],
)
@pytest.mark.parametrize("kind", [Step, Late])
def test_works_and_flows_under_private_names_are_refused(hide, kind):
    class Hiding(Flow):
        def __init__(self):
            super().__init__()
            self._hidden = hide(kind())

    with pytest.raises(ConfigError, match=r"Hiding._hidden contains a work or flow, which the app would not find"):
        Hiding()


def test_a_work_that_the_app_cannot_find_does_not_run_in_the_driver(run):
    class Box:
        def __init__(self, work):
            self.work = work

    class Hiding(Flow):
        def __init__(self):
            super().__init__()
            self._box = Box(Step())

        def run(self):
            self._box.work.run()

    flow = Hiding()
    with pytest.raises(ConfigError, match="The app cannot find a Step that was called"):
        run(flow)
    assert flow._box.work.count == 0


@pytest.mark.parametrize(
    "value",
    [[[Step()]], {"a": [Step()]}, (Step(),), [Payload(1), [Step()]]],
    ids=["list", "dict", "tuple", "next to a payload"],
)
def test_works_nested_deeper_are_refused(value):
    class Deep(Flow):
        def __init__(self):
            super().__init__()
            self.deep = value

    with pytest.raises(EncodeError, match=r"^deep"):
        Deep()


@pytest.mark.parametrize("value", [[Step(), 1], {"a": Step(), "b": Payload(1)}], ids=["list", "dict"])
def test_works_and_other_values_cannot_be_mixed(value):
    class Mixed(Flow):
        def __init__(self):
            super().__init__()
            self.parts = value

    with pytest.raises(ConfigError, match="use two attributes"):
        Mixed()


def test_values_mixed_in_place_are_refused():
    class Mixed(Flow):
        def __init__(self):
            super().__init__()
            self.parts = [Step()]
            self.parts.append(1)

    with pytest.raises(ConfigError, match="use two attributes"):
        App(Mixed())


def test_a_work_cannot_be_used_twice():
    class Twice(Flow):
        def __init__(self):
            super().__init__()
            self.a = Step()
            self.b = self.a

    with pytest.raises(ConfigError, match=r"root.b and root.a are the same Step: create two"):
        App(Twice())

    class Itself(Flow):
        def __init__(self):
            super().__init__()
            self.me = self

    with pytest.raises(ConfigError, match="are the same Itself"):
        App(Itself())


def test_names_must_be_unique():
    class Same(Flow):
        def __init__(self):
            super().__init__()
            self.parts = {1: Step(), "1": Step()}

    with pytest.raises(ConfigError, match=r"named root.parts.1"):
        App(Same())


def test_a_flow_cannot_run_twice_at_the_same_time(run):
    class Nested(Flow):
        def __init__(self):
            super().__init__()
            self.step = Step()

        def run(self):
            App(self).run()

    flow = Nested()
    with pytest.raises(ConfigError, match="already running"):
        run(flow)
    flow.step.run()
    assert flow.step.count == 1  # an ordinary method again


def test_an_app_needs_a_flow():
    for value in (Step(), None, Chain):
        with pytest.raises(ConfigError, match="needs a Flow"):
            App(value)


def test_a_copy_of_a_work_is_independent():
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
