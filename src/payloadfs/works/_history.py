"""The calls of a run: their arguments, their results, and which ones a resumed run must repeat."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from ._journal import Journal, State
from ._state import pointers_in
from ._task import Outcome
from ._work import CallOptions, WorkStatus

_MAX_LOGGED_CALLS = 500
_MAX_OUTPUT_CHARS = 8_000
_MAX_LOGGED_CHARS = 1_000_000


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
        Whether a failure ends the app, and whether later equal calls are skipped once this one succeeded.
    options : dict
        `CallOptions`, as JSON.
    serial : int
        Number of the call in the run.
    stage : str
        ``"running"`` until the result is known, then ``"succeeded"``, ``"failed"`` or ``"stopped"``.
    state : dict or None
        The attributes that the call changed, as JSON.
    message : str
        What went wrong: one line, then the traceback; empty otherwise.
    started_s, ended_s : float or None
        When `run` began and ended, in seconds since 1970 (UTC).
    failures : list
        The attempts that failed and were repeated: ``{"started_s", "ended_s", "message"}`` each.
    output : list of str
        The end of its output, at most a few thousand characters; kept in the log, not with the call.
    """

    work: str
    id: str
    number: int
    pass_number: int
    arguments: list[Any]
    raises: bool
    cached: bool
    options: dict[str, Any] = field(default_factory=CallOptions().to_dict)
    serial: int = 0
    stage: str = "running"
    state: dict[str, Any] | None = None
    message: str = ""
    started_s: float | None = None
    ended_s: float | None = None
    failures: list[dict[str, Any]] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

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
        """Record the outcome of an attempt. Without a state, the attempt failed."""
        self.stage = "failed" if outcome.state is None else "succeeded"
        self.state, self.message = outcome.state, f"{outcome.message}\n{outcome.traceback}".strip()
        self.started_s, self.ended_s = outcome.started_s, outcome.ended_s

    def mark_failed(self, message: str) -> None:
        """Record that the attempt failed without an outcome."""
        self.stage, self.message, self.ended_s = "failed", message, time.time()

    def mark_stopped(self) -> None:
        """Record that the flow stopped the call."""
        self.stage, self.message, self.ended_s = "stopped", "", time.time()

    def prepare_retry(self) -> float | None:
        """If the call failed and may be repeated, make it a running call again, and return how long to wait first."""
        options = CallOptions(**self.options)
        if self.stage != "failed" or len(self.failures) >= options.retries:
            return None
        summary = self.message.partition("\n")[0]
        self.failures.append({"started_s": self.started_s, "ended_s": self.ended_s, "message": summary})
        self.reset()
        return options.wait_s(len(self.failures))

    def reset(self) -> None:
        """Discard the result, so that the call counts as running."""
        self.stage, self.state, self.message, self.started_s, self.ended_s = "running", None, "", None, None

    def add_output(self, text: str) -> None:
        """Keep the end of what the call prints."""
        self.output.append(text)
        if len(self.output) > 1 and sum(map(len, self.output)) > 2 * _MAX_OUTPUT_CHARS:
            self.output[:] = ["".join(self.output)[-_MAX_OUTPUT_CHARS:]]

    def to_log(self) -> dict[str, Any]:
        """Return the record that the run keeps of an ended call."""
        attempts = [*self.failures, {"started_s": self.started_s, "ended_s": self.ended_s, "message": ""}]
        attempts[-1]["message"] = self.message.partition("\n")[0]
        stored = sum(pointer.size_bytes for _, pointer in pointers_in(self.state))
        output = "".join(self.output)[-_MAX_OUTPUT_CHARS:]
        return {
            "work": self.work,
            "stage": self.stage,
            "attempts": attempts,
            "stored_bytes": stored,
            "output": output,
        }


class CallHistory:
    """All calls of a run, and what its journal says about them.

    A call is *open* until the flow has seen its result. The journal contains what was known
    when the pass began (``done``, ``status``), and every call since; from these a resumed run
    starts the same pass again.
    """

    def __init__(self, journal: Journal) -> None:
        self.status: dict[str, WorkStatus] = {}
        self._journal = journal
        self._open: dict[str, deque[Call]] = {}
        self._done: dict[str, dict[str, str]] = {}
        self._changed_done: dict[tuple[str, str], None] = {}
        self._closed: list[Call] = []
        self._replay: dict[tuple[str, str, int], Call] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._changed_status: dict[str, None] = {}
        self._failed_before: set[str] = set()
        self._serial = 0
        self._logged: deque[tuple[str, int]] = deque()
        self._logged_chars = 0

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
        if not call.serial:
            self._serial += 1
            call.serial = self._serial
        self._open.setdefault(call.work, deque()).append(call)
        self._set_status(call.work, WorkStatus("running", count=self._count(call.work)))
        self.write(call)

    def write(self, call: Call) -> None:
        """Write `call` to the journal; the next save stores it."""
        self._journal.set("call", str(call.serial), {name: getattr(call, name) for name in _SAVED})

    def is_open(self, work: str, id_: str) -> bool:
        """Return whether `work` has an open call with arguments `id_`."""
        return any(call.id == id_ for call in self._open.get(work, ()))

    def is_done(self, work: str, id_: str) -> bool:
        """Return whether a call of `work` with arguments `id_` must not run again.

        It succeeded, or it failed and the flow has not seen that yet.
        """
        return id_ in self._done.get(work, ())

    def forget_failures(self, work: str) -> None:
        """Allow failed calls of `work` to run again: the flow has seen that they failed."""
        done = self._done.get(work, {})
        for id_ in [id_ for id_, message in done.items() if message]:
            del done[id_]
            self._changed_done[work, id_] = None

    def first_open(self, work: str) -> Call | None:
        """Return the call of `work` whose result the flow sees next."""
        calls = self._open.get(work)
        return calls[0] if calls else None

    def open_calls(self, work: str) -> list[Call]:
        """Return the open calls of `work`."""
        return list(self._open.get(work, ()))

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
        self.write(call)
        # The flow sees the failure of a call that raises.
        if call.cached and (call.stage == "succeeded" or (call.stage == "failed" and not call.raises)):
            self._done.setdefault(call.work, {})[call.id] = call.message.partition("\n")[0]
            self._changed_done[call.work, call.id] = None
        count, attempts = self._count(call.work) + 1, len(call.failures) + 1
        ended = WorkStatus(call.stage, call.message, call.started_s, call.ended_s, count, attempts)  # type: ignore[arg-type]
        self._set_status(call.work, WorkStatus("running", count=count) if calls else ended)

    def _set_status(self, work: str, status: WorkStatus) -> None:
        self.status[work] = status
        self._changed_status[work] = None

    @property
    def has_changed(self) -> bool:
        """Whether this pass made a call, saw a result, or saw a failure, after which it may repeat the call."""
        return bool(self._closed or self._counts or self._changed_done)

    @property
    def has_closed(self) -> bool:
        """Whether a call ended since the pass began."""
        return bool(self._closed)

    @property
    def has_only_failed_again(self) -> bool:
        """Whether all calls that ended since the pass began failed, and their works had failed before."""
        return bool(self._closed) and all(
            call.stage == "failed" and call.work in self._failed_before for call in self._closed
        )

    def commit(self) -> None:
        """Begin a new pass. After an interrupt, a second call completes the rest."""
        for call in self._closed:
            self._journal.drop("call", str(call.serial))
            self._log(call)
        for work, id_ in self._changed_done:
            message = self._done[work].get(id_)
            if message is None:
                self._journal.drop(f"done:{work}", id_)
            else:
                self._journal.set(f"done:{work}", id_, message)
        for work in self._changed_status:
            self._journal.set("status", work, _to_dict(self.status[work]))
        for call in self._replay.values():
            self._journal.drop("call", str(call.serial))
        self._closed.clear()
        self._counts.clear()
        self._replay.clear()
        self._changed_status.clear()
        self._changed_done.clear()
        self._failed_before = {work for work, status in self.status.items() if status.stage == "failed"}

    def _log(self, call: Call) -> None:
        record, serial = call.to_log(), str(call.serial)
        self._journal.set("log", serial, record)
        self._logged.append((serial, len(record["output"])))
        self._logged_chars += len(record["output"])
        while len(self._logged) > _MAX_LOGGED_CALLS or (
            self._logged_chars > _MAX_LOGGED_CHARS and len(self._logged) > 1
        ):
            oldest, chars = self._logged.popleft()
            self._logged_chars -= chars
            self._journal.drop("log", oldest)

    def restore(self, state: State) -> list[Call]:
        """Load the calls of a run, and return those that must be run again.

        Calls of the interrupted pass are left for the flow to repeat, and so are failed calls that
        end the app.
        """
        self.status = {work: WorkStatus(**status) for work, status in state.get("status", {}).items()}
        done = ((kind.removeprefix("done:"), ids) for kind, ids in state.items() if kind.startswith("done:"))
        self._done = {work: dict(ids) for work, ids in done}
        log = state.get("log", {})
        self._logged.extend((serial, len(record["output"])) for serial, record in log.items())
        self._logged_chars = sum(chars for _, chars in self._logged)
        current_pass = state["run"][""]["pass"]
        calls = sorted((Call(**saved) for saved in state.get("call", {}).values()), key=lambda call: call.serial)
        self._serial = max((int(serial) for serial in (*log, *state.get("call", {}))), default=0)
        for call in calls:
            if call.ends_app:
                call.reset()
                call.failures.clear()
            if call.pass_number < current_pass:
                self.add(call)
            else:
                self._replay[call.key] = call
        self._changed_status.clear()
        return [calls[0] for calls in self._open.values() if not calls[0].has_ended]

    def _count(self, work: str) -> int:
        return self.status.get(work, WorkStatus()).count


_SAVED = tuple(field.name for field in fields(Call) if field.name != "output")
_STATUS_FIELDS = tuple(field.name for field in fields(WorkStatus))


def current_statuses(state: State) -> dict[str, dict[str, Any]]:
    """Return the status of each work in a journal, including calls since its pass began."""
    statuses = {work: dict(status) for work, status in state.get("status", {}).items()}
    for call in _calls(state):
        count = statuses.get(call["work"], {"count": 0})["count"] + (call["stage"] != "running")
        latest = {name: call[name] for name in ("stage", "message", "started_s", "ended_s")}
        statuses[call["work"]] = {**latest, "count": count, "attempts": len(call["failures"]) + 1}
    return statuses


def current_state(state: State) -> dict[str, dict[str, Any]]:
    """Return the attributes of each component in a journal as JSON, including results since its pass began."""
    current: dict[str, dict[str, Any]] = {name: dict(state.get(f"state:{name}", {})) for name in state["component"]}
    for call in _calls(state):
        current[call["work"]].update(call["state"] or {})
    return current


def _calls(state: State) -> list[dict[str, Any]]:
    return sorted(state.get("call", {}).values(), key=lambda call: call["serial"])


def _to_dict(status: WorkStatus) -> dict[str, Any]:
    return {name: getattr(status, name) for name in _STATUS_FIELDS}
