"""The serializers' own kit, over every built-in serializer."""

import datetime
import decimal
import enum
import functools
import zoneinfo
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from payloadfs.serializers._arrow import ArrowBatchSerializer, ArrowTableSerializer
from payloadfs.serializers._numpy import NumpySerializer
from payloadfs.serializers._pandas import FrameSerializer, SeriesSerializer
from payloadfs.serializers._pickle import PickleSerializer
from payloadfs.serializers._plain import BytesSerializer, JsonSerializer, TextSerializer
from payloadfs.serializers._polars import PolarsFrameSerializer, PolarsSeriesSerializer
from payloadfs.testing import SerializerTests

NAN = float("nan")
rng = np.random.default_rng(7)


class Text(str):
    __slots__ = ()


class Colour(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: float
    y: list[int]


def objects(cells):
    """An object column: pandas would infer another dtype from the cells of a plain array."""
    return pd.Series(cells, dtype=object)


def twice(part):
    return [part, part]


class TestBytes(SerializerTests):
    serializer = BytesSerializer()
    exact = {"empty": b"", "zeros": bytes(1000), "all": bytes(range(256)), "large": bytes(3_000_000)}
    declined = {"bytearray": bytearray(b"x"), "text": "x"}


class TestText(SerializerTests):
    serializer = TextSerializer()
    exact = {"empty": "", "ascii": "abc\n", "greek": "αβγ", "emoji": "\U0001f600", "nul": "a\0b"}
    declined = {"surrogate": "\ud800", "subclass": Text("x")}


class TestJson(SerializerTests):
    serializer = JsonSerializer()
    exact = {
        "none": None,
        "true": True,
        "zero": 0,
        "negative zero": -0.0,
        "tiny": 5e-324,
        "large": 2**200,
        "nested": {"a": [1, 2.5, None, {"b": "ü"}], "": {}, "z": []},
        "order": {"b": 1, "a": 2},
        "floats": [0.1, 1e308, 1.0],
        "numbers as text": {"1": "1"},
    }
    declined = {
        "nan": NAN,
        "infinity in a list": [float("inf")],
        "tuple": (1, 2),
        "int keys": {1: 2},
        "text subclass": [Text("x")],
        "enum": {"colour": Colour.RED},
        "shared list": twice([1]),
        "shared dict": {"a": twice({})},
        "surrogate": ["\ud800"],
        "deep": functools.reduce(lambda inner, _: [inner], range(150), []),
        "many": list(range(20_000)),
        "digits": 10**5000,
        "numpy": [np.int64(1)],
    }


class TestNumpy(SerializerTests):
    serializer = NumpySerializer()
    exact = {
        **{dtype: np.arange(24).astype(dtype) for dtype in ("i1", "u2", ">i4", "i8", "f2", "f4", ">f8", "c8", "c16")},
        "bool": np.array([True, False]),
        "datetime": np.array(["2020-01-01", "NaT"], dtype="M8[s]"),
        "datetime in steps": np.arange(3).astype("M8[25s]"),
        "timedelta": np.arange(3).astype("m8[D]"),
        "bytes": np.array([b"a", b"bcd"]),
        "text": np.array(["a", "ü\U0001f600"]),
        "0-d": np.array(5.5),
        "empty": np.empty((0, 3)),
        "3-d": rng.random((3, 4, 5)),
        "fortran": np.asfortranarray(rng.random((30, 40))),
        "large": rng.random(300_000),
        "nan bits": np.array([0x7FF8000000000001, 0xFFF8000000000000], "u8").view("f8"),
    }
    read_only = np.arange(3)
    read_only.flags.writeable = False
    declined = {
        "read-only": read_only,
        "object": np.array([1, "a"], dtype=object),
        "structured": np.zeros(2, "i4,f8"),
        "long double": np.zeros(2, np.longdouble),
        "subclass": np.ma.masked_array([1, 2], [True, False]),
        "dtype metadata": np.zeros(2, np.dtype("f8", metadata={"unit": "m"})),
        "void": np.zeros(2, "V3"),
    }


class TestPickle(SerializerTests):
    serializer = PickleSerializer()
    exact = {
        "tuple": (1, "a", (2.5, None)),
        "set": {1, 2, 3},
        "shared": twice({"a": [1]}),
        "lambda": lambda x: x + 1,
        "closure": (lambda n: lambda x: x + n)(3),
        "named tuple": Point(1.0, [2]),
        "decimal": decimal.Decimal("1.10"),
        "zone": datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        "arrays in a dict": {"a": rng.random(50_000), "b": rng.random((300, 200)).T, "small": np.arange(3)},
        "read-only": TestNumpy.read_only,
        "structured": np.zeros(2, "i4,f8"),
        "object array": np.array([1, "a", None], dtype=object),
        "frame in a list": [pd.DataFrame({"a": [1.0, NAN], "b": ["x", None]})],
        "interval index": pd.DataFrame({"a": [1, 2]}, index=pd.interval_range(0, 2)),
        "bytearray": bytearray(b"abc"),
        "surrogate": "\ud800",
        "class": Point,
    }


ZONE = zoneinfo.ZoneInfo("Europe/Berlin")  # by name, pandas 2 would give pytz
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
}
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


class TestFrames(SerializerTests):
    serializer = FrameSerializer()
    exact = {
        "all columns": pd.DataFrame({name: pd.Series(values) for name, values in COLUMNS.items()}),
        "block": pd.DataFrame(rng.random((500, 8))),
        "row-major": pd.DataFrame(rng.random((50_000, 8)), copy=False),
        "rows of a slice": pd.DataFrame(rng.random((1000, 4)))[100:200],
        "every second row": pd.DataFrame(rng.random((1000, 4)))[::2],
        "large": pd.DataFrame({"a": rng.random(100_000), "b": np.arange(100_000), "c": ["x"] * 100_000}),
        "no rows": FRAME[:0],
        "no rows, all columns": pd.DataFrame({name: pd.Series(values) for name, values in COLUMNS.items()})[:0],
        "one column": FRAME[["a"]],
        "text index": frame(["x", "y", "z"]),
        "named index": frame(pd.Index([3, 1, 2], name="id")),
        "tuple name": frame(pd.Index([3, 1, 2], name=("a", 1, None))),
        "daily": frame(pd.date_range("2020", periods=3, freq="D", name="day")),
        "month ends": frame(pd.date_range("2020", periods=3, freq="ME", tz=ZONE)),
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
    }
    declined = {
        "no columns": FRAME[[]],
        "interval": pd.DataFrame({"a": pd.cut([1, 2, 3], 2)}),
        "period": pd.DataFrame({"a": pd.period_range("2020", periods=3, freq="M")}),
        "sparse": pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1])}),
        "complex": pd.DataFrame({"a": [1j]}),
        "big-endian": pd.DataFrame({"a": np.array([1, 2], ">i4")}),
        "mixed objects": pd.DataFrame({"a": objects([1, "x"])}),
        "late odd cell": pd.DataFrame({"a": objects(["x"] * 5000 + [Text("y")])}),
        "enum cells": pd.DataFrame({"a": objects([Colour.RED])}),
        "dict cells": pd.DataFrame({"a": [{"b": 1}]}),
        "nan among text": pd.DataFrame({"a": objects(["x", NAN])}),
        "surrogates": pd.DataFrame({"a": objects(["\ud800"])}),
        "int overflow": pd.DataFrame({"a": objects([2**70])}),
        "uuid type": pd.DataFrame({"a": pd.array([None], pd.ArrowDtype(pa.uuid()))}),
        "named seconds": frame(pd.DatetimeIndex(["2020"] * 3, tz=datetime.timezone(datetime.timedelta(hours=1), "X"))),
        "interval index": frame(pd.interval_range(0, 3)),
        "enum labels": frame(columns=pd.Index([Colour.RED, "b"], dtype=object)),
        "odd attrs": frame(attrs={"when": datetime.date(2020, 1, 1)}),
        "odd name": frame(pd.Index([1, 2, 3], name=datetime.date(2020, 1, 1))),
        "subclass": type("Sub", (pd.DataFrame,), {})(FRAME),
        "too wide": pd.DataFrame(np.zeros((1, 3000))),
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
    declined = {"objects": pd.Series([1, "x"]), "period": pd.Series(pd.period_range("2020", periods=2))}


TABLE = pa.table({"a": [1, 2, None], "s": ["x", None, "z"], "l": [[1], None, []], "f": [1.5, NAN, None]})


class TestArrowTables(SerializerTests):
    serializer = ArrowTableSerializer()
    exact = {
        "plain": TABLE,
        "no rows": TABLE[:0],
        "slice": TABLE[1:],
        "chunks": pa.concat_tables([TABLE, TABLE]),
        "metadata": TABLE.replace_schema_metadata({"a": "b"}),
        "dictionary": pa.table({"d": pa.array(["x", "y", "x"]).dictionary_encode()}),
        "views": pa.table({"v": pa.array(["x", "a longer text than twelve"], pa.string_view())}),
        "duplicate names": pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
        "large": pa.table({"a": rng.random(100_000)}),
    }
    declined = {
        "no columns": TABLE.select([]),
        "extension": pa.table({"u": pa.array([b"0" * 16], pa.uuid())}),
        "nested extension": pa.table({"u": pa.nulls(2, pa.list_(pa.uuid()))}),
        "dictionaries differ": pa.table(
            {"d": pa.chunked_array([pa.array([x]).dictionary_encode() for x in ("x", "y")])}
        ),
    }


class TestArrowBatches(SerializerTests):
    serializer = ArrowBatchSerializer()
    exact = {"plain": TABLE.to_batches()[0], "no rows": TABLE.to_batches()[0][:0]}
    declined = {"table": TABLE}


class TestPolarsFrames(SerializerTests):
    serializer = PolarsFrameSerializer()
    exact = {
        "plain": pl.DataFrame({"a": [1, None], "s": ["x", None], "f": [NAN, None], "l": [[1], None]}),
        "no rows": pl.DataFrame({"a": []}, schema={"a": pl.Int8}),
        "no columns": pl.DataFrame(),
        "types": pl.DataFrame(
            {
                "c": pl.Series(["u", "v"], dtype=pl.Categorical),
                "e": pl.Series(["u", "v"], dtype=pl.Enum(["v", "u"])),
                "d": pl.Series([decimal.Decimal("1.10"), None], dtype=pl.Decimal(10, 2)),
                "t": pl.Series([datetime.datetime(2020, 1, 1), None], dtype=pl.Datetime("ms", "Europe/Berlin")),
                "st": [{"x": 1}, None],
                "b": [b"x", None],
            }
        ),
    }
    declined = {"objects": pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)})}


class TestPolarsSeries(SerializerTests):
    serializer = PolarsSeriesSerializer()
    exact = {"plain": pl.Series("n", [1, None, 3]), "no name": pl.Series([1.5])}
