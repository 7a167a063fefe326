"""Write the golden objects and pointers of one release. Existing files are never changed.

    python tests/golden/make.py v1

Every later release must read them (test_golden.py), as format version 1 promises.
"""

import datetime
import decimal
import json
import pathlib
import pickle
import sys
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from payloadfs import Key, KeyRing, Payload, Pointer, Repository

HERE = pathlib.Path(__file__).parent
KEYS = KeyRing([Key(b"golden key, known to everybody!!")])
ROOT = "file:///golden"


def objects():
    days = pd.date_range("2026-11-22", periods=3, freq="D", name="day")
    frame = pd.DataFrame(
        {
            "number": [1.5, None, -0.0],
            "text": pd.array(["x", None, "ü"], dtype="str"),
            "small": pd.array([1, None, 3], dtype="Int8"),
            "kind": pd.Categorical(["b", "a", None], ["a", "b"], ordered=True),
            "when": pd.DatetimeIndex(["2026-01-01", None, "2026-07-01"], tz=zoneinfo.ZoneInfo("Europe/Berlin")),
            "flag": [True, False, True],
        },
        index=days,
    )
    frame.attrs = {"source": "golden"}
    return {
        "bytes": bytes(range(256)),
        "text": "golden ü\n",
        "json": {"a": [1, 2.5, None, True], "b": "x"},
        "tree": tree(),
        "tree-long": [*range(16_384), (1, datetime.date(2026, 11, 25))],
        "tree-long-dict": {f"{n}": n for n in range(16_384)},
        "npy": np.arange(12, dtype=">i4").reshape(3, 4).T,
        "npy-sealed": np.zeros(40_000),
        "pandas": frame,
        "pandas-sealed": pd.DataFrame({"a": np.zeros(20_000), "b": np.ones(20_000, "i8")}),
        "pandas-series": pd.Series([1, 2], index=["x", "y"], name=("a", 1)),
        "arrow-table": pa.table({"a": [1, None], "s": ["x", "y"]}),
        "arrow-batch": pa.record_batch({"a": [1.5, 2.5]}),
        "polars": pl.DataFrame({"a": [1, None], "s": ["x", None]}),
        "polars-series": pl.Series("n", [1, 2, 3]),
        "pickle": {1: (2, {3}), "at": datetime.datetime(2026, 11, 22, 12, 30), "len": len},
        "pickle-sealed": [np.zeros(40_000), "head", len],
        "npy-readonly": np.broadcast_to(np.float32(1.5), (3, 2)),
        "pandas-vocabulary": vocabulary(),
        "pandas-mixed": frame.assign(odd=[{1}, ("x", 2), None], same=[1j, 2, 3]),
        "pickle-restored": restored(),
        "compressed-zstd": np.arange(20_000) % 7,
        "compressed-lz4": b"golden and golden again " * 300_000,
    }


def tree():
    """Return an object with values of each kind, inline and as leaves."""
    return {
        "plain": [None, True, -1, 2**70, 1.5, "ü", b"x", 1j, {1, 2}, frozenset({3}), range(3), bytearray(b"y")],
        ("a", 1): (
            datetime.datetime(2026, 11, 25, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
            datetime.date(2026, 1, 1),
        ),
        "numbers": [decimal.Decimal("1.50"), uuid.UUID(int=5), np.float32(1.5), datetime.timedelta(1)],
        "arrays": [
            np.arange(3),
            np.arange(20_000.0),
            np.zeros(2, [("a", "i4")]),
            np.ma.masked_array([1, 2], [True, False]),
        ],
        "pandas": [pd.DataFrame({"a": [1]}), pd.Index(["x"]), pd.Timestamp("2026-01-01", tz="UTC"), pd.NA],
        "arrow": [pa.table({"a": [1]}), pa.array([1, None]), pa.scalar("x"), pl.DataFrame({"a": [1]})],
        "long": "text " * 2000,
    }


def vocabulary():
    """Return a frame with every kind of column, index level, name and attribute in the sidecar."""
    cells = {
        "time": [datetime.time(1, 2), None],
        "datetime": [datetime.datetime(2026, 1, 1), None],
        "timedelta": [datetime.timedelta(1), None],
        "Decimal": [decimal.Decimal("1.50"), None],
        "UUID": [uuid.UUID(int=5), np.nan],
        "list": [["x", None], []],
        "ndarray": [np.arange(2.0), None],
        "mixed": [1, "x"],
        "json": [{"a": [1]}, pd.NA],
    }
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in cells.items()})
    frame["complex"] = np.array([1j, 2])
    frame["period"] = pd.period_range("2026Q1", periods=2, freq="Q-NOV")
    frame["interval"] = pd.interval_range(0.0, 2.0, closed="left")
    frame["cut"] = pd.cut([1, 5], 2)
    frame["offset"] = pd.DatetimeIndex(["2026", "2027"], tz=datetime.timezone(datetime.timedelta(hours=1), "X"))
    stamp = pd.Timestamp("2026-01-01", tz=zoneinfo.ZoneInfo("Europe/Berlin"))
    levels = [pd.cut([1, 5], 2), pd.period_range("2026", periods=2, freq="D"), [1.5, 2.5]]
    frame.index = pd.MultiIndex.from_arrays(levels, names=[stamp, (b"b", 1.5), np.int64(3)])
    frame.attrs = {
        "when": datetime.date(2026, 1, 1),
        1: [pd.Timedelta(1, "s"), pd.Interval(0, 1), pd.Period("2026", "M"), pd.NA, pd.NaT],
    }
    return frame


def restored():
    """Return objects that pickles rebuild through `payloadfs.serializers._restore`."""
    locked = np.array([1, "x"], dtype=object)
    locked.flags.writeable = False
    hard = np.ma.masked_array([1, 2], mask=[True, False], fill_value=7)
    hard.harden_mask()
    run_ends = pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([5]))
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16)))
    return {
        "locked": locked,
        "masked": [np.ma.masked_array([1.5]), hard],
        "times": np.arange(3).astype("M8[s]"),
        "rows": [pa.table({"a": [1, 2]}).select([]), pa.record_batch({"a": [1, 2]}).select([])],
        "scalars": [run_ends[0], uuids[0], pa.scalar(pa.MonthDayNano([1, 2, 3]))],
    }


def main(version):
    folder = HERE / version
    for digest in ("blake3", "sha256"):
        repository = Repository(folder / "objects", keys=KEYS, digest=digest, fsync=False)
        for name, obj in objects().items():
            file = folder / f"{name}.{digest}.json"
            if not file.exists():
                _, _, compression = name.partition("compressed-")
                pointer = repository.save(obj, prefix=f"{name}-{digest}", compression=compression or "none")
                pointer = pointer.replaced(root=f"{ROOT}/{version}")
                file.write_text(json.dumps(pointer.signed(KEYS).to_dict(), indent=1) + "\n")
                print(file.name)
    pickled = folder / "payload.pickle"
    if not pickled.exists():
        pointer = Pointer.from_json((folder / "json.blake3.json").read_text())
        pickled.write_bytes(pickle.dumps(Payload.from_pointer(pointer), protocol=4))


if __name__ == "__main__":
    main(sys.argv[1])
