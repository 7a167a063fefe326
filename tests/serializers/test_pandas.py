"""Conformance kit run over pandas objects."""

import datetime
import decimal
import enum
import pathlib
import uuid
import warnings
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from payloadfs.serializers._pandas.serializer import FrameSerializer, MixedFrameSerializer, SeriesSerializer
from payloadfs.testing import SerializerTests, assert_exact
from payloadfs.testing.serializers import stored_bytes

NAN = float("nan")
rng = np.random.default_rng(7)


class Text(str):
    __slots__ = ()


class Colour(enum.IntEnum):
    RED = 1


def objects(cells):
    """Return an object column; pandas would infer another dtype from a plain array."""
    return pd.Series(cells, dtype=object)


def twice(part):
    return [part, part]


ZONE = zoneinfo.ZoneInfo("Europe/Berlin")  # pandas 2 would use pytz for a name
BERLIN = pd.to_datetime(["2020-01-01", None, "2020-06-01"], utc=True).tz_convert(ZONE)
COLUMNS = {
    **{dtype: np.array([1, 2, 3], dtype) for dtype in ("i1", "u1", "i2", "u4", "i8", "u8", "f2", "f4", "f8")},
    "nan bits": np.array([0x7FF8000000000001, 0xFFF8000000000000, 0], "u8").view("f8"),
    "bool": [True, False, True],
    "str": ["x", None, "z"],
    "string": pd.array(["x", None, "z"], "string"),
    "python string": pd.array(["x", None, "z"], pd.StringDtype("python")),
    "category": pd.Categorical(["b", None, "a"], ["c", "b", "a"], ordered=True),
    "int category": pd.Categorical([3, 1, 3]),
    "naive": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
    "naive s": pd.to_datetime(["2020-01-01", None, "2020-01-03"]).as_unit("s"),
    "utc": BERLIN.tz_convert(datetime.UTC),
    "zone utc": BERLIN.tz_convert(zoneinfo.ZoneInfo("UTC")),
    "berlin": BERLIN,
    "offset": BERLIN.tz_convert(datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))),
    "timedelta": pd.to_timedelta([1, None, 3], unit="s"),
    "Int64": pd.array([1, None, 3], "Int64"),
    "UInt8": pd.array([1, None, 3], "UInt8"),
    "boolean": pd.array([True, None, False], "boolean"),
    "Float64": pd.array([1.5, None, 2.5], "Float64"),
    "Float64 with nan": pd.arrays.FloatingArray(np.array([NAN, 0.0, 1.0]), np.array([False, True, False])),
    "arrow int": pd.array([1, None, 3], pd.ArrowDtype(pa.int32())),
    "arrow string": pd.array(["a", None, "b"], pd.ArrowDtype(pa.string())),
    "arrow list": pd.array([[1], None, []], pd.ArrowDtype(pa.list_(pa.int64()))),
    "arrow decimal": pd.array([decimal.Decimal("1.10"), None, None], pd.ArrowDtype(pa.decimal128(5, 2))),
    "object str": objects(["x", None, "z"]),
    "object bytes": objects([b"x", None, b"z"]),
    "object bool": objects([True, None, False]),
    "object int": objects([1, 2, None]),
    "object float": objects([1.5, NAN, None]),
    "object date": objects([datetime.date(2020, 1, 1), None, None]),
    "object none": objects([None, None, None]),
    "object nan": objects([NAN, NAN, NAN]),
    "text or nan": objects(["x", NAN, "z"]),
    "text or NA": objects(["x", pd.NA, "z"]),
    "bool or NaT": objects([True, pd.NaT, False]),
    "None or NA": objects([None, pd.NA, None]),
    "text, None or nan": objects(["x", None, NAN]),
    "mixture": objects([1, "x", 2.5]),
    "mixture with None": objects([True, None, -0.0]),
    "object time": objects([datetime.time(1, 2, 3, 4), None, datetime.time()]),
    "object datetime": objects([datetime.datetime(1, 1, 1), None, datetime.datetime.max]),
    "object timedelta": objects([datetime.timedelta(1, 2, 3), None, -datetime.timedelta(5)]),
    "object decimal": objects([decimal.Decimal("1.50"), None, decimal.Decimal("-0.01")]),
    "object whole decimal": objects([decimal.Decimal(10**30), decimal.Decimal(0), NAN]),
    "object uuid": objects([uuid.UUID(int=5), None, uuid.uuid4()]),
    "strings": objects([["x", "y"], None, []]),
    "numbers": objects([[1], [2, 3], NAN]),
    "dates or None": objects([[datetime.date(2020, 1, 1), None], [], [None]]),
    "lists of lists": objects([[[1], [2]], [[]], None]),
    "mixed lists": objects([[1, "x"], [None], []]),
    "dicts": objects([{"a": 1, "b": {"c": [1.5]}}, {}, NAN]),
    "embeddings": objects([np.arange(3.0), np.arange(5.0), np.empty(0)]),
    "small embeddings": objects([np.arange(3, dtype="f4"), None, np.arange(2, dtype="f4")]),
    "complex": [1j, complex(NAN, -0.0), 2],
    "complex64": np.array([1j, 2, 3], "c8"),
    "period": pd.period_range("2020", periods=3, freq="2W"),
    "period NaT": pd.PeriodIndex(["2020Q1", None, "2021Q4"], freq="Q-NOV"),
    "interval": pd.interval_range(0, 3, closed="both"),
    "float interval": pd.arrays.IntervalArray.from_tuples([(0.0, 1.5), None, (2.0, 3.0)], closed="neither"),
    "time interval": pd.interval_range(pd.Timestamp("2020", tz=ZONE), periods=3, freq="D"),
    "cut": pd.cut([1, 5, 9], 2),
    "mixed category": pd.Categorical(["x", 1, None]),
    "period category": pd.Categorical(pd.period_range("2020", periods=3, freq="M")),
    "zone category": pd.Categorical(pd.date_range("2020", periods=3, freq="D", tz=ZONE)),
    "many categories": pd.Categorical(range(3), range(300)),
}
CELLS = {
    "two missing kinds": ["x", NAN, pd.NA],
    "nan bits": ["x", -NAN],
    "surrogates": ["\ud800", None],
    "int overflow": [2**70, -1],
    "scales": [decimal.Decimal("1.5"), decimal.Decimal("1.50"), None],
    "negative zero": [decimal.Decimal("-0.0")],
    "fold": [datetime.time(2, fold=1)],
    "dicts with int keys": [{1: "a"}, {2: [NAN, None]}, None],
    "dicts with nan": [{"a": NAN}, {"a": 1.5}],
    "numpy scalars": [np.int64(3), np.float32(1.5), NAN, "x"],
    "tuples": [("a", 1), ("a", 1), ()],
    "sets": [{1, 2}, set(), frozenset({(1, "x")})],
    "matrices": [np.ones((2, 2)), np.zeros((3, 1), "i2"), np.arange(6.0).reshape(2, 3).T],
    "large matrices": [np.ones((40, 40)), np.zeros((3, 1), "i2"), "x" * 5000, b"y" * 5000],
    "arrays of two dtypes": [np.arange(2), np.arange(2.0)],
    "read-only cells": [np.broadcast_to(1.0, 3), np.arange(2)],
    "moments in zones": [datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZONE), pd.Timestamp(0, tz="UTC"), None],
    "paths and more": [pathlib.PurePosixPath("/a"), 1j, range(3), datetime.date(2020, 1, 1), uuid.UUID(int=1)],
    "nested": [{"a": [(1, {2: {"b": np.arange(2)}})]}, [], {}],
    "periods and intervals": [pd.Period("2020Q1", "Q-NOV"), pd.Interval(0, 1.5), pd.Timedelta(1, "s"), pd.NaT],
    "dtypes": [np.dtype("f8"), np.dtype([("a", "i4")])],
}
OFFSETS = {
    "custom days": pd.offsets.CDay(holidays=["2020-01-06"]),
    "two months": pd.DateOffset(months=2),
    "a week": pd.DateOffset(weeks=1, hours=3),
    "week": pd.offsets.Week(2),
    "Mondays": pd.offsets.Week(weekday=0),
    "normalized": pd.offsets.MonthEnd(2, normalize=True),
    "business hours": pd.offsets.BusinessHour(start="10:00", end="15:30"),
    "fiscal years": pd.offsets.FY5253(weekday=4, startingMonth=12, variation="nearest"),
    "shifted days": pd.offsets.BDay(offset=datetime.timedelta(hours=2)),
    "Easter": pd.offsets.Easter(),
    "third Friday": pd.offsets.WeekOfMonth(week=2, weekday=4),
}


def stepped(offset):
    # pandas warns that some of them cannot be vectorized
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        days = pd.date_range("2020-03-01", periods=3, freq=offset)
        return pd.DataFrame({"a": range(len(days))}, index=days)


def wide(count=2001, rows=4):
    return pd.DataFrame(rng.random((rows, count)))


FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, NAN, 2.5]})


def frame(index=None, columns=None, attrs=None, flags=True):
    made = FRAME.copy()
    if index is not None:
        made.index = index
    if columns is not None:
        made.columns = columns
    made.attrs = attrs or {}
    made.flags.allows_duplicate_labels = flags
    return made


def shared_with_attrs(cell):
    made = pd.DataFrame({"a": objects([cell])})
    made.attrs["cell"] = cell
    return made


def shared_with_rest(cell):
    return {"lists": objects([cell, [2], [3]]), "odd": objects([Colour.RED, (cell,), 3])}


def contains_itself():
    made = pd.DataFrame({"a": [1, 2], "b": objects([1, 2])})
    made.at[0, "b"] = [made]
    return made


class TestFrames(SerializerTests):
    serializer = FrameSerializer()
    exact = {
        "all columns": pd.DataFrame({name: pd.Series(values) for name, values in COLUMNS.items()}),
        "block": pd.DataFrame(rng.random((500, 8))),
        "row-major": pd.DataFrame(rng.random((50_000, 8)), copy=False),
        "rows of a slice": pd.DataFrame(rng.random((1000, 4)))[100:200],
        "every second row": pd.DataFrame(rng.random((1000, 4)))[::2],
        "large": pd.DataFrame({"a": rng.random(30_000), "b": np.arange(30_000), "c": ["x"] * 30_000}),
        "no rows": FRAME[:0],
        "no rows, all columns": pd.DataFrame({name: pd.Series(values) for name, values in COLUMNS.items()})[:0],
        "one column": FRAME[["a"]],
        "text index": frame(["x", "y", "z"]),
        "named index": frame(pd.Index([3, 1, 2], name="id")),
        "tuple name": frame(pd.Index([3, 1, 2], name=("a", 1, None))),
        "daily": frame(pd.date_range("2020", periods=3, freq="D", name="day")),
        "month ends": frame(pd.date_range("2020", periods=3, freq="ME", tz=ZONE)),
        "days over a clock change": frame(pd.date_range("2020-03-28", periods=3, freq="D", tz="UTC").tz_convert(ZONE)),
        "no freq": frame(pd.DatetimeIndex(["2020-01-05", "2020-01-01", None])),
        "hours": frame(pd.timedelta_range("0h", periods=3, freq="h")),
        "category index": frame(pd.CategoricalIndex(["u", "v", "u"], name="c")),
        "range": frame(pd.RangeIndex(10, 4, -2, name="r")),
        "product": frame(pd.MultiIndex.from_product([["a"], [1, 2, 3]], names=["k", None])),
        "missing in a level": frame(pd.MultiIndex.from_arrays([["x", "y", None], [1, 1, 2]])),
        "unused levels": frame(pd.MultiIndex.from_product([["a", "b"], [1, 2]])[[0, 1, 0]]),
        "duplicate labels": frame(columns=["x", "x"]),
        "bool labels": frame(columns=[True, False]),
        "int labels": frame(columns=[7, -1]),
        "date labels": frame(columns=pd.date_range("2020", periods=2, freq="D", name="day")),
        "level labels": frame(columns=pd.MultiIndex.from_tuples([("a", "mean"), ("a", "max")], names=["v", "f"])),
        "object labels": frame(columns=pd.Index(["a", "b"], dtype=object)),
        "category labels": frame(columns=pd.CategoricalIndex(["a", "b"])),
        "label like ours": frame(columns=["__index_level_0__", "b"], index=["x", "y", "z"]),
        "attrs": frame(attrs={"source": "x", "n": [1, 2.5, None]}),
        "flags": frame(flags=False),
        "tagged attrs": frame(
            attrs={"when": datetime.date(2020, 1, 1), 2: [{"shape": (1, NAN)}, pd.Timestamp("2020")]}
        ),
        "no columns": FRAME[[]],
        "neither": pd.DataFrame(),
        "no columns, text labels": pd.DataFrame(index=[1, 2], columns=pd.Index([], dtype="str", name="n")),
        "intervals": frame(pd.interval_range(0, 3, closed="left", name="i")),
        "periods": frame(pd.period_range("2020Q1", periods=3, freq="Q-NOV")),
        "levels of cuts": frame(pd.MultiIndex.from_arrays([pd.cut([1, 5, 9], 2), pd.period_range("2020", periods=3)])),
        "mixed labels": frame(columns=["a", 1]),
        "period labels": frame(columns=pd.period_range("2020", periods=2, freq="M")),
        "named offset": frame(pd.DatetimeIndex(["2020"] * 3, tz=datetime.timezone(datetime.timedelta(hours=1), "X"))),
    } | {
        f"name {name!r}": frame(pd.Index([1, 2, 3], name=name))
        for name in (
            *(None, True, 3, 1.5, -NAN, b"x", ("a", (1, None)), datetime.date(2020, 1, 1), pd.NA, pd.NaT),
            *(pd.Timestamp("2020-01-01 00:00:00.000000001", tz="Europe/Zurich"), pd.Timestamp("2020").as_unit("s")),
            *(pd.Timedelta(5, "ns"), pd.Period("2020Q1", "Q-NOV"), pd.Interval(0, pd.Timestamp("2020").year, "both")),
            *(np.int64(3), np.float32(1.5), np.datetime64("2020", "Y"), np.bool_(True)),
        )
    }
    exact |= {f"cells: {name}": pd.DataFrame({"a": objects(cells)}) for name, cells in CELLS.items()}
    exact |= {f"every {name}": stepped(offset) for name, offset in OFFSETS.items()}
    exact |= {
        "wide by columns": pd.DataFrame(np.asfortranarray(rng.random((50, 2001)))),
        "wide and large": wide(rows=40).astype("f4").rename(columns=str),
        "wide, every second row": wide(rows=8)[::2],
        "wide booleans": wide() > 0.5,
        "wide of three dtypes": pd.concat([wide(1000), wide(1000).astype("i2"), wide(3) > 0.5], axis=1),
        "wide with others": wide().assign(text="x", day=pd.Timestamp("2020"), number=5).set_index(0),
        "wide, many blocks": pd.DataFrame({f"c{n}": rng.random(3) for n in range(2001)}),
        "attrs of the vocabulary": frame(
            attrs={"made": datetime.datetime(2020, 1, 1), "at": {1, 2}, "a": np.arange(3)}
        ),
        "attrs and cells": frame(attrs={"a": (1,), "b": [{1: 2}]}).assign(c=objects([{1: 2}, [(1,)], {3}])),
        "tuples as labels": frame(pd.Index([(1, "a"), (2,), ()], tupleize_cols=False, dtype=object)),
        "labels of the vocabulary": frame(pd.Index([frozenset([1]), 2**70, decimal.Decimal("1.50")], dtype=object)),
        "categories of tuples": pd.DataFrame({"c": pd.Categorical([(1, 2), (3,), None])}),
    }
    declined = {
        "objects in cells": pd.DataFrame({"a": objects([Text("y"), None])}),
        "frames in cells": pd.DataFrame({"a": objects([FRAME, None])}),
        "a set twice": pd.DataFrame({"a": objects(twice({1}))}),
        "a set in cell and attrs": shared_with_attrs({1}),
        "wide without rows": wide(rows=0),
        "wide, without runs": pd.concat([wide(1), wide(1) > 0.5] * 1001, axis=1),
        "sparse": pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1])}),
        "big-endian": pd.DataFrame({"a": np.array([1, 2], ">i4")}),
        "late odd cell": pd.DataFrame({"a": objects(["x"] * 5000 + [Text("y")])}),
        "enum cells": pd.DataFrame({"a": objects([Colour.RED])}),
        "a list twice": pd.DataFrame({"a": objects(twice([1]))}),
        "a dict in two columns": pd.DataFrame(
            {name: objects([cell]) for name, cell in zip("ab", twice({}), strict=True)}
        ),
        "nested twice": pd.DataFrame({"a": objects([[cell] for cell in twice({"x": 1})])}),
        "in cell and attrs": shared_with_attrs([1]),
        "uuid type": pd.DataFrame({"a": pd.array([None], pd.ArrowDtype(pa.uuid()))}),
        "enum labels": frame(columns=pd.Index([Colour.RED, "b"], dtype=object)),
        **({"list labels": frame(columns=pd.Index([[1], [2]], dtype=object))} if pd.__version__ >= "3" else {}),
        "odd attrs": frame(attrs={"colour": Colour.RED}),
        "subclass": type("Sub", (pd.DataFrame,), {})(FRAME),
    }


class TestMixed(SerializerTests):
    serializer = MixedFrameSerializer()
    exact = {
        "column": FRAME.assign(odd=[1, Colour.RED, "x"]),
        "first column": FRAME.assign(odd=[1, Colour.RED, "x"])[["odd", "a"]],
        "index": frame(pd.Index([Colour.RED, 2, 3], dtype=object, name="i")),
        "labels": frame(columns=pd.Index([Colour.RED, "b"], dtype=object, name=("x", 1))),
        "all of them": frame(
            pd.Index([Colour.RED, 2, 3], dtype=object), pd.Index([Colour.RED, "b"], dtype=object), attrs={"a": (1, 2)}
        ).assign(sparse=pd.arrays.SparseArray([0, 0, 1])),
        "cells that the rest refers to": FRAME.assign(**shared_with_rest([1])),
        "large": pd.DataFrame({"a": np.arange(30_000.0), "b": np.arange(30_000, dtype=">f8"), "c": ["x"] * 30_000}),
    }
    declined = {
        "no rest": FRAME,
        "nothing but rest": pd.DataFrame({"a": objects([1, Colour.RED])}),
        "not a frame": FRAME["a"],
        "can't be pickled": FRAME.assign(odd=[iter([]), (_ for _ in ()), 1]),
        "contains itself": contains_itself(),
    }


class TestSeries(SerializerTests):
    serializer = SeriesSerializer()
    exact = {name: pd.Series(values, name=name) for name, values in COLUMNS.items()} | {
        "no name": pd.Series([1, 2]),
        "tuple name": pd.Series([1, 2], name=("a", 1)),
        "index": pd.Series([1.5], index=pd.date_range("2020", periods=1, freq="D"), name=5),
        "attrs": pd.Series([1]),
        "none": pd.Series([], dtype="f8"),
    }
    exact["attrs"].attrs = {"a": 1}
    exact |= {f"cells: {name}": pd.Series(cells, dtype=object) for name, cells in CELLS.items()}
    declined = {
        "objects": pd.Series([1, Text("x")]),
        "index": pd.Series([1], index=pd.Index([Colour.RED], dtype=object)),
        "name": pd.Series([1], name=Colour.RED),
        "frame": FRAME,
    }


FRAME_OF_ALL = pd.DataFrame({name: pd.Series(values) for name, values in COLUMNS.items()})


def write(frame, place):
    frame.iloc[0, place] = (
        "written" if isinstance(frame.dtypes.iloc[place], np.dtypes.ObjectDType) else frame.iloc[2, place]
    )


def test_view_of_frame_is_read_only():
    stored = stored_bytes(FrameSerializer().encode(FRAME_OF_ALL)).toreadonly()
    view = FrameSerializer().decode(stored, trusted=True)
    for place, dtype in enumerate(view.dtypes):
        if isinstance(dtype, pd.StringDtype | pd.ArrowDtype):
            continue  # strings are immutable: writing replaces the column of this frame only
        with pytest.raises((ValueError, TypeError, AssertionError)):  # pandas may fail with its own AssertionError
            write(view, place)


def test_columns_are_writable_and_independent():
    stored = stored_bytes(FrameSerializer().encode(FRAME_OF_ALL))
    mine, other = (FrameSerializer().decode(memoryview(bytearray(stored)), trusted=True) for _ in range(2))
    for place, dtype in enumerate(mine.dtypes):
        if not isinstance(dtype, pd.ArrowDtype):  # pandas cannot assign lists in these
            write(mine, place)
    assert mine["f8"].iloc[0] == 3.0
    assert mine["strings"].iloc[0] == "written"
    assert_exact(FRAME_OF_ALL, other)


def test_strided_labels_are_gathered():
    labels = pd.Index(np.arange(1, 9)[::2])
    encoded = FrameSerializer().encode(pd.DataFrame([[1.5, 2, 3, 4]], columns=labels))
    assert list(FrameSerializer().decode(stored_bytes(encoded), trusted=True).columns) == [1, 3, 5, 7]


def test_arrays_in_cells_are_read_only_in_a_view_and_independent_otherwise():
    frame = pd.DataFrame({"a": objects([{1: np.ones((2, 2))}, np.zeros((2, 2))])})
    stored = stored_bytes(FrameSerializer().encode(frame))
    view = FrameSerializer().decode(stored.toreadonly(), trusted=True)
    for array in (view["a"][0][1], view["a"][1]):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 5
    mine = FrameSerializer().decode(memoryview(bytearray(stored)), trusted=True)
    mine["a"][1][0, 0] = 5
    assert_exact(frame, FrameSerializer().decode(stored, trusted=True))


@pytest.mark.parametrize("count", [2001, 5000])
def test_wide_frames_are_one_block_without_a_copy(count):
    frame = pd.DataFrame(rng.random((20, count)))
    stored = memoryview(bytearray(stored_bytes(FrameSerializer().encode(frame))))
    decoded = FrameSerializer().decode(stored, trusted=True)
    assert np.shares_memory(np.frombuffer(stored, np.uint8), decoded.to_numpy())
    assert decoded.to_numpy().flags.c_contiguous
