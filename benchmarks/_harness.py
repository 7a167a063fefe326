"""Processes and rounds: save in one process, load in a new one, with the libraries in turn.

One process holds the object and saves it through each peer; each load happens in a process that
is started for it, has imported the peer's packages, and has loaded one small object before. Peers
take turns within a round, and each round begins with another peer. Saved objects are deleted before
the next turn, so that the write-back of one peer's bytes does not slow down another. Before the
first turn the same number of bytes is written and deleted: filling memory that a virtual machine has
not used yet takes several times as long, for any peer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .peers import PEERS, Place

__all__ = ["Plan", "Row", "Task", "Worker", "WorkerError", "compare", "rotated", "worker"]

MOST_TOUCHED_BYTES = 4 << 30
HERE = Path(__file__).parent.parent


class WorkerError(Exception):
    """A step failed in its process."""


class Worker:
    """A process that runs steps; see `benchmarks._worker`."""

    def __init__(self) -> None:
        paths = [str(HERE), str(HERE / "src"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        quiet = None if os.environ.get("BENCHMARKS_VERBOSE") else subprocess.DEVNULL
        command = [sys.executable, "-m", "benchmarks._worker"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True, env=environment
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Run one step in the process and return the answer.

        Raises
        ------
        WorkerError
            The step failed, or the process ended.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(f"the process ended before {do}") from None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": f"the process ended in {do}"}
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """Close the peers, then end the process."""
        # The process or its peers may have ended already; then there is nothing to close.
        with suppress(WorkerError):
            self.ask("close")
        self._process.communicate()


@contextmanager
def worker() -> Iterator[Worker]:
    """Yield a new process for the block."""
    one = Worker()
    try:
        yield one
    finally:
        one.close()


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough a run is.

    Parameters
    ----------
    rounds : int
        Rounds for each row.
    scale : float
        Sizes are those of TARGETS times this.
    fresh : bool
        Whether each load gets its own process. Otherwise one process does everything and the
        figures mean nothing: for tests only.
    peers : frozenset of str, optional
        Only these.
    """

    rounds: int = 3
    scale: float = 1.0
    fresh: bool = True
    peers: frozenset[str] | None = None

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Return the `names` that are selected."""
        return [name for name in names if self.peers is None or name in self.peers]


@dataclass(frozen=True, slots=True)
class Task:
    """An object to save and load.

    Parameters
    ----------
    workload : str
        Of `benchmarks.workloads`.
    size : int
        In the workload's own unit: bytes, rows or objects.
    small : int
        Size of the object that every peer saves and loads first.
    count : int
        Repetitions by one process in one round; the round's figure is their median.
    once : frozenset of str
        Peers for which one round is enough: they take many times as long as the others.
    """

    workload: str
    size: int
    small: int
    count: int = 1
    once: frozenset[str] = frozenset({"Parquet"})


@dataclass
class Row:
    """The figures of one peer, one per round, or the reason why there are none."""

    peer: str
    workload: str
    size: int
    why_not: str = ""
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, step: str, answer: dict[str, Any]) -> None:
        """Add the figures of one step of one round."""
        for name, value in answer.items():
            if name not in ("tokens", "mark"):
                self.figures.setdefault(f"{step}_{name}", []).append(value)


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """Return `names`, starting with a different one in each turn."""
    start = turn % len(names) if names else 0
    return [*names[start:], *names[:start]]


def compare(task: Task, names: Sequence[str], place: Place, plan: Plan) -> list[Row]:
    """Return a row for each peer of `names`: saved in one process, loaded in another, `plan.rounds` times."""
    rows = {name: Row(name, task.workload, task.size) for name in plan.chosen(names)}
    with ExitStack() as stack:
        writer = stack.enter_context(worker())
        writer.ask("make", name="small", workload=task.workload, size=task.small)
        mark = writer.ask("make", name="object", workload=task.workload, size=task.size)["mark"]
        shared = None if plan.fresh else writer
        if place.folder:
            # Two turns need disk space: one file is deleted while the next is written.
            writer.ask("touch", folder=place.folder, size_bytes=min(2 * task.size, MOST_TOUCHED_BYTES))
        warm = {name: token for name in rows if (token := _first(writer, rows[name], place))}
        for turn in range(plan.rounds):
            for name in rotated(list(warm), turn):
                if not rows[name].why_not and (turn == 0 or name not in task.once):
                    _one_turn(writer, shared, rows[name], task, warm[name], mark, place)
    return list(rows.values())


def _first(writer: Worker, row: Row, place: Place) -> str | None:
    """Return the token of the small object, or None; then the row says why the peer is not measured."""
    try:
        row.why_not = writer.ask("open", peer=row.peer, place=place.facts(), workload=row.workload).get("missing", "")
        if row.why_not:
            return None
        token: str = writer.ask("save", peer=row.peer, name="small", count=1)["tokens"][0]
    except WorkerError as error:
        row.why_not = str(error).replace(place.folder or "\0", "FOLDER")
        return None
    return token


def _one_turn(writer: Worker, shared: Worker | None, row: Row, task: Task, warm: str, mark: Any, place: Place) -> None:
    try:
        saved = writer.ask("save", peer=row.peer, name="object", count=task.count)
        with ExitStack() as stack:
            reader = shared or stack.enter_context(worker())
            reader.ask("open", peer=row.peer, place=place.facts(), workload=row.workload)
            first = reader.ask("load", peer=row.peer, workload=task.workload, tokens=[warm])
            loaded = reader.ask("load", peer=row.peer, workload=task.workload, tokens=saved["tokens"])
        writer.ask("forget", peer=row.peer, tokens=saved["tokens"])
    except WorkerError as error:
        row.why_not = str(error).replace(place.folder or "\0", "FOLDER")
        return
    if loaded["mark"] != mark and not PEERS[row.peer].limit:
        row.why_not = f"gave back something else: {loaded['mark']} instead of {mark}"
    row.add("save", saved)
    row.add("load", loaded)
    row.add("first", {"ms": first["ms"]})
