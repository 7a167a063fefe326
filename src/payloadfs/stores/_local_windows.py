"""A store in a local folder of Windows, where folders cannot be opened by descriptor and a rename never replaces a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress

from .._atomic import OPEN, publish, temporary_file, when_unused
from ..errors import StoreError
from ._base import Body, Fetched, ObjectInfo, exists_error
from ._dirfd import Folders
from ._local import LocalStore, _check_file, _read


class WindowsStore(LocalStore):
    """Objects as files below one folder, which is created with the first object.

    An object is written under a temporary name, flushed to the disk, closed and renamed, which fails if the key exists.

    Windows has no way to flush a name, so whether that survives a power cut depends on the journal of the file system.

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

    def _folders(self) -> Folders:
        return _PathFolders(self._path)

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


class _PathFolders(Folders):
    """The folders below the path `root`."""

    def __init__(self, root: str) -> None:
        self._root = root

    def scan(self, path: str) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        return os.scandir(f"{self._root}/{path}")

    def stat(self, path: str, name: str) -> os.stat_result:
        return os.lstat(f"{self._root}/{path}/{name}")
