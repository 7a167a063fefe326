"""Threads and processes: how many this process can use at the same time."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return how many cores this process may use, at least 1: a container or ``taskset`` may allow fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
