"""Objects on any file system of fsspec: SFTP, HDFS, WebDAV and others, and object stores that obstore cannot serve."""

from __future__ import annotations

import inspect
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .._buffers import ByteRange
from .._forks import PerProcess
from .._keys import MAX_KEY_CHARS
from .._urls import scheme_of
from ..errors import ConfigError, NotFoundError, PayloadError, StoreError, is_interrupt
from ._base import Body, Fetched, ObjectInfo, body_size_error, collect, refuse_pickle
from ._errors import ErrorTranslator, modified_s, s3_code
from ._ranges import MIB, Memory, RangedDownload, Sink, into_file, ranges_unsupported, wrong_size
from ._retry import Retry

__all__ = ["FsspecStore", "open_fsspec_store"]

_STAGING = ".staging"
_READ_BYTES = 4 * MIB
_COMPARE_FROM_BYTES = 256 * MIB
"""From this size on, the size is compared by a separate request, before memory is allocated."""

_ATOMIC_PROTOCOLS = frozenset({"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"})
"""Schemes whose pipe_file creates an object whole or not at all."""

_Entries = list[tuple[str, ObjectInfo | None]]
"""Objects, and folders (None), by key."""

_S3_PARTS = {"chunksize": 16 * MIB, "max_concurrency": 4}

# One process does not race itself for a key, even where a file system cannot create exclusively.
_locks = PerProcess(lambda: [threading.Lock() for _ in range(64)])


def open_fsspec_store(root: str, storage_options: Mapping[str, Any] | None = None) -> FsspecStore:
    """Return the store at the canonical URL `root`. Some file systems (SFTP) connect here.

    Raises
    ------
    ConfigError
        fsspec does not know the scheme, its package is not installed, or an option is not valid.
    StoreError
        The file system could not be reached.
    """
    from fsspec.core import url_to_fs

    scheme = scheme_of(root)

    def open_filesystem() -> tuple[Any, str]:
        filesystem, path = url_to_fs(root, **dict(storage_options or {}), skip_instance_cache=True)
        return filesystem, path

    failure: PayloadError
    try:
        return FsspecStore(root, open_filesystem)
    except ImportError as error:
        raise ConfigError(f"The package for {scheme}:// is not installed: {error}", kind="missing-package") from error
    except (TypeError, ValueError) as error:
        failure = ConfigError(
            f"fsspec does not know the scheme {scheme!r}, or a storage option for it is not valid.", kind="options"
        )
        # The message may hold an option's value.
        failure.__cause__ = ErrorTranslator(root, storage_options or {}).secrets.cause(error)
    except BaseException as error:
        if is_interrupt(error):
            raise
        failure = ErrorTranslator(root, storage_options or {}).translate(error, "open", "")
    raise failure


class FsspecStore:
    """Objects under one folder of an fsspec file system.

    Parameters
    ----------
    root : str
        Canonical URL.
    open_filesystem : callable
        Returns a new synchronous file system of fsspec, and the root as that file
        system spells it. Called once in each process.

    Notes
    -----
    In memory and in object stores an object is created by one atomic call and held in memory while
    it is sent; on S3 in parts of 16 MiB, four at a time, if it has 32 MiB or more. Everywhere else it is
    written under ``.staging`` in pieces, its size is compared, and it is moved into place: a crash
    leaves nothing but a staged file, if the file system's move is atomic. An object is never
    overwritten by the same process; between processes that depends on the file system's
    create-only mode. Without one, another process can create the object between the check and the
    move (payloadfs's own keys are random). Whether bytes survive a power cut depends on the file system.
    """

    transport = "fsspec"

    def __init__(self, root: str, open_filesystem: Callable[[], tuple[Any, str]]) -> None:
        self.root = root
        # An asynchronous file system does not survive a fork.
        self._opened = PerProcess(open_filesystem)
        filesystem, path = self._opened[os.getpid()]
        self._path = path.rstrip("/")
        self._retry = Retry(ErrorTranslator(root, filesystem.storage_options))
        protocols = {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)
        self._is_s3 = "s3" in protocols
        self._atomic = bool(protocols & _ATOMIC_PROTOCOLS)
        self._create_only = self._atomic and "mode" in inspect.signature(filesystem.pipe_file).parameters

    __reduce__ = refuse_pickle

    def __repr__(self) -> str:
        return f"FsspecStore({self.root!r})"

    def put(self, key: str, body: Body) -> None:
        """Create the object `key`; see `Store.put`. It appears whole or not at all."""
        if self._atomic:
            self._put_atomically(key, body)
            return
        staged = f"{self._path}/{_STAGING}/{secrets.token_hex(16)}"
        self._call("put", key, "makedirs", f"{self._path}/{_STAGING}", exist_ok=True)
        self._call("put", key, "makedirs", self._name(key).rpartition("/")[0], exist_ok=True)
        moved = False
        try:
            self._write(key, staged, body)
            with self._lock(key):
                self._refuse_existing(key)
                self._once("put", key, self._filesystem().mv, staged, self._name(key))
            moved = True
        finally:
            if not moved:
                self._unstage(key, staged)

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`; see `Store.get`. Each byte is copied at most twice."""
        memory = Memory(size_bytes)
        self._download(key, size_bytes, memory.open_sink)
        return Fetched(memory.buffer)

    def get_into(self, key: str, size_bytes: int, file: int) -> None:
        """Write the bytes of the object `key` into the descriptor `file`; see `SupportsFiles`."""
        self._download(key, size_bytes, lambda: into_file(file))

    def info(self, key: str) -> ObjectInfo:
        """Return size and time of the object `key`; see `Store.info`."""
        entry = self._entry("look up", key, self._name(key))
        return self._retry.once("look up", key, _info, key, entry)

    def delete(self, key: str) -> None:
        """Remove the object `key`, if it exists."""
        try:
            self._call("delete", key, "rm_file", self._name(key))
        except NotFoundError:
            return

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key begins with `prefix`, ordered by key. One listing for each folder, when reached."""
        above = prefix.rpartition("/")[0]
        # Not by recursion: a writer may have nested folders deeper than Python's stack. The last one is the next.
        waiting: list[tuple[str, ObjectInfo | None]] = [(f"{above}/" if above else "", None)]
        while waiting:
            key, info = waiting.pop()
            if info is not None:
                yield info
            else:
                waiting += reversed(self._entries(key, prefix))

    def _entries(self, above: str, prefix: str) -> _Entries:
        """Return the objects and the folders in the folder `above`, by key, that matter for `prefix`."""
        folder = f"{self._path}/{above}".rstrip("/") or "/"
        try:
            entries = self._call("list", prefix, "ls", folder, detail=True)
        except NotFoundError:
            return []
        return self._retry.once("list", prefix, self._parsed, entries, folder, prefix)

    def _parsed(self, entries: Iterable[Mapping[str, Any]], folder: str, prefix: str) -> _Entries:
        found: dict[str, ObjectInfo | None] = {}
        for entry in entries:
            name = str(entry["name"]).rstrip("/")
            if name.strip("/") == folder.strip("/"):
                # Some object stores list the folder itself, as an empty object.
                continue
            key = name.removeprefix(self._path).lstrip("/")
            if len(key) > MAX_KEY_CHARS:
                # What is nested deeper than the longest key cannot be an object.
                continue
            if entry["type"] != "directory":
                if key.startswith(prefix):
                    found[key] = _info(key, entry)
            # Folders get their slash here, so that sorting names sorts the keys below them too.
            elif key != _STAGING and (f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/")):
                found[f"{key}/"] = None
        return sorted(found.items())

    def _put_atomically(self, key: str, body: Body) -> None:
        content = collect(key, body)
        options = {**({"mode": "create"} if self._create_only else {}), **(_S3_PARTS if self._is_s3 else {})}
        with self._lock(key):
            if not self._create_only:
                self._refuse_existing(key)
            try:
                self._call("put", key, "pipe_file", self._name(key), content, **options)
            except StoreError as error:
                # The response to our own earlier attempt may have been lost.
                if error.kind not in ("exists", "upload-gone") or not self._already_uploaded(key, content):
                    raise

    def _already_uploaded(self, key: str, content: bytes) -> bool:
        try:
            return self.get(key, len(content)).buffer == content
        except PayloadError:
            return False

    def _write(self, key: str, staged: str, body: Body) -> None:
        file = self._call("put", key, "open", staged, "wb")
        # Closing publishes what was written, also after an error: hence the staging name.
        try:
            for piece in body:
                self._once("put", key, file.write, piece)
        except BaseException as reason:
            try:
                self._once("put", key, file.close)
            except StoreError as error:
                reason.add_note(f"The staged file could not be closed either: {error}")
            raise
        self._once("put", key, file.close)
        actual = int(self._entry("put", key, staged)["size"])
        if actual != body.size_bytes:
            raise body_size_error(key, body.size_bytes, actual)

    def _unstage(self, key: str, staged: str) -> None:
        reason = sys.exception()
        try:
            self._call("delete", key, "rm_file", staged)
        except NotFoundError:
            return
        except StoreError as error:
            if reason is None:
                raise
            reason.add_note(f"The staged file {staged!r} could not be deleted: {error}")

    def _refuse_existing(self, key: str) -> None:
        try:
            self._entry("look up", key, self._name(key))
        except NotFoundError:
            return
        raise StoreError(f"Object {key!r} in {self.root} already exists; it was not changed.", kind="exists")

    def _download(self, key: str, size_bytes: int, open_sink: Callable[[], Sink]) -> None:
        if size_bytes >= _COMPARE_FROM_BYTES:
            actual = self._entry("get", key, self._name(key)).get("size")
            if actual not in (None, size_bytes):
                raise wrong_size(key, size_bytes, str(actual))
        if self._atomic or self._filesystem().async_impl:
            RangedDownload(self._retry, _Source(self, key, size_bytes), open_sink).run()
        else:
            self._read_file(key, size_bytes, self._retry.once("get", key, open_sink))

    def _read_file(self, key: str, size_bytes: int, sink: Sink) -> None:
        file = self._call("get", key, "open", self._name(key), "rb")
        filled = 0
        try:
            # One more byte than expected reveals an object that is too large.
            while filled <= size_bytes:
                piece = self._once("get", key, file.read, min(_READ_BYTES, size_bytes + 1 - filled))
                if not piece:
                    break
                sink(filled, memoryview(piece)[: size_bytes - filled])
                filled += len(piece)
        finally:
            self._once("get", key, file.close)
        if filled != size_bytes:
            raise wrong_size(key, size_bytes, "more" if filled > size_bytes else str(filled))

    def _name(self, key: str) -> str:
        return f"{self._path}/{key}"

    def _lock(self, key: str) -> threading.Lock:
        locks = _locks[os.getpid()]
        return locks[hash((self.root, key)) % len(locks)]

    def _filesystem(self) -> Any:
        return self._opened[os.getpid()][0]

    def _entry(self, operation: str, key: str, name: str) -> Mapping[str, Any]:
        entry: Mapping[str, Any] = self._call(operation, key, "info", name)
        return entry

    def _call(self, operation: str, key: str, method: str, name: str, *arguments: Any, **options: Any) -> Any:
        filesystem = self._filesystem()

        def attempt() -> Any:
            # What another client wrote a moment ago counts: no listing is ever taken from a cache.
            filesystem.invalidate_cache()
            return getattr(filesystem, method)(name, *arguments, **options)

        return self._retry.call(operation, key, attempt)

    def _once(self, operation: str, key: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that must not be repeated."""
        return self._retry.once(operation, key, function, *arguments)


def _info(key: str, entry: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(key, int(entry["size"]), modified_s(key, entry))


class _Source:
    """An object read through fsspec; see `payloadfs.stores._ranges.Source`."""

    def __init__(self, store: FsspecStore, key: str, size_bytes: int) -> None:
        self._store, self.key, self.size_bytes = store, key, size_bytes

    def open_range(self, part: ByteRange) -> Iterator[memoryview]:
        # One more byte than expected reveals an object that is too large.
        stop = part.stop + (part.stop == self.size_bytes)
        filesystem = self._store._filesystem()
        try:
            piece = filesystem.cat_file(self._store._name(self.key), start=part.start, end=stop)
        except Exception as error:
            if s3_code(error) not in ("InvalidRange", "416"):
                raise
            piece = b""
        if part.size_bytes < self.size_bytes == len(piece):
            raise ranges_unsupported(self.key)
        if len(piece) > part.size_bytes:
            raise wrong_size(self.key, self.size_bytes, "more")
        if len(piece) < part.size_bytes:
            raise wrong_size(self.key, self.size_bytes, f"at most {part.start + len(piece)}")
        return iter((memoryview(piece),))
