"""Save and load everyday DataFrames: compared with write(2), Feather, Parquet and pickle, in one run.

    python benchmarks/frames.py [--megabytes 100] [--rounds 5]

All go to one new local folder, without fsync. The limit is ``write(2)`` of as many bytes as the
object has, from memory that was touched before. Saves are timed in one warm process, the ways in
turn; each load is the first one in a fresh process that has pandas and pyarrow imported and has
loaded one small frame. "Checked" is payloadfs with ``verify="full"``: every byte hashed.

Two figures have goals. *Encoding* a frame, so all that payloadfs does to it before bytes are hashed
and written: together with the write at most 1.1 times the write alone. *Loading*, less the check of
the digests, which is timed by itself in the same process: at most 2 ms per 100 columns.

The first goal is one for frames of some megabytes: the bytes of a small one are written in less time than
Python takes for one call per column. What counts for these is the sum of save and load in a warm process, which is
printed at the end: at most 2.5 ms for 1,000 rows of 7 dtypes.

Feather and Parquet give most of these frames back changed; they are here for their speed. Feather
is uncompressed, Parquet in its default (snappy).
"""

import argparse
import itertools
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOAL_SAVE, GOAL_LOAD_MS, GOAL_WARM_MS = 1.1, 2.0, 2.5
WAYS = ("payloadfs", "checked", "feather", "parquet", "pickle")


def frames(megabytes: int) -> dict[str, Any]:
    """Return the DataFrames by name. All but the small ones have about the same size."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(7)
    size = megabytes * 1_000_000

    def numbers(rows: int, columns: int) -> Any:
        return pd.DataFrame(rng.random((columns, rows)).T, columns=[f"x{n}" for n in range(columns)])

    def mixed(rows: int, columns: int) -> Any:
        days = pd.date_range("2026-01-01", periods=rows, freq="s")
        kinds: list[Callable[[], Any]] = [
            lambda: rng.random(rows),
            lambda: rng.integers(0, 1000, rows),
            lambda: pd.array(rng.choice(["alpha", "beta", "gamma"], rows), dtype="str"),
            lambda: days,
            lambda: pd.Categorical(rng.choice(["u", "v", "w"], rows)),
            lambda: rng.random(rows) > 0.5,
            lambda: pd.array(rng.integers(0, 9, rows), dtype="Int32"),
        ]
        return pd.DataFrame({f"c{n}": kinds[n % len(kinds)]() for n in range(columns)})

    def strings(rows: int) -> Any:
        words = np.array([f"word number {n}" for n in range(10_000)])
        return pd.DataFrame({f"s{n}": pd.array(rng.choice(words, rows), dtype="str") for n in range(4)})

    return {
        "10 float64 columns": numbers(size // 80, 10),
        "7 dtypes": mixed(size // 42, 7),
        "strings": strings(size // 100),
        "100 mixed columns, 1,000 rows": mixed(1_000, 100),
        "100 float64 columns, 1,000 rows": numbers(1_000, 100),
        "2,000 float64 columns, 100 rows": numbers(100, 2_000),
    }


def saver(way: str, folder: str) -> Callable[[Any, int], str]:
    """Return a function that saves a DataFrame and returns what the reader needs."""
    import payloadfs

    if way == "payloadfs":
        repository = payloadfs.Repository(folder, fsync=False)
        return lambda frame, _: repository.save(frame).to_json()

    def save(frame: Any, number: int) -> str:
        path = f"{folder}/{way}-{number}"
        {"feather": lambda: frame.to_feather(path, compression="uncompressed"), "parquet": lambda: frame.to_parquet(path), "pickle": lambda: frame.to_pickle(path)}[way]()  # fmt: skip
        return path

    return save


def write_bytes(folder: str, content: memoryview, number: int) -> float:
    """Return the seconds that ``write(2)`` of `content` into a new file takes."""
    descriptor = os.open(f"{folder}/raw-{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    started_s = time.perf_counter()
    left = content
    while left.nbytes:
        left = left[os.write(descriptor, left) :]
    took_s = time.perf_counter() - started_s
    os.close(descriptor)
    os.unlink(f"{folder}/raw-{number}")
    return took_s


def load(way: str, folder: str, warm: str, where: str) -> dict[str, float]:
    """Return the milliseconds that loading one DataFrame takes in this process."""
    import pandas as pd
    import pyarrow  # noqa: F401

    import payloadfs

    def read(place: str) -> Any:
        if way in ("payloadfs", "checked"):
            repository = payloadfs.Repository(folder, verify="full" if way == "checked" else "auto")
            return repository.load(payloadfs.Pointer.from_json(place))
        return {"feather": pd.read_feather, "parquet": pd.read_parquet, "pickle": pd.read_pickle}[way](place)

    read(warm)
    started_s = time.perf_counter()
    frame = read(where)
    took_s = time.perf_counter() - started_s
    digest_ms = check(folder, where, data=way == "checked") if way in ("payloadfs", "checked") else 0.0
    return {"ms": took_s * 1000, "digest_ms": digest_ms, "rows": float(len(frame))}


def check(folder: str, where: str, *, data: bool) -> float:
    """Return the milliseconds that checking the digests alone takes."""
    import payloadfs
    from payloadfs import _seal

    pointer = payloadfs.Pointer.from_json(where)
    with open(f"{folder}/{pointer.key}", "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    started_s = time.perf_counter()
    _seal.check(content, pointer.digest, data=data)
    return (time.perf_counter() - started_s) * 1000


def warm_ms(frame: Any, folder: str, rounds: int) -> dict[str, float]:
    """Return the milliseconds that save and load together take in this process, by method."""
    import pandas as pd

    import payloadfs

    repository = payloadfs.Repository(folder, fsync=False)
    readers: dict[str, Callable[[str], Any]] = {
        "payloadfs": lambda made: repository.load(payloadfs.Pointer.from_json(made)),
        "feather": pd.read_feather,
        "parquet": pd.read_parquet,
        "pickle": pd.read_pickle,
    }
    savers, numbers = {way: saver(way, folder) for way in readers}, itertools.count(1_000_000)
    took: dict[str, list[float]] = {way: [] for way in readers}
    for _ in range(rounds):
        for way, read in readers.items():
            started_s = time.perf_counter()
            read(savers[way](frame, next(numbers)))
            took[way].append((time.perf_counter() - started_s) * 1000)
    return {way: statistics.median(times) for way, times in took.items()}


def encode_ms(frame: Any) -> float:
    """Return the time to encode `frame` into frames of bytes."""
    from payloadfs.serializers import default_serializers

    started_s = time.perf_counter()
    default_serializers.encode(frame)
    return (time.perf_counter() - started_s) * 1000


def fresh(way: str, *arguments: str) -> dict[str, float]:
    """Return the result of `load` in a new process."""
    command = [sys.executable, __file__, "load", way, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(name: str, frame: Any, small: Any, folder: str, rounds: int) -> None:
    """Print the rows of one DataFrame."""
    import payloadfs

    numbers = itertools.count()
    savers = {way: saver(way, folder) for way in WAYS if way != "checked"}
    warm = {way: save(small, next(numbers)) for way, save in savers.items()}
    where = {way: save(frame, next(numbers)) for way, save in savers.items()}
    size = payloadfs.Pointer.from_json(where["payloadfs"]).size_bytes
    content = memoryview(bytearray(os.urandom(1 << 20) * (size // (1 << 20) + 1)))[:size]
    saves: dict[str, list[float]] = {way: [] for way in ("write", "encode", *savers)}
    for _ in range(rounds):
        saves["encode"].append(encode_ms(frame))
        saves["write"].append(write_bytes(folder, content, next(numbers)) * 1000)
        for way, save in savers.items():
            started_s = time.perf_counter()
            made = save(frame, next(numbers))
            saves[way].append((time.perf_counter() - started_s) * 1000)
            forget(way, folder, made)
    warm["checked"], where["checked"] = warm["payloadfs"], where["payloadfs"]
    loads = {way: [fresh(way, folder, warm[way], where[way]) for _ in range(rounds)] for way in WAYS}
    show(name, frame.shape[1], size, saves, loads)


def forget(way: str, folder: str, made: str) -> None:
    """Delete what was saved, so that the page cache does not fill."""
    import payloadfs

    if way == "payloadfs":
        payloadfs.Repository(folder).delete(payloadfs.Pointer.from_json(made))
    else:
        Path(made).unlink()


def show(
    name: str, columns: int, size: int, saves: dict[str, list[float]], loads: dict[str, list[dict[str, float]]]
) -> None:
    """Print a table of medians, with goals next to the figures that have one."""
    limit, encode = statistics.median(saves["write"]), statistics.median(saves["encode"])
    print(f"\n{name}: {size / 1e6:.1f} MB; write(2) of as many bytes {limit:.1f} ms")
    print(f"  encoding and write: {(encode + limit) / limit:.2f} of write (goal {GOAL_SAVE}); encoding {encode:.1f} ms")
    first = loads["payloadfs"]
    digest_ms = statistics.median(load["digest_ms"] for load in first)
    rest_ms = max(statistics.median(load["ms"] - load["digest_ms"] for load in first), 0.0)
    goal_ms = GOAL_LOAD_MS * max(columns / 100, 1)
    print(f"  loading: {rest_ms:.2f} ms (goal {goal_ms:.0f} ms for {columns} columns), and digests {digest_ms:.2f} ms")
    print(f"  {'':10} {'save ms':>9} {'of write':>9} {'load ms':>9}")
    for way in WAYS:
        save_ms = statistics.median(saves[way]) if way in saves else float("nan")
        load_ms = statistics.median(load["ms"] for load in loads[way])
        print(f"  {way:10} {save_ms:9.1f} {save_ms / limit:9.2f} {load_ms:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    made = frames(options.megabytes)
    small = frames(1)["7 dtypes"].head(10)
    for name, frame in made.items():
        with tempfile.TemporaryDirectory() as folder:
            measure(name, frame, small, folder, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        found = warm_ms(frames(1)["7 dtypes"].head(1_000), folder, 20 * options.rounds)
    print(f"\n7 dtypes, 1,000 rows, save and load in a warm process (goal {GOAL_WARM_MS} ms):")
    print("  " + ", ".join(f"{way} {ms:.2f} ms" for way, ms in found.items()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        print(json.dumps(load(*sys.argv[2:6])))
    else:
        main()
