"""The room that a cache may take: locks between processes, a bound in bytes, and who has to go first."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

__all__ = ["DEFAULT_BYTES", "Copy", "Room", "alone"]

DEFAULT_BYTES = 10 * 1024**3
"""What a cache may take if nobody says otherwise, or half of what is free, if that is less."""

_LEAST_BYTES = 16 * 1024
"""What the smallest copy counts: its block, its name, and its share of every search for the oldest."""

_POLL_S = 0.01
_ROOM_WAIT_S = 30.0
_FORGOTTEN_S = 24 * 3600.0
_NOTE = struct.Struct("<Q")
_FOLDER = re.compile(r"[0-9a-f]{16}|shared")
_NAME = re.compile(r"(?:b3|s256)(?:-seal)?-[0-9a-f]{64}-([0-9]{1,16})")

# A forked child would keep its parent's locks for as long as it lives.
_held: set[int] = set()


def _let_go() -> None:
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def alone(path: str, wait_s: float, *, keep: bool = False) -> Iterator[int | None]:
    """Hold the lock file `path` inside the block, and remove it then, unless `keep`.

    Threads exclude each other as processes do, and a process that dies lets go. The block gets the
    file's descriptor, or None, and no lock, if somebody held it for `wait_s` seconds, or let go
    and left something in it: the sign that what was to be done failed just now.
    """
    file = _locked(path, time.monotonic() + wait_s, keep)
    try:
        yield file
    finally:
        # A child that was forked in between has let go already.
        if file is not None and file in _held:
            if not keep:
                with suppress(FileNotFoundError):
                    os.unlink(path)
            _close(file)


def _locked(path: str, until_s: float, keep: bool) -> int | None:
    while True:
        file = _opened(path)
        _held.add(file)
        try:
            while not _try_lock(file):
                if time.monotonic() > until_s:
                    _close(file)
                    return None
                time.sleep(_POLL_S)
            facts = os.fstat(file)
        except BaseException:
            _close(file)
            raise
        if keep or facts.st_nlink:
            if not keep:
                os.ftruncate(file, 0)
            return file
        # Removed by who held it: whoever comes now makes another one.
        _close(file)
        if facts.st_size:
            return None


def _opened(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close(file: int) -> None:
    _held.discard(file)
    # A child may have been forked before the file was noted as held: closing alone would not free it.
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


class Copy(NamedTuple):
    """One copy: when it was last used, its size on disk in bytes, and its path."""

    used_s: float
    size_bytes: int
    path: str


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

    def lock_path(self, name: str) -> str:
        """Return the path of the lock for the copy `name`."""
        return f"{self._path}/locks/{name}"

    def limit_bytes(self, used_bytes: int) -> int:
        """Return how many bytes all copies may take, where they take `used_bytes` now."""
        if self._max_bytes is not None:
            return self._max_bytes
        disk = os.statvfs(self._path)
        return min(DEFAULT_BYTES, (disk.f_bavail * disk.f_frsize + used_bytes) // 2)

    def take(self, name: str, size_bytes: int) -> bool:
        """Note the bytes of the copy `name`, whose lock is held, and return whether there is room for them.

        Copies that were not used for the longest time go, until nine tenths of the room would do.
        """
        cost = _cost(size_bytes)
        if self._max_bytes is not None and cost > self._max_bytes:
            return False
        with alone(f"{self._path}/room", _ROOM_WAIT_S, keep=True) as file:
            if file is None:
                return False
            noted = os.pread(file, _NOTE.size, 0)
            (used,) = _NOTE.unpack(noted) if len(noted) == _NOTE.size else (None,)
            if used is None or used + cost > self.limit_bytes(used):
                used = self._make(cost, name)
            fits: bool = used + cost <= self.limit_bytes(used)
            os.pwrite(file, _NOTE.pack(used + cost if fits else used), 0)
            return fits

    def copies(self) -> Iterator[Copy]:
        """Yield all copies there are; remove what a killed process left."""
        for folder in self.folders():
            for entry in _entries(f"{self._path}/{folder}"):
                if not entry.is_file(follow_symlinks=False):
                    continue
                with suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    if _NAME.fullmatch(entry.name):
                        yield Copy(facts.st_mtime, _cost(facts.st_size), entry.path)
                    elif entry.name.startswith(".") and time.time() - facts.st_mtime > _FORGOTTEN_S:
                        os.unlink(entry.path)

    def folders(self) -> list[str]:
        """Return the names of the folders that hold copies."""
        return [e.name for e in _entries(self._path) if _FOLDER.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]

    def clear(self) -> tuple[int, int]:
        """Remove all copies; return how many there were and how many bytes they took."""
        count = size_bytes = 0
        for copy in self.copies():
            with suppress(FileNotFoundError):
                os.unlink(copy.path)
                count, size_bytes = count + 1, size_bytes + copy.size_bytes
        with alone(f"{self._path}/room", _ROOM_WAIT_S, keep=True) as file:
            if file is not None:
                os.ftruncate(file, 0)
        return count, size_bytes

    def _make(self, cost: int, name: str) -> int:
        """Let the oldest copies go until there is room for `cost` bytes, and return how many are used."""
        copies = sorted(self.copies())
        used = sum(copy.size_bytes for copy in copies) + self._coming_bytes(name)
        limit = self.limit_bytes(used)
        if cost > limit or used + cost <= limit:
            return used
        for copy in copies:
            if used + cost <= limit - limit // 10 or not used:
                break
            with suppress(FileNotFoundError):
                os.unlink(copy.path)
            used -= copy.size_bytes
        return used

    def _coming_bytes(self, name: str) -> int:
        """Return how many bytes others are fetching just now, which have no name yet."""
        coming = 0
        for entry in _entries(f"{self._path}/locks"):
            match = _NAME.fullmatch(entry.name)
            if match is None or entry.name == name:
                continue
            with alone(entry.path, 0.0) as file:
                if file is None:
                    coming += _cost(int(match[1]))
        return coming


def _cost(size_bytes: int) -> int:
    return max(_LEAST_BYTES, -(-size_bytes // 4096) * 4096)


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(path) as found:
        yield from found
