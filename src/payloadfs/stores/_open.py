"""From a root URL to the store behind it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..urls import scheme_of
from ._base import Store

if TYPE_CHECKING:
    from ._cached import Cache

__all__ = ["open_cache", "open_store"]


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


@functools.lru_cache(maxsize=32)
def open_cache(root: str, folder: Path | None, max_bytes: int | None) -> Cache | None:
    """Return the cache for objects under a canonical root; None if it is off, or for what is near already. No I/O.

    Parameters
    ----------
    root : str
        From `payloadfs.urls.canonical_root`.
    folder : Path or None
        Where copies lie; None for no cache.
    max_bytes : int or None
        What they may take; None for the default.

    Raises
    ------
    ConfigError
        The folder can't be one.
    """
    if folder is None or max_bytes == 0 or scheme_of(root) in ("file", "memory"):
        return None
    from ._cached import Cache

    return Cache(folder, max_bytes)
