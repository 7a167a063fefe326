"""Verification: reading objects back and checking every byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import IntegrityError, NotFoundError, PayloadError, SerializerError
from ..pointer import Pointer, as_pointer
from ..repository import Repository, default_repository
from ._parallel import in_parallel

__all__ = ["Damaged", "Verified", "verify"]


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
        Each as `Repository.load` takes it. They are taken as capacity allows.
    repository : Repository, optional
        Default: the repository of the settings in force.

    Raises
    ------
    PointerError, PolicyError
        A pointer is not valid, or may not be resolved here.
    StoreError
        The store failed, so that nothing can be said about the remaining objects.

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
    chosen = repository or default_repository()

    def check(item: Any) -> Verified | Damaged:
        pointer = as_pointer(item)
        try:
            chosen.read(pointer, full=True, context=pointer.context or None)
        except (NotFoundError, IntegrityError, SerializerError) as error:
            return Damaged(pointer, error)
        return Verified(pointer)

    return in_parallel(check, pointers)
