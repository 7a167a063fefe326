"""A cache of remote objects, in files on this machine.

A copy is named by the digest and the size of its object, and gets that name only once every byte
was checked. Until then its name starts with a dot, and the process that fills it holds a lock;
others that want the same object wait for the lock. A copy never changes. Evicting one unlinks it, so
processes that have it mapped keep it. Nothing is fsynced: copies are in a folder named after the
current boot of the machine, and copies of an earlier boot are checked in full before they are used.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .._atomic import file_lock
from .._buffers import FileMapping
from .._digest import Digest
from .._log import warn, warn_once
from .._operation import count
from .._seal import check
from .._urls import canonical_root, local_path
from ..errors import ConfigError, IntegrityError, NotFoundError, PayloadError, StoreError
from ._base import Store, SupportsFiles, fetch_intact
from ._cache_quota import Quota
from ._dirfd import is_ours, reserve
from ._local import LocalStore
from ._retry import TIMEOUT_S

_INTO_FILE_FROM_BYTES = 1024 * 1024
"""From this size on, stores that support it write directly into the file. Below it, memory is faster."""

_WAIT_S = TIMEOUT_S / 3
"""How long to wait for another process that fetches the object without progress. The rest is for our own fetch."""

_SHARED = "shared"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Size and digest of an object, and the name of its copy."""

    size_bytes: int
    digest: Digest

    @property
    def name(self) -> str:
        return f"{str(self.digest).replace(':', '-')}-{self.size_bytes}"


class Cache:
    """Copies below one folder, which is created (0700) with the first copy. Any number of processes can share it.

    Only this user may own the folder and write to it. `max_bytes` is the limit of `Quota`.

    Raises
    ------
    ConfigError
        The folder cannot be used. Nothing was created.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        root = canonical_root(folder)
        self.path = local_path(root)
        self.quota = Quota(self.path, max_bytes)
        self._files = LocalStore(root, fsync=False)

    @property
    def is_local(self) -> bool:
        """Whether copies are on a disk of this machine, so that they can be mapped."""
        return self._files.is_on_local_disk

    @functools.cached_property
    def _folder(self) -> str:
        # On a disk that other machines share, data is checked with every load.
        return _boot_id() if self.is_local else _SHARED

    def read(self, store: Store, key: str, size_bytes: int, digest: Digest, *, data: bool) -> memoryview | None:
        """Return the checked bytes of an object from its copy, which is created if there is none.

        With `data`, data spans are checked even where only this user can have changed the copy.

        Returns
        -------
        memoryview or None
            Writable and private, as `Fetched.buffer`. None if the object must be read from the store
            instead: it is empty or larger than the limit, the disk is full or fails (which is logged
            once), or the process that was fetching it failed.

        Raises
        ------
        NotFoundError, IntegrityError, StoreError
            As `Store.get`, and `IntegrityError` if the bytes changed. No copy was kept.
        ConfigError
            Other users can write to the cache folder. Nothing was fetched.

        Notes
        -----
        Cost if there is a copy: no request, and a private mapping, no copy in memory. Otherwise that
        of the store, one pass over the bytes, and one write to disk; if several processes want the
        same object, one fetches it and the others wait. A corrupt copy is removed and fetched again,
        which is logged.
        """
        if not size_bytes:
            return None
        self.refuse_shared_folder()
        wanted = _Wanted(size_bytes, digest)
        try:
            copy = self._lookup(wanted, self._folder, data=data)
            count("cache.lookups", **{"payloadfs.cache.hit": copy is not None})
            return self._fetch_into_cache(wanted, store, key, data=data) if copy is None else copy
        except PayloadError:
            raise
        except OSError as error:
            self._warn(error)
            return None

    def evict(self, size_bytes: int, digest: Digest) -> None:
        """Remove the copy of an object, if there is one."""
        try:
            for folder in self.quota.folders():
                with suppress(FileNotFoundError):
                    os.unlink(f"{self.path}/{folder}/{_Wanted(size_bytes, digest).name}")
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        warn_once(
            f"Cannot use the cache in {self.path} ({error.strerror or error}), so objects are read directly from "
            "their store; set PAYLOADFS_CACHE to another folder or to 'off'."
        )

    def refuse_shared_folder(self) -> None:
        """Raise `ConfigError` if other users can write to the cache folder."""
        for path in (self.path, f"{self.path}/{self._folder}"):
            try:
                st = os.stat(path)
            except OSError:
                # It does not exist, or it is not a folder that other users could have changed.
                return
            if not is_ours(st):
                raise ConfigError(
                    f"The cache folder {path} belongs to another user, or other users can write to it: run "
                    f"'chmod go-w {path}' if it is yours, or set PAYLOADFS_CACHE to another folder or to 'off'.",
                    kind="cache-folder",
                )

    def _lookup(self, wanted: _Wanted, folder: str, *, data: bool) -> memoryview | None:
        name = f"{folder}/{wanted.name}"
        try:
            fetched = self._files.get(name, wanted.size_bytes)
            check(fetched.buffer, wanted.digest, data=data or folder == _SHARED or not fetched.owner_only)
        except NotFoundError:
            return None
        except (IntegrityError, StoreError) as error:
            with self._files._folder(name) as (inner, last, _), suppress(FileNotFoundError):
                os.unlink(last, dir_fd=inner)
            warn(f"Removed a corrupt copy from the cache; the object is fetched again. {error}")
            return None
        # Another process may have evicted it meanwhile; the mapping stays.
        with suppress(FileNotFoundError):
            os.utime(f"{self.path}/{name}", follow_symlinks=False)
        return fetched.buffer

    def _fetch_into_cache(self, wanted: _Wanted, store: Store, key: str, *, data: bool) -> memoryview | None:
        """Return the bytes of a new copy, which one process creates, or None if there is none."""
        with self._locked(wanted, store) as (folder, file):
            copy = self._lookup(wanted, self._folder, data=data)
            if copy is not None or file is None:
                # After waiting in vain this process reads from the store directly; it does not wait again.
                return copy
            copy = self._from_previous_boot(wanted)
            if copy is not None or not self.quota.reserve(wanted.name, wanted.size_bytes):
                return copy
            buffer = fetch_intact(store.root, partial(self._fetch, wanted, store, key, file))
            with self.quota.locked():
                os.rename(f".{wanted.name}", wanted.name, src_dir_fd=folder, dst_dir_fd=folder)
            return buffer

    @contextmanager
    def _locked(self, wanted: _Wanted, store: Store) -> Iterator[tuple[int, int | None]]:
        """Yield the folder and the locked, empty file for a new copy; no file if another process fails to fill it."""
        name, wait_s = f".{wanted.name}", getattr(store, "timeout_s", 0.0) / 3 or _WAIT_S
        with self._files._folder(f"{self._folder}/{name}", create=True) as (folder, _, _):
            waited, progress = False, _progress(folder, name)
            while not waited:
                with file_lock(name, wait_s, dir_fd=folder) as file:
                    before, progress = progress, _progress(folder, name)
                    if file is None and progress != before and progress is not None:
                        continue
                    waited = True
                    if file is not None:
                        # A killed process may have left bytes in it.
                        os.ftruncate(file, 0)
                    yield folder, file

    def _from_previous_boot(self, wanted: _Wanted) -> memoryview | None:
        """Return the bytes of a copy from before the machine started, all of them checked."""
        for folder in self.quota.folders():
            copy = None if folder == self._folder else self._lookup(wanted, folder, data=True)
            if copy is not None:
                with suppress(FileNotFoundError), self.quota.locked():
                    os.rename(f"{self.path}/{folder}/{wanted.name}", f"{self.path}/{self._folder}/{wanted.name}")
                return copy
        return None

    def _fetch(self, wanted: _Wanted, store: Store, key: str, file: int) -> memoryview:
        """Write the object into `file` and return its checked bytes: mapped, or those that were written."""
        size_bytes = wanted.size_bytes
        if size_bytes >= _INTO_FILE_FROM_BYTES:
            # Before the request: a full disk is an error before anything is fetched.
            reserve(file, size_bytes)
            if self.is_local and isinstance(store, SupportsFiles):
                os.ftruncate(file, size_bytes)
                store.get_into(key, size_bytes, file)
                mapped = memoryview(FileMapping(file, size_bytes, access=mmap.ACCESS_COPY))
                check(mapped, wanted.digest, data=True)
                return mapped
        buffer = store.get(key, size_bytes).buffer
        check(buffer, wanted.digest, data=True)
        _write(file, buffer)
        return buffer


def _progress(folder: int, name: str) -> tuple[int, int] | None:
    """Return what changes while another process fills the file `name`; None if the file does not exist."""
    try:
        st = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return st.st_mtime_ns, st.st_ino


def _write(file: int, buffer: memoryview) -> None:
    # Not by os.writev, which refuses more than 2 GiB on macOS.
    while buffer.nbytes:
        buffer = buffer[os.write(file, buffer) :]


def _boot_id() -> str:
    """Return the id of the current boot: what was written since then is not lost."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().replace("-", "")[:16]
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return _SHARED
