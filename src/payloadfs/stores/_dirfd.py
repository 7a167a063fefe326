"""Folders by descriptor: opened step by step without following links, and who else can change them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from .._atomic import sync_folder

__all__ = ["Folder", "enter", "is_ours", "kind_of_file_system", "make_folders", "open_folder", "reserve"]

# Folders above may be open to us for search only.
_SEARCH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """An open folder; it is closed once nobody holds it.

    Parameters
    ----------
    descriptor : int
        For use with ``dir_fd``.
    is_safe_above : bool
        Whether, when it was opened, nobody else could put another folder in its place.
    """

    def __init__(self, descriptor: int, is_safe_above: bool) -> None:
        self.descriptor = descriptor
        self.is_safe_above = is_safe_above
        facts = os.fstat(descriptor)
        # No other folder has this device and inode while this one is open.
        self.identity = facts.st_dev, facts.st_ino

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # As a default, since at the end of the process the module may be gone before its objects.
        close(self.descriptor)


def open_folder(path: str) -> Folder:
    """Open the folder `path`, from the top and one step at a time: O_NOFOLLOW guards only the last step."""
    descriptor, safe = os.open("/", _SEARCH), True
    try:
        for step in path.strip("/").split("/"):
            safe = safe and _is_safe_above(os.fstat(descriptor))
            inner = os.open(step or ".", _SEARCH, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
    except BaseException:
        os.close(descriptor)
        raise
    return Folder(descriptor, safe)


def enter(folder: int, step: str, *, create: bool = False, fsync: bool = False) -> int:
    """Return the descriptor of the folder `step` in `folder`, which may be made (0700)."""
    try:
        return os.open(step, _SEARCH, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(step, 0o700, dir_fd=folder)
        if fsync:
            sync_folder(dir_fd=folder)
    except FileExistsError:
        # Another writer was faster; its folder is as good.
        pass
    return os.open(step, _SEARCH, dir_fd=folder)


def make_folders(path: str) -> None:
    """Make the folder `path` and those above it, each closed to others whatever the umask."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.makedirs(folder, mode=0o700, exist_ok=True)


def is_ours(facts: os.stat_result) -> bool:
    """Return whether this user alone can write."""
    return facts.st_uid == os.geteuid() and not facts.st_mode & 0o022


def _is_safe_above(facts: os.stat_result) -> bool:
    """Return whether nobody else can put another folder in the place of one in this folder."""
    closed = not facts.st_mode & 0o022 or facts.st_mode & stat.S_ISVTX
    return facts.st_uid in (0, os.geteuid()) and bool(closed)


def kind_of_file_system(path: str) -> str:
    """Return the kind of file system at `path`, or "" where the system does not tell."""
    kind, longest = "", -1
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                left, _, right = line.partition(" - ")
                place = left.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
                if len(place) >= longest and (path + "/").startswith(place.rstrip("/") + "/"):
                    kind, longest = right.split()[0], len(place)
    except FileNotFoundError:
        return ""
    return kind


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
