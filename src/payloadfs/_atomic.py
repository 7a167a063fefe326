"""Files that appear whole or not at all, and locks between processes.

The package filelock cannot open names relative to a folder's descriptor, and a forked child would keep
its parent's locks; so `file_lock` is our own.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from ._forks import on_fork

__all__ = ["NO_LINKS", "TEMPORARY", "atomic_file", "file_lock", "publish", "sync_folder", "temporary_file"]

TEMPORARY = re.compile(r"\.payloadfs-[0-9a-f]{16}")
"""Names of temporary files and of locks. A killed process leaves them behind."""

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Errors of file systems without hard links: FUSE, exFAT, SMB."""

_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_PUBLISH_WAIT_S = 5.0

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.02

_held: set[int] = set()
"""Descriptors of held locks. A forked child would keep its parent's locks for as long as it lives."""


@on_fork
def _release_inherited() -> None:
    for file in _held:
        os.close(file)
    _held.clear()


@contextmanager
def temporary_file(folder: str = ".", *, mode: int = 0o600, dir_fd: int | None = None) -> Iterator[tuple[int, str]]:
    """Yield the descriptor and the path of a new file in `folder`; both are gone at the end of the block.

    Rename or link the file inside the block to keep it. Its name starts with a dot and is always short.
    """
    path = os.path.join(folder, f".payloadfs-{os.urandom(8).hex()}")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    try:
        yield file, path
    finally:
        os.close(file)
        with suppress(FileNotFoundError):
            os.unlink(path, dir_fd=dir_fd)


@contextmanager
def atomic_file(path: str, *, replace: bool, mode: int = 0o600, fsync: bool = True) -> Iterator[BinaryIO]:
    """Yield a file that becomes `path` at the end of the block, whole or not at all.

    Parameters
    ----------
    path : str
        Its folder must exist. If the block raises, `path` is left as it was.
    replace : bool
        False: raise FileExistsError if `path` exists by then.
    mode : int
        Permissions of the new file, before the umask.
    fsync : bool
        Whether the file survives a power cut once the block has ended.
    """
    folder = os.path.dirname(path) or "."
    with temporary_file(folder, mode=mode) as (descriptor, temporary):
        with open(descriptor, "wb", closefd=False) as file:
            yield file
        if fsync:
            os.fsync(descriptor)
        if replace:
            os.replace(temporary, path)
        else:
            publish(temporary, path)
    if fsync:
        sync_folder(folder)


def publish(temporary: str, path: str, *, dir_fd: int | None = None) -> None:
    """Give the file `temporary` the name `path` too, or instead where there are no hard links.

    A link is exclusive by itself. A rename is not, so a lock excludes other processes that use this function, and
    the file appears whole. Creating `path` empty first would be exclusive as well, but a crash would leave it empty.

    Raises
    ------
    FileExistsError
        `path` exists.
    """
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


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def file_lock(path: str, wait_s: float, *, dir_fd: int | None = None, keep: bool = False) -> Iterator[int | None]:
    """Hold a lock on the file `path`, which is created, inside the block, and remove the file afterwards.

    The lock excludes threads and other processes, and a process that dies releases it. Yields the
    file's descriptor, or None and no lock if another thread or process held it for `wait_s` seconds,
    or renamed or removed the file meanwhile. The file stays if `keep`, or if the block renamed it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    _held.add(file)
    is_locked = False
    try:
        is_locked = _lock(file, time.monotonic() + wait_s) and _has_path(file, path, dir_fd)
        yield file if is_locked else None
    finally:
        # A child that was forked inside the block has released it already.
        if file in _held:
            try:
                if is_locked and not keep and _has_path(file, path, dir_fd):
                    os.unlink(path, dir_fd=dir_fd)
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
    # A child that was forked before `_held` contained the file keeps it open: closing alone would not unlock it.
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _has_path(file: int, path: str, dir_fd: int | None) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, dir_fd=dir_fd, follow_symlinks=False))
    except FileNotFoundError:
        return False
