"""A local folder: objects appear whole or not at all, and are mapped to be read.

Writing: an unnamed file in the target folder, its space reserved, written, fsynced, then linked to
its name, which must be new; then the folder is fsynced. A crash at any moment leaves nothing that
has a name. Every folder below the root is opened by descriptor without following links.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._atomic import sync_folder, temporary_file
from .._buffers import CHUNK_BYTES, SMALL_BYTES, FileMapping, private_memory
from .._urls import local_path
from ..errors import IntegrityError, NotFoundError, StoreError
from ._base import Body, Fetched, ObjectInfo, body_size_error
from ._dirfd import Folder, enter, is_ours, kind_of_file_system, make_folders, open_folder, reserve

__all__ = ["LocalStore"]

_MAP_FROM_BYTES = 64 * 1024
_RESERVE_FROM_BYTES = 1024 * 1024
_MOST_PIECES = 1024  # of one call, on Linux and macOS
_UNNAMED: int | None = getattr(os, "O_TMPFILE", None)
# Kinds of file system that no other machine can change. Elsewhere a map could change, or kill the
# process with SIGBUS, after the bytes were checked.
_OWN_DISK = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"})
_MAY_PASS = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ESTALE}
)
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})


class LocalStore:
    """Objects as files below one folder, which is made (0700) with the first object.

    Parameters
    ----------
    root : str
        Canonical ``file://`` root.
    fsync : bool
        Whether `put` returns only once the object survives a power cut. Without it a small save
        is some 0.5 ms faster.

    Notes
    -----
    Reading maps the file privately if this user alone can have written it and its file system is
    on this machine: no copy, whatever the size. Otherwise it is read into memory: one copy.

    The store keeps the root open, one descriptor, which spares each call a walk from the top.
    """

    def __init__(self, root: str, *, fsync: bool = True) -> None:
        self.root = root
        self._path = local_path(root)
        self._fsync = fsync
        self._opened: Folder | None = None

    def put(self, key: str, body: Body) -> None:
        """Create the object `key` from `body`; see `Store.put`. Mode 0600."""
        with _translated("write", key), self._folder(key, create=True) as (folder, name, _):
            self._write(folder, name, key, body)
            if self._fsync:
                sync_folder(dir_fd=folder)

    def _write(self, folder: int, name: str, key: str, body: Body) -> None:
        with _new_file(folder) as (file, source):
            self._fill(file, key, body)
            try:
                # An unnamed file has no name but a link in /proc, which must be followed.
                os.link(source, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=source.startswith("/proc/"))
            except FileExistsError:
                raise StoreError(f"The key {key!r} already exists; its object is unchanged.", kind="exists") from None

    def _fill(self, file: int, key: str, body: Body) -> None:
        if body.size_bytes >= _RESERVE_FROM_BYTES:
            reserve(file, body.size_bytes)
        written, waiting, pieces = 0, 0, []
        kept_bytes = CHUNK_BYTES if getattr(body, "stable", False) else SMALL_BYTES
        for piece in body:
            pieces.append(piece)
            waiting += piece.nbytes
            if piece.nbytes >= kept_bytes or waiting >= CHUNK_BYTES or len(pieces) == _MOST_PIECES:
                written += _write(file, pieces)
                waiting, pieces = 0, []
        written += _write(file, pieces)
        if written != body.size_bytes:
            raise body_size_error(key, body.size_bytes, written)
        if self._fsync:
            os.fsync(file)

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`; see `Store.get`. Mapped where that is safe."""
        with _translated("read", key), self._folder(key) as (folder, name, owner_only):
            # Without O_NONBLOCK a planted FIFO would hang the reader.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                facts = os.fstat(file)
                _check_file(key, facts, size_bytes)
                owner_only = owner_only and is_ours(facts) and facts.st_nlink == 1 and self._is_on_own_disk
                if owner_only and size_bytes >= _MAP_FROM_BYTES:
                    return Fetched(memoryview(FileMapping(file, size_bytes, access=mmap.ACCESS_COPY)), owner_only=True)
                return Fetched(_read(file, key, size_bytes), owner_only)
            finally:
                os.close(file)

    def info(self, key: str) -> ObjectInfo:
        """Return size and time of the object `key`."""
        with _translated("look at", key), self._folder(key) as (folder, name, _):
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
            return ObjectInfo(key, facts.st_size, facts.st_mtime)

    def delete(self, key: str) -> None:
        """Remove the object `key`; it is no error if there is none. Mappings of it stay valid."""
        try:
            with _translated("delete", key), self._folder(key) as (folder, name, _):
                os.unlink(name, dir_fd=folder)
        except NotFoundError:
            return

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key begins with `prefix`, ordered by key, folder by folder."""
        with _translated("list", prefix):
            yield from _listed(self._path, "", prefix)

    @contextmanager
    def _folder(self, key: str, *, create: bool = False) -> Iterator[tuple[int, str, bool]]:
        """Give the descriptor of the folder of `key`, the name in it, and whether all is ours alone."""
        *below, name = key.split("/")
        root, owner_only = self._root(create=create)
        folder = root.descriptor
        try:
            for step in below:
                inner = enter(folder, step, create=create, fsync=self._fsync)
                if folder != root.descriptor:
                    os.close(folder)
                folder = inner
                owner_only = owner_only and is_ours(os.fstat(folder))
            yield folder, name, owner_only
        finally:
            if folder != root.descriptor:
                os.close(folder)

    def _root(self, *, create: bool) -> tuple[Folder, bool]:
        """Return the open root, and whether it is ours alone.

        The one opened before is as good as a new one while the path leads to it. It was reached
        without links then, whoever changes a folder above it since can't change what it is, and
        who may write to it is looked up anew.
        """
        opened = self._opened
        try:
            facts = os.stat(self._path)
        except FileNotFoundError:
            if not create:
                raise
            make_folders(self._path)
        else:
            if opened is not None and opened.identity == (facts.st_dev, facts.st_ino):
                return opened, opened.is_safe_above and is_ours(facts)
        # Another thread may still use the one before; it is closed when nobody holds it.
        self._opened = opened = open_folder(self._path)
        return opened, opened.is_safe_above and is_ours(os.fstat(opened.descriptor))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    @functools.cached_property
    def _is_on_own_disk(self) -> bool:
        return kind_of_file_system(self._path) in _OWN_DISK


@contextmanager
def _new_file(folder: int) -> Iterator[tuple[int, str]]:
    """Yield a new file in `folder` and the path to link it from; unnamed where the system can do that."""
    file = _unnamed_file(folder)
    if file is None:
        with temporary_file(dir_fd=folder) as named:
            yield named
        return
    try:
        yield file, f"/proc/self/fd/{file}"
    finally:
        os.close(file)


def _unnamed_file(folder: int) -> int | None:
    if _UNNAMED is None:
        return None
    try:
        return os.open(".", _UNNAMED | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_UNNAMED_FILES:
            raise
        return None


def _write(file: int, pieces: list[memoryview]) -> int:
    """Write `pieces`, in one call if the system takes all of them, and return how many bytes they have."""
    written = 0
    while pieces:
        count = os.writev(file, pieces)
        written += count
        first = 0
        while first < len(pieces) and count >= pieces[first].nbytes:
            count -= pieces[first].nbytes
            first += 1
        pieces = pieces[first:]
        if count:
            pieces[0] = pieces[0][count:]
    return written


def _read(file: int, key: str, size_bytes: int) -> memoryview:
    buffer = private_memory(size_bytes)
    done = 0
    while done < size_bytes:
        count = os.readv(file, [buffer[done:]])
        if not count:
            raise IntegrityError(f"The object {key!r} was cut off while it was read.", kind="size")
        done += count
    return buffer


def _check_file(key: str, facts: os.stat_result, size_bytes: int) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise StoreError(f"{key!r} is not a regular file.", kind="not-a-file")
    if facts.st_size != size_bytes:
        raise IntegrityError(f"The object {key!r} has {facts.st_size} bytes instead of {size_bytes}.", kind="size")


def _listed(path: str, above: str, prefix: str) -> Iterator[ObjectInfo]:
    try:
        with os.scandir(path) as found:
            # Names only: a million entries would take a gigabyte.
            names = [entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in found]
    except FileNotFoundError:
        return
    names.sort()
    for name in names:
        key = above + name
        if name.startswith(".") or not (key.startswith(prefix) or prefix.startswith(key)):
            continue
        if name.endswith("/"):
            yield from _listed(os.path.join(path, name[:-1]), key, prefix)
        elif key.startswith(prefix):
            facts = os.stat(os.path.join(path, name), follow_symlinks=False)
            if stat.S_ISREG(facts.st_mode):
                yield ObjectInfo(key, facts.st_size, facts.st_mtime)


@contextmanager
def _translated(verb: str, key: str) -> Iterator[None]:
    """Turn the operating system's errors into ours: the one border for them."""
    try:
        yield
    except (StoreError, NotFoundError, IntegrityError):
        raise
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no object under the key {key!r}.") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise StoreError(
                f"Can't {verb} {key!r}: a link or file stands where a folder must be.", kind="link"
            ) from error
        kind = "denied" if error.errno in _DENIED else "store"
        raise StoreError(
            f"Can't {verb} {key!r}: {error.strerror or error}.", transient=error.errno in _MAY_PASS, kind=kind
        ) from error
