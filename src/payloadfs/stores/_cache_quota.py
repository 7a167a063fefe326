"""The room that a cache may take: locks between processes, a bound in bytes, and who has to go first."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import NamedTuple

__all__ = ["DEFAULT_BYTES", "ROOM_WAIT_S", "Copy", "Room", "alone", "existing"]

DEFAULT_BYTES = 10 * 1024**3
"""What a cache may take if nobody says otherwise, or half of what is free, if that is less."""

_LEAST_BYTES = 16 * 1024
"""What the smallest copy counts: its block, its name, and its share of every search for the oldest."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.02
ROOM_WAIT_S = 30.0
"""So long whoever counts is waited for."""

_NOTE = struct.Struct("<Q")
_FOLDER = re.compile(r"[0-9a-f]{16}|shared")
_NAME = re.compile(r"(\.?)(?:b3|s256)(?:-seal)?-[0-9a-f]{64}-([0-9]{1,16})")

# A forked child would keep its parent's locks for as long as it lives.
_held: set[int] = set()


def _let_go() -> None:
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def alone(name: str, wait_s: float, *, folder: int | None = None, keep: bool = False) -> Iterator[int | None]:
    """Hold the lock file `name` inside the block; remove it then, if it still has that name, unless `keep`.

    Threads exclude each other as processes do, and a process that dies lets go. The block gets the
    file's descriptor, or None and no lock, if somebody held it for `wait_s` seconds, or meanwhile
    gave it another name or none.
    """
    file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    _held.add(file)
    mine = False
    try:
        mine = _lock(file, time.monotonic() + wait_s) and _is_named(file, name, folder)
        yield file if mine else None
    finally:
        # A child that was forked in between has let go already.
        if file in _held:
            try:
                if mine and not keep and _is_named(file, name, folder):
                    os.unlink(name, dir_fd=folder)
            finally:
                _unlock(file)


def _lock(file: int, until_s: float) -> bool:
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                return False
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        else:
            return True


def _unlock(file: int) -> None:
    _held.discard(file)
    # A child may have been forked before the file was noted as held: closing alone would not free it.
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _is_named(file: int, name: str, folder: int | None) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


class Copy(NamedTuple):
    """One copy: when it was last used, the bytes that it counts, its path, and whether it is not whole yet."""

    used_s: float
    size_bytes: int
    path: str
    is_coming: bool


class Room:
    """The copies below one folder and the bytes that they may take together.

    Parameters
    ----------
    path : str
        The folder; it need not exist.
    max_bytes : int or None
        The bound; None for `DEFAULT_BYTES` or half of what is free.

    Notes
    -----
    The sum is kept in a file, so that a new copy costs the same whether there are ten or ten
    thousand. Bytes are noted before they are written: what a killed process noted and did not
    write is found out when the sum reaches the bound and the folder is read.
    """

    def __init__(self, path: str, max_bytes: int | None) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def limit_bytes(self, used_bytes: int) -> int:
        """Return how many bytes all copies may take, where they take `used_bytes` now."""
        if self._max_bytes is not None:
            return self._max_bytes
        disk = os.statvfs(existing(self._path))
        return min(DEFAULT_BYTES, (disk.f_bavail * disk.f_frsize + used_bytes) // 2)

    def take(self, name: str, size_bytes: int, wait_s: float = ROOM_WAIT_S) -> bool:
        """Note the bytes of the copy `name`, whose lock is held, and return whether there is room for them.

        Copies that were not used for the longest time go, until nine tenths of the room would do.
        """
        cost = _cost(size_bytes)
        if self._max_bytes is not None and cost > self._max_bytes:
            return False
        with self.still(wait_s) as file:
            if file is None:
                return False
            noted = os.pread(file, _NOTE.size, 0)
            (used,) = _NOTE.unpack(noted) if len(noted) == _NOTE.size else (None,)
            if used is None or used + cost > self.limit_bytes(used):
                used = self._make(cost, name)
            fits: bool = used + cost <= self.limit_bytes(used)
            os.pwrite(file, _NOTE.pack(used + cost if fits else used), 0)
            return fits

    def still(self, wait_s: float = ROOM_WAIT_S) -> AbstractContextManager[int | None]:
        """Hold the lock under which copies are counted. Names change under it too: one that is moved could be missed."""
        return alone(f"{self._path}/room", wait_s, keep=True)

    def copies(self) -> Iterator[Copy]:
        """Yield all copies there are, those too that are coming in; remove what a killed process left."""
        for folder in self.folders():
            for entry in _entries(f"{self._path}/{folder}"):
                match = _NAME.fullmatch(entry.name)
                if match is None or not entry.is_file(follow_symlinks=False):
                    continue
                with suppress(FileNotFoundError):
                    used_s = entry.stat(follow_symlinks=False).st_mtime
                    if not match[1] or not _is_left(entry.path):
                        yield Copy(used_s, _cost(int(match[2])), entry.path, is_coming=bool(match[1]))

    def folders(self) -> list[str]:
        """Return the names of the folders that hold copies."""
        return [e.name for e in _entries(self._path) if _FOLDER.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]

    def clear(self) -> tuple[int, int]:
        """Remove all copies; return how many there were and how many bytes they took."""
        count = size_bytes = 0
        for copy in self.copies():
            if not copy.is_coming and _remove(copy):
                count, size_bytes = count + 1, size_bytes + copy.size_bytes
        # Whoever takes room next reads the folder.
        with suppress(FileNotFoundError):
            os.unlink(f"{self._path}/room")
        return count, size_bytes

    def _make(self, cost: int, name: str) -> int:
        """Let the oldest copies go until there is room for `cost` bytes, and return how many are used."""
        copies = sorted(copy for copy in self.copies() if not copy.path.endswith(f"/.{name}"))
        used = sum(copy.size_bytes for copy in copies)
        limit = self.limit_bytes(used)
        if cost > limit or used + cost <= limit:
            return used
        for copy in copies:
            if used + cost <= limit - limit // 10:
                break
            if not copy.is_coming:
                _remove(copy)
                used -= copy.size_bytes
        return used


def existing(path: str) -> str:
    """Return `path`, or the nearest folder above it that there is."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _is_left(path: str) -> bool:
    """Return whether nobody fills the copy at `path` any more; it is removed then."""
    with alone(path, 0.0) as file:
        return file is not None


def _remove(copy: Copy) -> bool:
    try:
        os.unlink(copy.path)
    except FileNotFoundError:
        return False
    return True


def _cost(size_bytes: int) -> int:
    return max(_LEAST_BYTES, -(-size_bytes // 4096) * 4096)


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(path) as found:
        yield from found
