"""The calls of a run: their arguments, their results, and which of them a resumed run must repeat."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from typing import Any

from ._task import Outcome
from ._work import WorkStatus

__all__ = ["Call", "CallHistory", "current_state", "current_statuses"]


@dataclass(slots=True, eq=False)
class Call:
    """One call of a work.

    Parameters
    ----------
    work, id : str
        Name of the work, and fingerprint of the arguments.
    number : int
        How many equal calls the same pass made before this one.
    pass_number : int
        The pass of the flow that made the call.
    arguments : list
        Positional and keyword arguments, as JSON.
    raises, cached : bool
        Whether a failure ends the app, and whether an equal call later is skipped.
    stage : str
        ``"running"`` until the result is known, then ``"succeeded"``, ``"failed"`` or ``"stopped"``.
    state : dict or None
        The attributes that the call changed, as JSON.
    message : str
        What went wrong: one line, then the traceback; empty otherwise.
    started_s, ended_s : float or None
        When `run` began and ended, in seconds since 1970 (UTC).
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
    started_s: float | None = None
    ended_s: float | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """Identifies the call among the calls of its pass."""
        return self.work, self.id, self.number

    @property
    def has_ended(self) -> bool:
        """Whether the result is known."""
        return self.stage != "running"

    @property
    def ends_app(self) -> bool:
        """Whether it failed, and a failure of its work ends the app."""
        return self.stage == "failed" and self.raises

    def set_outcome(self, outcome: Outcome) -> None:
        """Record the outcome of the call."""
        self.stage = "failed" if outcome.state is None else "succeeded"
        self.state, self.message = outcome.state, f"{outcome.message}\n{outcome.traceback}".strip()
        self.started_s, self.ended_s = outcome.started_s, outcome.ended_s

    def mark_failed(self, message: str) -> None:
        """Record that the call failed without an outcome."""
        self.stage, self.message, self.ended_s = "failed", message, time.time()

    def mark_stopped(self) -> None:
        """Record that the flow stopped the call."""
        self.stage, self.message, self.ended_s = "stopped", "", time.time()


class CallHistory:
    """All calls of a run, and what the checkpoint says about them.

    A call is *open* until the flow has seen its result. The checkpoint contains what was known
    when the pass began (``done``, ``status``), and every call since; from these a resumed run
    starts the same pass again.
    """

    def __init__(self) -> None:
        self.status: dict[str, WorkStatus] = {}
        self._open: dict[str, deque[Call]] = {}
        self._done: dict[str, dict[str, str]] = {}
        self._closed: list[Call] = []
        self._replay: dict[tuple[str, str, int], Call] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._committed: dict[str, Any] = {"done": {}, "status": {}}

    def next_number(self, work: str, id_: str) -> int:
        """Return the number of the next call of `work` with arguments `id_` in this pass, and count it."""
        number = self._counts.get((work, id_), 0)
        self._counts[work, id_] = number + 1
        return number

    def replayed(self, call: Call) -> Call:
        """Return the call of a killed driver that `call` repeats, with its result, or `call` itself."""
        return self._replay.pop(call.key, call)

    def add(self, call: Call) -> None:
        """Add `call` to the open calls."""
        self._open.setdefault(call.work, deque()).append(call)
        self.status[call.work] = WorkStatus("running", count=self._count(call.work))

    def is_open(self, work: str, id_: str) -> bool:
        """Return whether `work` has an open call with arguments `id_`."""
        return any(call.id == id_ for call in self._open.get(work, ()))

    def done(self, work: str, id_: str) -> str | None:
        """Return "" if a cached call with arguments `id_` succeeded, its error message if it failed, else None."""
        return self._done.get(work, {}).get(id_)

    def first_open(self, work: str) -> Call | None:
        """Return the call of `work` whose result the flow sees next."""
        calls = self._open.get(work)
        return calls[0] if calls else None

    def all_open(self) -> Iterator[Call]:
        """Yield the open calls."""
        for calls in list(self._open.values()):
            yield from list(calls)

    def close(self, call: Call) -> None:
        """Record that the flow has seen the result of `call`."""
        calls = self._open[call.work]
        calls.remove(call)
        if not calls:
            del self._open[call.work]
        self._closed.append(call)
        if call.cached and call.stage != "stopped":
            self._done.setdefault(call.work, {})[call.id] = call.message
        count = self._count(call.work) + 1
        ended = WorkStatus(call.stage, call.message, call.started_s, call.ended_s, count)  # type: ignore[arg-type]
        self.status[call.work] = WorkStatus("running", count=count) if calls else ended

    @property
    def has_changed(self) -> bool:
        """Whether this pass made a call, or saw the result of one."""
        return bool(self._closed or self._counts)

    def commit(self) -> None:
        """Begin a new pass."""
        self._closed.clear()
        self._counts.clear()
        self._replay.clear()
        self._committed = {
            "done": {work: dict(ids) for work, ids in self._done.items()},
            "status": {work: _to_dict(status) for work, status in self.status.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the checkpoint that describe the calls."""
        return {**self._committed, "calls": [_to_dict(call) for call in (*self._closed, *self.all_open())]}

    def restore(self, checkpoint: dict[str, Any], raising: Collection[str]) -> list[Call]:
        """Load the calls of a checkpoint, and return those that must be run again.

        Calls of the interrupted pass are left for the flow to repeat, and so are failed calls that
        end the app. If the run had failed, all failed calls of the works in `raising` are
        forgotten: the user who resumes it is assumed to have fixed the cause.
        """
        self.status = {work: WorkStatus(**status) for work, status in checkpoint["status"].items()}
        self._done = {work: dict(ids) for work, ids in checkpoint["done"].items()}
        for work in self._done.keys() & raising if checkpoint["stage"] == "failed" else ():
            self._done[work] = {id_: message for id_, message in self._done[work].items() if not message}
        self.commit()
        for call in (Call(**saved) for saved in checkpoint["calls"]):
            if call.ends_app:
                call.stage, call.message, call.started_s, call.ended_s = "running", "", None, None
            if call.pass_number < checkpoint["pass"]:
                self.add(call)
            elif call.has_ended:
                self._replay[call.key] = call
        return [calls[0] for calls in self._open.values() if not calls[0].has_ended]

    def _count(self, work: str) -> int:
        return self.status.get(work, WorkStatus()).count


def current_statuses(checkpoint: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the status of each work in a checkpoint, including calls since its pass began."""
    statuses = {work: dict(status) for work, status in checkpoint["status"].items()}
    for call in checkpoint["calls"]:
        count = statuses.get(call["work"], {"count": 0})["count"] + (call["stage"] != "running")
        latest = {name: call[name] for name in ("stage", "message", "started_s", "ended_s")}
        statuses[call["work"]] = {**latest, "count": count}
    return statuses


def current_state(checkpoint: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the state of each component in a checkpoint as JSON, including results since its pass began."""
    state: dict[str, dict[str, Any]] = dict(checkpoint["components"])
    for call in checkpoint["calls"]:
        state[call["work"]] = {**state[call["work"]], **(call["state"] or {})}
    return state


def _to_dict(value: Call | WorkStatus) -> dict[str, Any]:
    # Not asdict, which copies the state: this runs for every work at every save.
    return {field.name: getattr(value, field.name) for field in fields(value)}
