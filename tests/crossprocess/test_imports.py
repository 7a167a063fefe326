"""Many threads that load objects in a process that has not imported the packages of these objects."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from payloadfs import Repository

LOADER = """
import sys, threading, traceback
from concurrent.futures import ThreadPoolExecutor
import payloadfs
how, root, view = sys.argv[1], sys.argv[2], sys.argv[3] == "view"
pointers = sys.stdin.read().splitlines()
repository = payloadfs.Repository(root)
sys.setswitchinterval(1e-5)
assert not {"pandas", "polars", "pyarrow", "sklearn", "numpy"} & sys.modules.keys()
if how == "load_many":
    values = repository.load_many(pointers, view=view)
elif how == "aio":
    import asyncio
    values = asyncio.run(payloadfs.aio.load_many(pointers, repository=repository, view=view))
else:
    start = threading.Barrier(len(pointers))
    def load(pointer):
        start.wait()
        return repository.load(pointer, view=view)
    with ThreadPoolExecutor(len(pointers)) as pool:
        values = list(pool.map(load, pointers))
assert repository.load_many(pointers) is not None  # nothing is left half imported
for value in values:
    print(type(value).__module__, type(value).__name__)
"""


def _objects() -> dict[str, list[Any]]:
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import StandardScaler

    frame = pd.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]})
    # Different modules of one package as the first thing that a thread asks for.
    return {
        "pandas": [
            frame,
            frame.a,
            {"f": frame, 1: {2}},
            pd.Timestamp("2026"),
            pd.Interval(0, 1),
            frame.index,
            {pd.NaT},
        ],
        "polars": [
            pl.DataFrame({"a": [1]}),
            pl.Series([1]),
            {"f": pl.DataFrame({"a": [1]}), 1: {2}},
            pl.col("a"),
            pl.LazyFrame({"a": [1]}),
        ],
        "pyarrow": [pa.table({"a": [1]}), pa.array([1]), pa.scalar(1), pa.schema([("a", pa.int8())])],
        "sklearn": [LinearRegression().fit([[0.0], [1.0]], [0, 1]), StandardScaler().fit([[1.0]]), np.arange(3), frame],
    }


WAYS = ["load_many", "threads", "aio"]
PACKAGES = ["pandas", "polars", "pyarrow", "sklearn"]
# Any two of package, way and view are in one of these; the sweep has all three of each.
EVERY_PAIR = {
    (package, way, ("view", "value")[(PACKAGES.index(package) + WAYS.index(way)) % 2])
    for package in PACKAGES
    for way in WAYS
}


@pytest.mark.parametrize(
    ("package", "how", "view"),
    [
        pytest.param(*case, marks=() if case in EVERY_PAIR else pytest.mark.sweep)
        for case in itertools.product(PACKAGES, WAYS, ["view", "value"])
    ],
)
def test_first_imports_in_many_threads(tmp_path: Path, package: str, how: str, view: str) -> None:
    objects = _objects()[package] * 4
    repository = Repository(tmp_path, fsync=False)
    pointers = [pointer.to_json() for pointer in repository.save_many(objects)]
    done = subprocess.run(
        [sys.executable, "-c", LOADER, how, str(tmp_path), view],
        input="\n".join(pointers),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    expected = [f"{type(obj).__module__} {type(obj).__name__}" for obj in objects]
    assert done.stdout.splitlines() == expected


VIEWS: dict[str, Any] = {
    "numpy scalar": {"loss": np.float64(0.5)},
    "many scalars": [np.int64(3), np.datetime64("2020"), np.bool_(True), np.str_("x")],
    "frame with a scalar in a cell": pd.DataFrame({"a": pd.Series([np.int64(1), {2}], dtype=object)}),
    "masked": {1: np.ma.masked_array([1, 2], [True, False])},
    "arrays": OrderedDict(a=np.arange(3), b=[np.float32(1), np.zeros((2, 2), order="F")]),
    "structured": {1: np.zeros(2, [("a", "i4")]), 2: np.zeros(2, [("a", "i4")])[0]},
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_pickled_numpy_objects(tmp_path: Path, name: str) -> None:
    repository = Repository(tmp_path, fsync=False)
    view = repository.load(repository.save(VIEWS[name]), view=True)
    assert repr(view) == repr(VIEWS[name])
    for array in view.values() if isinstance(view, dict) else []:
        if isinstance(array, np.ndarray):
            assert not array.flags.writeable
