"""Folders by descriptor, opened one path component at a time without following links; who can change them."""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

from .._atomic import FOLDER, NO_FOLLOW, OPEN, sync_folder
from .._atomic import sync_file as sync_fully

# This user may have only search permission for the folders above.
_SEARCH = getattr(os, "O_PATH", os.O_RDONLY) | FOLDER | NO_FOLLOW | OPEN

_LIST = os.O_RDONLY | FOLDER | NO_FOLLOW | OPEN

_MOUNTS = "/proc/self/mountinfo"


class Folder:
    """An open folder, closed when it is no longer referenced.

    It is safe above if no other user could replace it with another folder when it was opened.
    """

    def __init__(self, descriptor: int, is_safe_above: bool) -> None:
        self.descriptor = descriptor
        self.is_safe_above = is_safe_above
        st = os.fstat(descriptor)
        # No other folder has this device and inode while this one is open.
        self.identity = st.st_dev, st.st_ino

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # `close` is a default argument because the module may be gone before its objects when the process ends.
        close(self.descriptor)


def close(descriptor: int) -> None:
    """Close a descriptor through which nothing was written, so an error does not matter."""
    with suppress(OSError):
        os.close(descriptor)


def open_folder(path: str) -> Folder:
    """Open the folder `path` one component at a time, because O_NOFOLLOW applies only to the last component."""
    descriptor, safe = os.open("/", _SEARCH), True
    try:
        for component in path.strip("/").split("/"):
            safe = safe and _is_safe_above(os.fstat(descriptor))
            inner = os.open(component or ".", _SEARCH, dir_fd=descriptor)
            close(descriptor)
            descriptor = inner
    except BaseException:
        close(descriptor)
        raise
    return Folder(descriptor, safe)


class Folders:
    """The folders below `root`, by relative path, each opened to be listed. The last one stays open."""

    def __init__(self, root: Folder) -> None:
        self._open = functools.lru_cache(maxsize=1)(functools.partial(_open_below, root))

    def scan(self, path: str) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """Return the entries of the folder `path`, to be closed."""
        return os.scandir(self._open(path).descriptor)

    def stat(self, path: str, name: str) -> os.stat_result:
        """Return the metadata of `name` in the folder `path`. A link is not followed."""
        return os.stat(name, dir_fd=self._open(path).descriptor, follow_symlinks=False)


def _open_below(folder: Folder, path: str) -> Folder:
    *components, last = path.split("/")
    for component in components:
        folder = Folder(os.open(component, _SEARCH, dir_fd=folder.descriptor), False)
    return Folder(os.open(last or ".", _LIST, dir_fd=folder.descriptor), False)


def group_bits(st: os.stat_result) -> int:
    """Return the group permissions of everything new in a folder: none, unless the folder is shared with its group.

    It is shared if it has the setgid bit, as in mode 2775. The umask applies.
    """
    return st.st_mode & 0o070 if st.st_mode & stat.S_ISGID else 0


def open_subfolder(folder: int, name: str, *, create: bool = False) -> tuple[int, bool]:
    """Return the descriptor of the folder `name` in `folder`, and whether it is new.

    A missing one is created if `create`: 0700 and `group_bits`.
    """
    try:
        return os.open(name, _SEARCH, dir_fd=folder), False
    except FileNotFoundError:
        if not create:
            raise
    # Another writer may create it first.
    with suppress(FileExistsError):
        os.mkdir(name, 0o700 | group_bits(os.fstat(folder)), dir_fd=folder)
    return os.open(name, _SEARCH, dir_fd=folder), True


def sync_file(file: int) -> None:
    """Make the content of an open file survive a power cut."""
    if sys.platform == "darwin":
        sync_fully(file)
    else:
        os.fsync(file)


def sync(folder: int) -> None:
    """Make the names in `folder` survive a power cut. A descriptor for search only cannot do that."""
    file = os.open(".", os.O_RDONLY | FOLDER | OPEN, dir_fd=folder)
    try:
        sync_file(file)
    finally:
        close(file)


def sync_above(path: str) -> None:
    """Make the name of the folder `path`, and those of the folders above it, survive a power cut.

    Which of them existed long ago cannot be known: another process may have created some a moment ago. Those that this
    user cannot read are left out, and the walk ends where another file system begins.
    """
    device = os.stat(path).st_dev
    while path != "/":
        path = os.path.dirname(path)
        if os.stat(path).st_dev != device:
            return
        with suppress(PermissionError):
            sync_folder(path)


def make_folders(path: str) -> None:
    """Create the folder `path` and its missing parents, all with mode 0700 and `group_bits`."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.makedirs(folder, mode=0o700 | group_bits(os.stat(os.path.dirname(folder))), exist_ok=True)


def is_ours(st: os.stat_result) -> bool:
    """Return whether only this user can write. Never on Windows, where the mode does not say so."""
    return sys.platform != "win32" and st.st_uid == os.geteuid() and not st.st_mode & 0o022


def _is_safe_above(st: os.stat_result) -> bool:
    """Return whether no other user can replace a folder in this folder with another one."""
    is_protected = not st.st_mode & 0o022 or bool(st.st_mode & stat.S_ISVTX)
    return sys.platform != "win32" and st.st_uid in (0, os.geteuid()) and is_protected


def file_system_type(path: str) -> str:
    """Return the type of the file system at `path`, or "" if the system does not report it."""
    fs_type, longest = "", -1
    if sys.platform == "darwin":
        import subprocess

        # A line is "/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled)". The device decides, because folders
        # of one volume appear in another. A network file system is not local, and asking it could hang.
        while not os.path.exists(path):
            path = os.path.dirname(path)
        mounts = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
        for mount_point, name in re.findall(r"^.+? on (/.*) \((\w+),.*\blocal\b.*\)$", mounts, re.MULTILINE):
            with suppress(OSError):
                if os.stat(mount_point).st_dev == os.stat(path).st_dev:
                    fs_type = name
    else:
        with suppress(FileNotFoundError), open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                left, _, right = line.partition(" - ")
                mount_point = left.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
                if len(mount_point) >= longest and (path + "/").startswith(mount_point.rstrip("/") + "/"):
                    fs_type, longest = right.split()[0], len(mount_point)
    return fs_type


def reserve(file: int, size_bytes: int) -> None:
    """Reserve disk space, so that a full disk is an error before anything is written. It also saves a quarter of the time.

    Does nothing where the system or the file system cannot do it.
    """
    allocate = getattr(os, "posix_fallocate", None)  # macOS does not have it
    if allocate is None:
        return
    try:
        allocate(file, 0, size_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
