"""Awaitable versions of saving and loading, for programs that run an event loop.

They make the same calls in threads, with the caller's context variables, including `payloadfs.using`. A thread cannot
be stopped: cancelling raises `asyncio.CancelledError` immediately, starts no more calls, and lets running calls finish
in the background. Objects that a cancelled `save` or `save_many` stored are then deleted, because the caller never
receives their pointers.

>>> import asyncio, payloadfs
>>> async def main():
...     with payloadfs.using("memory://demo"):
...         return await payloadfs.aio.load(await payloadfs.aio.save([1, 2]))
>>> asyncio.run(main())
[1, 2]
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any, TypeVar, Unpack

from . import _packing
from ._batch import DEFAULT_CONCURRENCY
from ._forks import PerProcess
from ._log import warn
from ._packing import DEFAULT_OVER_BYTES
from ._settings import SaveOptions
from .errors import PayloadError, contained
from .payload import Payload
from .pointer import Pointer
from .repository import Repository, chosen_repository

__all__ = ["load", "load_many", "pack", "save", "save_many", "unpack", "value"]

T = TypeVar("T")
_MAX_THREADS = 64
_pool = PerProcess(lambda: ThreadPoolExecutor(_MAX_THREADS, "payloadfs-aio"))  # threads do not survive a fork


async def save(obj: Any, *, repository: Repository | None = None, **options: Unpack[SaveOptions]) -> Pointer:
    """Store `obj` and return the signed pointer to it, as `Repository.save` does.

    Parameters
    ----------
    obj : object
        Anything that a serializer can store exactly. Do not change it before this returns.
    repository : Repository, optional
        Default: the repository of the settings in force.
    **options
        As for `Repository.save`.

    Errors and cost are those of `Repository.save`. At most 64 calls of this module run at the same time; the others
    wait. A cancelled call stores nothing, or deletes the object again.
    """
    chosen = chosen_repository(repository)
    return await _in_thread(
        lambda: chosen.save(obj, **options),
        lambda pointer: _delete(chosen, [pointer] if pointer else []),
    )


async def load(
    pointer: Pointer | Any, *, repository: Repository | None = None, view: bool = False, context: str | None = None
) -> Any:
    """Return an independent copy of the object that `pointer` names, as `Repository.load` does.

    Errors and cost are those of `Repository.load`. A cancelled call drops the bytes that it fetched.
    """
    chosen = chosen_repository(repository)
    return await _in_thread(lambda: chosen.load(pointer, view=view, context=context))


async def value(payload: Payload[T]) -> T:
    """Return an independent copy of the object of `payload`, as `Payload.value` does. The first use saves it.

    Errors and cost are those of `Payload.value`. After cancellation, the payload has its pointer or still its object.
    """
    return await _in_thread(lambda: payload.value)


async def save_many(
    objects: Iterable[Any],
    *,
    repository: Repository | None = None,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    **options: Unpack[SaveOptions],
) -> list[Pointer]:
    """Store each of `objects` and return their pointers in order, as `Repository.save_many` does.

    `objects` is iterated in a thread, one by one, as capacity allows.

    Errors and cost are those of `Repository.save_many`. A cancelled call deletes the objects that it stored.
    """
    chosen = chosen_repository(repository)
    batch = chosen._save_batch(options, max_concurrency)
    return await _in_thread(
        lambda: batch.run(objects), lambda _: _delete(chosen, list(batch.done.values())), cancel=batch.cancel
    )


async def load_many(
    pointers: Iterable[Pointer | Any],
    *,
    repository: Repository | None = None,
    view: bool = False,
    context: str | None = None,
    max_concurrency: int = DEFAULT_CONCURRENCY,
) -> list[Any]:
    """Return the objects that `pointers` name, in order, as `Repository.load_many` does.

    `pointers` is iterated in a thread.

    Errors and cost are those of `Repository.load_many`. A cancelled call drops the bytes that it fetched.
    """
    chosen = chosen_repository(repository)
    batch = chosen._load_batch(view=view, context=context, max_concurrency=max_concurrency)
    return await _in_thread(lambda: batch.run(pointers), cancel=batch.cancel)


async def pack(
    value: Any,
    *,
    over: int = DEFAULT_OVER_BYTES,
    repository: Repository | None = None,
    **options: Unpack[SaveOptions],
) -> Any:
    """Return `value` as JSON values, as `payloadfs.pack` does.

    Errors and cost are those of `payloadfs.pack`. A cancelled call deletes the objects that it stored.
    """
    chosen = chosen_repository(repository)
    return await _in_thread(
        lambda: _packing.pack(value, over=over, repository=chosen, **options),
        lambda packed: _delete(chosen, _packing.template_of(packed)[1]),
    )


async def unpack(
    packed: Any, *, repository: Repository | None = None, view: bool = False, context: str | None = None
) -> Any:
    """Return the value that `pack` turned into `packed`, as `payloadfs.unpack` does.

    Errors and cost are those of `payloadfs.unpack`. A cancelled call drops the bytes that it fetched.
    """
    chosen = chosen_repository(repository)
    return await _in_thread(lambda: _packing.unpack(packed, repository=chosen, view=view, context=context))


async def _in_thread(
    call: Callable[[], T], undo: Callable[[Any], None] | None = None, *, cancel: Callable[[], None] | None = None
) -> T:
    """Return what `call` returns. If cancelled, call `cancel`, and `undo` with the result once `call` has finished."""
    job: Future[T] = _pool[os.getpid()].submit(copy_context().run, contained()(call))
    try:
        return await asyncio.wrap_future(job)
    except asyncio.CancelledError:
        if cancel is not None:
            cancel()
        if undo is not None:
            _pool[os.getpid()].submit(_undo, job, undo)
        raise


def _undo(job: Future[Any], undo: Callable[[Any], None]) -> None:
    wait([job])
    # A batch that was cancelled has no result, but may have saved some objects.
    undo(None if job.cancelled() or job.exception() else job.result())


def _delete(repository: Repository, pointers: Iterable[Pointer]) -> None:
    for pointer in pointers:
        try:
            repository.delete(pointer)
        except PayloadError as error:
            # The caller no longer waits, so the log is the only place to report it.
            warn(f"The object {pointer.location} of a cancelled save could not be deleted: {error}")
