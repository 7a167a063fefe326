"""Small objects on their way, from near copies or from their store, checked as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .._digest import Digest
from .._seal import check
from ._base import SmallReads

if TYPE_CHECKING:
    from ._cache import Cache

__all__ = ["CheckedReads"]

_MOST_BYTES = 64 * 1024
"""Up to this size an object counts as small: what is done with larger ones gains from threads."""

Outcome = memoryview | Exception | None


class CheckedReads:
    """As `SmallReads`, and what comes is right or an error.

    Parameters
    ----------
    reads : SmallReads
        Asks the store. Closed with this.
    cache : Cache or None
        Where near copies lie.

    Notes
    -----
    Cost: nobody is waited for, so several who ask for the same bytes at the same time each fetch
    them, and no more copies are made once the cache was found busy.
    """

    def __init__(self, reads: SmallReads, cache: Cache | None) -> None:
        self._reads, self._cache = reads, cache
        self._near: deque[tuple[Any, memoryview]] = deque()
        self._keeps = True
        self.wake, self.close = reads.wake, reads.close

    @property
    def count(self) -> int:
        """How many are on their way."""
        return self._reads.count + len(self._near)

    def begin(self, ticket: Any, key: str, size_bytes: int, digest: Digest) -> bool:
        """Ask for the object `key`, unless there is a near copy; see `SmallReads.begin`.

        Raises
        ------
        ConfigError
            Others can write the cache's folder. Nothing was asked for.
        StoreError
            As `SmallReads.begin`.
        """
        if not 0 < size_bytes <= _MOST_BYTES:
            return False
        copy = None if self._cache is None else self._cache.near(size_bytes, digest)
        if copy is None:
            return self._reads.begin((ticket, size_bytes, digest), key, size_bytes)
        self._near.append((ticket, copy))
        return True

    def arrived(self) -> Iterator[tuple[Any, Outcome]]:
        """Wait a while for something to come, and yield it by ticket.

        An exception stands for what can't be checked, such as other bytes than were saved, None for
        what has to come in another way.
        """
        for (ticket, size_bytes, digest), fetched in self._reads.arrived(wait=not self._near):
            yield ticket, None if fetched is None else self._checked(fetched.buffer, size_bytes, digest)
        while self._near:
            yield self._near.popleft()

    def _checked(self, buffer: memoryview, size_bytes: int, digest: Digest) -> Outcome:
        try:
            check(buffer, digest, data=True)
            if self._cache is not None and self._keeps:
                self._keeps = self._cache.keep(size_bytes, digest, buffer)
        except Exception as error:  # noqa: BLE001  one of many is wrong
            return error
        return buffer
