"""From a root URL to the store behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..settings import Settings
from ..urls import scheme_of
from ._base import Store

if TYPE_CHECKING:
    from ._cached import Cache

__all__ = ["Places", "open_store"]


def open_store(root: str, storage_options: Mapping[str, Any] | None = None, *, fsync: bool = True) -> Store:
    """Return the store at a canonical root. No I/O; libraries for far stores load only here.

    Parameters
    ----------
    root : str
        From `payloadfs.urls.canonical_root`.
    storage_options : mapping, optional
        As the fsspec filesystem of the root's scheme takes them (credentials, endpoint).
    fsync : bool
        For local folders: whether a saved object survives a power cut.

    Raises
    ------
    ConfigError
        The library for the scheme is missing, or an option does not fit.
    """
    scheme = scheme_of(root)
    if scheme in ("file", "memory") and storage_options:
        raise ConfigError(f"A {scheme}:// store takes no storage options, got {sorted(storage_options)}.")
    if scheme == "file":
        from ._local import LocalStore

        return LocalStore(root, fsync=fsync)
    if scheme == "memory":
        from ._memory import MemoryStore

        return MemoryStore(root)
    if scheme == "s3":
        from ._s3 import open_s3_store

        return open_s3_store(root, storage_options or {})
    from ._fsspec import open_fsspec_store

    return open_fsspec_store(root, storage_options or {})


class Places:
    """The stores and the cache of some settings, each opened when it is first asked for. Threads may share it.

    Parameters
    ----------
    settings : Settings
        Options go to every store of the scheme of its URL.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stores: dict[str, Store] = {}
        self._cache: Cache | None = None

    def store(self, root: str) -> Store:
        """Return the store at a canonical root; see `open_store`."""
        if root not in self._stores:
            same_scheme = scheme_of(root) == scheme_of(self._settings.url)
            options = self._settings.storage_options if same_scheme else {}
            self._stores[root] = open_store(root, options, fsync=self._settings.fsync)
        return self._stores[root]

    def cache(self, root: str) -> Cache | None:
        """Return the cache for objects under a canonical root; None if it is off, or if they are near already. No I/O.

        Raises
        ------
        ConfigError
            Its folder can't be one.
        """
        folder, max_bytes = self._settings.cache, self._settings.cache_bytes
        if folder is None or max_bytes == 0 or scheme_of(root) in ("file", "memory"):
            return None
        if self._cache is None:
            from ._cached import Cache

            self._cache = Cache(folder, max_bytes)
        return self._cache
