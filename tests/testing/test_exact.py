"""Strict comparison: pairs that differ in one respect, and pairs that are equal."""

import collections
import copy
import datetime as dt
import decimal
import functools
import pickle
import re
import subprocess
import sys
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from payloadfs.testing import assert_exact, describe

NAN = float("nan")
DAYS = pd.date_range("2020-01-01", periods=3, freq="D")
BITS = np.array([0x7FF8000000000001, 0x7FF8000000000000, 0xFFF8000000000000], "u8").view("f8")
ZURICH = zoneinfo.ZoneInfo("Europe/Zurich")
D = decimal.Decimal
# pandas 2.2 has no na_value argument, but a storage with that name.
NAN_STRING = pd.StringDtype("pyarrow", na_value=np.nan) if pd.__version__ >= "3" else pd.StringDtype("pyarrow_numpy")


def objects(*cells):
    made = pd.Series([None] * len(cells), dtype=object)
    for place, cell in enumerate(cells):
        made._mgr.blocks[0].values[place] = cell
    return made


def frame(values=(1.5, 2.5, 3.5), **facts):
    made = pd.DataFrame({"a": values}, index=facts.get("index"))
    made.columns = facts.get("columns", made.columns)
    made.attrs = facts.get("attrs", {})
    made.flags.allows_duplicate_labels = facts.get("duplicates", True)
    return made


def index(*labels, **options):
    return pd.DataFrame({"a": range(len(labels))}, index=pd.Index(labels, **options))


def locked(array):
    array.flags.writeable = False
    return array


def shared(part):
    return [part, part]


def masked(*arguments, hard=False, **options):
    array = np.ma.MaskedArray(*arguments, **options)
    if hard:
        array.harden_mask()
    return array


class A:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class B(A):
    pass


class Hidden(list):
    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


def noted(obj, **attributes):
    for name, value in attributes.items():
        setattr(obj, name, value)
    return obj


DIFFERENT = {
    "int, bool": (1, True), "int, float": (1, 1.0), "zeros": (0.0, -0.0), "nan sign": (NAN, -NAN), "nan bits": (BITS[0].item(), BITS[1].item()), "complex zero": (complex(0, 0.0), complex(0, -0.0)), "text, bytes": ("a", b"a"), "bytes, bytearray": (b"a", bytearray(b"a")),
    "none, nan": (None, NAN), "nan, NA": (NAN, pd.NA), "NA, NaT": (pd.NA, pd.NaT), "NaT, np NaT": (pd.NaT, np.datetime64("NaT")), "NaT units": (np.datetime64("NaT", "s"), np.datetime64("NaT", "ns")), "np int": (np.int64(1), 1), "np widths": (np.int64(1), np.int32(1)),
    "decimal scale": (D("1.5"), D("1.50")), "decimal zero": (D("0"), D("-0")), "date, datetime": (dt.date(2020, 1, 1), dt.datetime(2020, 1, 1)), "fold": (dt.datetime(2020, 10, 25, 2, 30), dt.datetime(2020, 10, 25, 2, 30, fold=1)), "zone classes": (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))),
    "offset names": (dt.timezone(dt.timedelta(hours=1)), dt.timezone(dt.timedelta(hours=1), "X")), "datetime, Timestamp": (dt.datetime(2020, 1, 1), pd.Timestamp("2020")), "Timestamp units": (pd.Timestamp("2020").as_unit("s"), pd.Timestamp("2020").as_unit("ns")), "Timestamp zones": (pd.Timestamp("2020", tz=dt.UTC), pd.Timestamp("2020", tz=zoneinfo.ZoneInfo("UTC"))),
    "nanoseconds": (pd.Timestamp(1, unit="ns"), pd.Timestamp(2, unit="ns")), "Timedelta units": (pd.Timedelta("1s").as_unit("s"), pd.Timedelta("1s").as_unit("ns")), "Period freq": (pd.Period("2020-01-31", "D"), pd.Period("2020-01-31", "h")), "Interval closed": (pd.Interval(0, 1), pd.Interval(0, 1, "left")), "Interval ends": (pd.Interval(0, 1), pd.Interval(0.0, 1)),
    "offsets": (pd.offsets.MonthEnd(), pd.offsets.BMonthEnd()), "offset holidays": (pd.offsets.CDay(holidays=["2020-01-06"]), pd.offsets.CDay()), "safe uuid": (uuid.UUID(int=1), uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe)), "list, tuple": ([1], (1,)), "list length": ([1], [1, 1]), "dict order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}), "dict keys": ({1: "a"}, {True: "a"}),
    "set": ({1, 2}, {1, 3}), "set classes": ({1}, {True}), "set, frozenset": ({1}, frozenset([1])), "class": (A(x=1), B(x=1)), "attribute": (A(x=1), A(x=2)), "absent attribute": (A(x=1), A(x=1, y=None)), "shared list": (shared([1]), [[1], [1]]), "shared in dict": ({"a": (s := [1]), "b": s}, {"a": [1], "b": [1]}), "shared arrays": (shared(np.arange(2)), [np.arange(2), np.arange(2)]),
    "functions": (lambda x: x + 1, lambda x: x + 2), "closures": ((lambda n: lambda: n)(1), (lambda n: lambda: n)(2)), "defaults": (functools.partial(int, base=2), functools.partial(int, base=3)), "exceptions": (ValueError("a"), ValueError("b")), "nested": ({"a": [{"b": (1, 2)}]}, {"a": [{"b": (1, 2.0)}]}),
    "deque length": (collections.deque([1], maxlen=2), collections.deque([1], maxlen=3)),
    "default factory": (collections.defaultdict(list), collections.defaultdict(set)),
    "dict classes": (collections.OrderedDict(a=1), {"a": 1}),
    "ranges": (range(0, 4, 2), range(0, 3, 2)),
    "slices": (slice(1), slice(0, 1)),
    "arrays in slices": (slice(np.zeros(5000)), slice(np.r_[np.zeros(2000), 1, np.zeros(2999)])),
    "items that methods hide": (Hidden([1]), Hidden([2])),
    "name of an error": (NameError("x", name="a"), NameError("x", name="b")),
    "line of an error": (SyntaxError("x", ("f", 1, 2, "t")), noted(SyntaxError("x", ("f", 1, 2, "t")), lineno=9)),
    "attribute of a Timestamp": (pd.Timestamp("2020"), noted(pd.Timestamp("2020"), note=1)),
    "attribute of an extension array": (pd.array([1]), noted(pd.array([1]), note=1)),
    "shared records": (shared(np.zeros(1, "i4,f8")[0]), [np.zeros(1, "i4,f8")[0], np.zeros(1, "i4,f8")[0]]),
    "bytearrays": (bytearray(b"a"), bytearray(b"b")),
    "enums": (uuid.SafeUUID.safe, uuid.SafeUUID.unsafe),
    "patterns": (re.compile("a"), re.compile("a", re.IGNORECASE)),
    # numpy
    "dtype": (np.arange(2), np.arange(2.0)), "byte order": (np.arange(2), np.arange(2, dtype=">i8")), "shape": (np.zeros((2, 1)), np.zeros((1, 2))), "order": (np.zeros((2, 2)), np.zeros((2, 2), order="F")), "writeable": (np.arange(2), locked(np.arange(2))), "array nan bits": (BITS[:1].copy(), BITS[1:2].copy()), "array zeros": (np.array([0.0]), np.array([-0.0])), "array class": (np.zeros((1, 1)), np.zeros((1, 1)).view(np.rec.recarray)),
    "0-d": (np.array(1.5), np.array([1.5])), "metadata": (np.zeros(1), np.zeros(1, np.dtype("f8", metadata={"u": 1}))), "aligned": (np.zeros(1, np.dtype("i1,i1", align=True)), np.zeros(1, "i1,i1")), "titles": (np.zeros(1, [(("t", "a"), "i4")]), np.zeros(1, [("a", "i4")])), "field": (np.zeros(1, "i4,f8"), np.ones(1, "i4,f8")), "object cells": (np.array([1, None]), np.array([True, None])),
    "mask": (masked([1], mask=[True]), masked([1], mask=[False])), "no mask": (masked([1]), masked([1], mask=[False])), "hard mask": (masked([1], mask=[True]), masked([1], mask=[True], hard=True)), "fill value": (masked([1]), masked([1], fill_value=7)), "below the mask": (masked([1], mask=[True]), masked([2], mask=[True])), "datetime units": (np.zeros(1, "M8[s]"), np.zeros(1, "M8[ms]")), "text width": (np.array(["a"]), np.array(["a"], "U5")),
    # pandas: columns
    "column dtype": (frame([1, 2, 3]), frame([1.0, 2, 3])), "column width": (frame(np.arange(3, dtype="i4")), frame(np.arange(3))), "column nan bits": (frame(BITS), frame(BITS[[1, 1, 2]])), "object, str": (frame(objects("a", "b", "c")), frame(pd.Series(["a", "b", "c"], dtype="string"))), "string storage": (frame(pd.array(["a"] * 3, pd.StringDtype("python"))), frame(pd.array(["a"] * 3, pd.StringDtype("pyarrow")))),
    "string missing": (frame(pd.array(["a"] * 3, pd.StringDtype("pyarrow"))), frame(pd.array(["a"] * 3, NAN_STRING))), "Int, int": (frame(pd.array([1, 2, 3], "Int64")), frame([1, 2, 3])), "masked NA": (frame(pd.array([1, None, 3], "Int64")), frame(pd.array([1, 1, 3], "Int64"))),
    "NaN, NA in Float64": (frame(pd.arrays.FloatingArray(np.array([NAN, 1, 2]), np.array([False] * 3))), frame(pd.arrays.FloatingArray(np.array([NAN, 1, 2]), np.array([True, False, False])))), "Arrow types": (frame(pd.array([1, 2, 3], pd.ArrowDtype(pa.int8()))), frame(pd.array([1, 2, 3], pd.ArrowDtype(pa.int16())))), "Arrow values": (frame(pd.array([1, 2, 3], pd.ArrowDtype(pa.int8()))), frame(pd.array([1, 2, 4], pd.ArrowDtype(pa.int8())))),
    "zone column classes": (frame(DAYS.tz_localize(dt.UTC)), frame(DAYS.tz_localize(zoneinfo.ZoneInfo("UTC")))), "time units": (frame(DAYS.as_unit("s")), frame(DAYS.as_unit("ns"))), "period freq": (frame(pd.period_range("2020", periods=3, freq="D")), frame(pd.period_range("2020", periods=3, freq="h"))), "interval closed": (frame(pd.interval_range(0, 3)), frame(pd.interval_range(0, 3, closed="left"))),
    "interval subtype": (frame(pd.interval_range(0, 3)), frame(pd.interval_range(0.0, 3.0))), "sparse, dense": (frame(pd.arrays.SparseArray([0, 1, 0])), frame([0, 1, 0])), "sparse fill": (frame(pd.arrays.SparseArray([0, 1, 0])), frame(pd.arrays.SparseArray([0, 1, 0], fill_value=1))), "sparse kind": (frame(pd.arrays.SparseArray([0, 1, 0])), frame(pd.arrays.SparseArray([0, 1, 0], kind="block"))),
    "category order": (frame(pd.Categorical(["a", "b", "a"])), frame(pd.Categorical(["a", "b", "a"], ["b", "a"]))), "ordered": (frame(pd.Categorical(["a", "b", "a"])), frame(pd.Categorical(["a", "b", "a"], ordered=True))), "unused category": (frame(pd.Categorical(["a"] * 3)), frame(pd.Categorical(["a"] * 3, ["a", "b"]))), "category class": (frame(pd.Categorical(["a"] * 3)), frame(pd.Categorical(["a"] * 3, pd.Index(["a"], dtype="string")))),
    "category freq": (frame(pd.Categorical(DAYS, categories=DAYS)), frame(pd.Categorical(list(DAYS), categories=list(DAYS)))), "cells": (frame(objects(1, "a", None)), frame(objects(True, "a", None))), "missing cells": (frame(objects("a", None, "c")), frame(objects("a", NAN, "c"))), "NaN cells": (frame(objects("a", NAN, "c")), frame(objects("a", -NAN, "c"))), "cell classes": (frame(objects([1], [2], [3])), frame(objects((1,), [2], [3]))), "shared cells": (frame(objects(s := [1], s, 3)), frame(objects([1], [1], 3))),
    "array cells": (frame(objects(np.arange(2), 1, 2)), frame(objects(np.arange(2.0), 1, 2))), "frame, series": (frame(), frame()["a"]), "subclass": (frame(), type("DataFrame", (pd.DataFrame,), {"__module__": "other"})(frame())), "column order": (pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"b": [2], "a": [1]})), "shapes": (pd.DataFrame(index=[0, 1]), pd.DataFrame(index=[0])),
    # pandas: labels
    "index class": (frame(), frame(index=[0, 1, 2])), "range step": (frame(index=pd.RangeIndex(0, 3, 1)), frame(index=pd.RangeIndex(0, 6, 2))), "range stop": (frame(index=pd.RangeIndex(0, 5, 2)), frame(index=pd.RangeIndex(0, 6, 2))), "freq": (frame(index=DAYS), frame(index=pd.DatetimeIndex(list(DAYS)))), "other freq": (frame(index=DAYS), frame(index=pd.DatetimeIndex(list(DAYS), freq="C"))), "index name": (index(1, 2), index(1, 2, name="n")),
    "name class": (index(1, name=1), index(1, name=True)), "label class": (index(1, "a", dtype=object), index(True, "a", dtype=object)), "label dtype": (index("a", dtype=object), index("a", dtype="string")), "columns class": (frame(columns=pd.RangeIndex(1)), frame(columns=[0])), "columns name": (frame(columns=pd.Index(["a"], name="n")), frame(columns=["a"])), "column label": (frame(columns=[1]), frame(columns=[1.0])), "missing labels": (index("a", None, dtype=object), index("a", NAN, dtype=object)),
    "levels order": (pd.MultiIndex(levels=[["a", "b"]], codes=[[0, 1]]), pd.MultiIndex(levels=[["b", "a"]], codes=[[1, 0]])), "unused level": (pd.MultiIndex(levels=[["a", "b"]], codes=[[0]]), pd.MultiIndex(levels=[["a"]], codes=[[0]])), "level names": (pd.MultiIndex.from_arrays([[1]], names=["a"]), pd.MultiIndex.from_arrays([[1]])), "missing code": (pd.MultiIndex(levels=[["a"]], codes=[[0]]), pd.MultiIndex(levels=[["a"]], codes=[[-1]])),
    "tuples, levels": (pd.Index([(1, 2)], tupleize_cols=False), pd.MultiIndex.from_tuples([(1, 2)])), "attrs": (frame(attrs={"a": 1}), frame(attrs={"a": 1.0})), "no attrs": (frame(attrs={"a": None}), frame()), "attrs tuple": (frame(attrs={"a": (1,)}), frame(attrs={"a": [1]})), "flags": (frame(), frame(duplicates=False)), "series name": (pd.Series([1], name="a"), pd.Series([1])), "series name class": (pd.Series([1], name=1), pd.Series([1], name=np.int64(1))),
    # Arrow and polars
    "table rows": (pa.table({"a": [1, 2]}).select([]), pa.table({"a": [1]}).select([])), "table metadata": (pa.table({"a": [1]}), pa.table({"a": [1]}).replace_schema_metadata({"k": "v"})), "field metadata": (pa.field("a", pa.int8()), pa.field("a", pa.int8(), metadata={"k": "v"})), "nullable": (pa.field("a", pa.int8()), pa.field("a", pa.int8(), nullable=False)), "types": (pa.array([1], pa.int8()), pa.array([1], pa.int16())), "chunks": (pa.chunked_array([[1, 2]]), pa.chunked_array([[1], [2]])),
    "null, nan": (pa.array([None], pa.float64()), pa.array([NAN], pa.float64(), from_pandas=False)), "extension": (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16))), pa.array([b"0" * 16], pa.binary(16))), "nested values": (pa.array([[1, None]]), pa.array([[1, 2]])), "nanosecond values": (pa.array([1], pa.timestamp("ns")), pa.array([2], pa.timestamp("ns"))), "scalars": (pa.scalar(1, pa.int8()), pa.scalar(1, pa.int16())),
    "polars dtype": (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]}, schema={"a": pl.Int8})), "polars value": (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})), "polars name": (pl.Series("a", [1]), pl.Series("b", [1])), "polars enum": (pl.Series(["a"], dtype=pl.Enum(["a"])), pl.Series(["a"], dtype=pl.Enum(["a", "b"]))), "polars null": (pl.Series([None], dtype=pl.Float64), pl.Series([NAN])), "polars plan": (pl.LazyFrame({"a": [1]}).select("a"), pl.LazyFrame({"a": [1]}).filter(pl.col("a") > 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_difference(name):
    one, other = DIFFERENT[name]
    assert_exact(one, one)
    assert_exact(other, other)
    for left, right in ((one, other), (other, one)):
        with pytest.raises(AssertionError):
            assert_exact(left, right)
        with pytest.raises(AssertionError):
            assert_exact({"in": [left]}, {"in": [right]})


def test_there_are_many_pairs():
    assert len(DIFFERENT) >= 150


ITSELF: list = [1]
ITSELF.append(ITSELF)
SAME = [1, "a", NAN, None, {"a": [1, {2: 3}]}, {1, 2}, (1, [2]), shared([1]), ITSELF, D("1.50"), pd.Timestamp("2020", tz=ZURICH), np.arange(6).reshape(2, 3).T, np.array([1, "a", None], dtype=object), frame(), index("a", None), frame(pd.Categorical(["a", None, "b"])), pd.Series(DAYS), frame(index=DAYS), uuid.UUID(int=3), A(x=[1], y=A()), dt.UTC, pd.Period("2020", "M")]  # fmt: skip


@pytest.mark.parametrize("obj", SAME, ids=lambda obj: type(obj).__name__)
def test_copy_is_equal(obj):
    assert_exact(obj, copy.deepcopy(obj))
    assert_exact(obj, pickle.loads(pickle.dumps(obj)))


def test_names_the_first_difference():
    with pytest.raises(AssertionError, match=r"^obj\['a'\]\.iloc\[:, 0\]\.ravel\(\)\[1\]: bool instead of int$"):
        assert_exact({"a": frame(objects("x", 1, 2))}, {"a": frame(objects("x", True, 2))})


DESCRIBE = """
import pandas as pd, json
from payloadfs.testing import describe
obj = {"s": {"a", "b", (1, "c"), frozenset("xyz")}, "f": pd.DataFrame({"a": [{"q", "r"}, [1]]}), "g": lambda x: {x, "k"}}
print(json.dumps(list(describe(obj))))
"""


def test_does_not_depend_on_the_process():
    answers = {
        subprocess.run(
            [sys.executable, "-c", DESCRIBE], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(answers) == 1
    assert len(list(describe({"a", "b"}))) == 6
