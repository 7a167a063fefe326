"""Strict comparison of objects whose state is not visible in attributes and values."""

import copy
import datetime as dt
import pathlib
import pickle
import re
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from payloadfs.testing import assert_exact, describe

NAN = float("nan")
QUIET = np.array([0x7FC00001, 0x7FC00002], "u4").view("f4")


class Fraction(float):
    pass


class Pair(tuple):
    pass


class Zone(dt.tzinfo):
    def __init__(self, hours=0):
        self.hours = hours

    def utcoffset(self, moment):
        return dt.timedelta(hours=self.hours)


class Thing:
    pass


def function(source, **names):
    exec(f"made = {source}", names)
    return names["made"]


def in_a_set(*, shared):
    one = Thing()
    return [one, {one if shared else Thing()}]


def pairs(*, shared):
    one, other = Pair((1,)), Pair((1,))
    one.unit = other.unit = "m"
    return [one, one if shared else other]


def with_attribute(obj, **named):
    for name, value in named.items():
        object.__setattr__(obj, name, value)
    return obj


def levels(sortorder):
    return pd.MultiIndex(levels=[["a", "b"]], codes=[[0, 1]], sortorder=sortorder)


def annotated(**named):
    made = function("lambda a: a")
    made.__annotations__ = named
    return made


def masked(**info):
    made = np.ma.MaskedArray([1.0])
    made._optinfo.update(info)
    return made


def union(codes):
    return pa.UnionArray.from_sparse(pa.array(codes, pa.int8()), [pa.array([1], pa.int8()), pa.array([1], pa.int16())])


def arrow(kind, *cells):
    return pa.array(cells, kind)


def counted(kind, number):
    return pl.Series("a", [number], dtype=pl.Int64).cast(kind)


def struct(**field):
    return pa.struct([pa.field("a", pa.int8(), **field)])


def words(*known):
    return pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(known))


def column(array):
    return pd.DataFrame({"a": pd.arrays.ArrowExtensionArray(array)})


WITH_METADATA = np.dtype([("a", np.dtype("f8", metadata={"unit": "m"}))])
NANOSECONDS = pa.timestamp("ns")

DIFFERENT = {
    "file names": (OSError(2, "x", "a"), OSError(2, "x", "b")),
    "names of modules": (ImportError("x", name="a"), ImportError("x", name="b")),
    "NaN of a subclass": (Fraction(NAN), Fraction(-NAN)),
    "long patterns": (re.compile("a" * 300), re.compile("a" * 299 + "b")),
    "own zones": (dt.datetime(2020, 1, 1, tzinfo=Zone(1)), dt.datetime(2020, 1, 1, tzinfo=Zone(2))),
    "shared with a set": (in_a_set(shared=True), in_a_set(shared=False)),
    "shared tuples with attributes": (pairs(shared=True), pairs(shared=False)),
    "keyword-only": (function("lambda a, b: a"), function("lambda a, *, b: a")),
    "positional-only": (function("lambda a, b: a"), function("lambda a, /, b: a")),
    "globals": (function("lambda: x", x=1), function("lambda: x", x=2)),
    "globals of inner functions": (function("lambda: lambda: x", x=1), function("lambda: lambda: x", x=2)),
    "annotations": (annotated(a=int), annotated()),
    "paths": (pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
    # numpy
    "metadata of a field": (np.zeros(1, WITH_METADATA), np.zeros(1, [("a", "f8")])),
    "NaN beside objects": (np.array([(QUIET[0], "a")], "f4,O"), np.array([(QUIET[1], "a")], "f4,O")),
    "info of a masked array": (masked(a=1), masked()),
    # pandas
    "categories of a dtype": (pd.CategoricalDtype(["a"]), pd.CategoricalDtype(["b"])),
    "classes of categories": (pd.CategoricalDtype([1]), pd.CategoricalDtype([1.0])),
    "no categories": (pd.CategoricalDtype(), pd.CategoricalDtype([])),
    "NaN that fills": (pd.SparseDtype("f8", NAN), pd.SparseDtype("f8", -NAN)),
    "sort order": (levels(None), levels(0)),
    "attribute of a frame": (with_attribute(pd.DataFrame({"a": [1]}), b=1), pd.DataFrame({"a": [1]})),
    "attribute of an index": (with_attribute(pd.Index([1]), b=1), pd.Index([1])),
    "field of an Arrow dtype": (pd.ArrowDtype(struct(metadata={"k": "v"})), pd.ArrowDtype(struct())),
    "dictionary of a column": (column(words("a", "b")), column(words("a"))),
    "days of a column": (column(arrow(pa.date64(), 1)), column(arrow(pa.date64(), 2))),
    "NaN of a column": (column(pa.array(QUIET[:1])), column(pa.array(QUIET[1:]))),
    # Arrow and polars
    "nullable inside": (struct(nullable=False), struct()),
    "metadata inside": (struct(metadata={"k": "v"}), struct()),
    "sorted keys": (pa.map_(pa.string(), pa.int8(), keys_sorted=True), pa.map_(pa.string(), pa.int8())),
    "dictionaries": (words("a", "b"), words("a")),
    "members of a union": (union([0]), union([1])),
    "milliseconds": (arrow(pa.date64(), 1), arrow(pa.date64(), 2)),
    "nanoseconds in lists": (arrow(pa.list_(NANOSECONDS), [1]), arrow(pa.list_(NANOSECONDS), [2])),
    "time in lists": (arrow(pa.list_(pa.time64("ns")), [1]), arrow(pa.list_(pa.time64("ns")), [2])),
    "time in structs": (pa.array([{"a": 1}], pa.struct([("a", pa.time64("ns"))])), pa.array([{"a": 2}], pa.struct([("a", pa.time64("ns"))]))),
    "values of maps": (arrow(pa.map_(pa.int8(), pa.int8()), [(1, 2)]), arrow(pa.map_(pa.int8(), pa.int8()), [(1, 3)])),
    "null, null inside": (arrow(struct(), None), arrow(struct(), {"a": None})),
    "null, empty": (arrow(pa.list_(pa.int8()), None), arrow(pa.list_(pa.int8()), [])),
    "narrow NaN": (pa.array(QUIET[:1]), pa.array(QUIET[1:])),
    "scalar NaN": (pa.scalar(NAN), pa.scalar(-NAN)),
    "NaN in a scalar": (pa.scalar({"a": NAN}), pa.scalar({"a": -NAN})),
    "polars time": (counted(pl.Time, 1), counted(pl.Time, 2)),
    "polars moments": (counted(pl.Datetime("ns"), 1), counted(pl.Datetime("ns"), 2)),
    "polars durations": (counted(pl.Duration("ns"), 1), counted(pl.Duration("ns"), 2)),
    "polars in lists": (counted(pl.Time, 1).implode(), counted(pl.Time, 2).implode()),
    "polars in structs": (counted(pl.Time, 1).to_frame().to_struct("s"), counted(pl.Time, 2).to_frame().to_struct("s")),
    "data of a plan": (pl.LazyFrame({"a": [1]}), pl.LazyFrame({"a": [2]})),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_difference(name):
    one, other = DIFFERENT[name]
    assert_exact(one, one)
    for left, right in ((one, other), (other, one)):
        with pytest.raises(AssertionError):
            assert_exact(left, right)


@pytest.mark.parametrize("name", ["coords", "order", "reference system", "colours"])
def test_difference_in_libraries(name):
    one, other = LIBRARIES[name]()
    with pytest.raises(AssertionError):
        assert_exact(one, other)


def _xarrays():
    xr = pytest.importorskip("xarray")
    return xr.Dataset({"a": ("x", [1, 2]), "b": ("x", [3, 4])})


def _points(system):
    geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
    return geopandas.GeoSeries([shapely.Point(0, 0)], crs=system)


def _image(mode, *colour):
    image = pytest.importorskip("PIL.Image").new("P", (1, 1))
    image.putpalette(colour, mode)
    return image


LIBRARIES = {
    "coords": lambda: (_xarrays(), _xarrays().set_coords("b")),
    "order": lambda: (_xarrays(), _xarrays()[["b", "a"]]),
    "reference system": lambda: (_points(4326), _points(3857)),
    "colours": lambda: (_image("RGBA", 0, 0, 0, 9), _image("RGB", 0, 0, 0)),
}


def hashed(path):
    hash(path)
    return path


SAME = {
    "a path that was hashed": hashed(pathlib.PurePosixPath("a/b")),
    "a moment in a zone of one's own": dt.datetime(2020, 1, 1, tzinfo=Zone(1)),
    "twins in a set": [{Thing(), Thing()}, Thing()],
    "intervals": [pd.Interval(0, 1)] * 2,
    "an error with attributes": with_attribute(OSError(2, "x", "a"), code=[1]),
    "cells of Arrow": [words("a", "b"), union([0]), arrow(pa.list_(NANOSECONDS), [1, None], None), arrow(struct(), None)],
    "a column of dictionaries": column(words("a", "b")),
    "a plan": pl.LazyFrame({"a": [1, 2]}).filter(pl.col("a") > 1),
    "categories": pd.CategoricalDtype(pd.Index(["a", None, 1], dtype=object).dropna(), ordered=True),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_copy_is_equal(name):
    assert_exact(SAME[name], pickle.loads(pickle.dumps(SAME[name])))
    assert_exact(SAME[name], copy.deepcopy(SAME[name]))


def test_chunks_of_table_columns_are_ignored():
    whole = pa.table({"a": words("a", "b").take(pa.array([0, 0])), "b": [NAN, None]})
    assert_exact(whole, pa.concat_tables([whole.slice(0, 1), whole.slice(1)]))
    with pytest.raises(AssertionError):
        assert_exact(whole, whole.slice(0, 1))


def test_unpicklable_object_is_described_without_address():
    facts = [fact for obj in (threading.Lock(), iter([1]), property(len)) for _, fact in describe(obj)]
    assert not [fact for fact in facts if re.search("0x[0-9a-f]{6}", fact)]
