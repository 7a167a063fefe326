"""Conformance kit run over every built-in serializer."""

import datetime
import decimal
import enum
import functools
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from payloadfs import DecodeError
from payloadfs.serializers import default_serializers
from payloadfs.serializers._arrow.tables import ArrowBatchSerializer, ArrowTableSerializer
from payloadfs.serializers._metadata import read_metadata
from payloadfs.serializers._numpy import NumpySerializer, ReadOnlyNumpySerializer
from payloadfs.serializers._plain import BytesSerializer, JsonSerializer, TextSerializer
from payloadfs.serializers._polars import PolarsFrameSerializer, PolarsSeriesSerializer
from payloadfs.testing import SerializerTests, assert_exact
from payloadfs.testing.serializers import stored_bytes

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
    """Return an object column; pandas would infer another dtype from a plain array."""
    return pd.Series(cells, dtype=object)


def locked(array):
    array.flags.writeable = False
    return array


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
    declined = {
        "read-only": locked(np.arange(3)),
        "object": np.array([1, "a"], dtype=object),
        "structured": np.zeros(2, "i4,f8"),
        "long double": np.zeros(2, np.longdouble),
        "subclass": np.ma.masked_array([1, 2], [True, False]),
        "dtype metadata": np.zeros(2, np.dtype("f8", metadata={"unit": "m"})),
        "void": np.zeros(2, "V3"),
    }


class TestReadOnlyNumpy(SerializerTests):
    serializer = ReadOnlyNumpySerializer()
    exact = {
        "plain": locked(np.arange(3)),
        "broadcast": np.broadcast_to(1.5, (3, 4)),
        "strided": locked(rng.random((30, 40)))[::2, ::-3],
        "fortran": locked(np.asfortranarray(rng.random((3, 4)))),
        "of a frame": locked(pd.DataFrame(rng.random((3, 4))).to_numpy()),
        "empty": locked(np.empty(0)),
    }
    declined = {"writable": np.arange(3), "object": locked(np.array([1, "a"], dtype=object))}


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
        "no columns": TABLE.select([]),
        "nothing": pa.table({}),
    }
    declined = {
        "extension": pa.table({"u": pa.array([b"0" * 16], pa.uuid())}),
        "nested extension": pa.table({"u": pa.nulls(2, pa.list_(pa.uuid()))}),
        "dictionaries differ": pa.table(
            {"d": pa.chunked_array([pa.array([x]).dictionary_encode() for x in ("x", "y")])}
        ),
    }


class TestArrowBatches(SerializerTests):
    serializer = ArrowBatchSerializer()
    exact = {
        "plain": TABLE.to_batches()[0],
        "no rows": TABLE.to_batches()[0][:0],
        "no columns": TABLE.to_batches()[0].select([]),
    }
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
    declined = {"series": pl.Series([1])}


class TestPolarsSeries(SerializerTests):
    serializer = PolarsSeriesSerializer()
    exact = {"plain": pl.Series("n", [1, None, 3]), "no name": pl.Series([1.5])}


def test_another_version_of_polars_that_changes_a_dtype_is_an_error(monkeypatch):
    """polars 1.20 reads the Enum of polars 2 as Categorical."""
    frame = pl.DataFrame({"a": pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])), "b": [[1], [2]]})
    for obj, serializer in ((frame, PolarsFrameSerializer()), (frame["a"], PolarsSeriesSerializer())):
        stored = stored_bytes(serializer.encode(obj))
        assert_exact(obj, serializer.decode(stored, trusted=True))
        with monkeypatch.context() as patch:
            patch.setattr(pl, "read_ipc", lambda file, read=pl.read_ipc: read(file).cast({"a": pl.Categorical}))
            with pytest.raises(
                DecodeError, match=r"reads the column 'a' as Categorical.* and not as Enum: update polars"
            ):
                serializer.decode(stored, trusted=True)


def test_inspection_shows_the_versions_that_wrote_a_frame():
    for obj in (pl.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})):
        serializer, encoded = default_serializers.encode(obj)
        assert "python" in read_metadata(serializer.id, stored_bytes(encoded))["versions"]
