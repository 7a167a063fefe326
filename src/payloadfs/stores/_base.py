"""What a store is: objects by key, each written once, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, Protocol, runtime_checkable

from ..errors import StoreError

__all__ = ["Body", "Fetched", "ObjectInfo", "Store", "SupportsFiles", "body_size_error", "collect", "refuse_pickle"]


class Body(Protocol):
    """The bytes of an object: iterate for pieces in order; iterate again to try again.

    A piece is valid until the next one is asked for; one of less than `payloadfs._buffers.SMALL_BYTES`
    stays valid. A body that has an attribute ``stable`` with the value True promises more: all its
    pieces stay as they are for as long as they are held, so that they can be sent from where they lie.
    """

    @property
    def size_bytes(self) -> int: ...

    def __iter__(self) -> Iterator[memoryview]: ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes in memory of the caller's own.

    Parameters
    ----------
    buffer : memoryview
        Writable and private: writing to it changes nothing in the store nor for anybody else.
    owner_only : bool
        Whether nobody but this user can have changed the bytes since they were written.
    """

    buffer: memoryview
    owner_only: bool = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing tells of an object: key, size in bytes, time of writing (seconds, UTC)."""

    key: str
    size_bytes: int
    modified_s: float


@runtime_checkable
class Store(Protocol):
    """Objects by key under one root.

    Every store passes `payloadfs.testing.StoreTests`. Keys are valid (`payloadfs._keys.check_key`)
    before a store sees them. A store may be used by many threads at once.
    """

    @property
    def root(self) -> str:
        """Canonical URL of the store, as pointers carry it."""
        ...

    def put(self, key: str, body: Body) -> None:
        """Create the object `key`. It appears whole or not at all, and lasts once this returns.

        Raises
        ------
        StoreError
            It could not be written, or (``kind="exists"``) there is an object under that key,
            which stays as it is. Nothing of `body` is visible and nothing is left behind.
        """
        ...

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`, which should have `size_bytes` bytes.

        Raises
        ------
        NotFoundError
            There is no such object.
        IntegrityError
            The object has another size; at most `size_bytes` + 1 bytes were read.
        StoreError
            The store failed.
        """
        ...

    def info(self, key: str) -> ObjectInfo:
        """Return size and time of the object `key`, or raise `NotFoundError`. One request."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object `key`; it is no error if there is none."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key begins with `prefix`, ordered by key, as they are read."""
        ...


@runtime_checkable
class SupportsFiles(Protocol):
    """A store that can write an object straight into a file, such as one of a cache."""

    def get_into(self, key: str, size_bytes: int, file: int) -> None:
        """Write the object's bytes into the open file descriptor `file`, preallocated to `size_bytes`, in any order.

        Bytes lie in the file as in the object, from its offset 0 on, wherever the descriptor
        stands. Raises as `Store.get`; the content of the file is then undefined.
        """
        ...


def body_size_error(key: str, expected_bytes: int, actual_bytes: int) -> StoreError:
    """Return the error for a body that does not have the size that it states. Nothing was stored."""
    return StoreError(
        f"The body for {key!r} should have {expected_bytes} bytes but has {actual_bytes}; nothing was stored.",
        kind="body-size",
    )


def collect(key: str, body: Body) -> bytes:
    """Return all bytes of `body`, for the object `key`. One copy.

    Raises
    ------
    StoreError
        The body does not have the size that it states.
    """
    collected = io.BytesIO()
    for piece in body:
        collected.write(piece)
    content = collected.getvalue()
    if len(content) != body.size_bytes:
        raise body_size_error(key, body.size_bytes, len(content))
    return content


def refuse_pickle(self: object) -> NoReturn:
    """Raise the error for an attempt to pickle a store that holds credentials. For ``__reduce__``."""
    raise TypeError(f"{self!r} holds credentials and cannot be pickled: pickle the Repository, or pass its URL.")
