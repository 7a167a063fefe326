"""From a root URL to the store behind it, and to what its bytes go through."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._urls import scheme_of
from ..errors import ConfigError
from ._base import Store
from ._forks import obstore_is_lost

if TYPE_CHECKING:
    from ._cache import Cache

__all__ = ["chosen_transport", "open_cache", "open_store"]


def open_store(
    root: str, storage_options: Mapping[str, Any] | None = None, *, fsync: bool = True, transport: str = "auto"
) -> Store:
    """Return the store at a canonical root. No request is sent; libraries for far stores load only here.

    Parameters
    ----------
    root : str
        From `payloadfs._urls.canonical_root`.
    storage_options : mapping, optional
        As the fsspec filesystem of the root's scheme takes them (credentials, endpoint).
    fsync : bool
        For local folders: whether a saved object survives a power cut.
    transport : {"auto", "obstore", "fsspec"}
        For far stores; see `chosen_transport`.

    Raises
    ------
    ConfigError
        The library for the scheme is missing, or an option does not fit.
    """
    scheme, options = scheme_of(root), storage_options or {}
    if scheme in ("file", "memory") and options:
        raise ConfigError(f"A {scheme}:// store takes no storage options, got {sorted(options)}.")
    if scheme == "file":
        from ._local import LocalStore

        return LocalStore(root, fsync=fsync)
    if scheme == "memory":
        from ._memory import MemoryStore

        return MemoryStore(root)
    name, reason = chosen_transport(root, options, transport)
    _log_choice(root, name, reason)
    if scheme == "s3":
        from ._s3 import open_s3_store

        return open_s3_store(root, options, name)
    if name == "obstore":
        from ._obstore import open_obstore_store

        return open_obstore_store(root, options)
    from ._fsspec import open_fsspec_store

    return open_fsspec_store(root, options)


def chosen_transport(root: str, storage_options: Mapping[str, Any], setting: str) -> tuple[str, str]:
    """Return what carries the bytes of the store at `root`, and why. No request.

    Parameters
    ----------
    root : str
        Canonical URL.
    storage_options : mapping
        As fsspec's file system takes them.
    setting : {"auto", "obstore", "fsspec"}
        ``"auto"``: obstore for s3, gs and az if it is installed and knows every option, else
        fsspec. Other schemes don't ask the setting.

    Returns
    -------
    tuple of str
        ``"local"``, ``"memory"``, ``"obstore"`` or ``"fsspec"``, and half a sentence without secrets.

    Raises
    ------
    ConfigError
        The setting says obstore, and it can't be.
    """
    scheme = scheme_of(root)
    if scheme in ("file", "memory"):
        return ("local" if scheme == "file" else "memory"), "needs no transport"
    if scheme not in ("s3", "gs", "az"):
        return "fsspec", f"obstore is not used for {scheme}://"
    if setting == "fsspec":
        return "fsspec", "the setting 'transport' says so"
    reason = _against_obstore(root, storage_options)
    if reason is None:
        return "obstore", "it is installed, and knows every option that is set"
    if setting == "obstore":
        raise ConfigError(f"The setting 'transport' says obstore, which can't be used: {reason}.", kind="transport")
    return "fsspec", reason


def _against_obstore(root: str, options: Mapping[str, Any]) -> str | None:
    from importlib.util import find_spec

    from ._obstore_options import UnmappedError

    if "obstore" not in sys.modules and find_spec("obstore") is None:
        return f"obstore is not installed (pip install 'payloadfs[{scheme_of(root)}]')"
    if obstore_is_lost():
        return "this process was forked from one that had loaded obstore"
    try:
        if scheme_of(root) == "s3":
            from ._s3._target import s3_target

            s3_target(root, options)
        else:
            from ._obstore_options import client_config

            client_config(root, options)
    except UnmappedError as unmapped:
        return str(unmapped)
    return None


def _log_choice(root: str, name: str, reason: str) -> None:
    # Where logging was never imported nobody can listen.
    logging: Any = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger("payloadfs").debug("%s goes through %s: %s", root, name, reason)


@functools.lru_cache(maxsize=32)
def open_cache(root: str, folder: Path | None, max_bytes: int | None) -> Cache | None:
    """Return the cache for objects under a canonical root; None if it is off, or for what is near already. No I/O.

    Parameters
    ----------
    root : str
        From `payloadfs._urls.canonical_root`.
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
    from ._cache import Cache

    return Cache(folder, max_bytes)
