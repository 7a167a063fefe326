"""Frames of everyday code are stored as Arrow, load without pickle, and are readable by other programs."""

import contextlib
import datetime as dt
import io
import json
import math
import uuid

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

from payloadfs import Repository
from payloadfs.serializers import default_serializers
from payloadfs.testing.serializers import stored_bytes

from .everyday import FRAMES, PAGE, table
from .harness import report, round_trips


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return round_trips({name: make() for name, make in FRAMES.items()}, tmp_path_factory.mktemp("store"))


def test_all_are_exact(outcomes):
    assert len(outcomes) >= 60
    assert not report(outcomes)


def test_nearly_all_are_arrow_and_safe(outcomes):
    arrow = [name for name, outcome in outcomes.items() if outcome.serializer.startswith("pandas")]
    safe = [name for name, outcome in outcomes.items() if not outcome.executable]
    assert len(arrow) >= 0.95 * len(outcomes), set(outcomes) - set(arrow)
    assert len(safe) >= 0.90 * len(outcomes), set(outcomes) - set(safe)


def test_safe_ones_load_under_the_strictest_policy(outcomes, tmp_path):
    strict = Repository(tmp_path, pickle="never")
    for name, outcome in outcomes.items():
        if not outcome.executable:
            frame = FRAMES[name]()
            assert strict.load(strict.save(frame)).shape == frame.shape


def test_page_is_up_to_date(outcomes):
    if pd.__version__ < "3":
        pytest.skip("the page shows the newest pandas")
    assert PAGE.read_text() == table(outcomes)


def expected(frame):
    """Return the columns that another reader should see: plain values, None if missing."""
    found = []
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        keeps_nan = isinstance(column.dtype, np.dtype) and column.dtype.kind in "fc"
        in_category = isinstance(column.dtype, pd.CategoricalDtype)
        found.append([plain(cell, keeps_nan, in_category) for cell in column.tolist()])
    return found


def plain(cell, keeps_nan, in_category):
    if isinstance(cell, pd.Interval) and in_category:
        return str(cell)
    if isinstance(cell, pd.Interval):
        return {"left": cell.left, "right": cell.right}
    if isinstance(cell, pd.Period):
        return cell.ordinal
    if isinstance(cell, pd.Timestamp):
        return cell.to_pydatetime() if cell is not pd.NaT else None
    if isinstance(cell, pd.Timedelta):
        return cell.to_pytimedelta()
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    if isinstance(cell, complex):
        return [cell.real, cell.imag]
    if cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell) and not keeps_nan):
        return None
    return cell


def seen(cell):
    """Return a cell of another reader as a plain value."""
    if isinstance(cell, pl.Series):
        return cell.to_list()
    if isinstance(cell, tuple):
        return list(cell)
    if hasattr(cell, "tzinfo") and isinstance(cell, dt.datetime) and cell.tzinfo is not None:
        return cell.astimezone(dt.UTC)
    return cell


def same(one, other):
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    if isinstance(one, uuid.UUID):
        return one.bytes == other
    if seen(one) == seen(other):
        return True
    if isinstance(other, bytes) and not isinstance(one, bytes):
        # Cells of several classes are msgpack, see docs/explanation/format.md.
        read = msgspec.msgpack.decode(other, ext_hook=lambda _, data: msgspec.msgpack.decode(data))
        if type(read) is list and read[0] == "numpy":
            read = np.frombuffer(read[2], read[1])[0]
        return (one is None and read != read) or read == one
    # Mixtures and dicts are JSON strings, see docs/explanation/format.md.
    with contextlib.suppress(ValueError):
        return isinstance(other, str) and json.loads(other) == one
    return False


def check(name, frame, labels, columns):
    wanted = expected(frame)
    if all(type(label) is str for label in frame.columns) and frame.columns.is_unique:
        assert labels[: len(wanted)] == list(frame.columns), name
    for place, cells in enumerate(wanted):
        different = [(one, other) for one, other in zip(cells, columns[place], strict=True) if not same(one, other)]
        assert not different, (name, frame.columns[place], different[:3])


def by_pyarrow(content):
    read = pa.ipc.open_file(io.BytesIO(content)).read_all()
    return read.column_names, [column.to_pylist() for column in read.columns]


def by_polars(content):
    read = pl.read_ipc(io.BytesIO(content))
    return read.columns, [column.to_list() for column in read.get_columns()]


def by_duckdb(content):
    duckdb = pytest.importorskip("duckdb")
    read = pa.ipc.open_file(io.BytesIO(content)).read_all()
    unique = read.rename_columns([str(place) for place in range(read.num_columns)])
    rows = duckdb.connect().from_arrow(unique).fetchall()
    return read.column_names, [[row[place] for row in rows] for place in range(read.num_columns)]


@pytest.mark.parametrize("reader", [by_pyarrow, by_polars, by_duckdb])
@pytest.mark.parametrize("name", FRAMES)
def test_other_programs_read_the_same(name, reader):
    frame = FRAMES[name]()
    serializer, encoded = default_serializers.encode(frame)
    if serializer.id != "pandas/1" or not frame.shape[1]:
        pytest.skip("not a plain Arrow file")
    labels, columns = reader(bytes(stored_bytes(encoded)))
    check(name, frame, labels, columns)


def test_readme_is_up_to_date(outcomes):
    if pd.__version__ < "3":
        pytest.skip("the README describes the newest pandas")
    safe = sum(not outcome.executable for outcome in outcomes.values())
    text = (PAGE.parents[2] / "README.md").read_text()
    assert f"{safe} of {len(outcomes)} [everyday frames](docs/explanation/everyday-frames.md)" in " ".join(text.split())
