"""A store in a local folder of Windows, where folders cannot be opened by descriptor and a rename never replaces a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from .._atomic import OPEN, TEMPORARY, publish, temporary_file, when_unused
from .._keys import MAX_KEY_CHARS
from ..errors import StoreError
from ._base import Body, Fetched, Leftover, ObjectInfo, exists_error
from ._local import LocalStore, _check_file, _may_match, _read


class WindowsStore(LocalStore):
    """Objects as files below one folder, which is created with the first object.

    An object is written under a temporary name, flushed to the disk, closed and renamed, which fails if the key exists.

    Parameters
    ----------
    root, fsync : str, bool
        As for `LocalStore`. Windows has no way to flush a name, so whether that survives a power cut
        depends on the journal of the file system.

    Notes
    -----
    Objects are never mapped, because a file that is mapped cannot be deleted: a load costs one copy.
    Windows does not say in a file's mode who can write to it, so all bytes are hashed on every load.
    Folders that are links or junctions are refused, but another process can replace a folder after that check.
    """

    def put(self, key: str, body: Body) -> None:
        """Create the object `key` from `body`; see `Store.put`."""
        with self._translated("put", key):
            path = self._file(key)
            folder = os.path.dirname(path)
            os.makedirs(folder, exist_ok=True)
            with temporary_file(folder) as (file, temporary):
                self._fill(file.fileno(), key, body)
                file.close()
                try:
                    publish(temporary, path)
                except FileExistsError:
                    raise exists_error(self.root, key) from None

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`; see `Store.get`. One copy."""
        with self._translated("get", key):
            path = self._file(key)
            _check_file(key, os.lstat(path), size_bytes)
            file = os.open(path, os.O_RDONLY | OPEN)
            try:
                _check_file(key, os.fstat(file), size_bytes)
                return Fetched(_read(file, key, size_bytes))
            finally:
                os.close(file)

    def info(self, key: str) -> ObjectInfo:
        """Return the size and time of the object `key`."""
        with self._translated("info", key):
            st = os.lstat(self._file(key))
            return ObjectInfo(key, st.st_size, st.st_mtime)

    def delete(self, key: str) -> None:
        """Delete the object `key`, if it exists."""
        with self._translated("delete", key), suppress(FileNotFoundError):
            when_unused(os.unlink, self._file(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix`, in the order of their keys, one folder at a time."""
        with self._translated("list", prefix):
            # Not by recursion: a writer may have nested folders deeper than Python's stack. The last one is the next.
            waiting = [""]
            while waiting:
                key = waiting.pop()
                with suppress(FileNotFoundError):
                    if key and not key.endswith("/"):
                        st = os.lstat(f"{self._path}/{key}")
                        if stat.S_ISREG(st.st_mode):
                            yield ObjectInfo(key, st.st_size, st.st_mtime)
                    else:
                        names = (
                            e.name + "/" * _is_folder(e) for e in _entries(f"{self._path}/{key}") if e.name[0] != "."
                        )
                        waiting += sorted((key + n for n in names if _may_match(key + n, prefix)), reverse=True)

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the temporary files in all folders; see `SupportsLeftovers`."""
        with self._translated("list", ""):
            waiting = [""]
            while waiting:
                above = waiting.pop()
                with suppress(FileNotFoundError):
                    for entry in _entries(f"{self._path}/{above}"):
                        key = above + entry.name
                        if TEMPORARY.fullmatch(entry.name):
                            modified_s = entry.stat(follow_symlinks=False).st_mtime
                            yield Leftover(key, modified_s, partial(self.delete, key))
                        elif _is_folder(entry) and len(key) <= MAX_KEY_CHARS:
                            waiting.append(f"{key}/")

    def _file(self, key: str) -> str:
        """Return the path of the object `key`, none of whose folders is a link or has another name on Windows."""
        path = f"{self._path}/{key}"
        folder = os.path.dirname(path)
        if os.path.normcase(os.path.realpath(folder)) != os.path.normcase(folder):
            raise StoreError(
                f"Cannot use {key!r} in {self.root}: a folder is a link, or has a name that Windows changes.",
                kind="link",
            )
        return path


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [*entries]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A junction looks like a folder, but is one of other files.
    is_junction = getattr(entry, "is_junction", bool)  # since Python 3.12
    return entry.is_dir(follow_symlinks=False) and not is_junction()
