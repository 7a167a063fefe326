"""Trees: the whole vocabulary exactly, sharing and subclasses left to pickle, hostile bytes refused."""

import collections
import contextlib
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import itertools
import json
import pathlib
import pickle
import struct
import sys
import tempfile
import tracemalloc
import typing
import uuid
import zoneinfo

import attrs
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import payloadfs
from payloadfs import ConfigError, DecodeError, EncodeError, Payload, Repository, register_class
from payloadfs._seal import spans_of
from payloadfs.serializers import NotExactError, decode, default_serializers
from payloadfs.serializers._container import pack, unpack
from payloadfs.serializers._tree import encode as encoding
from payloadfs.serializers._tree import serializer as trees
from payloadfs.serializers._tree import spool
from payloadfs.serializers._tree.serializer import TreeSerializer
from payloadfs.testing import SerializerTests, assert_exact, describe
from payloadfs.testing.serializers import describe_in_fresh_process, stored_bytes

TREE = TreeSerializer()
ZONE = zoneinfo.ZoneInfo("Europe/Zurich")
RECORD = np.dtype([("a", "i4"), ("b", "U3"), ("c", "f8", (2,))])


def masked(**options):
    array = np.ma.masked_array([1, 2, 3], mask=[True, False, False], **options)
    array.harden_mask()
    return array


def read_only(array):
    array.flags.writeable = False
    return array


STANDARD = {
    "complex": complex(-0.0, 1.5),
    "bytearray": bytearray(b"x"),
    "long bytearray": bytearray(range(256)) * 40,
    "int beyond 64 bits": [2**64, -(2**63) - 1, 2**1000, 2**64 - 1],
    "lone surrogate": ["\ud800", "a\udfffb"],
    "long lone surrogate": ["\ud800" * 5000],
    "float bits": (float("nan"), -0.0, float("inf"), struct.unpack("<d", b"\x01\0\0\0\0\0\xf8\x7f")[0]),
    "tuple": (1, ("x", (None,)), ()),
    "set": {1, "x", (2, frozenset({3}))},
    "frozenset": frozenset({1, frozenset()}),
    "range": range(10, 0, -3),
    "long range": range(2**70),
    "slice": slice(1, None, (2,)),
    "constants": [..., NotImplemented, None, True],
    "dict with any keys": {1: "a", (1, 2): {"x"}, None: 1.5, b"b": 2, 2**90: 3, "\ud800": 4, 1.5: 5, False: 6},
    "OrderedDict": collections.OrderedDict({"b": 1, (1,): [2]}),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "defaultdict without factory": collections.defaultdict(None, {"a": 1}),
    "Counter": collections.Counter("abracadabra"),
    "deque": collections.deque([1, [2]]),
    "bounded deque": collections.deque([1, 2], 2),
    "date": dt.date(1, 1, 1),
    "time": dt.time(23, 59, 59, 999_999, fold=1),
    "time with offset": dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=-3, microseconds=5), "X")),
    "datetime": dt.datetime(2026, 10, 25, 2, 30, fold=1),
    "datetime in UTC": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "datetime in a zone": dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZONE),
    "timedelta": dt.timedelta(-1, 5, 7),
    "timezone": dt.timezone(dt.timedelta(hours=1)),
    "ZoneInfo": ZONE,
    "Decimal": [decimal.Decimal(text) for text in ("sNaN12", "-NaN", "-0E+5", "-Infinity", "1.50", "1E-999999")],
    "Fraction": fractions.Fraction(-1, 3),
    "UUID": [uuid.UUID(int=5), uuid.uuid1(), uuid.uuid4()],
    "paths": [pathlib.PurePosixPath("/a/b"), pathlib.PureWindowsPath("c:/x\\y"), pathlib.Path("x/y"), pathlib.Path()],
    "addresses": [ipaddress.ip_address(text) for text in ("10.0.0.1", "::1", "fe80::1%eth0")],
    "networks": [
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_interface("10.1.2.3/8"),
        ipaddress.ip_network("::/0"),
    ],
    "long strings": {"s": "x" * 5000, "b": b"y" * 5000, "ü": "ü" * 4096},
    "empty": [(), {}, [], set(), frozenset(), "", b""],
}
NUMPY = {
    "numpy scalars": [
        *(np.float64(-0.0), np.float16(1.5), np.int8(-3), np.uint64(2**64 - 1), np.complex64(1j), np.bool_(True)),
        *(np.longlong(3), np.ulonglong(4), np.datetime64("2026-01-01T00:00", "25m")),
        *(np.timedelta64("NaT", "s"), np.datetime64("NaT", "ns"), np.str_("a\0"), np.bytes_(b"a\0"), np.str_("")),
    ],
    "void scalar": np.zeros(1, RECORD)[0],
    "arrays": [np.arange(3), np.array(5), np.zeros((0, 3)), np.array(["x", "yz"]), np.array([b"x"]), np.arange(3, dtype=">i2")],
    "Fortran order": [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(10_000.0).reshape(100, 100).T],
    "read-only arrays": [read_only(np.arange(3)), read_only(np.arange(5000.0)), read_only(np.zeros(500, RECORD))],
    "structured arrays": [np.zeros(3, RECORD), np.zeros(3000, RECORD), np.zeros((40, 50), RECORD, order="F")],
    "masked arrays": [masked(), masked(fill_value=7), np.ma.masked_array(np.arange(5000.0)), np.ma.masked_array([1.5])],
    "arrays of objects": [
        np.array([["a", 1], [None, (2.5, [3])]], object), np.array(None, object), np.empty((0, 2), object),
        np.array([["a", 1, {}], ["b", 2, {}]], object).T, read_only(np.array([2**70, {1}], object)),
        np.ma.masked_array(np.array([0.1, "x", {}], object), [True, False, False], fill_value="?"),
    ],
    "masked": np.ma.masked,
    "dtypes": [np.dtype("f8"), RECORD, np.dtype("M8[25s]")],
}  # fmt: skip
PANDAS = {
    "frames": {"train": pd.DataFrame({"a": [1, 2], "b": ["x", None]}), "test": pd.DataFrame()},
    "series": (pd.Series([1.5, None], name=("a", 1)), pd.Series([], dtype="str")),
    "Index": pd.Index(["a", None], name="n"),
    "indexes": [
        *(
            pd.RangeIndex(5, name=3),
            pd.date_range("2026", periods=3, tz=ZONE),
            pd.timedelta_range(0, periods=2, freq="h"),
        ),
        *(pd.period_range("2026", periods=2, freq="Q-NOV"), pd.interval_range(0, 2), pd.CategoricalIndex(["a", "b"])),
        pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["x", None]),
    ],
    "scalars": [
        *(
            pd.Timestamp("2026-01-01", tz=ZONE),
            pd.Timestamp(5, unit="ns"),
            pd.Timedelta(1, "s"),
            pd.Period("2026", "M"),
        ),
        *(pd.Interval(0, 1.5, "left"), pd.Interval(pd.Timestamp(0), pd.Timestamp(1)), pd.NA, pd.NaT),
    ],
    "extension arrays": [
        *(pd.array([1, None], dtype="Int64"), pd.Categorical(["a", None]), pd.array(["x", None], dtype="string")),
        *(pd.array([1], dtype="int64[pyarrow]"), pd.array([pd.Interval(0, 1)])),
    ],
    "offsets": [
        pd.DateOffset(months=2, days=1),
        pd.offsets.Week(weekday=1, normalize=True),
        pd.offsets.CDay(holidays=["2026-01-01"]),
    ],
    "common offsets": [
        pd.offsets.MonthEnd(2),
        pd.offsets.BDay(),
        pd.offsets.Hour(-3),
        pd.offsets.QuarterEnd(startingMonth=2),
    ],
}
ARROW = {
    "tables": {"t": pa.table({"a": [1, None]}), "b": pa.record_batch({"s": ["x", "y"]})},
    "Array": pa.array([1, None, 3])[1:],
    "ChunkedArray": pa.chunked_array([[1], [], [2, 3]]),
    "arrow scalars": [
        pa.scalar(5),
        pa.scalar(None, pa.string()),
        pa.scalar({"a": [1]}),
        pa.scalar(dt.datetime(2026, 1, 1)),
    ],
    "Schema": pa.schema([pa.field("a", pa.int64(), nullable=False)], metadata={"k": "v"}),
    "polars": [pl.DataFrame({"a": [1, None]}), pl.Series("x", ["y"]), pl.DataFrame()],
}
VALUES = STANDARD | NUMPY | PANDAS | ARROW


class Text(str):
    __slots__ = ()


class TestTree(SerializerTests):
    serializer = TREE
    exact = VALUES | {
        "all in one": list(VALUES.values()),
        "many rows": [{"id": n, "name": f"name {n}", "price": n / 7} for n in range(20_000)],
    }
    declined = {
        "list subclass": type("Rows", (list,), {})([1]),
        "str subclass": [Text("x")],
        "key subclass": {Text("x"): 1},
        "dict subclass": type("D", (dict,), {})(),
        "datetime subclass": [type("D", (dt.datetime,), {})(2026, 1, 1)],
        "Decimal subclass": [type("D", (decimal.Decimal,), {})(1)],
        "array subclass": [np.rec.array([(1, 2)])],
        "frame subclass": [type("F", (pd.DataFrame,), {})({"a": [1]})],
        "a class that claims to be Decimal": [type("Decimal", (decimal.Decimal,), {"__module__": "decimal"})(1)],
        "function": [len],
        "objects in an array": [np.array([object()])],
        "objects in a frame": [pd.DataFrame({"a": [object(), 1]})],
        "zone from a file": [dt.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo.no_cache("Europe/Zurich"))],
        "other factory": collections.defaultdict(lambda: 1),
        "frame, which has its own serializer": pd.DataFrame({"a": [1]}),
    }


@pytest.mark.sweep
class TestLongTree(SerializerTests):
    """Batches of real sizes. By default, `small_batches` cuts all kinds of trees."""

    serializer = TREE
    exact = {
        "many items": {f"key {n}": (n, dt.date.fromordinal(n + 1)) for n in range(20_000)},
        "many odd keys": {2**64 + n: n for n in range(20_000)},
        "many arrays": [np.full(3, n) for n in range(20_000)],
    }


@pytest.mark.parametrize("name", VALUES)
def test_each_class_in_every_position(name):
    value = VALUES[name]
    for obj in ([value], {"a": value}, (value,), collections.deque([value]), {"a": {"b": [(value,)]}}):
        assert_exact(obj, TREE.decode(stored_bytes(TREE.encode(obj)), trusted=True))
    parts = value if type(value) is list else [value]
    for part in parts:
        try:
            hash(part)
        except TypeError:
            continue
        for obj in ({part: 1}, {part}):
            try:
                encoded = TREE.encode(obj)
            except NotExactError:
                assert type(part).__module__.startswith(("pyarrow", "pandas"))
                continue
            assert_exact(obj, TREE.decode(stored_bytes(encoded), trusted=True))


def test_all_load_without_pickle(tmp_path):
    # Every kind of value is also a value of its own.
    strict = Repository(tmp_path, pickle="never")
    for name, value in VALUES.items():
        pointer = strict.save(value)
        assert pointer.serializer != "pickle/1", name
        assert_exact(value, strict.load(pointer), path=name)


def test_unsigned_and_compressed_and_viewed_and_many(tmp_path):
    wrapped = {name: [value] for name, value in VALUES.items()}
    packed = Repository(tmp_path, compression="zstd")
    pointers = packed.save_many(wrapped.values())
    for (name, value), loaded in zip(wrapped.items(), packed.load_many(pointers), strict=True):
        assert_exact(value, loaded, path=name)
    for pointer in pointers:
        packed.load(pointer, view=True)
    unsigned = Repository(tmp_path, unsigned="safe")
    for name, value in wrapped.items():
        pointer = unsigned.save(value).replaced(key_id="", signature="")
        assert_exact(value, unsigned.load(pointer), path=name)


def test_view_is_read_only(tmp_path):
    repository = Repository(tmp_path)
    obj = {"small": np.arange(3), "large": np.arange(50_000.0), "record": np.zeros(3000, RECORD), "masked": masked()}
    viewed = repository.load(repository.save(obj), view=True)
    assert not any(array.flags.writeable for array in viewed.values())
    assert all(array.flags.writeable for array in repository.load(repository.save(obj)).values())


# Sharing


def objects(*cells):
    return np.fromiter(cells, object, len(cells))


def attributed(part):
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["part"] = part
    return frame


def shared_cases():
    row, array, inner = {"a": 1}, np.arange(3), [1]
    cyclic: list = [1]
    cyclic.append(cyclic)
    in_itself: dict = {}
    in_itself["x"] = [in_itself]
    return {
        "a list twice": [inner, inner],
        "a dict in two branches": {"a": [row], "b": (row,)},
        "an array twice": [array, {"x": array}],
        "a list in a shared tuple": [(pair := (inner, 1)), pair],
        "a nested shared tuple": [(pair := ((1,), 2)), pair],
        "a bytearray twice": [(b := bytearray(b"x")), b],
        "a cell twice": [pd.DataFrame({"a": objects(inner)}), {"b": inner}],
        "a cell of two frames": [pd.DataFrame({"a": objects(inner)}), pd.Series(objects(inner))],
        "a cell of an array": [pd.arrays.NumpyExtensionArray(objects(inner)), inner],
        "attrs twice": [attributed(inner), inner],
        "a record twice": [(v := np.zeros(1, RECORD)[0]), v],
        "a frame twice": [(f := pd.DataFrame({"a": [1]})), f],
        "a cycle": cyclic,
        "a cycle through a dict": in_itself,
        "the values of a deque": collections.deque([row, row]),
        "a doubling": doubled(60),
        "deep": deep(101),
        "very deep": deep(50_000),
    }


def doubled(times):
    pair: tuple = ()
    for _ in range(times):
        pair = (pair, pair)
    return pair


def deep(levels):
    inner: list = []
    for _ in range(levels):
        inner = [inner]
    return inner


@pytest.mark.parametrize("name", shared_cases())
def test_shared_and_cyclic_objects_are_left_to_pickle(name):
    obj = shared_cases()[name]
    with pytest.raises(NotExactError):
        TREE.encode(obj)
    if "deep" not in name and "doubling" not in name:
        serializer, encoded = default_serializers.encode(obj)
        assert_exact(obj, serializer.decode(stored_bytes(encoded), trusted=True))


@pytest.mark.parametrize("name", VALUES)
def test_what_may_be_shared_has_no_identity(name):
    """A value that occurs twice is either left to pickle or no program can tell."""
    value = VALUES[name]
    for part in value if type(value) is list else [value]:
        try:
            encoded = TREE.encode([part, part])
        except NotExactError:
            continue
        assert_exact([part, part], TREE.decode(stored_bytes(encoded), trusted=True))


def test_flat_tuples_and_immutable_values_may_be_shared():
    pair, name, number = (1, "x"), "n" * 100, 10**10
    obj = [pair, [pair], {pair: pair}, name, [name], number, (number,), (), ()]
    assert_exact(obj, TREE.decode(stored_bytes(TREE.encode(obj)), trusted=True))


@pytest.fixture
def small_batches(monkeypatch):
    """Use batches of three items, so that every value occurs near a batch boundary."""
    monkeypatch.setattr(trees, "BATCH_FROM_ITEMS", 1)
    monkeypatch.setattr(trees, "_BATCH_ITEMS", 3)
    monkeypatch.setattr(spool, "_IN_MEMORY_BYTES", 50)


ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)


@st.composite
def graphs(draw):
    """Draw a list or dict whose parts may occur several times, even inside themselves."""
    parts = draw(st.lists(ATOMS, max_size=5))
    for _ in range(draw(st.integers(0, 12))):
        inner = draw(st.lists(st.sampled_from(parts), max_size=3)) if parts else []
        kind = draw(st.sampled_from([list, tuple, dict, collections.deque]))
        parts.append({str(n): part for n, part in enumerate(inner)} if kind is dict else kind(inner))
        if draw(st.booleans()) and type(parts[-1]) is list:
            parts[-1].append(draw(st.sampled_from(parts)))
    items = draw(st.lists(st.sampled_from(parts), min_size=1, max_size=20)) if parts else [1]
    whole = items if draw(st.booleans()) else dict(enumerate(items))
    if draw(st.booleans()):
        part = draw(st.sampled_from(items))
        if type(part) is list:
            part.append(whole)
    return copy.deepcopy(whole)  # a copy has no references from outside


FIXTURE = [HealthCheck.function_scoped_fixture]


def check_exact_or_declined(obj):
    try:
        encoded = TREE.encode(obj)
    except NotExactError:
        return
    assert list(describe(TREE.decode(stored_bytes(encoded), trusted=True))) == list(describe(obj))


@settings(max_examples=150, suppress_health_check=FIXTURE)
@given(obj=graphs())
def test_any_graph_is_exact_or_declined(small_batches, obj):
    check_exact_or_declined(obj)


@pytest.mark.long
@settings(max_examples=2000, deadline=None, suppress_health_check=FIXTURE)
@given(obj=graphs())
def test_many_graphs_are_exact_or_declined(small_batches, obj):
    check_exact_or_declined(obj)


class Named:
    def __init__(self, first, second):
        self.first, self.second = first, second


class Text(str):
    __slots__ = ()


def tables(key, value):
    """Return dicts of the different ways in which CPython stores one; the last is still that of its instance."""
    shrunk = {1: 1, "first": value, key: 2}
    del shrunk[1]
    grown = {f"k{n}": n for n in range(20)} | {key: value}
    detached, instance = vars(Named(value, key)), Named(value, 2)
    return [{"first": value, key: 2}, shrunk, grown, {**detached, key: 1}, detached, {}, vars(instance)], instance


@pytest.mark.parametrize("key", ["plain", Text("text"), 7, (1,), 2.5, np.str_("numpy")], ids=repr)
@pytest.mark.parametrize("value", [1, "x", Text("text"), np.float64(1), [1], True], ids=repr)
def test_each_class_in_every_table_of_a_dict(key, value):
    """Whatever the table, and beside whichever other: no key or value of another class is taken for a plain one."""
    for chosen in itertools.product([False, True], repeat=7):
        parts, instance = tables(key, value)
        obj = list(itertools.compress(parts, chosen))
        del parts
        for whole in (obj, {"a": obj}, [tuple(obj), [1, 2]]):
            check_exact_or_declined(whole)
        assert instance.second == 2


def test_the_dict_of_an_instance_does_not_hide_other_keys():
    instance = Named(np.float64(1), Text("text"))
    obj = [vars(instance), {1: 1, Text("text"): 2}]
    check_exact_or_declined(obj)
    with pytest.raises(NotExactError):
        TREE.encode(obj)


# The whole vocabulary

SCALARS = (
    ATOMS
    | st.text(st.characters(), max_size=4)
    | st.complex_numbers()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC) | st.sampled_from([ZONE, zoneinfo.ZoneInfo("Asia/Kolkata")]))
    | st.timedeltas()
    | st.decimals()
    | st.fractions()
    | st.uuids()
    | st.ip_addresses()
    | st.builds(range, st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 3))
    | st.floats(width=32).map(np.float32)
    | st.integers(-100, 100).map(np.int16)
    | st.builds(pathlib.PurePosixPath, st.text("ab/.", max_size=5))
)


@st.composite
def large(draw):
    """Draw a mutable value with a serializer of its own."""
    count = draw(st.integers(0, 3))
    kind = draw(st.sampled_from(["array", "long array", "frame", "series", "table", "bytes", "bytearray", "index"]))
    if kind == "array":
        return np.zeros(count, dtype=draw(st.sampled_from(["i1", ">f8", "c16", "M8[s]", "?", "S3", "U2"])))
    values = {
        "long array": lambda: np.arange(600.0) + count,
        "frame": lambda: pd.DataFrame({"a": range(count)}),
        "series": lambda: pd.Series(range(count)),
        "table": lambda: pa.table({"a": range(count)}),
        "bytes": lambda: bytes([count]) * 5000,
        "bytearray": lambda: bytearray([count]) * 5000,
        "index": lambda: pd.Index(["x", "y"]),
    }
    return values[kind]()


KEYS = SCALARS.filter(lambda value: "NaN" not in str(value) and value == value)
TREES = st.recursive(
    SCALARS | large(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=4)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3).map(collections.OrderedDict)
        | st.lists(inner, max_size=3).map(collections.deque)
        | st.sets(KEYS, max_size=3)
        | st.frozensets(KEYS, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(obj=TREES)
def test_any_tree_is_exact(obj):
    obj = [copy.deepcopy(obj)]
    stored = stored_bytes(TREE.encode(obj))
    assert_exact(obj, TREE.decode(stored, trusted=True))
    assert_exact(obj, TREE.decode(stored, trusted=False))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(obj=st.lists(TREES, min_size=1, max_size=12))
def test_any_tree_in_batches_is_exact(small_batches, obj):
    obj = copy.deepcopy(obj)
    for whole in (obj, dict(enumerate(obj)), {"rows": obj, "n": {"other": [[1], 2]}}):
        assert_exact(whole, TREE.decode(stored_bytes(TREE.encode(whole)), trusted=False))


@pytest.mark.parametrize(
    "share",
    [
        lambda rows: {"a": rows, "b": rows},
        lambda rows: {"a": rows, "b": [rows]},
        lambda rows: {"a": rows, "b": (1, [rows[0]])},
        lambda rows: {"a": {"b": rows}, "c": {"d": [[rows]]}},
        lambda rows: [rows, rows[-1]],
        lambda rows: (part := {"rows": rows}) and [part, part],
    ],
)
def test_parts_of_long_lists_are_not_shared(small_batches, share):
    with pytest.raises(NotExactError):
        TREE.encode(share([[n] for n in range(10)]))


@pytest.mark.parametrize("key", [2**70, "\ud800", (1, 2)])
def test_long_parts_below_and_beside_keys_that_msgpack_does_not_have(small_batches, key):
    rows = [{"n": n} for n in range(10)]
    for obj in ({key: rows}, {"a": {key: 1, "b": rows}}, {"a": {n: n for n in range(10)} | {key: 1}, "b": rows}):
        obj = copy.deepcopy(obj)
        assert_exact(obj, TREE.decode(stored_bytes(TREE.encode(obj)), trusted=False))


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"rows": rows}, lambda rows: {"a": [1, rows]}])
def test_long_lists_never_are_in_memory_as_a_whole(wrap):
    obj = wrap([{"id": n, "name": f"name {n}"} for n in range(400_000)])
    tracemalloc.start()
    encoded = TREE.encode(obj)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert encoded.size_bytes > 9_000_000
    assert peak < 7_000_000  # 4 MiB, and a few batches


@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects=st.lists(TREES, min_size=60, max_size=60))
def test_trees_are_exact_in_a_process_that_imported_nothing(objects):
    objects = [[copy.deepcopy(obj)] for obj in objects]
    stored = [stored_bytes(TREE.encode(obj)) for obj in objects]
    for obj, lines in zip(objects, describe_in_fresh_process(TREE, stored), strict=True):
        assert list(describe(obj)) == [tuple(line) for line in lines]


# Hostile bytes


def raw(head, leaves=(), buffers=(), chunks=None):
    """Return a container with any content."""
    meta = {"versions": {"python": "3"}, "leaves": list(leaves)} | ({"chunks": chunks} if chunks is not None else {})
    return stored_bytes(pack(meta, [memoryview(head)], [memoryview(part) for part in buffers], extension="tree"))


def ext(code, value):
    return msgspec.msgpack.Ext(code, msgspec.msgpack.encode(value))


def value(*fields):
    return msgspec.msgpack.encode(ext(encoding.VALUE, list(fields)))


def nested(levels):
    inner = 1
    for _ in range(levels):
        inner = ext(encoding.TUPLE, [inner])
    return msgspec.msgpack.encode(inner)


ENCODE = msgspec.msgpack.encode
LEAF = ext(encoding.LEAF, 0)
CONSTRUCTORS = [
    *("int", "str", "complex", "bytearray", "set", "frozenset", "range", "slice", "OrderedDict", "Counter"),
    *("defaultdict", "deque", "date", "time", "datetime", "timedelta", "timezone", "Decimal", "Fraction", "UUID"),
    *("PurePosixPath", "WindowsPath", "IPv4Address", "IPv6Interface", "Pointer", "Payload", "ndarray", "MaskedArray"),
    *("numpy", "numpy.str", "numpy.bytes", "dtype", "pandas", "Index", "pandas.array", "offset"),
    *("arrow.Array", "arrow.ChunkedArray", "arrow.Scalar", "arrow.Schema"),
]
HOSTILE = {
    "empty": raw(b""),
    "truncated": raw(ENCODE([1, "x" * 100])[:-3]),
    "trailing": raw(b"\x01\x02"),
    "huge array": raw(b"\xdd\xff\xff\xff\xff\x01"),
    "huge map": raw(b"\xdf\xff\xff\xff\xff\x01"),
    "huge string": raw(b"\xdb\xff\xff\xff\xff"),
    "huge extension": raw(b"\xc9\xff\xff\xff\xff\x02"),
    "reserved byte": raw(b"\xc1"),
    "bad UTF-8": raw(b"\xa2\xff\xfe"),
    "unknown code": raw(ENCODE(ext(77, [1]))),
    "unknown negative code": raw(ENCODE(msgspec.msgpack.Ext(-7, b"\x01"))),
    "unknown name": raw(value("os.system", "true")),
    "name of a function": raw(value("builtins.eval", "1")),
    "name that is no string": raw(value(1, 2)),
    "no name": raw(value()),
    "unregistered class": raw(ENCODE(ext(encoding.OBJECT, ["acme.Unknown", "a", 1]))),
    "class without name": raw(ENCODE(ext(encoding.OBJECT, []))),
    "tuple of an int": raw(ENCODE(ext(encoding.TUPLE, 1))),
    "odd pairs": raw(ENCODE(ext(encoding.DICT, [1, 2, 3]))),
    "unhashable key": raw(ENCODE(ext(encoding.DICT, [[1], 2]))),
    "unhashable native key": raw(b"\x81" + value("bytearray", b"x") + b"\x01"),
    "duplicate pairs": raw(ENCODE(ext(encoding.DICT, [(1), 2, 1, 3]))),
    "duplicate elements": raw(value("set", [1, True])),
    "duplicate keys of a Counter": raw(value("Counter", ["a", 1, "a", 2])),
    "deep arrays": raw(b"\x91" * 100_000 + b"\x01"),
    "deep extensions": raw(nested(101)),
    "very deep extensions": raw(nested(5000)),
    "leaf without buffer": raw(ENCODE(LEAF)),
    "leaf twice": raw(ENCODE([LEAF, LEAF]), ["bytes/1"], [b"x"]),
    "leaves out of order": raw(ENCODE([ext(1, 1), LEAF]), ["bytes/1"] * 2, [b"x", b"y"]),
    "leaf not used": raw(ENCODE(1), ["bytes/1"], [b"x"]),
    "negative leaf": raw(ENCODE(ext(encoding.LEAF, -1)), ["bytes/1"], [b"x"]),
    "leaf True": raw(ENCODE(ext(encoding.LEAF, False)), ["bytes/1"], [b"x"]),
    "pickle as a leaf": raw(ENCODE(LEAF), ["pickle/1"], [pickle.dumps(1)]),
    "tree as a leaf": raw(ENCODE(LEAF), ["tree/1"], [bytes(raw(b"\x01"))]),
    "unknown serializer": raw(ENCODE(LEAF), ["x/1"], [b"x"]),
    "serializer that is no string": raw(ENCODE(LEAF), [{}], [b"x"]),
    "fewer serializers": raw(ENCODE(LEAF), [], [b"x"]),
    "broken array": raw(ENCODE(LEAF), ["npy/1"], [b"\x93NUMPY\1\0"]),
    "broken frame": raw(ENCODE(LEAF), ["pandas/1"], [b"ARROW1" * 20]),
    "frame as an array": raw(value("Index", 5)),
    "array of objects": raw(value("ndarray", "|O", [1], b"\0" * 8, False, True)),
    "array of objects in a record": raw(value("ndarray", [["a", "|O"]], [1], b"\0" * 8, False, True)),
    "array beyond its content": raw(value("ndarray", "<f8", [2**40], b"\0" * 8, False, True)),
    "array of negative size": raw(value("ndarray", "<f8", [-1, -1], b"\0" * 8, False, True)),
    "array of impossible size": raw(value("ndarray", "|V0", [2**62, 2**62], b"", False, True)),
    "scalar of another size": raw(value("numpy", "<f8", b"\0")),
    "zone outside the folder": raw(value("timezone", ["zone", "../../../etc/passwd"])),
    "unknown zone": raw(value("timezone", ["zone", "Nowhere/Land"])),
    "chunks beyond": raw(ENCODE([1, 2]), chunks=[[2, 2**60]]),
    "chunks too few": raw(ENCODE([1, 2]), chunks=[[1, 1]]),
    "chunks of a number": raw(ENCODE(5), chunks=[[1, 1]]),
    "chunks of wrong types": raw(ENCODE([1, 2]), chunks=[["x", None]]),
    "chunks that are no list": raw(ENCODE([1, 2]), chunks={"a": 1}),
    "negative chunks": raw(ENCODE([1, 2]), chunks=[[4, 4], [-2, -2]]),
}
UNTRUSTED_ONLY = {
    "duplicate keys": raw(b"\x82\xa1a\x01\xa1a\x02"),
    "equal keys": raw(b"\x82\x01\x01\xcb\x3f\xf0\0\0\0\0\0\0\x02"),
    "long form": raw(b"\xd1\x00\x01"),
    "duplicate keys in a tuple": raw(ENCODE(msgspec.msgpack.Ext(2, b"\x91\x82\xa1a\x01\xa1a\x02"))),
}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_trees_are_one_error(name, trusted):
    modules = set(sys.modules)
    with pytest.raises(DecodeError):
        decode(TREE, HOSTILE[name], trusted=trusted)
    # Serializers are imported when first used; the last two of the others for a zone of any name.
    libraries = ("payloadfs.serializers.", "numpy", "pandas", "pyarrow", "pytz", "tzdata")
    assert not {new for new in set(sys.modules) - modules if not new.startswith(libraries)}


@pytest.mark.parametrize("name", UNTRUSTED_ONLY)
def test_untrusted_trees_have_one_form(name):
    decode(TREE, UNTRUSTED_ONLY[name], trusted=True)
    with pytest.raises(DecodeError, match="shortest form, or a key occurs twice"):
        decode(TREE, UNTRUSTED_ONLY[name], trusted=False)


ODD = [None, True, -1, 2**64 - 1, 1.5, "", "x", b"", b"x", [], [None], [[1], 2], {}, {"a": 1}, {1: [2]}]


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_wrong_fields_are_one_error_or_a_plain_value(name):
    for count in range(4):
        for fields in [[odd] * count for odd in ODD] + [ODD[n : n + count] for n in range(len(ODD) - count)]:
            try:
                made = decode(TREE, raw(value(name, *fields)), trusted=False)
            except DecodeError:
                continue
            assert not callable(made) or type(made).__module__.startswith("pandas")


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=60)
    | st.lists(st.sampled_from([b"\x91", b"\xc7\x05\x04", b"\xa3set", b"\x81", b"\x01", b"\xd4\x01\x00"])).map(b"".join)
)
def test_any_bytes_are_a_value_or_one_error(content):
    for trusted in (True, False):
        try:
            decode(TREE, raw(content), trusted=trusted)
        except DecodeError:
            continue


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_a_value_or_one_error(data):
    stored = bytearray(stored_bytes(TREE.encode([list(STANDARD.values()), {"a": np.arange(3), (1, 2): pd.Index([1])}])))
    for _ in range(data.draw(st.integers(1, 3))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        decode(TREE, memoryview(stored), trusted=False)


# Memory and spans


def test_leaves_are_mapped_without_a_copy(tmp_path):
    repository = Repository(tmp_path)
    obj = {"a": np.arange(100_000.0), "f": pd.DataFrame({"x": np.arange(100_000.0)}), "r": np.zeros(5000, RECORD)}
    loaded = repository.load(repository.save(obj))
    memory = loaded["a"].base
    while getattr(memory, "base", None) is not None:
        memory = memory.base
    assert type(memory).__name__ == "memoryview"
    whole = np.frombuffer(memory.obj, np.uint8)
    for array in (loaded["a"], loaded["f"]["x"].to_numpy(), loaded["r"]):
        assert np.shares_memory(whole, array)
    assert loaded["a"].ctypes.data % 64 == loaded["r"].ctypes.data % 64 == 0


def test_leaves_have_their_own_spans():
    arrays = [np.arange(20_000.0), np.arange(3.0), np.arange(5000.0).astype(str), np.arange(20_000.0)]
    frame = pd.DataFrame({"a": np.arange(50_000.0)})
    encoded = TREE.encode([*arrays, frame, "x" * 200_000, 1])
    stored = stored_bytes(encoded)
    start, bounds, data = 0, set(), 0
    for span in spans_of(encoded.frames, encoded.data, encoded.starts):
        bounds.add(start)
        start += span.size_bytes
        data += span.is_data
    assert start == encoded.size_bytes
    assert data >= 4
    _, _, buffers = unpack(stored)
    offsets = [
        np.frombuffer(part, np.uint8).ctypes.data - np.frombuffer(stored, np.uint8).ctypes.data for part in buffers
    ]
    large = [offset for offset, part in zip(offsets, buffers, strict=True) if part.nbytes >= 65_536]
    assert len(large) == 5
    assert set(large) <= bounds


def test_every_leaf_is_an_object_of_its_serializer():
    obj = [pd.DataFrame({"a": [1]}), np.arange(1000.0), pa.table({"a": [1]}), "x" * 5000]
    stored = stored_bytes(TREE.encode(obj))
    meta, _, buffers = unpack(stored)
    assert meta["leaves"] == ["pandas/1", "npy/1", "arrow-table/1", "text/1"]
    for part, leaf, buffer in zip(obj, meta["leaves"], buffers, strict=True):
        assert_exact(part, default_serializers.by_id(leaf).decode(buffer, trusted=False))


def test_repeated_long_strings_are_left_to_pickle(monkeypatch):
    strings = [f"{n} " * 1000 for n in range(200)]
    rows = [{"id": n, "text": strings[n % 200], "raw": b"x"} for n in range(20_000)]
    serializer, encoded = default_serializers.encode(rows)
    assert serializer.id == "pickle/1"
    assert len(stored_bytes(encoded)) < 3_000_000


def test_outside_references_do_not_decline():
    rows = [{"id": n} for n in range(20_000)]
    held = {row["id"]: row for row in rows}
    assert len(held) == len(rows)
    assert default_serializers.encode(rows)[0].id == "tree/1"


def test_full_disk_for_temporary_file(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: open("/dev/full", "wb", buffering))  # noqa: SIM115
    monkeypatch.setattr(spool, "_IN_MEMORY_BYTES", 1000)
    repository = Repository(tmp_path / "objects")
    with pytest.raises(
        EncodeError, match=r"Cannot write the object to a temporary file: .*No space left.* set TMPDIR .* Nothing was"
    ):
        repository.save([(n,) for n in range(20_000)])
    assert list(repository.list()) == []


def test_json_stays_first_for_small_plain_values():
    assert default_serializers.encode({"a": [1, "x", None]})[0].id == "json/1"
    assert default_serializers.encode(list(range(20_000)))[0].id == "tree/1"


def test_metadata_names_the_leaves(tmp_path):
    repository = Repository(tmp_path)
    pointer = repository.save({"a": pd.DataFrame({"x": [1]})})
    metadata = payloadfs.serializers.read_metadata("tree/1", repository.read(pointer))
    assert metadata["tree"]["pandas/1"] == 1
    assert json.dumps(metadata)


def test_payloads_inside_are_saved_and_come_back(tmp_path):
    with payloadfs.using(str(tmp_path)):
        inner = Payload([1, 2])
        back = payloadfs.load(payloadfs.save({"inner": inner, "pointer": (inner.pointer,)}))
        assert type(back["inner"]) is Payload
        assert back["inner"].value == [1, 2]
        assert back["pointer"][0] == inner.pointer


# Registered classes


@register_class(name="test.Order")
@dataclasses.dataclass
class Order:
    number: int
    parts: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        CALLS.append("dataclass")


@register_class(name="test.Point")
@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float = 0.0


@register_class(name="test.Pair")
class Pair(typing.NamedTuple):
    left: typing.Any
    right: typing.Any = None


@register_class(name="test.Box")
@attrs.define
class Box:
    _secret: int
    items: list = attrs.field(factory=list)

    def __attrs_post_init__(self):
        CALLS.append("attrs")


@register_class(name="test.Frozen")
@attrs.frozen(slots=False)
class Frozen:
    a: int


@register_class(name="test.Row")
class Row(msgspec.Struct):
    a: int
    b: typing.Any = None


@register_class(name="test.Key")
class KeyStruct(msgspec.Struct, frozen=True, kw_only=True):
    a: int


@register_class(name="test.Model")
class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", arbitrary_types_allowed=True)
    a: int = 1
    frame: typing.Any = None
    _private: int = pydantic.PrivateAttr(default=3)

    def model_post_init(self, _):
        CALLS.append("pydantic")


@register_class(name="test.Color")
class Color(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796
    BLUE = (2, "b")


@register_class(name="test.Perm")
class Perm(enum.Flag):
    R = 1
    W = 2


class Doubling:
    """Descriptor that changes what is assigned, and keeps it under its own name."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, obj, owner=None):
        return self if obj is None else vars(obj)[self.name]

    def __set__(self, obj, value):
        vars(obj)[self.name] = value * 2


@register_class(name="test.Doubled")
@dataclasses.dataclass
class Doubled:
    a: int = dataclasses.field()
    a = Doubling()  # noqa: PIE794


@register_class(name="test.Numbers")
class Numbers(pydantic.RootModel[list[int]]):
    pass


@register_class(name="test.Slotted")
class Slotted(pydantic.BaseModel):
    __slots__ = ("note",)
    a: int = 1


CALLS: list[str] = []


def model():
    made = Model(a=5, frame=pd.DataFrame({"a": [1]}), more=[1])
    made._private = 7
    return made


REGISTERED = {
    "dataclass": lambda: Order(1, [Order(2)]),
    "frozen dataclass with slots": lambda: Point(1.5),
    "named tuple": lambda: Pair([1], Pair(2)),
    "attrs": lambda: Box(1, [np.arange(3)]),
    "frozen attrs": lambda: Frozen(5),
    "struct": lambda: Row(1, [2]),
    "frozen struct": lambda: KeyStruct(a=1),
    "model": model,
    "default model": Model,
    "enum": lambda: [Color.RED, Color.CRIMSON, Color.BLUE, Color.RED],
    "descriptor": lambda: Doubled(3),
    "model with an unset slot": Slotted,
    "root model": lambda: Numbers([1, 2]),
    "flag": lambda: [Perm.R, Perm.R | Perm.W],
}


@pytest.mark.parametrize("name", REGISTERED)
def test_registered_classes_are_exact_and_load_without_pickle(name, tmp_path):
    obj = REGISTERED[name]()
    strict = Repository(tmp_path, pickle="never")
    for whole in (obj, [obj], {"a": (obj,)}):
        CALLS.clear()
        pointer = strict.save(whole)
        assert pointer.serializer == "tree/1"
        back = strict.load(pointer)
        assert_exact(whole, back)
        assert CALLS == []
    if name == "model":
        assert back["a"][0].model_fields_set == {"a", "frame", "more"}


def noted(obj):
    obj.note = [1]
    return obj


def unusual():
    order, missing, pair = Order(1), Point(1.0), Pair(1)
    order.note = "x"
    del (half := Order(2)).parts
    copied = model()
    copied.__dict__["other"] = 1
    object.__setattr__(slotted := Slotted(), "note", 1)
    return {
        "attribute": order,
        "missing": half,
        "shared": [missing, missing],
        "pair": [(p := Pair([1])), p],
        "m": copied,
        "slot of a model": slotted,
        "attribute of a scalar": noted(pd.Timestamp("2020")),
        "attribute of a period": noted(pd.Period("2020", "D")),
        "attribute of an array": noted(pd.array([1, None])),
        "fold of a naive scalar": pd.Timestamp(dt.datetime(2020, 1, 1, fold=1)),
    } | ({"same order": [(o := Order(1)), o]} if pair else {})


@pytest.mark.parametrize("name", unusual())
def test_state_beyond_the_fields_is_pickled(name):
    obj = [unusual()[name]]
    with pytest.raises(NotExactError):
        TREE.encode(obj)
    serializer, encoded = default_serializers.encode(obj)
    assert_exact(obj, serializer.decode(stored_bytes(encoded), trusted=True))


def test_surrogates_in_an_array():
    obj = [pd.arrays.NumpyExtensionArray(objects("\ud800"))]
    serializer, encoded = default_serializers.encode(obj)  # a tree or a pickle, as pandas can convert it
    assert_exact(obj, serializer.decode(stored_bytes(encoded), trusted=True))


def test_subclasses_of_registered_classes_are_pickled():
    for sub in (type("Sub", (Order,), {}), dataclasses.make_dataclass("Sub", [("x", int, 1)], bases=(Order,))):
        with pytest.raises(NotExactError):
            TREE.encode([sub(1)])


def test_unregistered_name_and_other_fields_say_what_to_do():
    with pytest.raises(DecodeError, match=r"'acme.Unknown'.*register_class\(\.\.\., name='acme.Unknown'\)") as caught:
        decode(TREE, HOSTILE["unregistered class"], trusted=True)
    assert caught.value.kind == "unknown-class"
    with pytest.raises(DecodeError, match="Its fields are z, but those of the registered class are x, y"):
        decode(TREE, raw(ENCODE(ext(encoding.OBJECT, ["test.Point", "z", 1]))), trusted=True)
    with pytest.raises(DecodeError, match="Color has no member 'GREEN'"):
        decode(TREE, raw(ENCODE(ext(encoding.OBJECT, ["test.Color", "GREEN"]))), trusted=True)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (dict, {}, "is not a dataclass"),
        (5, {}, "takes a class"),
        (dataclasses.dataclass(type("D", (dict,), {})), {"name": "test.D"}, "inherits from a class that holds data"),
        (Point, {"name": "test.Order"}, "already taken"),
        (Point, {"name": "a b"}, "not a valid class name"),
        (type("M", (Order,), {"__module__": "__main__"}), {}, "is in __main__"),
        (type("P", (msgspec.Struct,), {"__post_init__": print}), {"name": "test.P"}, "__post_init__"),
    ],
)
def test_what_cannot_be_registered(cls, options, message):
    with pytest.raises(ConfigError, match=message):
        register_class(cls, **options)


def test_a_class_defined_again_takes_its_name():
    for _ in range(2):

        @register_class(name="test.Again")
        @dataclasses.dataclass
        class Again:
            a: int

    assert type(TREE.decode(stored_bytes(TREE.encode([Again(1)])), trusted=True)[0]) is Again
