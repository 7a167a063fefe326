"""Many loads at once in one thread: it asks for small objects and decodes them as they come; threads load the others.

In as many threads as there are loads on their way, each would wait for the interpreter's lock more
often than it works; see `docs/decisions/0017-small-loads-in-one-thread.md`.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

from ._batch import Batch
from ._log import log_done
from .errors import about
from .pointer import Pointer
from .serializers import Serializer
from .stores import CheckedReads

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["SmallLoads"]


class _Ticket(NamedTuple):
    """A load on its way: its position, its pointer, where that leads, and when it began."""

    number: int
    pointer: Pointer
    place: Pointer
    serializer: Serializer
    started_s: float


class SmallLoads:
    """Loads of objects that lie in one store. To be used once.

    Parameters
    ----------
    batch : Batch
        Keeps what comes of each, and loads what is not small, lies elsewhere, or does not come.
    reads : CheckedReads
        Asks for the small ones. Closed at the end.
    root : str
        Where those lie.
    admit : callable
        Returns where a pointer leads, and the serializer, or raises. No request.
    decode : callable
        Makes an object of a pointer, a serializer and checked bytes.
    """

    def __init__(
        self,
        batch: Batch,
        reads: CheckedReads,
        root: str,
        admit: Callable[[Pointer], tuple[Pointer, Serializer]],
        decode: Callable[[Pointer, Serializer, memoryview], Any],
    ) -> None:
        self._batch, self._reads, self._root = batch, reads, root
        self._admit, self._decode = admit, decode
        self._arrived: deque[tuple[_Ticket, memoryview | Exception]] = deque()
        self._context = copy_context()
        self._is_ending = False
        self._threads: ThreadPoolExecutor | None = None
        self._others: list[Future[None]] = []

    def run(self, pointers: Iterable[Pointer]) -> list[Any]:
        """Load all; return or raise as `Batch.results` does."""
        process = os.getpid()
        try:
            try:
                self._load(pointers)
            finally:
                # A child that was forked in between has neither the threads nor the connections.
                if os.getpid() == process:
                    self._close()
        except BaseException as error:
            self._batch.tell(error)
            raise
        return self._batch.results()

    def _load(self, pointers: Iterable[Pointer]) -> None:
        for number, pointer in enumerate(pointers):
            while self._count() >= self._batch.max_concurrency:
                self._wait()
            self._begin(number, pointer)

    def _close(self) -> None:
        """Wait for what is on its way, and leave nothing behind."""
        try:
            self._is_ending = True
            while self._arrived or self._count():
                self._wait()
        finally:
            try:
                if self._threads is not None:
                    self._threads.shutdown()
            finally:
                self._reads.close()

    def _count(self) -> int:
        if self._others:
            self._others = [job for job in self._others if not job.done()]
        return self._reads.count + len(self._others)

    def _begin(self, number: int, pointer: Pointer) -> None:
        started_s = time.perf_counter()
        try:
            with about(pointer):
                place, serializer = self._admit(pointer)
                ticket = _Ticket(number, pointer, place, serializer, started_s)
                begun = place.root == self._root and self._reads.begin(
                    ticket, place.key, place.size_bytes, place.digest
                )
        except Exception as error:  # noqa: BLE001  raised by `results`, with those of the others
            self._batch.failed[number] = error
            return
        if not begun:
            self._hand_over(number, pointer)

    def _wait(self) -> None:
        # What came is looked at only now, when more was asked for: the server works meanwhile.
        while self._arrived:
            self._end(*self._arrived.popleft())
        if not self._count():
            return
        for ticket, came in self._reads.arrived():
            if came is None:
                self._hand_over(ticket.number, ticket.pointer)
            else:
                self._arrived.append((ticket, came))

    def _end(self, ticket: _Ticket, came: memoryview | Exception) -> None:
        try:
            self._batch.done[ticket.number] = self._context.copy().run(self._decoded, ticket, came)
        except BaseException as error:
            self._batch.failed[ticket.number] = error
            # An interrupt, or what a decoder raises to end everything, does so, once.
            if not isinstance(error, Exception) and not self._is_ending:
                raise

    def _decoded(self, ticket: _Ticket, came: memoryview | Exception) -> Any:
        with about(ticket.pointer):
            if isinstance(came, Exception):
                raise came
            value = self._decode(ticket.pointer, ticket.serializer, came)
        log_done("loaded", ticket.pointer, ticket.started_s)
        return value

    def _hand_over(self, number: int, pointer: Pointer) -> None:
        """Let a thread load it, as if nothing had been tried."""
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(self._batch.max_concurrency, thread_name_prefix="payloadfs-many")
        job = self._threads.submit(self._context.copy().run, self._batch.attempt, number, pointer)
        self._others.append(job)
        job.add_done_callback(lambda _: self._reads.wake())
