"""Saving and loading many objects: bounded concurrency, results in order, every failure reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any

from .errors import BatchError, ConfigError, contained

DEFAULT_CONCURRENCY = 16
"""How many objects are saved or loaded at the same time by default."""


class Batch:
    """Results and errors of a batch, by position.

    `call` saves or loads one object, and `verb` says in messages which. `ahead` more items are taken in advance:
    a thread would wait for its next item as long as a small load takes.

    Raises
    ------
    ConfigError
        `max_concurrency` is not a positive whole number. Nothing was started.
    """

    def __init__(self, call: Callable[[Any], Any], verb: str, max_concurrency: int, *, ahead: int = 0) -> None:
        if type(max_concurrency) is not int or max_concurrency < 1:
            raise ConfigError(
                f"max_concurrency must be a positive int, not {max_concurrency!r}.", kind="max-concurrency"
            )
        self._call, self._verb, self._max_concurrency, self._ahead = call, verb, max_concurrency, ahead
        self._cancelled = False
        self.done: dict[int, Any] = {}
        self.failed: dict[int, BaseException] = {}

    def cancel(self) -> None:
        """Start no more items. For threads other than the one that runs the batch."""
        self._cancelled = True

    def run(self, items: Iterable[Any]) -> list[Any]:
        """Process all `items` and return their results in order.

        Raises
        ------
        BatchError
            Some failed. All were tried.
        ConfigError
            `items` is one string, mapping or table. Nothing was started.
        """
        # Iterating over one of these yields parts that are not meant.
        if isinstance(items, str | bytes | Mapping) or (hasattr(items, "columns") and hasattr(items, "shape")):
            raise ConfigError(
                f"Expected a list or another iterable of objects, not one {type(items).__name__}. Nothing was {self._verb}.",
                kind="argument",
            )
        # Not at the top: it imports logging, which costs more than a small load.
        from concurrent.futures import ThreadPoolExecutor

        count = self._max_concurrency
        pool = _WorkerPool(self._attempt, count + self._ahead)
        with ThreadPoolExecutor(count, thread_name_prefix="payloadfs-batch") as threads:
            try:
                for position, item in enumerate(items):
                    if self._cancelled:
                        break
                    pool.submit(position, item)
                    if position < count:
                        threads.submit(pool.work)
                pool.wait()
            except BaseException as error:
                pool.stop(count)
                threads.shutdown()
                self._attach_results(error)
                raise
            pool.stop(count)
        return self._results()

    def _attempt(self, position: int, item: Any) -> None:
        if self._cancelled:
            return
        try:
            with contained():
                self.done[position] = self._call(item)
        except BaseException as error:  # noqa: BLE001  raised by `_results`, with those of the others
            self.failed[position] = error

    def _results(self) -> list[Any]:
        done = dict(sorted(self.done.items()))
        if not self.failed:
            return list(done.values())
        failed: dict[int, Exception] = {}
        for position, error in sorted(self.failed.items()):
            if not isinstance(error, Exception):
                # SystemExit and the like are raised as they are.
                self._attach_results(error)
                raise error
            failed[position] = error
        first = next(iter(failed))
        raise BatchError(
            f"{len(failed)} of {len(failed) + len(done)} objects could not be {self._verb}. The first error, at "
            f"position {first}: {failed[first]} See .done (results) and .failed (errors), both by position.",
            list(failed.values()),
            done=done,
            failed=failed,
        )

    def _attach_results(self, error: BaseException) -> None:
        vars(error)["done"] = dict(sorted(self.done.items()))


class _WorkerPool:
    """Threads that share a queue. Not an executor, because a future for each item costs as much as a small load."""

    def __init__(self, attempt: Callable[[int, Any], None], capacity: int) -> None:
        self._attempt, self._capacity, self._context = attempt, capacity, copy_context()
        self._pending = 0
        self._waiting: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()
        self._finished: SimpleQueue[None] = SimpleQueue()

    def submit(self, position: int, item: Any) -> None:
        """Add one item, as soon as the capacity allows."""
        if self._pending == self._capacity:
            self._wait_for_one()
        self._waiting.put((position, item))
        self._pending += 1

    def wait(self) -> None:
        """Wait until all items are finished."""
        # Not by joining the threads: if a join is interrupted, Python 3.11 considers the thread ended.
        while self._pending:
            self._wait_for_one()

    def _wait_for_one(self) -> None:
        self._finished.get()
        self._pending -= 1

    def stop(self, count: int) -> None:
        """Drop the waiting items, and end `count` threads."""
        with suppress(Empty):
            while True:
                self._waiting.get_nowait()
        for _ in range(count):
            self._waiting.put(None)

    def work(self) -> None:
        """Process items until the pool stops, in one thread of several."""
        while (job := self._waiting.get()) is not None:
            self._context.copy().run(self._attempt, *job)
            del job
            self._finished.put(None)
