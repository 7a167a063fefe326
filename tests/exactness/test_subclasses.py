"""What pickling refuses, honours and releases, beyond the corpus of objects that come back."""

import collections
import copyreg
import gc
import io
import pickle
import sys
import weakref

import numpy as np
import pytest

import payloadfs
from payloadfs._typenames import class_name, short_class_name, type_label
from payloadfs.errors import DecodeError, EncodeError
from payloadfs.serializers import decode, default_serializers
from payloadfs.serializers._pickle import pickler
from payloadfs.serializers._pickle.serializer import PickleSerializer
from payloadfs.testing import assert_exact
from payloadfs.testing.serializers import stored_bytes

from .corpus import subclasses  # isort: skip
from .corpus.refused import zone_from_file  # isort: skip
import payloadfs_corpus_subclasses as kinds  # isort: skip


def trip(obj):
    return PickleSerializer().decode(stored_bytes(PickleSerializer().encode(obj)), trusted=True)


class Silent:
    """Has no `__reduce__` of its own, and that of its C base names the base."""


def test_copyreg_is_honoured_for_exceptions_by_both_picklers(monkeypatch):
    # Suites of other packages empty the table.
    monkeypatch.setitem(copyreg.dispatch_table, kinds.Registered, lambda error: (kinds.remake, error.args))
    error = kinds.Registered("x", handle=open(__file__))  # noqa: SIM115
    with error.handle:
        assert trip(error).handle == "remade"
        assert trip([error, lambda: 1])[0].handle == "remade"


def test_reducers_of_tblib_do_not_count(monkeypatch):
    """Dask registers them for every exception class. They lose slots and store tracebacks."""
    tblib = pytest.importorskip("tblib.pickling_support")

    class Slotted(Exception):
        __slots__ = ("note",)

    for cls in (Slotted, ValueError, OSError):
        monkeypatch.setitem(copyreg.dispatch_table, cls, tblib.pickle_exception)
    error = Slotted("x")
    error.note = [1]
    for obj in (error, [error, lambda: 1]):
        again = trip(obj)
        again = again[0] if isinstance(again, list) else again
        assert (again.args, again.note, again.__traceback__) == (("x",), [1], None)
    with pytest.raises(OSError, match="gone") as caught:
        raise OSError(2, "gone", "name")
    assert (trip(caught.value).filename, trip(caught.value).__traceback__) == ("name", None)


def test_copyreg_is_honoured_for_arrays_of_a_user():
    class Mine(np.ndarray):
        pass

    copyreg.pickle(Mine, lambda array: (str, (f"{array.shape}",)))
    try:
        assert trip([np.zeros(3).view(Mine), lambda: 1])[0] == "(3,)"
    finally:
        del copyreg.dispatch_table[Mine]


def test_standard_streams_are_stored_by_name(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        stream = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(sys, name, stream)
        assert trip({"out": stream})["out"] is stream
        assert trip([stream, lambda: 1])[0] is stream
    with pytest.raises(payloadfs.EncodeError, match="TextIOWrapper"):
        PickleSerializer().encode(io.TextIOWrapper(io.BytesIO()))


def test_classes_without_a_module(tmp_path):
    cls = type("Loose", (), {"__module__": None})
    assert (class_name(cls), short_class_name(cls), type_label(cls)) == ("Loose", "Loose", "Loose")
    repository = payloadfs.Repository(tmp_path)
    pointer = repository.save(cls())
    assert type(repository.load(pointer)).__name__ == "Loose"
    sympy = pytest.importorskip("sympy")
    expression = sympy.Function("f")(sympy.Symbol("x"))
    assert repository.load(repository.save(expression)) == expression


def test_sympy_decides_for_itself():
    sympy = pytest.importorskip("sympy")
    x = sympy.Symbol("x", positive=True)
    hash(x)
    for expression in (x, sympy.sin(x) ** 2, sympy.Matrix([[x]]), sympy.Rational(1, 3), sympy.Interval(0, 1)):
        assert trip(expression) == expression


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("kind", ["local class", "closure", "plain", "cached function"])
def test_nothing_that_was_saved_stays_alive(tmp_path, kind, refused):
    class Local:
        pass

    class Held(np.ndarray):
        pass

    held = [np.zeros(10_000).view(Held)]
    obj = {
        "local class": Local(),
        "closure": (lambda array: lambda: array)(held[0]),
        "plain": kinds.Wrapper(1),
        "cached function": Local(),
    }[kind]
    if kind != "closure":
        obj.array = held[0]
    obj = [obj, (n for n in ())] if refused else [obj]
    repository, alive = payloadfs.Repository(tmp_path), weakref.ref(held[0])
    gc.collect()
    gc.disable()
    try:
        try:
            repository.save(obj)
        except payloadfs.EncodeError:
            assert refused
        del obj, held
        assert alive() is None
    finally:
        gc.enable()


REFUSED = {
    "class that is lost": (lambda: kinds.Generator(np.random.PCG64(1)), "Generator inherits a __reduce__"),
    "state that its class refuses": (lambda: [vars(obj := kinds.NoState()).update(a=1), obj], "__setstate__ is None"),
    "inherited reduction": (lambda: [kinds.Derived(1, unit="m")], "'unit'.*__reduce__"),
    "zone from a file": (zone_from_file, "ZoneInfo"),
    "zone in a list": (lambda: [{1, zone_from_file()}], "ZoneInfo"),
    "buffer": (lambda: pickle.PickleBuffer(b"abc"), "PickleBuffer"),
    "buffer in a list": (lambda: [pickle.PickleBuffer(bytearray(15_000))], "PickleBuffer"),
    "buffer of an object": (lambda: kinds.Wrapper({"b": pickle.PickleBuffer(b"abc")}), "PickleBuffer"),
    "buffer over an array": (lambda: pickle.PickleBuffer(np.arange(3)), "PickleBuffer"),
    "buffer in a closure": (lambda: (lambda b: lambda: b)(pickle.PickleBuffer(b"a")), "PickleBuffer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name, tmp_path):
    make, words = REFUSED[name]
    with pytest.raises(payloadfs.EncodeError, match=f"(?s){words}"):
        payloadfs.Repository(tmp_path).save(make())


def test_buffers_of_a_reduction_are_no_buffers_of_a_user():
    class Chunk:
        def __init__(self, data):
            self.data = data

        def __reduce_ex__(self, protocol):
            return Chunk, (pickle.PickleBuffer(self.data),)

    for data in (b"x" * 10, bytearray(10_000)):
        assert bytes(trip(Chunk(data)).data) == data


def test_ordinary_classes_need_no_reducer():
    from payloadfs.serializers._pickle.reducers import reducer_for

    for cls in (Silent, kinds.Key, kinds.SlimBase, kinds.NOTED["dict"], kinds.NOTED["list"], kinds.NOTED["int"]):
        assert reducer_for(cls) is None
    assert pickler.dump([kinds.Key("a")], lambda _: True) is not None


@pytest.mark.parametrize("name", kinds.BASES)
def test_comparison_sees_attributes_of_every_subclass(name):
    for cls in filter(None, (kinds.NOTED[name], kinds.SLOTTED.get(name))):
        plain, other, noted_too = (subclasses.build(cls, kinds.BASES[name][1]) for _ in range(3))
        subclasses.noted(other, "x")
        subclasses.noted(noted_too, "y")
        for left, right in ((plain, other), (other, plain), (other, noted_too)):
            with pytest.raises(AssertionError):
                assert_exact(left, right)


def test_comparison_sees_fold_and_precision():
    moments = [kinds.NOTED["datetime"](2020, 10, 25, 2, fold=fold) for fold in (0, 1)]
    times = [kinds.NOTED["time"](2, fold=fold) for fold in (0, 1)]
    shapely = pytest.importorskip("shapely")
    points = [shapely.set_precision(shapely.Point(0, 1), grid) for grid in (0, 1)]
    for left, right in (moments, times, points):
        with pytest.raises(AssertionError):
            assert_exact(left, right)


@pytest.mark.parametrize("others", [[], [len]])
def test_strings_and_long_integers_of_numpy(others):
    """numpy's own reductions drop NULs at the end, and take the other name of 64-bit integers."""
    values = [np.str_("a\0"), np.bytes_(b"a\0"), np.longlong(3), np.ulonglong(4), np.dtype("q"), np.dtype("Q")]
    values += [np.dtype("l"), np.arange(3, dtype="q")]
    serializer, encoded = default_serializers.encode([*values, *others])
    back = decode(serializer, stored_bytes(encoded), trusted=True)
    assert serializer.executable == bool(others)
    assert (str.__str__(back[0]), bytes(back[1])) == ("a\0", b"a\0")
    assert list(map(type, back[:7])) == list(map(type, values[:7]))
    assert back[7].dtype.char == "q"


class Peer:
    """Its hash needs an attribute, and its attributes lead back to the set or dict that contains it."""

    def __init__(self, name):
        self.known, self.by_peer, self.name = {self.__class__.__name__}, {}, name
        self.known.clear()

    def __hash__(self):
        return hash(self.name)

    def __eq__(self, other):
        return self is other


class PlainSet(set):
    pass


class FrozenSubclass(frozenset):
    pass


class OwnItems(dict):
    def __setitem__(self, key, value):
        super().__setitem__(key, value)


class CopiesItems:
    """Its constructor copies a dict that it is given."""

    def __init__(self, items):
        self.items = dict(items)

    def __reduce__(self):
        return CopiesItems, (self.items,)


@pytest.mark.parametrize(
    "container",
    [set, PlainSet, dict.fromkeys, collections.Counter, collections.OrderedDict.fromkeys, OwnItems.fromkeys],
)
def test_containers_that_wait_for_a_hash(container):
    peer = Peer("one")
    peer.known = container([peer, Peer("other"), peer])
    back = trip(peer)
    assert (type(back.known), len(back.known), back in back.known) == (type(peer.known), 2, True)


@pytest.mark.parametrize(
    "freeze",
    [frozenset, FrozenSubclass, lambda items: [frozenset([frozenset(items)])]],
    ids=["plain", "subclass", "nested"],
)
@pytest.mark.parametrize("by_value", [False, True])
def test_frozensets_cannot_wait_for_a_hash(freeze, by_value):
    peer = Peer("one")
    peer.known = freeze([peer])
    parts = [peer, (lambda: None)] if by_value else [peer]
    with pytest.raises(EncodeError, match="hash of a member of a frozenset"):
        trip(parts)
    # Without a cycle back to the frozenset, the attributes come first.
    peer.known = None
    assert len(trip([freeze([peer]), peer])[0]) == 1


def test_items_that_wait_are_never_lost():
    peer = Peer("one")
    peer.known = CopiesItems({peer: 1})
    with pytest.raises(DecodeError, match="no attribute 'name'"):
        trip(peer)


@pytest.mark.parametrize("readonly", [False, True])
def test_objects_whose_hash_needs_a_cycle(readonly):
    one, other = Peer("one"), Peer("other")
    one.known |= {other, one}
    one.by_peer |= {"first": 1, other: np.zeros(2), one: 3, "last": 4}
    other.known |= {one}
    other.by_peer[one] = other
    encoded = stored_bytes(PickleSerializer().encode(one))
    back = PickleSerializer().decode(encoded.toreadonly() if readonly else encoded, trusted=True)
    (partner,) = {peer for peer in back.known if peer is not back}
    assert (back in back.known, partner.name, back in partner.known) == (True, "other", True)
    assert list(back.by_peer) == ["first", partner, back, "last"]
    assert back.by_peer[partner].flags.writeable is not readonly
    assert partner.by_peer[back] is partner
