"""The stores that one repository uses, and the cache in front of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._urls import scheme_of
from ..errors import ConfigError
from ..settings import Settings
from ._base import Store, SupportsSmallReads
from ._checked_reads import CheckedReads
from ._open import open_cache, open_store

if TYPE_CHECKING:
    from ._cache import Cache

__all__ = ["OpenStores"]


class OpenStores:
    """Stores by their root. Each is opened when it is first asked for; that sends no request.

    Parameters
    ----------
    settings : Settings
        How to open them. The storage options are for roots of the same scheme as the settings' own.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stores: dict[str, Store] = {}

    def at(self, root: str) -> Store:
        """Return the store at `root`, or raise `ConfigError`."""
        if root not in self._stores:
            settings = self._settings
            options = settings.storage_options if scheme_of(root) == scheme_of(settings.url) else {}
            self._stores[root] = open_store(root, options, fsync=settings.fsync, transport=settings.transport)
        return self._stores[root]

    def cache(self, root: str) -> Cache | None:
        """Return the cache for objects under `root`, if there is to be one."""
        return open_cache(root, folder=self._settings.cache, max_bytes=self._settings.cache_bytes)

    def small_reads(self, root: str) -> CheckedReads | None:
        """Return who reads many small objects under `root` in one thread, or None if nobody can."""
        try:
            store, cache = self.at(root), self.cache(root)
            reads = store.small_reads() if isinstance(store, SupportsSmallReads) else None
        except (ConfigError, OSError):
            # Each load from there meets it, and those from elsewhere go on.
            return None
        return None if reads is None else CheckedReads(reads, cache)
