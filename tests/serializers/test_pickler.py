"""Choice of the pickler: the C pickler where possible, cloudpickle otherwise, with the same result."""

import abc
import collections
import copyreg
import dataclasses
import enum
import functools
import io
import logging
import operator
import pickle
import subprocess
import sys
import types
import typing
import weakref

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from payloadfs._typenames import class_name
from payloadfs.serializers._pickle import pickler as _pickler
from payloadfs.serializers._pickle import serializer as _pickle
from payloadfs.serializers._pickle.serializer import PickleSerializer
from payloadfs.testing import describe
from payloadfs.testing.serializers import stored_bytes


@dataclasses.dataclass
class Order:
    number: int
    name: str

    def total(self):
        return self.number

    def __hidden(self):
        return self.name

    def hidden(self):
        return self.__hidden


class Color(enum.Enum):
    RED = 1


class Slots:
    __slots__ = ("a", "b")


class Reduced:
    def __reduce__(self):
        return Order, (1, "a")


class Registered:
    pass


class Meta(type):
    pass


class WithMeta(metaclass=Meta):
    pass


class Error(Exception):
    pass


T = typing.TypeVar("T")
MEMBER = Order(7, "x")


def slots():
    obj = Slots()
    obj.a = [1]
    return obj


def caused():
    error = Error("a")
    error.__cause__ = KeyError("b")
    return error


def never(*_):
    raise AssertionError("cloudpickle was asked")


def streams(obj, without=None):
    """Return the stream of each pickler; None for the C pickler if it declined."""
    try:
        fast = _pickler.dump(obj, lambda _: True, without)
    except Exception:  # noqa: BLE001  whatever it is, cloudpickle has its turn
        fast = None
    slow = _pickler.dump_by_value(obj, lambda _: True, without)
    return fast and (b"".join(fast.pieces), fast.has_code), (b"".join(slow.pieces), slow.has_code)


FAST = {
    "dicts": [{"id": n, "name": str(n)} for n in range(5000)],
    "dataclasses": [Order(n, str(n)) for n in range(5000)],
    "shared": [MEMBER, MEMBER, [MEMBER]],
    "slots": slots(),
    "enum": [Color.RED, Color],
    "classes": [Order, WithMeta, WithMeta(), Meta, int, type(None), type(...)],
    "functions": [slots, len, operator.add, functools.partial(slots), np.add],
    "own reduction": Reduced(),
    "error": caused(),
    "array": np.arange(10),
    "read-only array": np.broadcast_to(np.float32(1.5), (3, 4)),
    "frame": pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
    "counter": collections.Counter("abca"),
    "named": typing.NamedTuple("Pair", [("a", int)])._make([1])._asdict(),
}


@pytest.mark.parametrize("name", FAST)
def test_c_pickler_matches_cloudpickle(name, monkeypatch):
    fast, slow = streams(FAST[name])
    assert fast is not None
    assert fast[1] is slow[1] is False
    assert list(describe(pickle.loads(fast[0]))) == list(describe(pickle.loads(slow[0])))
    monkeypatch.setattr(_pickle, "dump_by_value", never)
    PickleSerializer().encode(FAST[name])


OTHERS = {
    "lambda": lambda x: x + 1,
    "closure": (lambda n: lambda x: x + n)(3),
    "local class": dataclasses.make_dataclass("Local", ["a"]),
    "instance of a local class": dataclasses.make_dataclass("Local", ["a"])(1),
    "method": MEMBER.total,
    "private method": MEMBER.hidden(),
    "method of a class": Order.__init__,
    "weak set": weakref.WeakSet(),
    "logger": logging.getLogger("some.name"),
    "root logger": logging.getLogger(),
    "code": slots.__code__,
    "module": types.ModuleType("made_up"),
    "keys": {"a": 1}.keys(),
    "ordered keys": collections.OrderedDict(a=1).keys(),
    "proxy": types.MappingProxyType({"a": 1}),
    "property": property(slots),
    "class method": classmethod(slots),
    "static method": staticmethod(slots),
    "descriptor": types.FunctionType.__code__,
    "cell": (lambda n: lambda: n)(3).__closure__[0],
    "type variable": T,
    "field base": dataclasses._FIELD,
    "types without a name": [types.FunctionType, types.CellType],
}


@pytest.mark.parametrize("name", OTHERS)
def test_objects_that_need_cloudpickle(name):
    fast, slow = streams(OTHERS[name])
    assert fast is None or fast == slow


def test_every_cloudpickle_class_is_listed_or_refused_by_pickle():
    known = {type(obj) for obj in OTHERS.values()}
    for cls in cloudpickle.Pickler._dispatch_table:
        named = class_name(cls) in _pickler._CLOUDPICKLE
        refused = issubclass(cls, (io.TextIOWrapper, memoryview)) if isinstance(cls, type) else True
        views = isinstance(cls, type) and issubclass(cls, (collections.abc.KeysView, collections.abc.ValuesView))
        items = isinstance(cls, type) and issubclass(cls, collections.abc.ItemsView)
        # Abstract methods and properties have no instances of exactly that class.
        assert named or refused or views or items or cls in known or cls.__module__ == "abc", cls


def test_names_that_look_like_main_use_cloudpickle():
    for obj in ("__main__", [1, "if __name__ == '__main__':"], {"x" * 70_000: "__main__"}):
        assert PickleSerializer().decode(stored_bytes(PickleSerializer().encode([obj, {1}])), trusted=True) == [
            obj,
            {1},
        ]


def test_modules_registered_by_value():
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        assert _pickler.dump(Order, lambda _: True) is None
        stored = stored_bytes(PickleSerializer().encode([Order(1, "a")]))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert b"new_class" in bytes(stored)
    assert PickleSerializer().decode(stored, trusted=True)[0].total() == 1


def test_copyreg_is_used():
    copyreg.pickle(Registered, lambda _: (Order, (3, "registered")))
    try:
        fast, slow = streams([Registered()])
    finally:
        del copyreg.dispatch_table[Registered]
    assert fast is not None
    assert pickle.loads(fast[0]) == pickle.loads(slow[0]) == [Order(3, "registered")]


def test_code_is_detected_despite_copyreg():
    copyreg.pickle(types.CodeType, lambda code: (compile, (f"# {code.co_name}", "made", "exec")))
    try:
        stream, _, _ = _pickle._dump([slots.__code__])
    finally:
        del copyreg.dispatch_table[types.CodeType]
    assert stream.has_code


def test_failed_first_attempt_leaves_no_buffers():
    arrays = [np.arange(10_000.0), np.arange(5000)]
    for obj in ([*arrays, lambda: 1], [*arrays, MEMBER.total], [*arrays, "__main__"]):
        stream, buffers, data = _pickle._dump(obj)
        assert [buffer.nbytes for buffer in buffers] == [80_000, 40_000]
        assert data == {0, 1}
        assert np.array_equal(pickle.loads(b"".join(stream.pieces), buffers=buffers)[0], arrays[0])


def test_both_picklers_refuse_the_excluded_object():
    frame = pd.DataFrame({"a": [1]})
    for obj in ([frame], {"x": (1, frame)}):
        for dump in (_pickler.dump, _pickler.dump_by_value):
            with pytest.raises(pickle.PicklingError, match="contains itself"):
                dump(obj, lambda _: True, frame)
    assert streams([pd.DataFrame({"a": [2]})], frame)[0]


def test_memory_error_is_not_retried(monkeypatch):
    class Full:
        def __reduce__(self):
            raise MemoryError

    monkeypatch.setattr(_pickle, "dump_by_value", never)
    with pytest.raises(MemoryError):
        _pickle._dump([Full()])


def test_large_stream_is_kept_in_pieces():
    encoded = PickleSerializer().encode([{"id": n, "name": f"name {n}"} for n in range(50_000)])
    sizes = [frame.nbytes for frame in encoded.frames]
    assert sum(sizes) > 1_000_000
    assert max(sizes) < 100_000


IN_MAIN = """
import dataclasses, enum, sys
from payloadfs import Repository
@dataclasses.dataclass
class Order:
    number: int
class Color(enum.Enum):
    RED = 1
def twice(order):
    return Order(order.number * 2)
repository = Repository(sys.argv[1])
objects = [Order(1)] * 3, Color.RED, twice, [Order], {"f": twice, "o": Order(5)}, (Color,)
if sys.argv[2] == "save":
    assert "cloudpickle" not in sys.modules
    print(repository.save((1, {2}, twice.__name__)).to_json())
    assert "cloudpickle" not in sys.modules, "cloudpickle was loaded for nothing"
    for obj in objects:
        print(repository.save(obj).to_json())
"""

OTHER_PROGRAM = """
import sys
from payloadfs import Pointer, Repository
repository = Repository(sys.argv[1])
plain, orders, red, twice, classes, both, colors = [repository.load(Pointer.from_json(line)) for line in sys.stdin]
assert plain == (1, {2}, "twice")
assert orders[0] is orders[2] and orders[0].number == 1
assert red.name == "RED" and type(red).__module__ == "__main__"
assert twice(orders[0]).number == 2
assert classes[0](4).number == 4
assert both["f"](both["o"]).number == 10 and type(both["f"](both["o"])) is type(both["o"])
assert colors[0].RED.value == 1
"""


def test_objects_of_main_load_in_another_program(tmp_path):
    (tmp_path / "program.py").write_text(IN_MAIN)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "objects"), "save"]
    saved = subprocess.run(command, capture_output=True, text=True, check=False)
    assert saved.returncode == 0, saved.stderr
    command = [sys.executable, "-c", OTHER_PROGRAM, str(tmp_path / "objects")]
    loaded = subprocess.run(command, input=saved.stdout, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr


def test_saving_a_class_runs_no_code_of_others(monkeypatch):
    """All abstract classes of the process are searched for registrations."""
    calls = []

    class Meta(abc.ABCMeta):
        def __eq__(cls, other):
            calls.append("__eq__")
            return cls is other

        def __hash__(cls):
            calls.append("__hash__")
            return id(cls)

        def __bool__(cls):
            calls.append("__bool__")
            return False

        @property
        def __dict__(cls):
            calls.append("__dict__")
            return {}

    def read(name):
        calls.append(name)
        raise AttributeError(name)

    module = types.ModuleType("a_lazy_module")
    module.__getattr__ = read
    monkeypatch.setitem(sys.modules, module.__name__, module)
    other = Meta("Other", (), {"__module__": module.__name__})
    other.register(int)

    class Local:
        pass

    calls.clear()
    PickleSerializer().encode(Local)
    assert calls == []
