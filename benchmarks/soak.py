"""Many processes save and load all kinds of objects for a given time; memory and open files must not grow.

    python benchmarks/soak.py [--minutes 30] [--processes 8] [--where local s3]

Each process saves and loads values, arrays and frames of all sizes, keeps some pointers of earlier
rounds and deletes others, loads objects of the other processes, and compares everything it loads. S3
is a SeaweedFS server that this starts; all processes share one cache of 4 MB. Resident memory and open files of every process are sampled; the last third of the run is
judged against the first third after the warm-up. Ends with exit code 1 if any process grew.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import os
import pickle
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

MOST_GROWN_MB, MOST_GROWN_FILES, MOST_GROWN_THREADS = 24.0, 2, 1
CACHE_BYTES = 4_000_000
_SAMPLES = 40

Sample = tuple[int, int, float, int, int]  # process, calls so far, resident MB, open files, threads


def objects(rng: random.Random) -> Iterator[Any]:
    """Yield objects of many kinds and sizes, without end."""
    import numpy as np
    import pandas as pd

    while True:
        size = int(10 ** rng.uniform(1, 5.5))
        yield {"number": size, "text": "x" * size}
        yield bytes(size)
        yield np.arange(size * 4) * 0.5
        yield {"layer": np.ones(size), "names": [str(number) for number in range(50)]}
        yield pd.DataFrame({"a": np.arange(size) * 0.5, "s": pd.array(["x", None] * (size // 2 + 1), "str")[:size]})


def same(left: Any, right: Any) -> bool:
    """Return whether `right` equals `left`."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if hasattr(left, "equals"):
        return bool(left.equals(right))
    return bool((left == right).all()) if hasattr(left, "dtype") else bool(left == right)


def exchange(folder: str, number: int, mine: Any, rng: random.Random) -> Any:
    """Publish what process `number` saved last, and return what some process published."""
    with open(aside := os.path.join(folder, f"{number}.new"), "wb") as file:
        pickle.dump(mine, file)
    os.replace(aside, os.path.join(folder, str(number)))
    chosen = rng.choice([name for name in os.listdir(folder) if not name.endswith(".new")])
    with open(os.path.join(folder, chosen), "rb") as file:
        return pickle.load(file)


def work(number: int, url: str, options: dict[str, Any], folder: str, seconds: float, samples: Any) -> None:
    """Save and load until the time is over, and report the resources of this process at intervals."""
    import payloadfs

    rng, cache = random.Random(number), os.path.join(folder, "cache")
    repository = payloadfs.Repository(url, options or None, fsync=False, cache=cache, cache_bytes=CACHE_BYTES)
    os.makedirs(published := os.path.join(folder, url.replace("/", "_")), exist_ok=True)
    kept: list[tuple[Any, Any]] = []
    started_s, sampled, calls = time.monotonic(), 0, 0
    for obj in objects(rng):
        pointer = repository.save(obj, prefix=f"process{number}")
        kept.append((pointer, obj))
        for _ in range(3):
            old, expected = rng.choice(kept)
            if not same(expected, repository.load(old)):
                raise AssertionError(f"{old.key} came back as another object")
        theirs, expected = exchange(published, number, kept[-1], rng)
        with contextlib.suppress(payloadfs.NotFoundError):  # it may be deleted by now
            if not same(expected, repository.load(theirs)):
                raise AssertionError(f"{theirs.key} came back as another object")
        if len(kept) > 8:
            repository.delete(kept.pop(rng.randrange(len(kept)))[0])
        calls += 5
        elapsed_s = time.monotonic() - started_s
        if elapsed_s >= sampled * seconds / _SAMPLES:
            sampled += 1
            samples.put((number, calls, *standing()))
        if elapsed_s >= seconds:
            return


def standing() -> tuple[float, int, int]:
    """Return resident megabytes, open files and threads of this process."""
    gc.collect()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident / 1e6, len(os.listdir("/proc/self/fd")), threading.active_count()


def judged(samples: list[Sample]) -> list[str]:
    """Return messages about values that grew; empty if none did."""
    grown = []
    for number in sorted({sample[0] for sample in samples}):
        mine = [sample[2:] for sample in samples if sample[0] == number]
        # The first quarter is warm-up: imports, caches, connections, the allocator.
        rest = mine[len(mine) // 4 :]
        third = max(len(rest) // 3, 1)
        early, late = rest[:third], rest[-third:]
        limits = ("MB", MOST_GROWN_MB), ("open files", MOST_GROWN_FILES), ("threads", MOST_GROWN_THREADS)
        for place, (what, limit) in enumerate(limits):
            before, after = (statistics.median(sample[place] for sample in part) for part in (early, late))
            if after - before > limit:
                grown.append(f"process {number} grew from {before:.0f} to {after:.0f} {what}")
    return grown


def soak(minutes: float, processes: int, where: list[str]) -> int:
    """Run the processes, print the results, and return the exit code."""
    spawn = multiprocessing.get_context("spawn")
    samples = spawn.Queue()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        places: list[tuple[str, dict[str, Any]]] = []
        if "local" in where:
            places.append((stack.enter_context(tempfile.TemporaryDirectory()), {}))
        if "s3" in where:
            from payloadfs.testing.servers import seaweedfs_server

            server = stack.enter_context(seaweedfs_server())
            places.append((f"s3://{server.bucket()}", server.storage_options()))
        running = [
            spawn.Process(target=work, args=(number, *places[number % len(places)], folder, minutes * 60, samples))
            for number in range(processes)
        ]
        for process in running:
            process.start()
        seen: list[Sample] = []
        while any(process.is_alive() for process in running) or not samples.empty():
            while not samples.empty():
                seen.append(samples.get())
            time.sleep(0.2)
        for process in running:
            process.join()
    failed = [f"process {number} ended with {one.exitcode}" for number, one in enumerate(running) if one.exitcode]
    show(seen)
    grown = [*failed, *judged(seen)]
    print(*(grown or ["flat"]), sep="\n")
    return 1 if grown else 0


def show(samples: list[Sample]) -> None:
    """Print a line for each process."""
    print(f"{'process':>7} {'calls':>8} {'MB early':>9} {'late':>6} {'files early':>12} {'late':>5} {'threads':>8}")
    for number in sorted({sample[0] for sample in samples}):
        mine = [sample for sample in samples if sample[0] == number]
        first, last = mine[len(mine) // 4], mine[-1]
        print(f"{number:7} {last[1]:8} {first[2]:9.0f} {last[2]:6.0f} {first[3]:12} {last[3]:5} {last[4]:8}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--where", nargs="+", choices=["local", "s3"], default=["local", "s3"])
    options = parser.parse_args()
    sys.exit(soak(options.minutes, options.processes, options.where))


if __name__ == "__main__":
    main()
