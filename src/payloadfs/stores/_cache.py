"""Near copies of far objects, in files on this machine.

A copy is named by the digest and the size of its object, and gets that name only once every byte
was checked. Until then it has the name with a dot in front, and is locked by who fills it; those
who want the same wait for the lock. A copy is never changed, and unlinked when it has to go: who
has it mapped keeps it. Nothing is fsynced: copies lie in a folder that is named after the current
start of the machine, and those of an earlier one are checked in full before they are used.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .._buffers import FileMapping
from .._digest import Digest
from .._log import warn, warn_once
from .._seal import check
from .._urls import canonical_root, local_path
from ..errors import ConfigError, IntegrityError, NotFoundError, PayloadError, StoreError
from ._base import Store, SupportsFiles
from ._cache_quota import ROOM_WAIT_S, Room, alone
from ._dirfd import is_ours, reserve
from ._local import LocalStore

__all__ = ["Cache"]

_INTO_FILE_FROM_BYTES = 1024 * 1024
"""From here on a store that can writes into the file itself; below, memory is quicker."""

_WAIT_S = 60.0
_WAIT_S_PER_BYTE = 1 / (4 * 1024 * 1024)
"""How long another process may take to fetch an object before nobody waits for it any longer."""

_SHORT_WAIT_S = 0.05
"""The same for the room's lock, where many others wait for the thread."""

_SHARED = "shared"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An object, by what it must be."""

    size_bytes: int
    digest: Digest

    @property
    def name(self) -> str:
        """What its copy is called."""
        return f"{str(self.digest).replace(':', '-')}-{self.size_bytes}"


class Cache:
    """Copies below one folder, which is made (0700) with the first one. For any number of processes.

    Parameters
    ----------
    folder : Path
        Absolute. It has to be this user's own, and nobody else may write it.
    max_bytes : int or None
        What all copies may take together; None for 10 GiB or half of what is free on the disk,
        whichever is less.

    Raises
    ------
    ConfigError
        The folder can't be one. Nothing was made.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        root = canonical_root(folder)
        self.path = local_path(root)
        self.room = Room(self.path, max_bytes)
        self._files = LocalStore(root, fsync=False)

    @property
    def is_near(self) -> bool:
        """Whether copies lie on a disk of this machine, so that they can be mapped."""
        return self._files._is_on_own_disk

    @functools.cached_property
    def _folder(self) -> str:
        # On a disk that other machines share, data is checked at every load, whoever started when.
        return _start_of_machine() if self.is_near else _SHARED

    def checked(self, store: Store, key: str, size_bytes: int, digest: Digest, *, data: bool) -> memoryview | None:
        """Return the checked bytes of an object from a near copy, which is made if there is none.

        Parameters
        ----------
        store : Store
            Where the object lies.
        key, size_bytes, digest : str, int, Digest
            As its pointer says.
        data : bool
            Check data spans even where only this user can have changed the copy.

        Returns
        -------
        memoryview or None
            Writable and private, as `Fetched.buffer`. None if there is to be no copy: the object
            is empty or larger than the bound, the disk is full or fails (which is logged once), or
            whoever was fetching it failed. Then it has to come from the store.

        Raises
        ------
        NotFoundError, IntegrityError, StoreError
            As `Store.get`, and `IntegrityError` for other bytes than were saved. There is no copy.
        ConfigError
            Others can write the cache's folder. Nothing was fetched.

        Notes
        -----
        Cost of a copy that is there: no request, and a private mapping, no copy in memory.
        Otherwise that of the store, one pass over the bytes, and one write to disk; of all who
        want the same bytes at once one fetches them and the others wait. A copy that is not right
        is removed and fetched again, and that is logged.
        """
        if not size_bytes:
            return None
        self.refuse_if_open_to_others()
        wanted = _Wanted(size_bytes, digest)
        try:
            copy = self._found(wanted, self._folder, data=data)
            return self._filled(wanted, store, key, data=data) if copy is None else copy
        except PayloadError:
            raise
        except OSError as error:
            self._tell(error)
            return None

    def near(self, size_bytes: int, digest: Digest) -> memoryview | None:
        """Return the bytes of a near copy, checked in full, or None if there is none just now. No request."""
        self.refuse_if_open_to_others()
        wanted = _Wanted(size_bytes, digest)
        try:
            copy = self._found(wanted, self._folder, data=True)
            return self._older(wanted, _SHORT_WAIT_S) if copy is None else copy
        except OSError as error:
            self._tell(error)
            return None

    def keep(self, size_bytes: int, digest: Digest, buffer: memoryview) -> bool:
        """Make a copy of an object whose checked bytes are in `buffer`, unless somebody is at it.

        Returns
        -------
        bool
            False if there was no room, the disk failed, or others counted for longer than a moment:
            then it's no use to try with the next one.
        """
        wanted = _Wanted(size_bytes, digest)
        try:
            with self._alone(wanted, 0.0) as (folder, file):
                if file is None or os.path.lexists(f"{self.path}/{self._folder}/{wanted.name}"):
                    return True
                if not self.room.take(wanted.name, size_bytes, _SHORT_WAIT_S):
                    return False
                _write(file, buffer)
                self._name(wanted, folder, _SHORT_WAIT_S)
                return True
        except OSError as error:
            self._tell(error)
            return False

    def forget(self, size_bytes: int, digest: Digest) -> None:
        """Remove the copy of an object, if there is one."""
        try:
            for folder in self.room.folders():
                with suppress(FileNotFoundError):
                    os.unlink(f"{self.path}/{folder}/{_Wanted(size_bytes, digest).name}")
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        warn_once(
            f"The cache in {self.path} can't be used ({error.strerror or error}), so objects come straight from "
            "their store; let PAYLOADFS_CACHE name another folder, or say off."
        )

    def refuse_if_open_to_others(self) -> None:
        """Return if no other user can write the cache's folder; raise `ConfigError` if one can."""
        for path in (self.path, f"{self.path}/{self._folder}"):
            try:
                facts = os.stat(path)
            except OSError:
                # Whatever it is that is there, it is no folder that somebody opened to others.
                return
            if not is_ours(facts):
                raise ConfigError(
                    f"The cache folder {path} belongs to, or can be written by, others: 'chmod go-w' it if it is "
                    "yours, or let PAYLOADFS_CACHE name another one or say off.",
                    kind="cache-folder",
                )

    def _found(self, wanted: _Wanted, folder: str, *, data: bool) -> memoryview | None:
        name = f"{folder}/{wanted.name}"
        try:
            fetched = self._files.get(name, wanted.size_bytes)
            check(fetched.buffer, wanted.digest, data=data or folder == _SHARED or not fetched.owner_only)
        except NotFoundError:
            return None
        except (IntegrityError, StoreError) as error:
            with self._files._folder(name) as (inner, last, _), suppress(FileNotFoundError):
                os.unlink(last, dir_fd=inner)
            warn(f"A copy in the cache was not right and is removed; the object is fetched again. {error}")
            return None
        # Gone by now if somebody needed its room; the mapping stays.
        with suppress(FileNotFoundError):
            os.utime(f"{self.path}/{name}", follow_symlinks=False)
        return fetched.buffer

    def _filled(self, wanted: _Wanted, store: Store, key: str, *, data: bool) -> memoryview | None:
        """Return the bytes of a copy made now, by whoever is first, or None if there is to be none."""
        with self._alone(wanted, _WAIT_S + wanted.size_bytes * _WAIT_S_PER_BYTE) as (folder, file):
            copy = self._found(wanted, self._folder, data=data)
            if copy is not None or file is None:
                # Who waited in vain asks the store by itself: not one after the other, each until it gives up.
                return copy
            copy = self._older(wanted, ROOM_WAIT_S)
            if copy is not None or not self.room.take(wanted.name, wanted.size_bytes):
                return copy
            buffer = self._received(wanted.size_bytes, store, key, file)
            check(buffer, wanted.digest, data=True)
            self._name(wanted, folder, ROOM_WAIT_S)
            return buffer

    @contextmanager
    def _alone(self, wanted: _Wanted, wait_s: float) -> Iterator[tuple[int, int | None]]:
        """Give the copies' folder, and the empty file that is to be a copy; None if somebody is at it for so long."""
        name = wanted.name
        with (
            self._files._folder(f"{self._folder}/{name}", create=True) as (folder, _, _),
            alone(f".{name}", wait_s, folder=folder) as file,
        ):
            if file is not None:
                # What a killed process left.
                os.ftruncate(file, 0)
            yield folder, file

    def _name(self, wanted: _Wanted, folder: int, wait_s: float) -> None:
        """Give a copy that is whole and checked its name."""
        with self.room.still(wait_s):
            os.rename(f".{wanted.name}", wanted.name, src_dir_fd=folder, dst_dir_fd=folder)

    def _older(self, wanted: _Wanted, wait_s: float) -> memoryview | None:
        """Return the bytes of a copy from before the machine started, every one of them checked."""
        for folder in self.room.folders():
            copy = None if folder == self._folder else self._found(wanted, folder, data=True)
            if copy is not None:
                with suppress(FileNotFoundError), self.room.still(wait_s):
                    os.rename(f"{self.path}/{folder}/{wanted.name}", f"{self.path}/{self._folder}/{wanted.name}")
                return copy
        return None

    def _received(self, size_bytes: int, store: Store, key: str, file: int) -> memoryview:
        """Write the object into `file` and return its bytes: mapped, or those that were written."""
        if size_bytes >= _INTO_FILE_FROM_BYTES:
            # A full disk shows before anything is fetched.
            reserve(file, size_bytes)
            if self.is_near and isinstance(store, SupportsFiles):
                os.ftruncate(file, size_bytes)
                store.get_into(key, size_bytes, file)
                return memoryview(FileMapping(file, size_bytes, access=mmap.ACCESS_COPY))
        buffer = store.get(key, size_bytes).buffer
        _write(file, buffer)
        return buffer


def _write(file: int, buffer: memoryview) -> None:
    while buffer.nbytes:
        buffer = buffer[os.write(file, buffer) :]


def _start_of_machine() -> str:
    """Return a name for the time since the machine started: what was written in it was not lost."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().replace("-", "")[:16]
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return _SHARED
