"""Objects on any file system of fsspec: GCS, Azure, SFTP, HDFS and the rest."""

from __future__ import annotations

import inspect
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .._buffers import ByteRange, private_memory
from .._urls import scheme_of
from ..errors import ConfigError, NotFoundError, StoreError
from ._base import Body, Fetched, ObjectInfo
from ._errors import Border, modified_s
from ._transfer import parts, split, wrong_size

__all__ = ["FsspecStore", "open_fsspec_store"]

_STAGING = ".staging"
_READ_THREADS = 4
_READ_BYTES = 4 * 1024 * 1024

_ATOMIC_PROTOCOLS = frozenset({"memory", "gs", "gcs", "az", "abfs", "abfss", "adl"})
"""Their pipe_file makes an object appear whole or not at all."""

# One process does not race itself for a key, even where a file system can't create exclusively.
_locks: list[threading.Lock] = []


def _fresh_locks() -> None:
    _locks[:] = [threading.Lock() for _ in range(64)]


_fresh_locks()
os.register_at_fork(after_in_child=_fresh_locks)


def open_fsspec_store(root: str, storage_options: Mapping[str, Any] | None = None) -> FsspecStore:
    """Return the store at the canonical URL `root`. Some file systems (SFTP) connect here.

    Raises
    ------
    ConfigError
        fsspec knows no such scheme, its package is not installed, or an option does not fit.
    StoreError
        The file system could not be reached.
    """
    from fsspec.core import url_to_fs

    scheme = scheme_of(root)
    try:
        filesystem, path = url_to_fs(root, **dict(storage_options or {}), skip_instance_cache=True)
    except ImportError as error:
        raise ConfigError(f"The package for {scheme}:// is not installed: {error}", kind="missing-package") from error
    except (TypeError, ValueError) as error:
        # The text may hold an option's value.
        raise ConfigError(
            f"fsspec knows no scheme {scheme!r}, or a storage option for it is not right.", kind="options"
        ) from error
    except Exception as error:
        raise Border(root, storage_options or {}).translate(error, "open", "") from error
    return FsspecStore(root, filesystem, path)


class FsspecStore:
    """Objects under one folder of an fsspec file system.

    Parameters
    ----------
    root : str
        Canonical URL.
    filesystem : fsspec.AbstractFileSystem
        Synchronous.
    path : str
        The root, as `filesystem` spells it.

    Notes
    -----
    On memory, GCS and Azure an object is made by one atomic call and held in memory while it is
    sent. Everywhere else it is written under ``.staging`` in pieces, its size is compared, and it is moved
    into place: a crash leaves nothing but a staged file, if the file system's move is atomic.
    An object is never overwritten by the same process; between processes that is as sure as the file system's own
    create-only mode, and without one there is a moment between check and move (payloadfs's own
    keys are random). How long bytes last after a power cut is the file system's affair.
    """

    def __init__(self, root: str, filesystem: Any, path: str) -> None:
        self._root = root
        self._path = path.rstrip("/")
        self._given = filesystem
        self._border = Border(root, filesystem.storage_options)
        protocols = {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)
        self._atomic = bool(protocols & _ATOMIC_PROTOCOLS)
        self._create_only = self._atomic and "mode" in inspect.signature(filesystem.pipe_file).parameters
        # By process: an asynchronous file system does not survive a fork.
        self._filesystems: dict[int, Any] = {os.getpid(): filesystem}

    def __repr__(self) -> str:
        return f"FsspecStore({self._root!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return FsspecStore, (self._root, self._given, self._path)

    @property
    def root(self) -> str:
        """Canonical URL of the store."""
        return self._root

    def put(self, key: str, body: Body) -> None:
        """Create the object `key`; see `Store.put`. It appears whole or not at all."""
        if self._atomic:
            self._put_atomically(key, body)
            return
        staged = f"{self._path}/{_STAGING}/{secrets.token_hex(16)}"
        self._ask("put", key, "makedirs", f"{self._path}/{_STAGING}", exist_ok=True)
        self._ask("put", key, "makedirs", self._place(key).rpartition("/")[0], exist_ok=True)
        moved = False
        try:
            self._write(key, staged, body)
            with self._lock(key):
                self._refuse_existing(key)
                self._ask("put", key, "mv", staged, self._place(key))
            moved = True
        finally:
            if not moved:
                self._unstage(key, staged)

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`; see `Store.get`. Each byte is copied at most twice."""
        if size_bytes == 0:
            actual = self.info(key).size_bytes
            if actual:
                raise wrong_size(key, 0, str(actual))
            return Fetched(private_memory(0))
        buffer = private_memory(size_bytes)
        if self._atomic or self._filesystem().async_impl:
            self._read_ranges(key, buffer)
        else:
            self._read_file(key, buffer)
        return Fetched(buffer)

    def info(self, key: str) -> ObjectInfo:
        """Return size and time of the object `key`; see `Store.info`."""
        return self._described(key, self._entry("look up", key, self._place(key)))

    def delete(self, key: str) -> None:
        """Remove the object `key`, if there is one."""
        try:
            self._ask("delete", key, "rm_file", self._place(key))
        except NotFoundError:
            return

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key begins with `prefix`, ordered by key. One listing per folder, when reached."""
        folder = prefix.rpartition("/")[0]
        yield from self._list(f"{self._path}/{folder}".rstrip("/") or "/", prefix)

    def _list(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            entries = self._ask("list", prefix, "ls", folder, detail=True)
        except NotFoundError:
            return
        named = {self._key(entry): entry for entry in entries}
        for key, entry in sorted(named.items()):
            if entry["type"] != "directory":
                if key.startswith(prefix):
                    yield self._described(key, entry)
            elif key != f"{_STAGING}/" and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._list(f"{self._path}/{key}".rstrip("/"), prefix)

    def _key(self, entry: Mapping[str, Any]) -> str:
        # Folders get their slash here, so that sorting names sorts the keys below them too.
        name = str(entry["name"]).rstrip("/").removeprefix(self._path).lstrip("/")
        return f"{name}/" if entry["type"] == "directory" else name

    def _described(self, key: str, entry: Mapping[str, Any]) -> ObjectInfo:
        return ObjectInfo(key, int(entry["size"]), modified_s(key, entry))

    def _put_atomically(self, key: str, body: Body) -> None:
        (whole,) = parts(body, body.size_bytes)
        with self._lock(key):
            if self._create_only:
                self._ask("put", key, "pipe_file", self._place(key), whole.getvalue(), mode="create")
                return
            self._refuse_existing(key)
            self._ask("put", key, "pipe_file", self._place(key), whole.getvalue())

    def _write(self, key: str, staged: str, body: Body) -> None:
        file = self._ask("put", key, "open", staged, "wb")
        # Closing publishes what was written, also after an error: hence the staging name.
        try:
            for piece in body:
                self._call("put", key, file.write, piece)
        except BaseException as reason:
            try:
                self._call("put", key, file.close)
            except StoreError as error:
                reason.add_note(f"The staged file could not be closed either: {error}")
            raise
        self._call("put", key, file.close)
        actual = int(self._entry("put", key, staged)["size"])
        if actual != body.size_bytes:
            raise StoreError(
                f"The body for {key!r} has {body.size_bytes} bytes and {actual} arrived; nothing was stored.",
                kind="body-size",
            )

    def _unstage(self, key: str, staged: str) -> None:
        reason = sys.exception()
        try:
            self._ask("delete", key, "rm_file", staged)
        except NotFoundError:
            return
        except StoreError as error:
            if reason is None:
                raise
            reason.add_note(f"The staged file {staged!r} is left behind: {error}")

    def _refuse_existing(self, key: str) -> None:
        try:
            self._entry("look up", key, self._place(key))
        except NotFoundError:
            return
        raise StoreError(f"There is an object {key!r} in {self._root} already; it stays as it is.", kind="exists")

    def _read_ranges(self, key: str, buffer: memoryview) -> None:
        first, *others = split(buffer.nbytes)
        self._read_range(key, first, buffer)
        if others:
            with ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="payloadfs-read") as pool:
                jobs = [pool.submit(self._read_range, key, part, buffer) for part in others]
                try:
                    for job in jobs:
                        job.result()
                finally:
                    pool.shutdown(wait=True, cancel_futures=True)

    def _read_range(self, key: str, part: ByteRange, buffer: memoryview) -> None:
        more = part.stop == buffer.nbytes
        piece = self._ask("get", key, "cat_file", self._place(key), start=part.start, end=part.stop + more)
        if len(piece) > part.size_bytes:
            raise wrong_size(key, buffer.nbytes, "more")
        if len(piece) < part.size_bytes:
            raise wrong_size(key, buffer.nbytes, f"at most {part.start + len(piece)}")
        buffer[part.start : part.stop] = piece

    def _read_file(self, key: str, buffer: memoryview) -> None:
        file = self._ask("get", key, "open", self._place(key), "rb")
        filled = 0
        try:
            while filled <= buffer.nbytes:
                piece = self._call("get", key, file.read, min(_READ_BYTES, buffer.nbytes + 1 - filled))
                if not piece:
                    break
                fitting = piece[: buffer.nbytes - filled]
                buffer[filled : filled + len(fitting)] = fitting
                filled += len(piece)
        finally:
            self._call("get", key, file.close)
        if filled != buffer.nbytes:
            raise wrong_size(key, buffer.nbytes, "more" if filled > buffer.nbytes else str(filled))

    def _place(self, key: str) -> str:
        return f"{self._path}/{key}"

    def _lock(self, key: str) -> threading.Lock:
        return _locks[hash((self._root, key)) % len(_locks)]

    def _filesystem(self) -> Any:
        found = self._filesystems.get(os.getpid())
        if found is None:
            made = type(self._given)(*self._given.storage_args, **self._given.storage_options, skip_instance_cache=True)
            found = self._filesystems.setdefault(os.getpid(), made)
        return found

    def _entry(self, operation: str, key: str, place: str) -> Mapping[str, Any]:
        entry: Mapping[str, Any] = self._ask(operation, key, "info", place)
        return entry

    def _ask(self, operation: str, key: str, method: str, place: str, *arguments: Any, **options: Any) -> Any:
        filesystem = self._filesystem()
        # What another client wrote a moment ago counts: no listing is ever taken from a cache.
        filesystem.invalidate_cache()
        return self._call(operation, key, getattr(filesystem, method), place, *arguments, **options)

    def _call(self, operation: str, key: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:
            ours = self._border.translate(error, operation, key)
            raise ours from error
