"""A store in a local folder: objects appear whole or not at all, and are mapped for reading.

To write an object, an unnamed file is created in the target folder, its space reserved, written and
fsynced, then linked to its name, which must be new; then the folder is fsynced. A crash at any moment
leaves no incomplete object; on file systems without unnamed files it leaves a temporary one, which `leftovers` finds.
Every folder below the root is opened by descriptor without following links.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .._atomic import NO_FOLLOW, NO_LINKS, NO_WAIT, OPEN, TEMPORARY, publish, temporary_file
from .._buffers import CHUNK_BYTES, SMALL_BYTES, FileMapping, private_memory
from .._keys import MAX_KEY_CHARS
from .._urls import local_path
from ..errors import IntegrityError, NotFoundError, StoreError
from ._base import Body, Fetched, Leftover, ObjectInfo, body_size_error, exists_error
from ._dirfd import (
    Folder,
    Folders,
    close,
    file_system_type,
    group_bits,
    is_ours,
    make_folders,
    open_folder,
    open_subfolder,
    reserve,
    sync,
    sync_above,
    sync_file,
)

_MAP_FROM_BYTES = 64 * 1024
_RESERVE_FROM_BYTES = 1024 * 1024
_MAX_PIECES = 1024  # per call, on Linux and macOS
_MAX_READ_BYTES = 1024**3  # per call; macOS refuses 2 GiB
_UNNAMED: int | None = getattr(os, "O_TMPFILE", None)
# Types of file systems that no other machine can change. On others a mapping could change after its
# bytes were checked, or kill the process with SIGBUS.
_LOCAL_FILE_SYSTEMS = frozenset(
    {"apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)
_TRANSIENT = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ESTALE}
)
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_MAX_DURABLE = 1000
"""How many folders are remembered as synced. Beyond that, all are forgotten, which costs one fsync for each."""

_NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})


class LocalStore:
    """Objects as files below one folder, which is created with the first object.

    Folders have mode 0700 and files 0600. Inside of a folder with the setgid bit, such as one with mode 2775, new folders
    have its group permissions and files can be read by the group, as far as the umask allows.

    With `fsync` an object survives a power cut once `put` has returned. Without it a small save is about 0.5 ms faster.

    A file is mapped privately, without a copy, if only this user can have written it and its file system
    is on this machine. Otherwise it is read into memory: one copy.

    The store keeps a descriptor of the root open, so that a call does not open every folder above it.
    """

    def __init__(self, root: str, *, fsync: bool = True) -> None:
        self.root = root
        self._path = local_path(root)
        self._fsync = fsync
        self._opened: Folder | None = None
        self._unnamed = True
        self._durable: set[tuple[int, int]] = set()

    def put(self, key: str, body: Body) -> None:
        """Create the object `key` from `body`; see `Store.put`."""
        with self._translated("put", key), self._folder(key, create=True) as (folder, name, _):
            unnamed = self._unnamed
            try:
                self._write(folder, name, key, body, unnamed)
            except OSError as error:
                if not unnamed or error.errno not in NO_LINKS:
                    raise
                # Only a file with a name can be renamed.
                self._unnamed = False
                self._write(folder, name, key, body, unnamed=False)
            if self._fsync:
                try:
                    sync(folder)
                except OSError as error:
                    self._withdraw(folder, name, key, error)
                    raise

    def _write(self, folder: int, name: str, key: str, body: Body, unnamed: bool) -> None:
        is_linked = False
        try:
            with _new_file(folder, unnamed) as (file, source):
                self._fill(file, key, body)
                try:
                    if source.startswith("/proc/"):
                        # An unnamed file has no name but a link in /proc, which must be followed.
                        os.link(source, name, dst_dir_fd=folder, follow_symlinks=True)
                    else:
                        publish(source, name, dir_fd=folder)
                except FileExistsError:
                    raise exists_error(self.root, key) from None
                is_linked = True
        except OSError as error:
            if is_linked:
                self._withdraw(folder, name, key, error)
            raise

    def _withdraw(self, folder: int, name: str, key: str, error: OSError) -> None:
        """Remove an object that may not survive a power cut, because of `error`."""
        try:
            os.unlink(name, dir_fd=folder)
        except OSError:
            raise StoreError(
                f"Object {key!r} in {self.root} was created, but may not survive a power cut: "
                f"{error.strerror or error}.",
                kind="not-durable",
            ) from error

    def _fill(self, file: int, key: str, body: Body) -> None:
        if body.size_bytes >= _RESERVE_FROM_BYTES:
            reserve(file, body.size_bytes)
        written, pending_bytes, pieces = 0, 0, []
        valid_bytes = CHUNK_BYTES if getattr(body, "stable", False) else SMALL_BYTES
        for piece in body:
            pieces.append(piece)
            pending_bytes += piece.nbytes
            if piece.nbytes >= valid_bytes or pending_bytes >= CHUNK_BYTES or len(pieces) == _MAX_PIECES:
                written += _write(file, pieces)
                pending_bytes, pieces = 0, []
        written += _write(file, pieces)
        if written != body.size_bytes:
            raise body_size_error(key, body.size_bytes, written)
        if self._fsync:
            sync_file(file)

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`; see `Store.get`. Mapped if that is safe."""
        with self._translated("get", key), self._folder(key) as (folder, name, owner_only):
            # Without NO_WAIT, opening a FIFO would hang.
            file = os.open(name, os.O_RDONLY | NO_FOLLOW | NO_WAIT | OPEN, dir_fd=folder)
            try:
                st = os.fstat(file)
                _check_file(key, st, size_bytes)
                owner_only = owner_only and is_ours(st) and st.st_nlink == 1 and self.is_on_local_disk
                if owner_only and size_bytes >= _MAP_FROM_BYTES:
                    return Fetched(memoryview(FileMapping(file, size_bytes, access=mmap.ACCESS_COPY)), owner_only=True)
                return Fetched(_read(file, key, size_bytes), owner_only)
            finally:
                close(file)

    def info(self, key: str) -> ObjectInfo:
        """Return the size and time of the object `key`."""
        with self._translated("info", key), self._folder(key) as (folder, name, _):
            st = os.stat(name, dir_fd=folder, follow_symlinks=False)
            return ObjectInfo(key, st.st_size, st.st_mtime)

    def delete(self, key: str) -> None:
        """Delete the object `key`, if it exists. Mappings of it stay valid."""
        with suppress(NotFoundError), self._translated("delete", key), self._folder(key) as (folder, name, _):
            os.unlink(name, dir_fd=folder)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix`, in the order of their keys, one folder at a time.

        Folders are opened by descriptor, without following links. What is deleted meanwhile is left out.
        """
        with self._translated("list", prefix):
            try:
                folders = self._folders()
            except FileNotFoundError:
                return
            # Not by recursion: a writer may have nested folders deeper than Python's stack. The last one is the next.
            waiting = [""]
            while waiting:
                key = waiting.pop()
                above, _, name = key.rpartition("/")
                with suppress(FileNotFoundError):
                    if not name:
                        matching = (key + inner for inner in _names(folders, above) if _may_match(key + inner, prefix))
                        waiting += sorted(matching, reverse=True)
                    else:
                        st = folders.stat(above, name)
                        if stat.S_ISREG(st.st_mode):
                            yield ObjectInfo(key, st.st_size, st.st_mtime)

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the temporary files in all folders; see `SupportsLeftovers`."""
        with self._translated("list", ""):
            try:
                folders = self._folders()
            except FileNotFoundError:
                return
            waiting = [""]
            while waiting:
                above = waiting.pop()
                with suppress(FileNotFoundError), folders.scan(above.rstrip("/")) as entries:
                    for entry in entries:
                        key = above + entry.name
                        if TEMPORARY.fullmatch(entry.name):
                            modified_s = entry.stat(follow_symlinks=False).st_mtime
                            yield Leftover(key, modified_s, functools.partial(self.delete, key))
                        elif _is_folder(entry) and len(key) <= MAX_KEY_CHARS:
                            waiting.append(f"{key}/")

    def _folders(self) -> Folders:
        """Return the folders below the root. Raise `FileNotFoundError` if the root does not exist."""
        return Folders(self._root(create=False)[0])

    @contextmanager
    def _translated(self, operation: str, key: str) -> Iterator[None]:
        """Translate errors of the operating system. No other code in this module does."""
        what = f"{key!r} in {self.root}"
        try:
            yield
        except (StoreError, NotFoundError, IntegrityError):
            raise
        except OSError as error:
            if isinstance(error, FileNotFoundError) and operation != "put":
                raise NotFoundError(f"Object {what} not found.") from error
            reason = error.strerror or error
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise StoreError(
                    f"Cannot {operation} {what}: expected a folder, found a link or a file.", kind="link"
                ) from error
            if error.errno in _DENIED:
                raise StoreError(f"Permission denied: cannot {operation} {what} ({reason}).", kind="denied") from error
            raise StoreError(f"Cannot {operation} {what}: {reason}.", transient=error.errno in _TRANSIENT) from error
        except MemoryError as error:
            raise StoreError(f"Cannot {operation} {what}: there is not enough memory.") from error

    @contextmanager
    def _folder(self, key: str, *, create: bool = False) -> Iterator[tuple[int, str, bool]]:
        """Yield the descriptor of the folder of `key`, the name in it, and whether only this user can write to the path."""
        *subfolders, name = key.split("/")
        root, owner_only = self._root(create=create)
        folder, must_sync = root.descriptor, create and self._fsync
        if must_sync and root.identity not in self._durable:
            sync_above(self._path)
            self._durable = {root.identity}
        try:
            for subfolder in subfolders:
                inner, is_new = open_subfolder(folder, subfolder, create=create)
                above, folder = folder, inner
                try:
                    st = os.fstat(inner)
                    # Another writer may have created it and not synced its name. Once for each process is enough,
                    # unless it is new: it may have the inode of one that was deleted.
                    if must_sync and (is_new or (st.st_dev, st.st_ino) not in self._durable):
                        sync(above)
                        if len(self._durable) >= _MAX_DURABLE:
                            self._durable = {root.identity}
                        self._durable.add((st.st_dev, st.st_ino))
                finally:
                    if above != root.descriptor:
                        close(above)
                owner_only = owner_only and is_ours(st)
            yield folder, name, owner_only
        finally:
            if folder != root.descriptor:
                close(folder)

    def _root(self, *, create: bool) -> tuple[Folder, bool]:
        """Return the open root, and whether only this user can write to it.

        A root that is open already is used again while the path leads to it: it was opened without
        following links, later changes to the folders above do not affect it, and its permissions are
        checked each time.
        """
        opened = self._opened
        try:
            st = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            if not create:
                raise
            make_folders(self._path)
        else:
            if opened is not None and opened.identity == (st.st_dev, st.st_ino):
                return opened, opened.is_safe_above and is_ours(st)
        # Another thread may still use the previous one, which is closed when it is no longer referenced.
        self._opened = opened = open_folder(self._path)
        return opened, opened.is_safe_above and is_ours(os.fstat(opened.descriptor))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None, "_durable": set()}

    @functools.cached_property
    def is_on_local_disk(self) -> bool:
        """Whether the folder is on a file system that no other machine can change."""
        return file_system_type(self._path) in _LOCAL_FILE_SYSTEMS


@contextmanager
def _new_file(folder: int, unnamed: bool) -> Iterator[tuple[int, str]]:
    """Yield a new file in `folder` and the path to link it from; `unnamed` where the system can do that."""
    mode = 0o600 | group_bits(os.fstat(folder)) & 0o040
    file = _unnamed_file(folder, mode) if unnamed else None
    if file is None:
        with temporary_file(dir_fd=folder, mode=mode) as named:
            yield named[0].fileno(), named[1]
        return
    try:
        yield file, f"/proc/self/fd/{file}"
    finally:
        os.close(file)


def _unnamed_file(folder: int, mode: int) -> int | None:
    # An unnamed file is linked by its path in /proc/self/fd.
    if _UNNAMED is None or not os.path.exists("/proc/self/fd"):
        return None
    try:
        return os.open(".", _UNNAMED | os.O_WRONLY | OPEN, mode, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_UNNAMED_FILES:
            raise
        return None


def _write(file: int, pieces: list[memoryview]) -> int:
    """Write `pieces`, in one call if the system accepts all of them, and return their size in bytes."""
    written = 0
    while pieces:
        if sys.platform == "win32":
            count = os.write(file, pieces[0])
        else:
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
        if sys.platform == "win32":
            piece = os.read(file, min(CHUNK_BYTES, size_bytes - done))
            count = len(piece)
            buffer[done : done + count] = piece
        else:
            count = os.readv(file, [buffer[done : done + _MAX_READ_BYTES]])
        if not count:
            raise IntegrityError(f"Object {key!r} was truncated while it was read.", kind="size")
        done += count
    return buffer


def _check_file(key: str, st: os.stat_result, size_bytes: int) -> None:
    if not stat.S_ISREG(st.st_mode):
        raise StoreError(f"Object {key!r} is not a regular file.", kind="not-a-file")
    if st.st_size != size_bytes:
        raise IntegrityError(f"Object {key!r} has {st.st_size} bytes, not {size_bytes}.", kind="size")


def _names(folders: Folders, above: str) -> list[str]:
    """Return the names in a folder that can be part of a key; those of folders end in a slash."""
    with folders.scan(above) as entries:
        # Only the names: a million entries would take a gigabyte.
        return [
            f"{entry.name}/" if _is_folder(entry) else entry.name for entry in entries if not entry.name.startswith(".")
        ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A junction of Windows looks like a folder, but is one of other files.
    is_junction = getattr(entry, "is_junction", bool)  # since Python 3.12
    return entry.is_dir(follow_symlinks=False) and not is_junction()


def _may_match(key: str, prefix: str) -> bool:
    # What is nested deeper than the longest key cannot be an object.
    return len(key) <= MAX_KEY_CHARS and (key.startswith(prefix) or (key.endswith("/") and prefix.startswith(key)))
