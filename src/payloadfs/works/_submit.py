"""The link between driver and executor: sends calls to the executor and receives their results."""

from __future__ import annotations

import heapq
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from ..errors import EncodeError, PayloadError, WorkError
from ..repository import Repository
from ._events import Event, EventKind
from ._executors import LOCAL_EXECUTORS, with_resources
from ._history import Call
from ._local_executor import LocalExecutor
from ._state import decode, payloads_in, pointers_in
from ._task import Outcome, execute, pack
from ._work import Work

HEARTBEAT_S = 30.0
"""How often a driver shows that it is alive."""

_WAIT_WARNING_S = 30.0
_MAX_NAMES = 3


class EndApp(BaseException):
    """Exits the flow's `run` even if it catches all exceptions; the app ends with `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Claim:
    """The object by which an attempt shows that it has begun, if another project's executor runs it."""

    key: str
    work: str
    sent_s: float = field(default_factory=time.monotonic)
    has_begun: bool = False


class Submitter:
    """The running calls of a run.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Runs the calls.
    settings : mapping
        Settings for the processes that run calls.
    repository, prefix : Repository, str
        Where payloads are stored.
    run : str
        Name of the run, for events.
    on_event : callable
        Called with each `Event`.
    """

    def __init__(
        self,
        executor: Executor,
        settings: Mapping[str, Any],
        repository: Repository,
        prefix: str,
        run: str,
        on_event: Callable[[Event], None],
    ) -> None:
        self._executor, self._settings = executor, settings
        self._repository, self._prefix = repository, prefix
        self._run, self._on_event = run, on_event
        self._futures: dict[Call, Future[Outcome]] = {}
        self._retries: list[tuple[float, int, Call, Work]] = []
        self._works: dict[Call, Work] = {}
        self._running: dict[str, Call] = {}
        self._claims: dict[Call, _Claim] = {}
        self._claims_prefix = f"runs/{run}/attempts"
        self._warned: set[str] = set()
        # A result has a future; state that a live work published, and a call that failed before it was sent, have none.
        self._results: SimpleQueue[tuple[Call, Future[Outcome] | None, str]] = SimpleQueue()
        self._broken: EndApp | None = None
        if isinstance(executor, LocalExecutor):
            executor.listeners.append(self.on_output)

    def detach(self) -> None:
        """Stop listening to the executor."""
        if isinstance(self._executor, LocalExecutor):
            self._executor.listeners.remove(self.on_output)

    @property
    def has_results(self) -> bool:
        """Whether `wait` would return immediately."""
        return not self._results.empty()

    def start(self, call: Call, work: Work) -> None:
        """Send `call` of `work` to the executor. If it cannot be pickled, the call fails.

        Raises
        ------
        EndApp
            The executor no longer accepts calls.
        """
        args, kwargs = decode(call.arguments, self._repository)
        for payload in payloads_in([args, kwargs]):
            work._on_receive(payload)
        timeout_s = call.options["timeout_s"]
        limit_s = None if isinstance(self._executor, LocalExecutor) else timeout_s
        claim = "" if type(self._executor) in LOCAL_EXECUTORS else f"{self._claims_prefix}/{secrets.token_hex(16)}.txt"
        try:
            task = pack(work, tuple(args), kwargs, self._settings, self._prefix, limit_s, claim)
        except EncodeError as error:
            call.mark_failed(f"EncodeError: {error}")
            self._emit_ended(call)
            return
        self.emit("call-started", call.work)
        try:
            if isinstance(self._executor, LocalExecutor):
                future = self._executor.submit_limited(timeout_s, execute, task)
            else:
                future = with_resources(self._executor, work._call_resources).submit(execute, task)
        except Exception as error:
            message = f"The executor no longer accepts calls: {type(error).__name__}: {error}"
            self._broken = EndApp(WorkError(message, work=call.work, kind="executor"))
            raise self._broken from error
        self._futures[call], self._works[call], self._running[call.work] = future, work, call
        if claim:
            self._claims[call] = _Claim(claim, call.work)
        future.add_done_callback(lambda future: self._results.put((call, future, "")))

    def on_output(self, work: str, stream: str, text: str) -> None:
        """Receive what a running call prints, or the state that it publishes. Called from other threads."""
        call = self._running.get(work)
        if call is not None and stream == "state":
            self._results.put((call, None, text))
        elif call is not None:
            call.add_output(text)

    def wait(self, until_s: float | None = None) -> tuple[Call, dict[str, Any] | None] | None:
        """Wait for the next result of a call, or for state that a call published, at most until `until_s`.

        A failed call with attempts left is sent again when its wait is over. A call that was stopped in the
        meantime stays stopped. Returns None at `until_s`, or when a wait is over.
        """
        if self._broken is not None:
            raise self._broken
        due_s = min((retry[0] for retry in self._retries), default=None)
        ends_s = min((time_s for time_s in (due_s, until_s) if time_s is not None), default=None)
        try:
            call, future, published = self._results.get(timeout=self._timeout_s(ends_s))
        except Empty:
            self._start_due()
            return None
        if future is None:
            if call.has_ended:
                return call, None
            return (call, self._verified(json.loads(published.splitlines()[-1]))) if call in self._futures else None
        if self._futures.pop(call, None) is None:
            return call, None
        work = self._works.pop(call)
        if self._running.get(call.work) is call:
            del self._running[call.work]
        if (claim := self._claims.pop(call, None)) is not None:
            with suppress(PayloadError):  # then it is deleted with the run
                self._repository.store.delete(claim.key)
        self._record_result(call, future)
        wait_s = call.prepare_retry()
        if wait_s is None:
            self._emit_ended(call)
            return call, None
        heapq.heappush(self._retries, (time.time() + wait_s, call.serial, call, work))
        attempt, count = len(call.failures) + 1, call.options["retries"] + 1
        self.emit(
            "call-retried", call.work, f"{call.failures[-1]['message']}; attempt {attempt} of {count} in {wait_s:g} s"
        )
        return call, None

    @staticmethod
    def _timeout_s(ends_s: float | None) -> float | None:
        # Not longer than a lock can wait, and short enough to notice that the clock was changed.
        return None if ends_s is None else min(max(ends_s - time.time(), 0.0), 60.0)

    def _start_due(self) -> None:
        while self._retries and self._retries[0][0] <= time.time():
            _, _, call, work = heapq.heappop(self._retries)
            self.start(call, work)
            if call.has_ended:  # it cannot be pickled
                self._results.put((call, None, "{}"))

    def _record_result(self, call: Call, future: Future[Outcome]) -> None:
        try:
            error: BaseException | None = future.exception()
        except CancelledError:
            error = WorkError(
                "The executor cancelled the call, or lost the connection to its workers.", kind="executor"
            )
        if error is None:
            error = self._record(call, future.result())
        if error is not None:
            call.mark_failed(str(error) if isinstance(error, PayloadError) else f"{type(error).__name__}: {error}")

    def _record(self, call: Call, outcome: Outcome) -> Exception | None:
        try:
            self._verified(outcome.state)
        except PayloadError as error:
            return error
        call.set_outcome(outcome)
        for stream, text in outcome.output:
            call.add_output(text)
            self.emit("output", call.work, text, stream=stream)
        return None

    def _verified(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        for _, pointer in pointers_in(state):
            self._repository.verify(pointer)
        return state

    def stop(self, call: Call) -> None:
        """Stop `call` if it is running, and ignore its result."""
        self._retries = [retry for retry in self._retries if retry[2] is not call]
        heapq.heapify(self._retries)
        future = self._futures.pop(call, None)
        self._claims.pop(call, None)
        if future is not None:
            # Only our own executor can stop a call that is running.
            kill = getattr(self._executor, "kill", Future.cancel)
            kill(future)

    def stop_all(self) -> None:
        """Record the results that have arrived, and stop the remaining calls."""
        while self.has_results and self._broken is None:
            self.wait()
        for call in [*self._futures, *(retry[2] for retry in self._retries)]:
            self.stop(call)

    def waiting_works(self) -> str:
        """Return a warning about works that the executor has not begun for a long time, once for each, or an empty string.

        For use in another thread. Cost: at most one LIST.
        """
        sent_before_s = time.monotonic() - _WAIT_WARNING_S
        old = [claim for claim in list(self._claims.values()) if not claim.has_begun and claim.sent_s <= sent_before_s]
        if all(claim.work in self._warned for claim in old):
            return ""
        begun = {info.key for info in self._repository.store.list(f"{self._claims_prefix}/")}
        still = {claim.key for claim in list(self._claims.values())}
        for claim in old:
            claim.has_begun = claim.key in begun or claim.key not in still
        names = dict.fromkeys(claim.work for claim in old if not claim.has_begun and claim.work not in self._warned)
        self._warned.update(names)
        if not names:
            return ""
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        problem = getattr(self._executor, "problem", str)()
        works = ", ".join(list(names)[:_MAX_NAMES]) + more
        return f"After {_WAIT_WARNING_S:g} s, the executor has not started {works}. {problem}".rstrip()

    def is_running(self, call: Call) -> bool:
        """Return whether `call` was sent and its result has not arrived, or it waits for its next attempt."""
        return call in self._futures or any(retry[2] is call for retry in self._retries)

    def emit(self, kind: EventKind, work: str = "", message: str = "", **details: Any) -> None:
        """Report an event."""
        self._on_event(Event(kind, self._run, work, message, **details))

    def _emit_ended(self, call: Call) -> None:
        took_s = call.ended_s - call.started_s if call.started_s and call.ended_s else None
        stored = tuple((path, p.type_name, p.size_bytes) for path, p in pointers_in(call.state))
        kind: EventKind = "call-succeeded" if call.stage == "succeeded" else "call-failed"
        self.emit(kind, call.work, call.message, took_s=took_s, stored=stored)


@contextmanager
def heartbeat(renew: Callable[[], None], submitter: Submitter) -> Iterator[None]:
    """Call `renew` regularly to show that the driver is alive, and warn about calls that do not begin."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S):
            try:
                renew()
                problem = submitter.waiting_works()
            except Exception as error:  # the next save reports it
                problem = "" if isinstance(error, PayloadError) else f"{type(error).__name__}: {error}"
            if problem:
                submitter.emit("output", message=f"payloadfs: {problem}\n", stream="stderr")

    threading.Thread(target=beat, name="payloadfs-heartbeat", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
