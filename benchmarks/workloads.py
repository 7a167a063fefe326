"""The objects that are saved and loaded. Each workload can be created in any size and read in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["WORKLOADS", "Workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of object.

    Parameters
    ----------
    title : str
        For display.
    make : callable
        Creates one; its size is in bytes unless `title` says otherwise.
    read : callable
        Reads all of it and returns a number that is the same for an exact copy.
    packages : tuple of str
        Packages that users of such objects have imported.
    """

    title: str
    make: Callable[[int], Any]
    read: Callable[[Any], float]
    packages: tuple[str, ...] = ("pandas", "pyarrow")


def _random(count: int) -> Any:
    """Return `count` random numbers: a million of them, repeated, which no compressor detects."""
    import numpy as np

    some = np.random.default_rng(7).random(min(count, 1_000_003))
    return np.resize(some, count)


def numeric_frame(size: int) -> Any:
    import pandas as pd

    rows = max(size // 80, 1)
    return pd.DataFrame({f"x{number}": _random(rows) + number for number in range(10)}, copy=False)


def mixed_frame_of_rows(rows: int) -> Any:
    import numpy as np
    import pandas as pd

    rng: Any = np.random.default_rng(7)
    words = np.array([f"word number {number}" for number in range(10_000)])
    return pd.DataFrame(
        {
            "number": _random(rows),
            "count": rng.integers(0, 1000, rows),
            "text": pd.array(rng.choice(words, rows), dtype="str"),
            "other text": pd.array(rng.choice(["alpha", "beta", None], rows), dtype="str"),
            "kind": pd.Categorical(rng.choice(["u", "v", "w"], rows)),
            "time": pd.date_range("2026-01-01", periods=rows, freq="s", tz="Europe/Madrid"),
            "maybe": pd.arrays.IntegerArray(rng.integers(0, 9, rows), rng.random(rows) < 0.1),
            "flag": rng.random(rows) > 0.5,
        }
    )


def mixed_frame(size: int) -> Any:
    return mixed_frame_of_rows(max(size // 75, 1))


def arrays(size: int) -> Any:
    """Return a dict like that of a large model: a few large arrays, and small ones between them."""
    import numpy as np

    large = max(size // 8 // 4, 1)
    return {
        name: part
        for number in range(8)
        for name, part in (
            (f"layer{number}.weight", _random(large).astype(np.float32)),
            (f"layer{number}.bias", np.full(64, number, np.float32)),
        )
    }


def small_dict(_: int) -> Any:
    return {"run": "2026-11-24/17", "step": 12, "loss": 0.125, "tags": ["a", "b"], "note": "x" * 180, "ok": True}


def many_objects(count: int) -> Any:
    return [{"id": number, "name": f"n{number}", "score": number * 0.5} for number in range(count)]


def array(size: int) -> Any:
    return _random(max(size // 8, 1))


def _read_frame(frame: Any) -> float:
    import pandas as pd

    total = float(len(frame))
    for name in frame:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            total += float(column.cat.codes.to_numpy().sum())
        elif isinstance(column.dtype, pd.StringDtype):
            total += float(column.str.len().sum())
        elif isinstance(column.dtype, pd.DatetimeTZDtype):
            total += float(column.dt.second.sum())
        else:
            total += float(column.sum())
    return total


def _read_arrays(found: Any) -> float:
    return sum(float(part.sum(dtype="f8")) for part in found.values())


def _read_array(found: Any) -> float:
    return float(found.sum())


def _read_objects(found: Any) -> float:
    return float(sum(one["id"] + one["score"] for one in found))


def _read_dict(found: Any) -> float:
    return float(found["step"] + found["loss"] + len(found["note"]))


WORKLOADS = {
    "W1": Workload("numeric frame, 10 float64 columns", numeric_frame, _read_frame),
    "W2": Workload("mixed frame: numbers, strings, categories, times with a zone, nullable", mixed_frame, _read_frame),
    "W3": Workload("dict of arrays", arrays, _read_arrays, ("numpy",)),
    "W4": Workload("dict of 300 bytes", small_dict, _read_dict, ()),
    "W5": Workload("mixed frame (rows)", mixed_frame_of_rows, _read_frame),
    "W6": Workload("list of small dicts (objects)", many_objects, _read_objects, ()),
    "array": Workload("one float64 array", array, _read_array, ("numpy",)),
}
