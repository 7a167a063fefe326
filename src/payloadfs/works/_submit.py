"""Between the driver and the executor: sends calls out, and takes in what became of them."""

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

__all__ = ["Dispatch", "EndApp"]


class EndApp(BaseException):
    """Leaves the flow's `run`, whatever it catches; `error` is what the app ends with."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Dispatch:
    """The calls that run.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Runs the calls.
    settings : mapping
        Settings for the processes of the calls.
    repository, prefix : Repository, str
        Where payloads are.
    run : str
        Name of the run, for events.
    told : callable
        Called with each `Event`.
    """

    def __init__(
        self,
        executor: Executor,
        settings: Mapping[str, Any],
        repository: Repository,
        prefix: str,
        run: str,
        told: Callable[[Event], None],
    ) -> None:
        self._executor, self._settings = executor, settings
        self._repository, self._prefix = repository, prefix
        self._run, self._told = run, told
        self._futures: dict[Call, Future[Outcome]] = {}
        self._ended: SimpleQueue[tuple[Call, Future[Outcome]]] = SimpleQueue()
        self._broken: EndApp | None = None

    @property
    def has_ended(self) -> bool:
        """Whether there is something to take in."""
        return not self._ended.empty()

    def start(self, call: Call, work: Work) -> None:
        """Send `call` of `work` out. If it can't be sent, it has failed.

        Raises
        ------
        EndApp
            The executor takes no more calls.
        """
        given, named = decode(call.arguments, self._repository)
        for payload in payloads_in([given, named]):
            work._received(payload)
        try:
            task = pack(work, tuple(given), named, self._settings, self._prefix)
        except EncodeError as error:
            call.give_up("failed", f"EncodeError: {error}")
            self._tell(call)
            return
        self.emit("call-started", call.work)
        try:
            future = self._executor.submit(execute, task)
        except Exception as error:
            words = f"The executor takes no more calls: {type(error).__name__}: {error}"
            self._broken = EndApp(WorkError(words, work=call.work, kind="executor"))
            raise self._broken from error
        self._futures[call] = future
        future.add_done_callback(lambda future: self._ended.put((call, future)))

    def take(self) -> Call:
        """Wait until a call ends, and note what became of it; one that was stopped meanwhile stays as it is."""
        if self._broken is not None:
            raise self._broken
        call, future = self._ended.get()
        if self._futures.pop(call, None) is None:
            return call
        try:
            error: BaseException | None = future.exception()
        except CancelledError as cancelled:
            error = cancelled
        if error is None:
            error = self._note(call, future.result())
        if error is not None:
            call.give_up(
                "failed", str(error) if isinstance(error, PayloadError) else f"{type(error).__name__}: {error}"
            )
        self._tell(call)
        return call

    def _note(self, call: Call, outcome: Outcome) -> Exception | None:
        try:
            for _, pointer in pointers_in(outcome.state):
                self._repository.verify(pointer)
        except PayloadError as error:
            return error
        call.end(outcome)
        for stream, text in outcome.output:
            self.emit("output", call.work, text, stream=stream)
        return None

    def stop(self, call: Call) -> None:
        """Stop `call` if it runs; what it comes to is not taken in."""
        future = self._futures.pop(call, None)
        if future is not None:
            # Only our own executor can stop a call that runs already.
            kill = getattr(self._executor, "kill", Future.cancel)
            kill(future)

    def stop_all(self) -> None:
        """Take in what has ended, and stop the rest."""
        while self.has_ended and self._broken is None:
            self.take()
        for call in list(self._futures):
            self.stop(call)

    def runs(self, call: Call) -> bool:
        """Whether `call` was sent out, and nothing came back yet."""
        return call in self._futures

    def emit(self, kind: EventKind, work: str = "", message: str = "", **facts: Any) -> None:
        """Tell of an event."""
        self._told(Event(kind, self._run, work, message, **facts))

    def _tell(self, call: Call) -> None:
        took_s = call.ended_s - call.started_s if call.started_s and call.ended_s else None
        stored = tuple((path, p.type_name, p.size_bytes) for path, p in pointers_in(call.state))
        kind: EventKind = "call-succeeded" if call.stage == "succeeded" else "call-failed"
        self.emit(kind, call.work, call.message, took_s=took_s, stored=stored)
