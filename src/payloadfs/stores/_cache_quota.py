"""The size limit of a cache: locks between processes, a total in bytes, and eviction of the oldest copies."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple

from .._atomic import file_lock

DEFAULT_BYTES = 10 * 1024**3
"""Default limit, unless half of the free space is less."""

_LEAST_BYTES = 16 * 1024
"""Cost of the smallest copy: its block, its name, and its share of every search for the oldest."""

LOCK_WAIT_S = 30.0
"""How long to wait for the lock of the total."""

_TOTAL = struct.Struct("<Q")
_FOLDER = re.compile(r"[0-9a-f]{16}|shared")
_NAME = re.compile(r"(\.?)(?:b3|s256)(?:-seal)?-[0-9a-f]{64}-([0-9]{1,16})")


class Copy(NamedTuple):
    """One copy: time of last use, cost in bytes, path, and whether it is still incomplete."""

    used_s: float
    size_bytes: int
    path: str
    is_incomplete: bool


class Quota:
    """Copies below one folder, which need not exist, and their size limit: `max_bytes`, or that of `limit_bytes`.

    The total is kept in a file, so that a new copy costs the same for ten copies and for ten
    thousand. Bytes are counted before they are written: what a killed process counted but did not
    write is corrected when the total reaches the limit and the folder is listed.
    """

    def __init__(self, path: str, max_bytes: int | None) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def limit_bytes(self, used_bytes: int) -> int:
        """Return the limit in bytes for all copies, which use `used_bytes` now.

        By default it is `DEFAULT_BYTES`, or half of the space that is free for copies if that is less.
        """
        if self._max_bytes is not None:
            return self._max_bytes
        import shutil

        return min(DEFAULT_BYTES, (shutil.disk_usage(existing(self._path)).free + used_bytes) // 2)

    def reserve(self, name: str, size_bytes: int) -> bool:
        """Count the bytes of the copy `name`, whose lock the caller holds, and return whether they fit.

        At the limit the least recently used copies are evicted, until nine tenths of the limit are in use.
        """
        cost = _cost(size_bytes)
        if self._max_bytes is not None and cost > self._max_bytes:
            return False
        with self.locked() as file:
            if file is None:
                return False
            record = os.read(file, _TOTAL.size)
            (used,) = _TOTAL.unpack(record) if len(record) == _TOTAL.size else (None,)
            if used is None or used + cost > self.limit_bytes(used):
                used = self._evict(cost, name)
            fits: bool = used + cost <= self.limit_bytes(used)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, _TOTAL.pack(used + cost if fits else used))
            return fits

    def locked(self) -> AbstractContextManager[int | None]:
        """Hold the lock of the total. Copies are renamed under it too, because a count could miss one that moves."""
        return file_lock(f"{self._path}/total", LOCK_WAIT_S, keep=True)

    def copies(self) -> Iterator[Copy]:
        """Yield all copies, including incomplete ones; remove those that a killed process left."""
        for folder in self.folders():
            for entry in _entries(f"{self._path}/{folder}"):
                match = _NAME.fullmatch(entry.name)
                if match is None or not entry.is_file(follow_symlinks=False):
                    continue
                with suppress(FileNotFoundError):
                    used_s = entry.stat(follow_symlinks=False).st_mtime
                    if not match[1] or not _is_abandoned(entry.path):
                        yield Copy(used_s, _cost(int(match[2])), entry.path, is_incomplete=bool(match[1]))

    def folders(self) -> list[str]:
        """Return the names of the folders that hold copies."""
        return [e.name for e in _entries(self._path) if _FOLDER.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]

    def clear(self) -> tuple[int, int]:
        """Remove all copies; return their number and their total cost in bytes."""
        count = size_bytes = 0
        for copy in self.copies():
            if not copy.is_incomplete and _remove(copy):
                count, size_bytes = count + 1, size_bytes + copy.size_bytes
        # The next reservation reads the folder.
        with suppress(FileNotFoundError):
            os.unlink(f"{self._path}/total")
        return count, size_bytes

    def _evict(self, cost: int, name: str) -> int:
        """Remove the oldest copies until `cost` bytes fit, and return how many bytes the remaining ones use."""
        copies = sorted(copy for copy in self.copies() if not copy.path.endswith(f"/.{name}"))
        used = sum(copy.size_bytes for copy in copies)
        limit = self.limit_bytes(used)
        if cost > limit or used + cost <= limit:
            return used
        for copy in copies:
            if used + cost <= limit - limit // 10:
                break
            if not copy.is_incomplete:
                _remove(copy)
                used -= copy.size_bytes
        return used


def existing(path: str) -> str:
    """Return `path`, or the nearest folder above it that exists."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _is_abandoned(path: str) -> bool:
    """Return whether no process is filling the copy at `path`, which is then removed."""
    with file_lock(path, 0.0) as file:
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
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        yield from entries
