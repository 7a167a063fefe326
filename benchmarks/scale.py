"""A store with a million objects: saving and loading cost the same as in an empty one; listing streams.

    python benchmarks/scale.py [--objects 1000000] [--prefixs 1] [--rounds 7]

Fills a new local folder (about four minutes and 4 GB of disk for a million), then times batches of
saves and loads there and in an empty folder, in turn. With one scope, the default, all objects lie
in one folder: the worst case. Then everything is listed in a fresh process, with and without
objects, and its peak memory is compared. Limits: 1.25 times, and 300 MB.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

GOAL_TIMES, GOAL_MB, BATCH = 1.25, 300.0, 200

LIST = r"""
import re, sys, time
import payloadfs
repository = payloadfs.Repository(sys.argv[1])
started_s = time.perf_counter()
keys = repository.list()
first = next(keys, None)
first_s = time.perf_counter() - started_s
count = sum(1 for _ in keys) + (first is not None)
took_s = time.perf_counter() - started_s
# Not ru_maxrss: a child starts with the value of its parent.
peak_mb = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
print(count, took_s, first_s, peak_mb)
"""


def fill(repository: Any, count: int, scopes: int) -> None:
    """Save `count` objects, distributed over `scopes` prefixes."""
    names = itertools.cycle([f"scope{number}" for number in range(scopes)])
    for number, scope in zip(range(count), names, strict=False):
        repository.save({"number": number}, prefix=scope)
        if number % 100_000 == 99_999:
            print(f"{number + 1:,} saved", file=sys.stderr)


def per_call_us(call: Callable[[Any], Any], items: list[Any]) -> tuple[float, list[Any]]:
    """Return the cost of one call, and all results."""
    started_s = time.perf_counter()
    given = [call(item) for item in items]
    return (time.perf_counter() - started_s) / len(items) * 1e6, given


def compare(full: Any, empty: Any, rounds: int) -> list[str]:
    """Print the cost of saves and loads in both stores; return what misses the goal."""
    taken: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds):
        for name, repository in [("full", full), ("empty", empty)][:: 1 if turn % 2 else -1]:
            save = lambda number, r=repository: r.save({"number": number}, prefix="scope0")  # noqa: E731
            save_us, pointers = per_call_us(save, list(range(BATCH)))
            load_us, _ = per_call_us(repository.load, pointers)
            taken.setdefault(("save", name), []).append(save_us)
            taken.setdefault(("load", name), []).append(load_us)
            for pointer in pointers:
                repository.delete(pointer)
    missed = []
    for verb in ("save", "load"):
        there, here = statistics.median(taken[verb, "full"]), statistics.median(taken[verb, "empty"])
        print(f"{verb}: {there:.0f} us in the full store, {here:.0f} us in the empty one: {there / here:.2f} times")
        if there / here > GOAL_TIMES:
            missed.append(f"{verb} costs {there / here:.2f} times as much, more than {GOAL_TIMES}")
    return missed


def listed(folder: str) -> tuple[int, float]:
    """List all objects in a new process; return their number, and its peak memory in MB."""
    done = subprocess.run([sys.executable, "-c", LIST, folder], stdout=subprocess.PIPE, text=True, check=True)
    count, took_s, first_s, peak_mb = map(float, done.stdout.split())
    print(f"list: {count:,.0f} objects in {took_s:.1f} s, the first after {first_s:.2f} s, peak {peak_mb:.0f} MB")
    return int(count), peak_mb


def main() -> None:
    """Run the command line."""
    import payloadfs

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--prefixs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        full = payloadfs.Repository(os.path.join(folder, "full"), fsync=False)
        empty = payloadfs.Repository(os.path.join(folder, "empty"), fsync=False)
        fill(full, options.objects, options.scopes)
        empty.save({}, prefix="scope0")
        os.sync()  # otherwise the disk is still busy with the writes
        missed = compare(full, empty, options.rounds)
        count, peak_mb = listed(os.path.join(folder, "full"))
        _, bare_mb = listed(os.path.join(folder, "empty"))
        if count != options.objects:
            missed.append(f"{count} were listed instead of {options.objects}")
        if peak_mb > GOAL_MB:
            missed.append(f"listing took {peak_mb:.0f} MB ({bare_mb:.0f} in an empty store), more than {GOAL_MB:.0f}")
    print(*(missed or ["all goals met"]), sep="\n")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
