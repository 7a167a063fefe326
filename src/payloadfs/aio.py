"""Awaitable twins of saving and loading, for programs that run an event loop.

They are the same calls, in threads: nothing is done differently, and context variables come along,
`payloadfs.using` among them. A thread can't be stopped, so cancelling raises
`asyncio.CancelledError` at once, begins nothing more, and lets what has begun go to its end in the
background. What a cancelled `save` or `save_many` stored is deleted again, since nobody has its pointer.

>>> import asyncio, payloadfs
>>> from payloadfs import aio
>>> async def main():
...     with payloadfs.using("memory://demo"):
...         return await aio.load(await aio.save([1, 2]))
>>> asyncio.run(main())
[1, 2]
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from ._batch import DEFAULT_CONCURRENCY, Batch
from .default import default_repository
from .errors import PayloadError
from .payload import Payload
from .pointer import Pointer
from .repository import Repository

__all__ = ["load", "load_many", "save", "save_many", "value"]

_log = logging.getLogger("payloadfs")
T = TypeVar("T")
_MOST_THREADS = 64
_workers: dict[int, ThreadPoolExecutor] = {}  # by process: threads don't survive a fork


async def save(
    obj: Any, *, repository: Repository | None = None, prefix: str | None = None, compression: str | None = None
) -> Pointer:
    """Store `obj` and return the signed pointer to it, as `Repository.save` does.

    Parameters
    ----------
    obj : object
        Anything that some serializer can store exactly. Don't change it before this returns.
    repository : Repository, optional
        Default: that of the settings in force.
    prefix : str, optional
        First part of the key.
    compression : str, optional
        As `Repository.save` takes it.

    Raises and costs as `Repository.save` says. At most 64 calls of this module run at once, the
    others wait for their turn. If it is cancelled, nothing is stored, or it is deleted again.
    """
    home = repository or default_repository()
    job = _pool().submit(copy_context().run, lambda: home.save(obj, prefix=prefix, compression=compression))
    try:
        return await asyncio.wrap_future(job)
    except asyncio.CancelledError:
        _pool().submit(lambda: _delete(home, [] if job.cancelled() or job.exception() else [job.result()]))
        raise


async def load(pointer: Pointer, *, repository: Repository | None = None, view: bool = False) -> Any:
    """Return an independent copy of the object that `pointer` names, as `Repository.load` does.

    Raises and costs as that says. If it is cancelled, what was fetched is dropped.
    """
    home = repository or default_repository()
    return await asyncio.wrap_future(_pool().submit(copy_context().run, lambda: home.load(pointer, view=view)))


async def value(payload: Payload[T]) -> T:
    """Return an independent copy of what `payload` holds, as `Payload.value` does: saves first, once.

    Raises and costs as that says. If it is cancelled, the payload has its pointer or still its object.
    """
    return await asyncio.wrap_future(_pool().submit(copy_context().run, lambda: payload.value))


async def save_many(
    objects: Iterable[Any],
    *,
    repository: Repository | None = None,
    prefix: str | None = None,
    compression: str | None = None,
    max_concurrency: int = DEFAULT_CONCURRENCY,
) -> list[Pointer]:
    """Store each of `objects` and return their pointers in order, as `Repository.save_many` does.

    `objects` is gone through in the event loop's thread, one by one, as room becomes free.

    Raises and costs as that says. If it is cancelled, what was stored is deleted again.
    """
    home = repository or default_repository()
    batch = Batch(lambda obj: home.save(obj, prefix=prefix, compression=compression), "saved", max_concurrency)
    return await _run(batch, objects, lambda: _delete(home, list(batch.done.values())))


async def load_many(
    pointers: Iterable[Pointer],
    *,
    repository: Repository | None = None,
    view: bool = False,
    max_concurrency: int = DEFAULT_CONCURRENCY,
) -> list[Any]:
    """Return the objects that `pointers` name, in order, as `Repository.load_many` does.

    `pointers` is gone through first, in the event loop's thread.

    Raises and costs as that says. If it is cancelled, what was fetched is dropped.
    """
    home, cancelled = repository or default_repository(), threading.Event()

    def still_wanted(pointer: Pointer) -> Pointer:
        if cancelled.is_set():
            raise asyncio.CancelledError
        return pointer

    batch = Batch(lambda pointer: home.load(still_wanted(pointer), view=view), "loaded", max_concurrency)
    load_all = partial(home._load_all, batch, map(still_wanted, list(pointers)), view=view)
    try:
        return await asyncio.wrap_future(_pool().submit(copy_context().run, load_all))
    except asyncio.CancelledError:
        cancelled.set()
        raise


async def _run(batch: Batch, items: Iterable[Any], undo: Callable[[], None]) -> list[Any]:
    """Do as `Batch.run`; if cancelled, call `undo` once everything has ended."""
    slots = asyncio.Semaphore(batch.max_concurrency)
    workers = ThreadPoolExecutor(batch.max_concurrency, thread_name_prefix="payloadfs-many")
    try:
        try:
            for number, item in enumerate(items):
                await slots.acquire()
                job = asyncio.wrap_future(workers.submit(copy_context().run, batch.attempt, number, item))
                job.add_done_callback(lambda _: slots.release())
        except Exception as error:
            await _all_back(slots, batch.max_concurrency)
            batch.tell(error)
            raise
        await _all_back(slots, batch.max_concurrency)
    except asyncio.CancelledError:
        _pool().submit(_after, workers, undo)
        raise
    finally:
        workers.shutdown(wait=False)
    return batch.results()


def _after(workers: ThreadPoolExecutor, undo: Callable[[], None]) -> None:
    workers.shutdown(cancel_futures=True)
    undo()


async def _all_back(slots: asyncio.Semaphore, count: int) -> None:
    for _ in range(count):
        await slots.acquire()


def _delete(home: Repository, pointers: Iterable[Pointer]) -> None:
    for pointer in pointers:
        try:
            home.delete(pointer)
        except PayloadError as error:
            # Nobody waits any more, so nobody could be told in another way.
            _log.warning("A cancelled save left %s/%s behind: %s", pointer.root, pointer.key, error)


def _pool() -> ThreadPoolExecutor:
    pool = _workers.get(os.getpid())
    return pool or _workers.setdefault(os.getpid(), ThreadPoolExecutor(_MOST_THREADS, "payloadfs-aio"))
