"""Many objects at once: bounded parallelism, results in order, and no failure that hides another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from .errors import BatchError, ConfigError
from .pointer import Pointer

__all__ = ["DEFAULT_CONCURRENCY", "Batch", "Loads", "ManyAtOnce"]

DEFAULT_CONCURRENCY = 16
"""How many objects are on their way at once where nobody says otherwise."""

_AHEAD = 256


class Batch:
    """What became of many objects, by position.

    Parameters
    ----------
    call : callable
        Saves or loads one of them.
    verb : str
        For messages: "saved" or "loaded".
    max_concurrency : int
        How many may be on their way at once.

    Raises
    ------
    ConfigError
        `max_concurrency` is not a positive whole number. Nothing was begun.
    """

    def __init__(self, call: Callable[[Any], Any], verb: str, max_concurrency: int) -> None:
        if type(max_concurrency) is not int or max_concurrency < 1:
            raise ConfigError(
                f"max_concurrency must be a positive int, not {max_concurrency!r}.", kind="max-concurrency"
            )
        self._call, self._verb = call, verb
        self.max_concurrency = max_concurrency
        self.done: dict[int, Any] = {}
        self.failed: dict[int, BaseException] = {}

    def attempt(self, number: int, item: Any) -> None:
        """Do what is to be done with the item `number` and keep what comes of it."""
        try:
            self.done[number] = self._call(item)
        except BaseException as error:  # noqa: BLE001  raised by `results`, with those of the others
            self.failed[number] = error

    def results(self) -> list[Any]:
        """Return all results in order, or raise `BatchError` if any failed."""
        done = dict(sorted(self.done.items()))
        if not self.failed:
            return list(done.values())
        failed: dict[int, Exception] = {}
        for number, error in sorted(self.failed.items()):
            if not isinstance(error, Exception):
                # SystemExit and the like go on as what they are.
                self.tell(error)
                raise error
            failed[number] = error
        raise BatchError(
            f"{len(failed)} of {len(failed) + len(done)} objects could not be {self._verb}; "
            "`done` holds what the others gave, `failed` the errors, by position.",
            list(failed.values()),
            done=done,
            failed=failed,
        )

    def tell(self, error: BaseException) -> None:
        """Let an `error` that ends everything carry what was done until then."""
        vars(error)["done"] = dict(sorted(self.done.items()))

    def run(self, items: Iterable[Any], *, ahead: int = 0) -> list[Any]:
        """Attempt all `items`, each in a thread; return or raise as `results` does.

        So many items are taken `ahead` of the threads: to wait for the next one takes a thread as
        long as a small load.
        """
        # Not at the top: it imports logging, which costs more than a small load.
        from concurrent.futures import ThreadPoolExecutor

        crew = _Crew(self.attempt, self.max_concurrency + ahead)
        with ThreadPoolExecutor(self.max_concurrency, thread_name_prefix="payloadfs-many") as workers:
            try:
                for number, item in enumerate(items):
                    crew.give(number, item)
                    if number < self.max_concurrency:
                        workers.submit(crew.work)
                crew.wait()
            except BaseException as error:
                crew.stop(self.max_concurrency)
                workers.shutdown()
                self.tell(error)
                raise
            crew.stop(self.max_concurrency)
        return self.results()


class _Crew:
    """What some threads work off: bare queues, since a future for each item costs as much as a small load."""

    def __init__(self, attempt: Callable[[int, Any], None], room: int) -> None:
        self._attempt, self._room, self._context = attempt, room, copy_context()
        self._under_way = 0
        self._waiting: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()

    def give(self, number: int, item: Any) -> None:
        """Hand out one item, once there is room for it."""
        if self._under_way == self._room:
            self._one_ended()
        self._waiting.put((number, item))
        self._under_way += 1

    def wait(self) -> None:
        """Return once all items have ended."""
        # Not by joining the threads: Python 3.11 takes one whose join is interrupted for ended.
        while self._under_way:
            self._one_ended()

    def _one_ended(self) -> None:
        self._ended.get()
        self._under_way -= 1

    def stop(self, count: int) -> None:
        """Begin nothing more, and let `count` threads go."""
        with suppress(Empty):
            while True:
                self._waiting.get_nowait()
        for _ in range(count):
            self._waiting.put(None)

    def work(self) -> None:
        """Take items and attempt them, in one thread of several."""
        while (job := self._waiting.get()) is not None:
            self._context.copy().run(self._attempt, *job)
            del job
            self._ended.put(None)


class Loads(Protocol):
    """Loads of many objects."""

    def run(self, pointers: Iterable[Pointer]) -> list[Any]:
        """Load all; return or raise as `Batch.results` does."""
        ...


class ManyAtOnce(ABC):
    """Saving and loading of many, for whoever saves and loads one. Used by many threads at once."""

    @abstractmethod
    def save(self, obj: Any, *, prefix: str | None = None, compression: str | None = None) -> Pointer:
        """Store `obj` and return the signed pointer to it."""

    @abstractmethod
    def load(self, pointer: Pointer, *, view: bool = False) -> Any:
        """Return an independent copy of the object that `pointer` names."""

    def save_many(
        self,
        objects: Iterable[Any],
        *,
        prefix: str | None = None,
        compression: str | None = None,
        max_concurrency: int = DEFAULT_CONCURRENCY,
    ) -> list[Pointer]:
        """Store each of `objects` and return their signed pointers in the same order.

        Parameters
        ----------
        objects : iterable
            Taken one by one, in the calling thread, as room becomes free: a generator may make
            them as they are needed.
        prefix : str, optional
            First part of all keys. Default: the date (UTC).
        compression : str, optional
            As `save` takes it.
        max_concurrency : int
            How many are on their way at once, each in a thread of its own.

        Returns
        -------
        list of Pointer

        Raises
        ------
        BatchError
            Some could not be saved. All were tried; ``done`` holds the pointers of those that
            were saved and ``failed`` the errors of the others, both by position.
        ConfigError
            `max_concurrency` is not a positive whole number. Nothing was saved.

        Notes
        -----
        Cost: each object what `save` costs; those on their way are held in memory, no others.

        An interrupt (Ctrl-C), or an error that `objects` itself raises, begins nothing more, waits
        for what is on its way, and goes on with an attribute ``done``: the pointers so far, by
        position. Many small objects that are needed together are better saved as one list.
        """
        return Batch(lambda obj: self.save(obj, prefix=prefix, compression=compression), "saved", max_concurrency).run(
            objects
        )

    def load_many(
        self, pointers: Iterable[Pointer], *, view: bool = False, max_concurrency: int = DEFAULT_CONCURRENCY
    ) -> list[Any]:
        """Return independent copies of the objects that `pointers` name, in the same order.

        Parameters
        ----------
        pointers : iterable of Pointer
            Taken one by one, in the calling thread, at most 256 ahead of what is on its way.
        view : bool
            Read-only arrays instead of writable ones.
        max_concurrency : int
            How many are on their way at once.

        Returns
        -------
        list

        Raises
        ------
        BatchError
            Some could not be loaded. All were tried; ``done`` holds the objects that were loaded
            and ``failed`` the errors of the others, both by position.
        ConfigError
            `max_concurrency` is not a positive whole number. Nothing was fetched.

        Notes
        -----
        Cost: each object what `load` costs. Small ones (up to 64 KiB) in S3 are asked for, checked and
        decoded by the calling thread, all others by a thread for each; a small one that is not
        answered by a plain success is asked for a second time, as `load` does it. Processes that ask
        for the same small objects at the same time each fetch them.

        An interrupt is met as in `save_many`.

        Examples
        --------
        >>> import payloadfs
        >>> repository = payloadfs.Repository("memory://demo")
        >>> repository.load_many(repository.save_many(["a", "b", "c"]))
        ['a', 'b', 'c']
        """
        return self._load_all(
            Batch(lambda pointer: self.load(pointer, view=view), "loaded", max_concurrency), pointers, view=view
        )

    def _load_all(self, batch: Batch, pointers: Iterable[Pointer], *, view: bool) -> list[Any]:
        small = self._small_loads(batch, view=view)
        return batch.run(pointers, ahead=_AHEAD) if small is None else small.run(pointers)

    @abstractmethod
    def _small_loads(self, batch: Batch, *, view: bool) -> Loads | None:
        """Return who loads for `batch` with few threads, or None if each load is to have one."""
