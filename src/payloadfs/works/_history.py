"""The calls of a run: what was asked for, what came of it, and what a resumed run still has to do."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from ._task import Outcome
from ._work import WorkStatus

__all__ = ["Call", "Calls"]


@dataclass(slots=True, eq=False)
class Call:
    """One call of a work.

    Parameters
    ----------
    work, id : str
        Name of the work, and identity of the arguments.
    number : int
        How many equal calls the same pass had made before.
    pass_number : int
        The pass of the flow in which it was made.
    arguments : list
        Positional and named arguments, as JSON.
    raises, cached : bool
        Whether a failure ends the app, and whether it need not be made again once it has ended.
    stage : str
        ``"running"`` until its result is known, then ``"succeeded"``, ``"failed"`` or ``"stopped"``.
    state : dict or None
        What it changed, as JSON.
    """

    work: str
    id: str
    number: int
    pass_number: int
    arguments: list[Any]
    raises: bool
    cached: bool
    stage: str = "running"
    state: dict[str, Any] | None = None
    message: str = ""
    called_s: float = field(default_factory=time.time)
    started_s: float | None = None
    ended_s: float | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the other calls of a pass."""
        return self.work, self.id, self.number

    @property
    def has_ended(self) -> bool:
        """Whether its result is known."""
        return self.stage != "running"

    @property
    def ends_app(self) -> bool:
        """Whether it failed, and the work says that this ends the app."""
        return self.stage == "failed" and self.raises

    def end(self, outcome: Outcome) -> None:
        """Take over what became of it."""
        self.stage = "failed" if outcome.state is None else "succeeded"
        self.state, self.message = outcome.state, f"{outcome.message}\n{outcome.traceback}".strip()
        self.started_s, self.ended_s = outcome.started_s, outcome.ended_s

    def give_up(self, stage: str, message: str) -> None:
        """End it without a result."""
        self.stage, self.message, self.ended_s = stage, message, time.time()


class Calls:
    """All calls of a run, and what the document says of them.

    A call is *open* until the flow has seen what became of it. The document holds what was known
    when the pass began (``done``, ``status``), and every call since; from these a resumed run
    begins the same pass again.
    """

    def __init__(self) -> None:
        self.status: dict[str, WorkStatus] = {}
        self._open: dict[str, deque[Call]] = {}
        self._done: dict[str, dict[str, str]] = {}
        self._seen: list[Call] = []
        self._replay: dict[tuple[str, str, int], Call] = {}
        self._made: dict[tuple[str, str], int] = {}
        self._committed: dict[str, Any] = {"done": {}, "status": {}}

    def next_number(self, work: str, id_: str) -> int:
        """Return the number of the next call of `work` with arguments `id_` in this pass, and count it."""
        number = self._made.get((work, id_), 0)
        self._made[work, id_] = number + 1
        return number

    def replayed(self, call: Call) -> Call:
        """Return the call of a killed driver that `call` makes again, with its result, or `call` itself."""
        return self._replay.pop(call.key, call)

    def add(self, call: Call) -> None:
        """Note that `call` was made."""
        self._open.setdefault(call.work, deque()).append(call)
        self.status[call.work] = WorkStatus("running", count=self._count(call.work))

    def is_open(self, work: str, id_: str) -> bool:
        """Whether such a call was made, and the flow has not seen what became of it."""
        return any(call.id == id_ for call in self._open.get(work, ()))

    def done(self, work: str, id_: str) -> str | None:
        """Return "" if such a call succeeded and need not be made again, what went wrong if it failed, else None."""
        return self._done.get(work, {}).get(id_)

    def first(self, work: str) -> Call | None:
        """Return the call of `work` that the flow is to see next."""
        waiting = self._open.get(work)
        return waiting[0] if waiting else None

    def all_open(self) -> Iterator[Call]:
        """Yield the open calls."""
        for waiting in list(self._open.values()):
            yield from list(waiting)

    def close(self, call: Call) -> None:
        """Note that the flow sees what became of `call`."""
        waiting = self._open[call.work]
        waiting.remove(call)
        if not waiting:
            del self._open[call.work]
        self._seen.append(call)
        if call.cached and call.stage != "stopped":
            self._done.setdefault(call.work, {})[call.id] = call.message
        count = self._count(call.work) + 1
        ended = WorkStatus(call.stage, call.message, call.started_s, call.ended_s, count)  # type: ignore[arg-type]
        self.status[call.work] = WorkStatus("running", count=count) if waiting else ended

    @property
    def has_moved(self) -> bool:
        """Whether this pass made a call, or saw what became of one."""
        return bool(self._seen or self._made)

    def commit(self) -> None:
        """Begin a pass."""
        self._seen.clear()
        self._made.clear()
        self._replay.clear()
        self._committed = {
            "done": {work: dict(ids) for work, ids in self._done.items()},
            "status": {work: _plain(status) for work, status in self.status.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """Return what the document says of the calls."""
        return {**self._committed, "calls": [_plain(call) for call in (*self._seen, *self.all_open())]}

    def restore(self, document: dict[str, Any], raising: Collection[str]) -> list[Call]:
        """Take over what a document says, and return the calls that have to be run again.

        Those of the pass that was not ended are left for the flow to make again. So are those of
        them that failed, if this ends the app; and once it has ended it, all that failed, of works
        in `raising`: who resumes it has mended what was wrong.
        """
        self.status = {work: WorkStatus(**status) for work, status in document["status"].items()}
        self._done = {work: dict(ids) for work, ids in document["done"].items()}
        for work in self._done.keys() & raising if document["stage"] == "failed" else ():
            self._done[work] = {id_: failure for id_, failure in self._done[work].items() if not failure}
        self.commit()
        for call in (Call(**facts) for facts in document["calls"]):
            if call.ends_app:
                call.stage, call.message, call.started_s, call.ended_s = "running", "", None, None
            if call.pass_number < document["pass"]:
                self.add(call)
            elif call.has_ended:
                self._replay[call.key] = call
        return [waiting[0] for waiting in self._open.values() if not waiting[0].has_ended]

    def _count(self, work: str) -> int:
        return self.status.get(work, WorkStatus()).count


def _plain(value: Call | WorkStatus) -> dict[str, Any]:
    # Not asdict, which copies the states: this runs for every work at every save.
    return {part.name: getattr(value, part.name) for part in fields(value)}
