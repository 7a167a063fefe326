"""Write the golden objects and pointers of one release. What is there already is never changed.

    python tests/golden/make.py v1

Every later release has to read them (test_golden.py): that is the promise of format version 1.
"""

import dataclasses
import datetime
import json
import pathlib
import sys
import zoneinfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from payloadfs import Key, KeyRing, Repository

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
        "npy": np.arange(12, dtype=">i4").reshape(3, 4).T,
        "npy-sealed": np.zeros(40_000),
        "pandas": frame,
        "pandas-sealed": pd.DataFrame({"a": np.zeros(20_000), "b": np.ones(20_000, "i8")}),
        "pandas-series": pd.Series([1, 2], index=["x", "y"], name=("a", 1)),
        "arrow-table": pa.table({"a": [1, None], "s": ["x", "y"]}),
        "arrow-batch": pa.record_batch({"a": [1.5, 2.5]}),
        "polars": pl.DataFrame({"a": [1, None], "s": ["x", None]}),
        "polars-series": pl.Series("n", [1, 2, 3]),
        "pickle": {1: (2, {3}), "at": datetime.datetime(2026, 11, 22, 12, 30)},
        "pickle-sealed": [np.zeros(40_000), "head"],
    }


def main(version):
    folder = HERE / version
    for digest in ("blake3", "sha256"):
        repository = Repository(folder / "objects", keys=KEYS, digest=digest, fsync=False)
        for name, obj in objects().items():
            file = folder / f"{name}.{digest}.json"
            if not file.exists():
                pointer = dataclasses.replace(repository.save(obj, scope=f"{name}-{digest}"), root=f"{ROOT}/{version}")
                file.write_text(json.dumps(pointer.signed(KEYS).to_dict(), indent=1) + "\n")
                print(file.name)


if __name__ == "__main__":
    main(sys.argv[1])
