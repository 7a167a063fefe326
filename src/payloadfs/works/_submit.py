"""The link between driver and executor: sends calls to the executor and receives their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Executor, Future
from queue import SimpleQueue
from typing import Any

from ..errors import EncodeError, PayloadError, WorkError
from ..repository import Repository
from ._events import Event, EventKind
from ._history import Call
from ._state import decode, payloads_in, pointers_in
from ._task import Outcome, execute, pack
from ._work import Work

__all__ = ["EndApp", "Submitter"]


class EndApp(BaseException):
    """Exits the flow's `run` even if it catches all exceptions; `error` is the error that the app ends with."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


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
        self._results: SimpleQueue[tuple[Call, Future[Outcome]]] = SimpleQueue()
        self._broken: EndApp | None = None

    @property
    def has_results(self) -> bool:
        """Whether `wait_for_result` would return at once."""
        return not self._results.empty()

    def start(self, call: Call, work: Work) -> None:
        """Send `call` of `work` to the executor. If it cannot be pickled, the call fails.

        Raises
        ------
        EndApp
            The executor does not accept calls any more.
        """
        args, kwargs = decode(call.arguments, self._repository)
        for payload in payloads_in([args, kwargs]):
            work._on_receive(payload)
        try:
            task = pack(work, tuple(args), kwargs, self._settings, self._prefix)
        except EncodeError as error:
            call.mark_failed(f"EncodeError: {error}")
            self._emit_ended(call)
            return
        self.emit("call-started", call.work)
        try:
            future = self._executor.submit(execute, task)
        except Exception as error:
            message = f"The executor does not accept calls any more: {type(error).__name__}: {error}"
            self._broken = EndApp(WorkError(message, work=call.work, kind="executor"))
            raise self._broken from error
        self._futures[call] = future
        future.add_done_callback(lambda future: self._results.put((call, future)))

    def wait_for_result(self) -> Call:
        """Wait until a call ends, and record its result. A call that was stopped in the meantime stays stopped."""
        if self._broken is not None:
            raise self._broken
        call, future = self._results.get()
        if self._futures.pop(call, None) is None:
            return call
        try:
            error: BaseException | None = future.exception()
        except CancelledError as cancelled:
            error = cancelled
        if error is None:
            error = self._record(call, future.result())
        if error is not None:
            call.mark_failed(str(error) if isinstance(error, PayloadError) else f"{type(error).__name__}: {error}")
        self._emit_ended(call)
        return call

    def _record(self, call: Call, outcome: Outcome) -> Exception | None:
        try:
            for _, pointer in pointers_in(outcome.state):
                self._repository.verify(pointer)
        except PayloadError as error:
            return error
        call.set_outcome(outcome)
        for stream, text in outcome.output:
            self.emit("output", call.work, text, stream=stream)
        return None

    def stop(self, call: Call) -> None:
        """Stop `call` if it is running, and ignore its result."""
        future = self._futures.pop(call, None)
        if future is not None:
            # Only our own executor can stop a call that is running.
            kill = getattr(self._executor, "kill", Future.cancel)
            kill(future)

    def stop_all(self) -> None:
        """Record the results that are there, and stop the remaining calls."""
        while self.has_results and self._broken is None:
            self.wait_for_result()
        for call in list(self._futures):
            self.stop(call)

    def is_running(self, call: Call) -> bool:
        """Return whether `call` was sent and its result has not been received."""
        return call in self._futures

    def emit(self, kind: EventKind, work: str = "", message: str = "", **details: Any) -> None:
        """Report an event."""
        self._on_event(Event(kind, self._run, work, message, **details))

    def _emit_ended(self, call: Call) -> None:
        took_s = call.ended_s - call.started_s if call.started_s and call.ended_s else None
        stored = tuple((path, p.type_name, p.size_bytes) for path, p in pointers_in(call.state))
        kind: EventKind = "call-succeeded" if call.stage == "succeeded" else "call-failed"
        self.emit(kind, call.work, call.message, took_s=took_s, stored=stored)
