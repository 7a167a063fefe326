"""The cost of one step: time, CPU time, memory. Linux reports all of it per process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["anonymous_mb", "measured", "middle"]

Figures = dict[str, float]


def measured(calls: Sequence[Callable[[], Any]]) -> tuple[Figures, list[Any]]:
    """Run `calls` one after the other; return the cost of one, and all results.

    ``ms`` is the median over the calls and ``cpu_s`` the mean, of all threads of this process.
    ``peak_mb`` is the increase of the process's resident memory during the call.
    """
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak
    before_mb, cpu_s = _status_mb("VmHWM"), time.process_time()
    taken, given = [], []
    for call in calls:
        started_s = time.perf_counter()
        given.append(call())
        taken.append(time.perf_counter() - started_s)
    cpu_s = time.process_time() - cpu_s
    peak_mb = _status_mb("VmHWM") - before_mb
    figures = {"ms": statistics.median(taken) * 1000, "cpu_s": cpu_s / len(taken), "peak_mb": max(peak_mb, 0.0)}
    return figures, given


def anonymous_mb() -> float:
    """Return the private memory of this process, without page cache."""
    return _status_mb("RssAnon")


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, minimum and maximum."""
    return statistics.median(values), min(values), max(values)


def _status_mb(name: str) -> float:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(name)
