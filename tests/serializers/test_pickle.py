"""Pickle: the conformance kit, and objects that plain pickle would change or bloat."""

import contextlib
import datetime
import decimal
import io
import pathlib
import zoneinfo
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import payloadfs
from payloadfs.serializers import default_serializers
from payloadfs.serializers._pickle.serializer import PickleSerializer
from payloadfs.testing import SerializerTests
from payloadfs.testing.serializers import stored_bytes

NAN = float("nan")
rng = np.random.default_rng(7)


class Point(NamedTuple):
    x: float
    y: list[int]


class Sub(np.ndarray):
    pass


def locked(array):
    array.flags.writeable = False
    return array


def twice(part):
    return [part, part]


def masked(*arguments, hard=False, **options):
    array = np.ma.MaskedArray(*arguments, **options)
    if hard:
        array.harden_mask()
    return array


def contains_itself():
    array = np.array([1, None], dtype=object)
    array[1] = array
    return locked(array)


ARRAYS = {
    **{kind: locked(np.zeros(3, kind)) for kind in ("f8", "M8[D]", "m8[25s]", "O", "V3", "V0", "S0", "i4,f8", "U2")},
    "read-only and strided": locked(np.arange(100.0))[::3],
    "read-only times, strided": locked(np.arange(100).astype("M8[s]"))[::-2],
    "read-only objects, strided": locked(np.array([[1], "x", None, 2], dtype=object))[::2],
    "read-only record": locked(np.rec.fromarrays([[1, 2], ["a", "b"]], names="n,t")),
    "read-only matrix": locked(np.arange(6).reshape(2, 3).view(Sub)),
    "read-only and contains itself": contains_itself(),
    "broadcast": np.broadcast_to(np.float32(1.5), (3, 4)),
    "times": np.arange(10_000).astype("M8[ns]"),
    "big-endian times": np.arange(10).astype(">M8[ns]"),
    "strided": np.arange(100_000.0)[::7],
    "transposed and strided": rng.random((30, 40)).T[::2],
    "no mask": masked([1.5, 2.0]),
    "full mask": masked([1.5, 2.0], mask=[False, False]),
    "mask": masked([1, 2, 3], mask=[True, False, True], fill_value=7),
    "hard mask": masked([1, 2], mask=[True, False], hard=True),
    "large and masked": masked(rng.random(10_000), mask=rng.random(10_000) > 0.5),
    "structured and masked": masked(np.zeros(2, "i4,f8"), mask=[(True, False), (False, False)]),
    "masked objects": masked(np.array([[1], None], dtype=object), mask=[False, True]),
    "masked, 0-d": masked(5.0, mask=True),
    "the masked constant": np.ma.masked,
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
        "structured": np.zeros(2, "i4,f8"),
        "object array": np.array([1, "a", None], dtype=object),
        "frame in a list": [pd.DataFrame({"a": [1.0, NAN], "b": ["x", None]})],
        "interval index": pd.DataFrame({"a": [1, 2]}, index=pd.interval_range(0, 2)),
        "bytearray": bytearray(b"abc"),
        "surrogate": "\ud800",
        "class": Point,
        "rows without columns": [pa.table({"a": [1, 2]}).select([]), pa.record_batch({"a": [1, 2]}).select([])],
        "rows and metadata": [pa.table({"a": [1]}).select([]).replace_schema_metadata({"k": "v"})],
        "slices of Arrow": [pa.array(range(1000)).slice(3, 5), pa.array([["a"], None] * 50).slice(1, 3)],
        "chunks of Arrow": pa.chunked_array([[1, 2], [None]]),
        "text position": io.StringIO("abc"),
        **ARRAYS,
    }


def test_memmap_loads_as_array(tmp_path):
    np.arange(10_000.0).tofile(tmp_path / "data")
    for mode, shape in (("r", (10_000,)), ("c", (100, 100)), ("r+", (10_000,))):
        mapped = np.memmap(tmp_path / "data", mode=mode, shape=shape, dtype="f8")
        for obj in (mapped, mapped[::3]):
            for serializer, encoded in (
                default_serializers.encode(obj),
                (PickleSerializer(), PickleSerializer().encode(obj)),
            ):
                stored = stored_bytes(encoded)
                assert bytes(str(tmp_path), "utf-8") not in bytes(stored)
                value = serializer.decode(stored, trusted=True)
                assert type(value) is np.ndarray
                assert value.flags.writeable == (mode != "r")
                assert np.array_equal(value, obj)


@pytest.mark.parametrize(
    "obj",
    [
        np.arange(1_000_000)[500:510],
        np.arange(1_000_000)[::100_000],
        np.arange(1_000_000).astype("M8[s]")[::100_000],
        pa.array(range(1_000_000)).slice(5, 10),
        pa.array(["text"] * 100_000).slice(5, 10),
        pa.table({"a": range(100_000)}).slice(5, 10),
        pa.array([[1]] * 100_000).slice(5, 10),
        pd.Series(["text"] * 100_000)[5:15],
        pd.DataFrame({"a": np.arange(1_000_000)})[5:15],
        pl.Series(range(100_000))[5:15],
    ],
    ids=lambda obj: f"{type(obj).__module__}.{type(obj).__name__}",
)
def test_only_visible_cells_are_stored(obj):
    assert stored_bytes(PickleSerializer().encode([obj])).nbytes < 3_000
    assert stored_bytes(default_serializers.encode(obj)[1]).nbytes < 5_000


@pytest.mark.parametrize(
    "obj", [{"x": np.arange(10_000.0)[::2]}, {"x": np.arange(10_000).astype("M8[s]")}, masked(np.arange(10_000.0))]
)
def test_large_memory_is_out_of_band(obj):
    encoded = PickleSerializer().encode(obj)
    assert max(frame.nbytes for frame in encoded.frames) >= 40_000
    assert encoded.frames[1].nbytes < 2_000


class Forgets(pd.Series):
    _metadata = ["unit"]

    @property
    def _constructor(self):
        return Forgets


@contextlib.contextmanager
def some_context():
    yield


def keyless_zone():
    path = pathlib.Path(zoneinfo.TZPATH[0]) / "UTC" if zoneinfo.TZPATH else None
    data = path.read_bytes() if path and path.exists() else b"TZif" + bytes(40)
    return zoneinfo.ZoneInfo.from_file(io.BytesIO(data))


def noted(obj):
    object.__setattr__(obj, "note", "x")
    return obj


REFUSED = {
    "series that forgets": (lambda: Forgets([1, 2], name="x"), "_name"),
    "attribute of a frame": (lambda: noted(pd.DataFrame({"a": [1]})), "'note'.*attrs"),
    "attribute of a series": (lambda: [noted(pd.Series([1]))], r"obj\[0\].*'note'"),
    "polars objects": (lambda: pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}), "'o'.*Object"),
    "polars object series": (lambda: pl.Series("o", [object()], dtype=pl.Object), "'o'.*Object"),
    "memoryview": (lambda: {"m": memoryview(b"x")}, r"obj\['m'\] \(memoryview\)"),
    "open file": (lambda: [open(__file__)], r"obj\[0\] \(_io.TextIOWrapper\)"),  # noqa: SIM115
    "generator": (lambda: (x for x in ()), "generator"),
    "zone without a key": (keyless_zone, "ZoneInfo"),
    "a cell of a frame": (lambda: pd.DataFrame({"a": [1, (x for x in ())]}), r"obj\['a'\].*\[1\].*generator"),
    "a label of a frame": (lambda: pd.DataFrame([[1]], columns=[(x for x in ())]), r"obj\.columns.*generator"),
    "attrs of a frame": (
        lambda: attributed(pd.DataFrame({"a": [1]}), (x for x in ())),
        r"obj\.attrs\['k'\].*generator",
    ),
    "a cell of an array": (lambda: np.array([1, (x for x in ())], dtype=object), r"obj.*\[1\].*generator"),
}


def attributed(frame, value):
    frame.attrs["k"] = value
    return frame


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refuses_inexact_objects(name):
    make, words = REFUSED[name]
    with pytest.raises(payloadfs.EncodeError, match=f"(?s){words}"):
        default_serializers.encode(make())


def test_view_of_pickle_is_read_only():
    obj = {
        "small": np.arange(3),
        "large": np.arange(10_000.0),
        "object": np.array([1, "a"], dtype=object),
        "times": np.arange(3).astype("M8[s]"),
        "masked": masked([1, 2], mask=[True, False]),
        "strided": np.arange(9)[::2],
        "frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.array([1, None], "Int64")}),
    }
    stored = stored_bytes(PickleSerializer().encode(obj)).toreadonly()
    value = PickleSerializer().decode(stored, trusted=True)
    for name in ("small", "large", "object", "times", "masked", "strided"):
        with pytest.raises(ValueError, match="read-only"):
            value[name][0] = 1
    for column in (0, 2):  # strings are immutable: writing replaces the column of this frame only
        with pytest.raises(ValueError, match=r"read-only|immutable"):
            value["frame"].iloc[0, column] = value["frame"].iloc[1, column]
