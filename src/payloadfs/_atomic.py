"""Files that appear whole or not at all, and locks between processes.

The package filelock cannot open names relative to a folder's descriptor, and a forked child would keep
its parent's locks; so `file_lock` is our own. The differences between systems are in this file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter, FileIO
from typing import BinaryIO

from ._forks import on_fork

if sys.platform == "win32":
    import msvcrt

    OPEN, NO_FOLLOW, NO_WAIT, FOLDER = os.O_BINARY | os.O_NOINHERIT, 0, 0, 0
else:
    import fcntl

    OPEN, NO_FOLLOW, NO_WAIT, FOLDER = os.O_CLOEXEC, os.O_NOFOLLOW, os.O_NONBLOCK, os.O_DIRECTORY


TEMPORARY = re.compile(r"\.payloadfs-[0-9a-f]{16}")
"""Names of temporary files and of locks. A killed process leaves them behind."""

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""Errors of file systems without hard links: FUSE, exFAT, SMB."""

_NO_FULL_SYNC = frozenset({errno.ENOTSUP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_PUBLISH_WAIT_S = 5.0

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.02
_IN_USE_WAIT_S = 1.0
_LOCKED_BYTE = 1 << 30  # Windows: no process can read or write a locked byte, so it is far beyond the content

_held: set[int] = set()
"""Descriptors of held locks. A forked child would keep its parent's locks for as long as it lives."""


@on_fork
def _release_inherited() -> None:
    for file in _held:
        os.close(file)
    _held.clear()


@contextmanager
def temporary_file(folder: str = ".", *, mode: int = 0o600, dir_fd: int | None = None) -> Iterator[tuple[FileIO, str]]:
    """Yield a new, unbuffered file in `folder`, and its path; both are gone at the end of the block.

    Rename or link the file inside the block to keep it; on Windows it must be closed before. Its name
    starts with a dot and is always short.
    """
    path = os.path.join(folder, f".payloadfs-{os.urandom(8).hex()}")
    file = FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN, mode, dir_fd=dir_fd), "w")
    try:
        yield file, path
    finally:
        file.close()
        with suppress(FileNotFoundError):
            os.unlink(path, dir_fd=dir_fd)


@contextmanager
def atomic_file(path: str, *, replace: bool, mode: int = 0o600, fsync: bool = True) -> Iterator[BinaryIO]:
    """Yield a file that becomes `path` at the end of the block, whole or not at all.

    Its folder must exist. If the block raises, `path` is left as it was. Unless `replace` is true, raise
    FileExistsError if `path` exists by then. With `fsync` the file survives a power cut once the block has ended.
    """
    folder = os.path.dirname(path) or "."
    with temporary_file(folder, mode=mode) as (raw, temporary):
        with BufferedWriter(raw) as file:
            yield file
            file.flush()
            if fsync:
                sync_file(raw.fileno())
        if replace:
            when_unused(os.replace, temporary, path)
        else:
            publish(temporary, path)
    if fsync:
        sync_folder(folder)


def publish(temporary: str, path: str, *, dir_fd: int | None = None) -> None:
    """Give the file `temporary` the name `path` too, or instead where hard links are not supported.

    A link is exclusive by itself. A rename is not, so a lock excludes other processes that use this function, and
    the file appears whole. Creating `path` empty first would be exclusive as well, but a crash would leave it empty.

    Raises
    ------
    FileExistsError
        `path` exists.
    """
    if sys.platform == "win32":
        # There a rename is exclusive.
        when_unused(os.rename, temporary, path)
    else:
        _link_new(temporary, path, dir_fd)


def _link_new(temporary: str, path: str, dir_fd: int | None) -> None:
    try:
        os.link(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    else:
        return
    folder, name = os.path.split(path)
    claim = os.path.join(folder, f".payloadfs-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}")
    until_s = time.monotonic() + _PUBLISH_WAIT_S
    try:
        while time.monotonic() < until_s:
            # No lock if its last holder has just removed the file of the lock.
            with file_lock(claim, _PUBLISH_WAIT_S, dir_fd=dir_fd) as lock:
                if lock is not None:
                    _rename_new(temporary, path, dir_fd)
                    return
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _rename_new(temporary, path, dir_fd)
    else:
        raise BlockingIOError(errno.EAGAIN, "another process is creating the same file", path)


def _rename_new(temporary: str, path: str, dir_fd: int | None) -> None:
    try:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


def when_unused(change: Callable[..., None], *paths: str) -> None:
    """Call `change`, which renames or removes files; on Windows, wait up to a second for programs that have them open."""
    until_s = time.monotonic() + (_IN_USE_WAIT_S if sys.platform == "win32" else 0.0)
    while True:
        try:
            return change(*paths)
        except FileExistsError:
            raise
        except PermissionError:
            if time.monotonic() >= until_s:
                raise
        time.sleep(_LONGEST_PAUSE_S)


def sync_file(file: int) -> None:
    """Make the content of an open file, or the names in an open folder, survive a power cut."""
    if sys.platform == "darwin":
        # There fsync does not write the cache of the drive. Not every file system can do this.
        try:
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in _NO_FULL_SYNC:
                raise
            os.fsync(file)
    else:
        os.fsync(file)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power cut. Does nothing on Windows, which cannot open folders."""
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY | FOLDER | OPEN)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def file_lock(path: str, wait_s: float, *, dir_fd: int | None = None, keep: bool = False) -> Iterator[int | None]:
    """Hold a lock on the file `path`, which is created, inside the block, and remove the file afterwards.

    The lock excludes threads and other processes, and a process that dies releases it. Yields the
    file's descriptor, or None and no lock if another thread or process held it for `wait_s` seconds,
    or renamed or removed the file meanwhile. The file stays if `keep`, or if the block renamed it. On
    Windows it also stays while another process waits for the lock.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW | OPEN, 0o600, dir_fd=dir_fd)
    _held.add(file)
    is_locked = False
    try:
        is_locked = _lock(file, time.monotonic() + wait_s) and _has_path(file, path, dir_fd)
        yield file if is_locked else None
    finally:
        # A child that was forked inside the block has released it already.
        if file in _held:
            must_unlink = False
            try:
                # The work under the lock is done. Its file may stay: the next holder, or `payloadfs gc`, removes it.
                with suppress(OSError):
                    must_unlink = is_locked and not keep and _has_path(file, path, dir_fd)
                    if must_unlink and sys.platform != "win32":
                        os.unlink(path, dir_fd=dir_fd)
            finally:
                _unlock(file, is_locked)
            if must_unlink and sys.platform == "win32":
                with suppress(FileNotFoundError, PermissionError):
                    os.unlink(path)


def _lock(file: int, until_s: float) -> bool:
    pause_s = _FIRST_PAUSE_S
    while True:
        if _try_lock(file):
            return True
        if time.monotonic() >= until_s:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _try_lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            _at_locked_byte(file, msvcrt.LK_NBLCK)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Windows reports EACCES.
        if not isinstance(error, BlockingIOError) and (sys.platform != "win32" or error.errno != errno.EACCES):
            raise
        return False
    return True


def _unlock(file: int, is_locked: bool) -> None:
    _held.discard(file)
    try:
        if sys.platform != "win32":
            # A child that was forked before `_held` contained the file keeps it open: closing would not unlock it.
            fcntl.flock(file, fcntl.LOCK_UN)
        elif is_locked:
            _at_locked_byte(file, msvcrt.LK_UNLCK)
    finally:
        os.close(file)


if sys.platform == "win32":

    def _at_locked_byte(file: int, mode: int) -> None:
        position = os.lseek(file, 0, os.SEEK_CUR)
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, mode, 1)
        finally:
            os.lseek(file, position, os.SEEK_SET)


def _has_path(file: int, path: str, dir_fd: int | None) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, dir_fd=dir_fd, follow_symlinks=False))
    except FileNotFoundError:
        return False
