"""Choice and opening of the store for a root URL, and of its cache."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._forks import obstore_unusable_after_fork
from .._log import debug
from .._urls import local_path, scheme_of
from ..errors import ConfigError
from ._base import Store

if TYPE_CHECKING:
    from ._cache import Cache


_MAX_OTHERS = 32
_FORKED = "this process was forked from one that had loaded obstore"


def open_store(
    root: str,
    storage_options: Mapping[str, Any] | None = None,
    *,
    fsync: bool = True,
    transport: str = "auto",
    timeout_s: float = 15.0,
) -> Store:
    """Return the store at a canonical root. No request is sent; libraries for remote stores are imported only here.

    Parameters
    ----------
    root : str
        From `payloadfs._urls.canonical_root`.
    storage_options : mapping, optional
        Credentials and endpoint, in the form that the fsspec file system of the root's scheme accepts.
    fsync : bool
        For local folders: whether a saved object survives a power cut.
    transport : {"auto", "obstore", "fsspec"}
        For remote stores; see `chosen_transport`.
    timeout_s : float
        For remote stores: time limit for an operation that makes no progress.

    Raises
    ------
    ConfigError
        The library for the scheme is missing, or an option is not valid.
    """
    scheme, options = scheme_of(root), storage_options or {}
    if scheme in ("file", "memory") and options:
        raise ConfigError(f"A {scheme}:// store takes no storage options, not {sorted(options)}.", kind="options")
    if scheme == "file":
        if sys.platform == "win32":
            from ._local_windows import WindowsStore

            return WindowsStore(root, fsync=fsync)
        else:  # noqa: RET505  for mypy
            from ._local import LocalStore

            return LocalStore(root, fsync=fsync)
    if scheme == "memory":
        from ._memory import MemoryStore

        return MemoryStore(root)
    name, reason = chosen_transport(root, options, transport)
    debug("%s uses %s: %s", root, name, reason)
    if name == "obstore":
        from ._obstore import ObstoreStore

        return ObstoreStore(root, options, timeout_s)
    if scheme == "s3":
        from ._s3fs import open_s3fs_store

        return open_s3fs_store(root, options, timeout_s)
    from ._fsspec import open_fsspec_store

    return open_fsspec_store(root, options, timeout_s)


class OpenStores:
    """The stores of one repository in one process: the one at its root, which is never dropped, and the latest others.

    Pointers name the others. Each store of a folder holds a descriptor, so there are at most 32. The descriptor of a
    store that was dropped is closed once no thread uses the store any more.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._own: Store | None = None
        self._others: OrderedDict[str, Store] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, root: str, open_it: Callable[[], Store]) -> Store:
        """Return the store at the canonical `root`; `open_it` opens it if it is not open. No request.

        If several threads need it at the same time, each may open it, but all get the same store.
        """
        if root == self._root:
            if self._own is None:
                opened = open_it()
                with self._lock:
                    self._own = self._own or opened
            return self._own
        with self._lock:
            store = self._others.get(root)
            if store is not None:
                self._others.move_to_end(root)
                return store
        opened = open_it()
        if scheme_of(root) == "file" and not os.path.isdir(local_path(root)):
            # It holds no descriptor, and must not displace one that is in use.
            return opened
        with self._lock:
            store = self._others.setdefault(root, opened)
            self._others.move_to_end(root)
            # The last reference may be the one here: closing must not hold the lock.
            dropped = self._others.popitem(last=False) if len(self._others) > _MAX_OTHERS else None
        del dropped
        return store


def chosen_transport(root: str, storage_options: Mapping[str, Any], setting: str) -> tuple[str, str]:
    """Return which client transfers the bytes of the store at `root`, and why. No request.

    Parameters
    ----------
    root : str
        Canonical URL.
    storage_options : mapping
        In the form that fsspec's file system accepts.
    setting : {"auto", "obstore", "fsspec"}
        ``"auto"``: obstore for s3, gs and az if it is installed and supports every option, else
        fsspec. Other schemes ignore the setting.

    Returns
    -------
    tuple of str
        ``"local"``, ``"memory"``, ``"obstore"`` or ``"fsspec"``, and the reason, without secrets.

    Raises
    ------
    ConfigError
        The setting is ``"obstore"``, which cannot be used.
    """
    scheme = scheme_of(root)
    if scheme in ("file", "memory"):
        return ("local" if scheme == "file" else "memory"), "needs no transport"
    if scheme not in ("s3", "gs", "az"):
        return "fsspec", f"obstore is not used for {scheme}://"
    if setting == "fsspec":
        return "fsspec", "the setting 'transport' selects it"
    reason = _why_not_obstore(root, storage_options)
    if reason is None:
        return "obstore", "it is installed and supports every option that is set"
    # A forked child inherits the setting of its parent, which could use obstore.
    if setting == "obstore" and reason != _FORKED:
        raise ConfigError(
            f"The setting 'transport' is 'obstore', which cannot be used here: {reason}.", kind="transport"
        )
    return "fsspec", reason


def _why_not_obstore(root: str, options: Mapping[str, Any]) -> str | None:
    if "obstore" not in sys.modules and find_spec("obstore") is None:
        return f"obstore is not installed (pip install 'payloadfs[{scheme_of(root)}]')"
    if obstore_unusable_after_fork():
        return _FORKED
    from ._obstore import obstore_target
    from ._obstore_options import UnmappedError

    try:
        obstore_target(root, options)
    except UnmappedError as unmapped:
        return str(unmapped)
    return None


@functools.lru_cache(maxsize=32)
def open_cache(root: str, folder: Path | None, max_bytes: int | None) -> Cache | None:
    """Return the cache for objects under a canonical root; None if it is off, or for local and memory roots. No I/O.

    Without a `folder`, or with a limit of 0 bytes, it is off.

    Raises
    ------
    ConfigError
        The folder cannot be used.
    """
    if folder is None or max_bytes == 0 or scheme_of(root) in ("file", "memory"):
        return None
    from ._cache import Cache

    return Cache(folder, max_bytes)
