"""The cost of a local folder compared with the limits of the machine, in one run, interleaved, medians.

    python benchmarks/local.py [--rows save,load,verify,small,objects,memory] [--megabytes 250] [--rounds 7]

Each row is next to the limit that it is compared with: ``write(2)`` of the same number of bytes from memory
that was used before, into the same folder; BLAKE3 on all cores over memory that was used before; the C
pickler; cloudpickle. payloadfs always signs, hashes and verifies. Loads and memory are measured in new
processes that have imported their packages; the first load of a process is a separate row. fsync is off
unless the row says otherwise.
"""

import argparse
import dataclasses
import itertools
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import payloadfs

Timed = Callable[[], float]
_numbers = itertools.count()


@dataclasses.dataclass
class Order:
    number: int
    name: str
    price: float


def made(kind: str, megabytes: int) -> Any:
    """Return an object of about `megabytes` MB whose memory has been written to."""
    import numpy as np
    import pandas as pd

    rng, size = np.random.default_rng(7), megabytes * 1_000_000
    if kind == "frame":
        rows = size // 80
        return pd.DataFrame({f"x{n}": rng.random(rows) for n in range(10)}, copy=False)
    if kind == "arrays":
        return {f"w{n}": rng.random(size // 80) for n in range(10)}
    if kind == "mixed":
        rows = size // 37
        words = np.array([f"word number {n}" for n in range(1000)])
        return pd.DataFrame(
            {
                "number": rng.random(rows),
                "text": pd.array(rng.choice(words, rows), dtype="str"),
                "kind": pd.Categorical(rng.choice(["u", "v", "w"], rows)),
                "when": pd.date_range("2026-01-01", periods=rows, freq="s", tz="Europe/Zurich"),
            }
        )
    count = size // 250
    if kind == "dicts":
        return [{"id": n, "name": f"name {n}", "price": n * 0.5} for n in range(count)]
    if kind == "orders":
        return [Order(n, f"name {n}", n * 0.5) for n in range(count)]
    return [(n, f"name {n}", n * 0.5) for n in range(count)]


def importable() -> Any:
    """Return this module under its own name: a class of ``__main__`` would be stored by value."""
    sys.path.insert(0, str(Path(__file__).parent))
    return __import__("local")


def timed(call: Callable[[], Any]) -> float:
    started_s = time.perf_counter()
    call()
    return (time.perf_counter() - started_s) * 1000


def medians(ways: Mapping[str, Timed], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each method. Methods run in turn, after one warm-up each."""
    for way in ways.values():
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return {name: statistics.median(times) for name, times in found.items()}


def show(title: str, found: dict[str, float], limit: str, goal: str = "") -> None:
    print(f"\n{title}{f'   (goal: {goal})' if goal else ''}")
    for name, took_ms in found.items():
        print(f"  {name:34} {took_ms:10.3f} ms   {took_ms / max(found[limit], 0.001):6.2f} of {limit}")


def writing(folder: str, size_bytes: int, *, fsync: bool, reserve: bool = False) -> Timed:
    content = memoryview(bytearray(os.urandom(1 << 20) * (size_bytes // (1 << 20) + 1)))[:size_bytes]

    def write() -> None:
        file = os.open(f"{folder}/raw", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        if reserve:
            os.posix_fallocate(file, 0, size_bytes)
        left = content
        while left.nbytes:
            left = left[os.write(file, left) :]
        if fsync:
            os.fsync(file)
        os.close(file)

    def once() -> float:
        took_ms = timed(write)
        os.unlink(f"{folder}/raw")
        return took_ms

    return once


def saving(folder: str, obj: Any, **settings: Any) -> Timed:
    repository = payloadfs.Repository(folder, **settings)

    def once() -> float:
        started_s = time.perf_counter()
        pointer = repository.save(obj)
        took_ms = (time.perf_counter() - started_s) * 1000
        repository.delete(pointer)
        return took_ms

    return once


def hashing(size_bytes: int, *, threads: int) -> Timed:
    from blake3 import blake3

    content = memoryview(bytearray(os.urandom(1 << 20) * (size_bytes // (1 << 20) + 1)))[:size_bytes]
    return lambda: timed(lambda: blake3(content, max_threads=threads))


def row_save(megabytes: int, rounds: int) -> None:
    for kind, fsync in itertools.product(("frame", "arrays"), (False, True)):
        obj = made(kind, megabytes)
        with tempfile.TemporaryDirectory() as folder:
            ways = {
                "write(2)": writing(folder, megabytes * 1_000_000, fsync=fsync),
                "write(2), space reserved": writing(folder, megabytes * 1_000_000, fsync=fsync, reserve=True),
                "BLAKE3, one thread": hashing(megabytes * 1_000_000, threads=1),
                "payloadfs": saving(folder, obj, fsync=fsync),
            }
            found = medians(ways, rounds)
        title = f"save {kind}, {megabytes} MB, fsync {'on' if fsync else 'off'}"
        show(title, found, "write(2)", "1.5 of write(2); 1.15 of the slower of write and hash where cores are free")


def row_verify(megabytes: int, rounds: int) -> None:
    from blake3 import blake3

    for kind in ("frame", "arrays"):
        with tempfile.TemporaryDirectory() as folder:
            repository = payloadfs.Repository(folder, fsync=False, verify="full")
            pointer = repository.save(made(kind, megabytes))
            ways: dict[str, Timed] = {
                "BLAKE3, all cores": hashing(pointer.size_bytes, threads=blake3.AUTO),
                "load, verify='full'": partial(timed, partial(repository.load, pointer)),
            }
            show(f"verify {kind}, {megabytes} MB", medians(ways, rounds), "BLAKE3, all cores", "1 / 0.9 = 1.11")


def pickling(folder: str, obj: Any) -> Timed:
    def once() -> None:
        path = f"{folder}/p{next(_numbers)}"
        with open(path, "wb") as file:
            pickle.dump(obj, file, 5)
        with open(path, "rb") as file:
            pickle.load(file)

    return lambda: timed(once)


def round_trip(repository: payloadfs.Repository, obj: Any) -> Any:
    return repository.load(repository.save(obj))


def row_small(rounds: int) -> None:
    small = {f"key {n}": [n, n * 1.5, f"text {n}"] for n in range(10)}
    frame = made("mixed", 1).head(1000)
    for title, obj, goal in (
        ("small dict, save and load", small, "0.35 ms where pickle takes 0.17: 2.06"),
        ("1,000-row frame, save and load", frame, "2.5 ms where pickle takes 1.9: 1.3"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            repository = payloadfs.Repository(folder, fsync=False)
            ways: dict[str, Timed] = {
                "pickle to a file and back": pickling(folder, obj),
                "payloadfs": partial(timed, partial(round_trip, repository, obj)),
            }
            show(title, medians(ways, rounds * 60), "pickle to a file and back", goal)


def row_objects(rounds: int) -> None:
    import cloudpickle

    from payloadfs.serializers import default_serializers

    for kind in ("dicts", "orders", "orders of __main__", "tuples"):
        obj = importable().made(kind, 250) if kind != "orders of __main__" else made("orders", 250)
        ways: dict[str, Timed] = {
            "pickle.dumps": partial(timed, partial(pickle.dumps, obj, 5)),
            "cloudpickle.dumps": partial(timed, partial(cloudpickle.dumps, obj, 5)),
            "payloadfs, encode": partial(timed, partial(default_serializers.encode, obj)),
        }
        show(f"a million {kind}, in memory", medians(ways, rounds), "pickle.dumps", "1.1 of cloudpickle")


def peak_mb(*, reset: bool = False) -> float:
    """Return the peak of this process's memory. `reset` restarts the peak. Not ru_maxrss, which starts with the parent's."""
    if reset:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith("VmHWM"))


def child_save(kind: str, megabytes: str, folder: str) -> dict[str, Any]:
    obj = importable().made(kind, int(megabytes))
    repository = payloadfs.Repository(folder, fsync=False)
    repository.save(obj.head(1000) if hasattr(obj, "head") else [made("arrays", 0), pickle])
    before = peak_mb(reset=True)
    pointer = repository.save(obj)
    grown = peak_mb() - before
    return {"pointer": pointer.to_json(), "mb": grown, "size": pointer.size_bytes / 1e6}


def child_load(pointer: str, folder: str) -> dict[str, Any]:
    import pandas  # noqa: F401
    import pyarrow  # noqa: F401

    importable()
    repository, parsed = payloadfs.Repository(folder), payloadfs.Pointer.from_json(pointer)
    before, started_s = peak_mb(reset=True), time.perf_counter()
    value = repository.load(parsed)
    first_ms, grown = (time.perf_counter() - started_s) * 1000, peak_mb() - before
    if hasattr(value, "iloc"):
        value.iloc[0, 0] = 1
    again_ms = statistics.median(timed(lambda: repository.load(parsed)) for _ in range(5))
    return {"first": first_ms, "again": again_ms, "mb": grown}


def fresh(step: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, step, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row_load(megabytes: int, rounds: int) -> None:
    print("\nload, own folder   (goal: 3 ms for frame and arrays at any size, 25 ms for 250 MB mixed)")
    for kind, size in itertools.product(("frame", "arrays", "mixed"), (1, 100, megabytes)):
        with tempfile.TemporaryDirectory() as folder:
            pointer = payloadfs.Repository(folder, fsync=False).save(made(kind, size)).to_json()
            loads = [fresh("load", pointer, folder) for _ in range(rounds)]
        first, again = (statistics.median(load[key] for load in loads) for key in ("first", "again"))
        print(f"  {kind:7} {size:6} MB   first in a process {first:8.2f} ms   then {again:8.2f} ms")


def row_memory(megabytes: int) -> None:
    print("\npeak memory beyond the object   (goal: 0.05 of its size + 16 MB each way, mapped)")
    for kind in ("frame", "arrays", "mixed", "dicts", "orders"):
        with tempfile.TemporaryDirectory() as folder:
            saved = fresh("save", kind, str(megabytes), folder)
            loaded = fresh("load", saved["pointer"], folder)
        sizes = f"{megabytes:5} MB, stored {saved['size']:7.1f} MB"
        print(f"  {kind:7} {sizes}   save {saved['mb']:7.1f} MB   load {loaded['mb']:7.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", default="save,load,verify,small,objects,memory")
    parser.add_argument("--megabytes", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows: dict[str, Callable[[], None]] = {
        "save": lambda: row_save(options.megabytes, options.rounds),
        "load": lambda: row_load(options.megabytes, options.rounds),
        "verify": lambda: row_verify(options.megabytes, options.rounds),
        "small": lambda: row_small(options.rounds),
        "objects": lambda: row_objects(options.rounds),
        "memory": lambda: row_memory(options.megabytes),
    }
    for name in options.rows.split(","):
        rows[name]()


if __name__ == "__main__":
    if sys.argv[1:2] == ["save"]:
        print(json.dumps(child_save(*sys.argv[2:5])))
    elif sys.argv[1:2] == ["load"]:
        print(json.dumps(child_load(*sys.argv[2:4])))
    else:
        main()
