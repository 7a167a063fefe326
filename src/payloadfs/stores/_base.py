"""The interface of stores: objects by key, each written once, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from .._log import warn
from .._urls import scheme_of
from ..errors import IntegrityError, StoreError

T = TypeVar("T")


class Body(Protocol):
    """The bytes of an object, in pieces. Iterate again to retry.

    A piece is valid until the next one is requested; pieces smaller than
    `payloadfs._buffers.SMALL_BYTES` stay valid. If a body has an attribute ``stable`` that is True, all
    its pieces stay valid and unchanged while they are referenced, so they can be sent without a copy.
    """

    @property
    def size_bytes(self) -> int: ...

    def __iter__(self) -> Iterator[memoryview]: ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of an object, in memory that belongs to the caller.

    Parameters
    ----------
    buffer : memoryview
        Writable and private: changes to it affect neither the store nor other readers.
    owner_only : bool
        Whether only this user can have changed the bytes since they were written.
    """

    buffer: memoryview
    owner_only: bool = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object in a listing: key, size in bytes, time of writing (seconds, UTC; infinite if the store does not say)."""

    key: str
    size_bytes: int
    modified_s: float


@runtime_checkable
class Store(Protocol):
    """Objects by key under one root.

    Every store passes `payloadfs.testing.StoreTests`. Keys were checked
    (`payloadfs._keys.check_key`) before they reach a store. Many threads may use a store at the same time.
    """

    @property
    def root(self) -> str:
        """Canonical URL of the store, as in pointers."""
        ...

    def put(self, key: str, body: Body) -> None:
        """Create the object `key`. It appears whole or not at all, and is durable once this returns.

        Raises
        ------
        StoreError
            The object could not be written, or (``kind="exists"``) the key already exists; its object is unchanged. No
            part of `body` is visible, and nothing is left behind.
        """
        ...

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`, whose size must be `size_bytes`.

        Raises
        ------
        NotFoundError
            The object does not exist.
        IntegrityError
            The object has another size; at most `size_bytes` + 1 bytes were read.
        StoreError
            The store failed.
        """
        ...

    def info(self, key: str) -> ObjectInfo:
        """Return the size and time of the object `key`, or raise `NotFoundError`. One request."""
        ...

    def delete(self, key: str) -> None:
        """Delete the object `key`, if it exists."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix`, in the order of their keys, as they are listed."""
        ...


@runtime_checkable
class SupportsFiles(Protocol):
    """A store that can write an object directly into a file, such as a cache file."""

    def get_into(self, key: str, size_bytes: int, file: int) -> None:
        """Write the object's bytes, in any order, into the open file descriptor `file`, which is `size_bytes` long.

        Offsets in the file are those in the object, whatever the position of the descriptor. Raises the
        same errors as `Store.get`; the content of the file is then undefined.
        """
        ...


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that an interrupted write left behind.

    Parameters
    ----------
    name : str
        For display.
    modified_s : float
        When it was last known to be in use (seconds, UTC).
    remove : callable
        Removes it. It may be gone already.
    """

    name: str
    modified_s: float
    remove: Callable[[], Any]


@runtime_checkable
class SupportsLeftovers(Protocol):
    """A store in which an interrupted write can leave something that `list` does not show."""

    def leftovers(self) -> Iterator[Leftover]:
        """Yield what interrupted writes of payloadfs left, and what running ones use."""
        ...


class Options(dict[str, Any]):
    """Storage options whose `repr`, as a traceback with local variables shows it, has no values."""

    def __repr__(self) -> str:
        return f"Options({', '.join(self)})"


def exists_error(root: str, key: str) -> StoreError:
    """Return the error for a key that already exists in the store at `root`."""
    return StoreError(f"Object {key!r} in {root} already exists; it was not changed.", kind="exists")


def body_size_error(key: str, expected_bytes: int, actual_bytes: int) -> StoreError:
    """Return the error for a body whose size is not its `size_bytes`. Nothing was stored."""
    return StoreError(
        f"Expected {expected_bytes} bytes from the body for {key!r}, got {actual_bytes}; nothing was stored.",
        kind="body-size",
    )


def collect(key: str, body: Body) -> bytes:
    """Return all bytes of `body`, for the object `key`. One copy.

    Raises
    ------
    StoreError
        The size of the body is not its `size_bytes`.
    """
    collected = io.BytesIO()
    for piece in body:
        collected.write(piece)
    content = collected.getvalue()
    if len(content) != body.size_bytes:
        raise body_size_error(key, body.size_bytes, len(content))
    return content


def fetch_intact(root: str, fetch: Callable[[], T]) -> T:
    """Return what `fetch` returns, for a store at `root`.

    If it raises `IntegrityError` and the store is remote, it is called once more: the bytes may have been damaged
    on the way.
    """
    try:
        return fetch()
    except IntegrityError as error:
        if scheme_of(root) in ("file", "memory"):
            raise
        warn(f"Received wrong bytes; the object is fetched again. {error}")
    return fetch()
