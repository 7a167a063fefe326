"""Verification: reading objects back and checking every byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .._digest import ALGORITHMS, Digest, digest_of
from .._seal import check, read_seal
from ..errors import IntegrityError, NotFoundError, PayloadError, SerializerError
from ..pointer import Pointer, as_pointer
from ..repository import Repository, chosen_repository
from ..stores import ObjectInfo
from ._parallel import in_parallel


@dataclass(frozen=True, slots=True)
class Damaged:
    """A pointer whose object is missing or was changed, and the error with which loading it would fail."""

    pointer: Pointer
    error: PayloadError


@dataclass(frozen=True, slots=True)
class Verified:
    """A pointer whose object was read, and whose bytes are those that were saved."""

    pointer: Pointer


def verify(pointers: Iterable[Any], *, repository: Repository | None = None) -> Iterator[Verified | Damaged]:
    """Read the objects of `pointers` from the store, check every byte, and yield the result for each, in order.

    Parameters
    ----------
    pointers : iterable
        Each as for `Repository.load`. They are taken as capacity allows.
    repository : Repository, optional
        Default: the repository of the settings in force.

    Raises
    ------
    PointerError, PolicyError
        A pointer is not valid, or is not allowed here.
    StoreError
        The store failed, so the remaining objects were not checked.

    Notes
    -----
    Cost: that of loading each object without the cache and without decoding it. Sixteen are read at the
    same time, and only these are in memory.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     [type(result).__name__ for result in verify([payloadfs.save("x")])]
    ['Verified']
    """
    chosen = chosen_repository(repository)

    def check(item: Any) -> Verified | Damaged:
        pointer = as_pointer(item)
        try:
            chosen.read(pointer, full=True, context=pointer.context or None)
        except (NotFoundError, IntegrityError, SerializerError) as error:
            return Damaged(pointer, error)
        return Verified(pointer)

    return in_parallel(check, pointers)


@dataclass(frozen=True, slots=True)
class Scanned:
    """An object that was read without its pointer.

    Parameters
    ----------
    info : ObjectInfo
        Its key, size and time.
    is_sealed : bool
        Whether it holds the digests of all its bytes, as most objects of at least 256 KiB do: not bytes,
        strings, JSON, polars objects and compressed objects.
    error : PayloadError or None
        Why it could not be read, or how it differs from its digests.
    """

    info: ObjectInfo
    is_sealed: bool
    error: PayloadError | None


def scan(prefix: str = "", *, repository: Repository | None = None) -> Iterator[Scanned]:
    """Read every object under the root, or under `prefix`, and yield what is known without its pointer.

    It finds damage by disks and networks: objects that cannot be read whole, and sealed ones that do not match the
    digests inside them. It does not find objects that are missing or were replaced on purpose: only `verify`, which has
    the pointers, does.

    Parameters
    ----------
    prefix : str
        As for `Repository.list`.
    repository : Repository, optional
        Default: the repository of the settings in force.

    Raises
    ------
    StoreError
        The store failed, so the remaining objects were not checked.

    Notes
    -----
    Cost: one listing, and every byte is fetched. Sixteen objects are read at the same time, and only these are in
    memory.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo-scan"):
    ...     pointer = payloadfs.save(bytes(1_000_000))
    ...     [(result.is_sealed, result.error) for result in scan()]
    [(False, None)]
    """
    chosen = chosen_repository(repository)
    store = chosen.store

    def read(info: ObjectInfo) -> Scanned:
        try:
            buffer = store.get(info.key, info.size_bytes).buffer
            return Scanned(info, _check_seal(buffer), None)
        except (NotFoundError, IntegrityError) as error:
            return Scanned(info, isinstance(error, IntegrityError), error)

    return in_parallel(read, chosen.list(prefix))


def _check_seal(buffer: memoryview) -> bool:
    """Return whether `buffer` has a seal. Raise `IntegrityError` if its spans do not match it."""
    seal = read_seal(buffer)
    if seal is None:
        return False
    failure: IntegrityError | None = None
    for algorithm in ALGORITHMS:  # the seal does not say which
        tail = Digest(algorithm, digest_of([buffer[-seal.tail_bytes :]], algorithm), sealed=True)
        try:
            check(buffer, tail, data=True)
        except IntegrityError as error:
            failure = failure or error
        else:
            return True
    assert failure is not None
    raise failure
