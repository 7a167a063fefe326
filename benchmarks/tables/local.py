"""Tables of local folders and local memory."""

from __future__ import annotations

import tempfile
from dataclasses import replace

from .._harness import Plan, Row, Task, compare
from ..peers import Place

MB, GB = 1_000_000, 1_000_000_000
FRAMES = [
    *("payloadfs", "payloadfs, fsync", "payloadfs, verify=full", "pickle", "cloudpickle + fsspec", "joblib"),
    *("joblib, mmap", "Feather", "Parquet", "ProxyStore", "pickle + two copies", "write, read"),
]
OBJECTS = [name for name in FRAMES if name not in ("Feather", "Parquet", "payloadfs, verify=full")]
CURVE = ["payloadfs", "pickle", "cloudpickle + fsspec", "joblib, mmap", "Feather", "ProxyStore"]
SIZES = [1000, 100_000, MB, 100 * MB, GB, 10 * GB]
# Peers that need a second copy do not fit in memory at the largest size, and take seconds at 1 GB.
MAPPED = ["payloadfs", "joblib, mmap"]
COPYING = frozenset(CURVE) - frozenset(MAPPED)

TASKS: dict[str, tuple[list[Task], list[str]]] = {
    "sizes": ([Task("W1", size, 800, once=COPYING if size == GB else frozenset()) for size in SIZES], CURVE),
    "numeric": ([Task("W1", 100 * MB, 800)], FRAMES),
    "mixed": ([Task("W2", 250 * MB, 800)], FRAMES),
    "arrays": (
        [Task("W3", 250 * MB, 8000)],
        [*(name for name in FRAMES if name not in ("Feather", "Parquet")), "safetensors"],
    ),
    "small": ([Task("W4", 300, 300, count=300)], OBJECTS),
    "rows": ([Task("W5", 1000, 10, count=50)], FRAMES),
    "objects": ([Task("W6", 1_000_000, 10, once=frozenset({"joblib"}))], [n for n in OBJECTS if n != "joblib, mmap"]),
    "verify": ([Task("array", 1000 * MB, 8000)], ["payloadfs, verify=full", "BLAKE3"]),
    "processes": ([Task("W3", 250 * MB, 8000)], ["payloadfs", "joblib, mmap", "Ray", "Dask"]),
}


def run(plan: Plan, folder: str, name: str) -> list[Row]:
    """Return the rows of the table `name`."""
    tasks, peers = TASKS[name]
    rows: list[Row] = []
    for task in {scaled(task, plan): None for task in tasks}:
        names, rounds = (MAPPED, 1) if task.size > GB else (peers, plan.rounds)
        with tempfile.TemporaryDirectory(dir=folder) as own:
            rows += compare(task, names, Place(folder=own), replace(plan, rounds=rounds))
    return rows


def scaled(task: Task, plan: Plan) -> Task:
    """Return `task` with the plan's size; small sizes do not change."""
    size = task.size if task.size <= 1000 else max(int(task.size * plan.scale), 1000)
    return replace(task, size=size, count=max(int(task.count * min(plan.scale * 10, 1)), 1))
