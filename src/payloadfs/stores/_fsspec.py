"""Objects on any file system of fsspec: SFTP, HDFS, WebDAV and others, and object stores that obstore cannot serve."""

from __future__ import annotations

import inspect
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

from .._buffers import ByteRange
from .._forks import PerProcess
from .._keys import MAX_KEY_CHARS
from .._log import warn_once
from .._secrets import StaysInProcess
from .._urls import scheme_of
from ..errors import ConfigError, IntegrityError, NotFoundError, PayloadError, StoreError, is_interrupt
from ._base import Body, Fetched, Leftover, ObjectInfo, body_size_error, collect, exists_error
from ._errors import UNCONDITIONAL, ErrorTranslator, is_lost, modified_s, s3_code, status_of
from ._limits import call_limited, time_limits
from ._obstore_options import credentials_stamp
from ._ranges import MIB, Memory, RangedDownload, Sink, into_file, ranges_unsupported, wrong_size
from ._retry import TIMEOUT_S, Retry
from ._s3_control import S3Control

_STAGING = ".staging"
_READ_BYTES = 4 * MIB
_SLOWEST = 64 * 1024
"""Bytes per second: a slower transfer is an error."""

_RANGE_NOT_SATISFIABLE = 416
_FOLDER_ATTEMPTS = 5
_UNCLEAR = ("store", "refused")
"""Kinds of errors that do not say what is wrong."""

_COMPARE_FROM_BYTES = 256 * MIB
"""From this size on, the size is compared by a separate request, before memory is allocated."""

_ATOMIC_PROTOCOLS = frozenset({"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"})
"""Schemes whose pipe_file creates an object whole or not at all."""

_Entries = list[tuple[str, ObjectInfo | None]]
"""Objects, and folders (None), by key."""

_S3_PARTS = {"chunksize": 16 * MIB, "max_concurrency": 4}

# One process does not race itself for a key, even where a file system cannot create exclusively.
_locks = PerProcess(lambda: [threading.Lock() for _ in range(64)])


def open_fsspec_store(
    root: str, storage_options: Mapping[str, Any] | None = None, timeout_s: float = TIMEOUT_S
) -> FsspecStore:
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
        options = {**time_limits(scheme, timeout_s), **(storage_options or {})}
        filesystem, path = url_to_fs(root, **options, skip_instance_cache=True)
        if (client := getattr(filesystem, "ftp", None)) is not None and hasattr(client, "get_channel"):
            client.get_channel().settimeout(timeout_s * 2 / 3)
        return filesystem, path

    failure: PayloadError
    try:
        return FsspecStore(root, open_filesystem, timeout_s)
    except ImportError as error:
        raise ConfigError(f"The package for {scheme}:// is not installed: {error}", kind="missing-package") from error
    except (TypeError, ValueError) as error:
        from fsspec.registry import known_implementations, registry

        is_known = scheme in known_implementations or scheme in registry
        problem = (
            f"a storage option for {scheme}:// is not valid" if is_known else f"the scheme {scheme!r} is not known"
        )
        failure = ConfigError(f"fsspec cannot open {root}: {problem}.", kind="options")
        # The message may hold an option's value.
        failure.__cause__ = ErrorTranslator(root, storage_options or {}).secrets.cause(error)
    except BaseException as error:
        if is_interrupt(error):
            raise
        failure = ErrorTranslator(root, storage_options or {}).translate(error, "open", "")
    raise failure


class FsspecStore(StaysInProcess):
    """Objects under one folder of an fsspec file system.

    `open_filesystem` returns a new synchronous file system of fsspec, and the root as that file system spells it. It is
    called in each process, and again after a connection was lost.

    A file system that is not asynchronous serves one thread at a time: those of SFTP and FTP have one connection.

    In memory and in object stores an object is created by one atomic call and held in memory while
    it is sent; on S3 in parts of 16 MiB, four at a time, if it has 32 MiB or more. Everywhere else it is
    written under ``.staging`` in pieces, its size is compared, and it is moved into place: a crash
    leaves nothing but a staged file, if the file system's move is atomic. An object is never
    overwritten by the same process; between processes that depends on the file system's
    create-only mode. Without one, another process can create the object between the check and the
    move (payloadfs's own keys are random). Whether bytes survive a power cut depends on the file system.
    """

    transport = "fsspec"

    def __init__(
        self,
        root: str,
        open_filesystem: Callable[[], tuple[Any, str]],
        timeout_s: float = TIMEOUT_S,
        control: Callable[[Retry], S3Control] | None = None,
    ) -> None:
        self.root, self.timeout_s = root, timeout_s
        self._open_filesystem = open_filesystem
        # An asynchronous file system does not survive a fork.
        self._opened = PerProcess(open_filesystem)
        filesystem, path = self._opened[os.getpid()]
        self._path = path.rstrip("/")
        self._stamp = credentials_stamp()
        self._retry = Retry(ErrorTranslator(root, filesystem.storage_options), timeout_s, self._refresh)
        protocols = {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)
        self._is_s3 = "s3" in protocols
        self._atomic = bool(protocols & _ATOMIC_PROTOCOLS)
        self._create_only = self._atomic and "mode" in inspect.signature(filesystem.pipe_file).parameters
        self._control = control(self._retry) if control else None
        # One object in many parts: its thread may use the connection again.
        is_concurrent = self._atomic or filesystem.async_impl
        self._turns: PerProcess[AbstractContextManager[Any]] = PerProcess(
            nullcontext if is_concurrent else threading.RLock
        )

    def __repr__(self) -> str:
        return f"FsspecStore({self.root!r})"

    def put(self, key: str, body: Body) -> None:
        """Create the object `key`; see `Store.put`. It appears whole or not at all."""
        if self._atomic:
            content = collect(key, body)
            with self._lock(key):
                self._put_atomically(key, content)
        else:
            with self._turn():
                self._put_staged(key, body)

    def _put_staged(self, key: str, body: Body) -> None:
        staged = f"{self._path}/{_STAGING}/{secrets.token_hex(16)}"
        self._make_folder(key, self._name(_STAGING))
        self._make_folder(key, self._name(key).rpartition("/")[0])
        try:
            self._write(key, staged, body)
            with self._lock(key):
                self._refuse_existing(key)
                self._once("put", key, self._filesystem().mv, staged, self._name(key))
        except BaseException as reason:
            self._unstage(key, staged, reason)
            raise

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
        entry = self._call("look up", key, "info", self._name(key))
        return self._retry.once("look up", key, _info, key, entry)

    def delete(self, key: str) -> None:
        """Remove the object `key`, if it exists."""
        try:
            self._call("delete", key, "rm_file", self._name(key))
        except NotFoundError:
            return
        except StoreError as error:
            # FTP reports a missing file as one error of many.
            if self._atomic or error.kind not in _UNCLEAR or self._exists(key):
                raise

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

    def leftovers(self) -> Iterator[Leftover]:
        """Yield staged files, or the open uploads of S3; see `SupportsLeftovers`."""
        if self._control is not None:
            yield from self._control.leftovers()
            return
        if self._atomic:
            return
        try:
            entries = self._call("list", _STAGING, "ls", self._name(_STAGING), detail=True)
        except NotFoundError:
            return
        for entry in entries:
            name = str(entry["name"])
            if re.fullmatch("[0-9a-f]{32}", name.rpartition("/")[2]):
                yield Leftover(name, modified_s(entry), partial(self._call, "delete", _STAGING, "rm_file", name))

    def set_lifecycle_rules(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Set lifecycle rules of an S3 bucket; see `S3Control.set_rules`."""
        if self._control is not None:
            self._control.set_rules(rules)

    def _entries(self, above: str, prefix: str) -> _Entries:
        """Return the objects and the folders in the folder `above`, by key, that matter for `prefix`."""
        folder = f"{self._path}/{above}".rstrip("/") or "/"
        try:
            entries = self._call("list", prefix, "ls", folder, detail=True)
        except NotFoundError as error:
            # s3fs itself raises this for an empty folder, but a server does not.
            if self._is_s3 and error.__cause__ is not None and status_of(error.__cause__):
                raise
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

    def _put_atomically(self, key: str, content: bytes) -> None:
        create_only = self._create_only  # another thread may change it
        if not create_only:
            self._refuse_existing(key)
        options = {**({"mode": "create"} if create_only else {}), **(_S3_PARTS if self._is_s3 else {})}
        put = partial(self._call, "put", key, "pipe_file", self._name(key), content, size_bytes=len(content), **options)
        try:
            self._retry.watch("put", key, put, partial(self._probe, key)) if len(content) > MIB else put()
        except StoreError as error:
            if error.kind == "unsupported" and create_only:
                self._create_only = False
                warn_once(UNCONDITIONAL.format(root=self.root))
                self._put_atomically(key, content)
            # The response to our own earlier attempt may have been lost.
            elif error.kind not in ("exists", "upload-gone") or not self._already_uploaded(key, content):
                raise

    def _already_uploaded(self, key: str, content: bytes) -> bool:
        try:
            return self.get(key, len(content)).buffer == content
        except (NotFoundError, IntegrityError):
            return False

    def _write(self, key: str, staged: str, body: Body) -> None:
        file = self._call("put", key, "open", staged, "wb")
        if hasattr(file, "set_pipelined"):
            file.set_pipelined(True)
        # Closing publishes what was written, even after an error: hence the staging name.
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
        actual = int(self._call("put", key, "info", staged)["size"])
        if actual != body.size_bytes:
            raise body_size_error(key, body.size_bytes, actual)

    def _unstage(self, key: str, staged: str, reason: BaseException) -> None:
        try:
            with suppress(NotFoundError):
                self._call("delete", key, "rm_file", staged)
        except StoreError as error:
            reason.add_note(f"The staged file {staged!r} could not be deleted: {error}")

    def _exists(self, key: str) -> bool:
        try:
            self._call("look up", key, "info", self._name(key))
        except NotFoundError:
            return False
        return True

    def _refuse_existing(self, key: str) -> None:
        if self._exists(key):
            raise exists_error(self.root, key)

    def _make_folder(self, key: str, folder: str) -> None:
        for attempts_left in reversed(range(_FOLDER_ATTEMPTS)):
            try:
                self._call("put", key, "makedirs", folder, exist_ok=True)
            except StoreError as error:
                # Another connection may have created it, or one above, at the same time: some file systems report that.
                if not attempts_left or error.kind not in _UNCLEAR:
                    raise
            else:
                return

    def _download(self, key: str, size_bytes: int, open_sink: Callable[[], Sink]) -> None:
        if size_bytes >= _COMPARE_FROM_BYTES:
            actual = self._call("get", key, "info", self._name(key)).get("size")
            if actual not in (None, size_bytes):
                raise wrong_size(key, size_bytes, str(actual))
        if not self._atomic and not self._filesystem().async_impl:
            with self._turn():
                self._read_file(key, size_bytes, self._retry.once("get", key, open_sink))
            return
        download = RangedDownload(self._retry, _Source(self, key, size_bytes), open_sink)
        try:
            if size_bytes > MIB and self._filesystem().async_impl:
                download.watched(partial(self._probe, key))
            else:
                download.run()
        except StoreError as error:
            if error.kind != "ranges-unsupported" or self._is_s3:
                raise
            whole = memoryview(self._call("get", key, "cat_file", self._name(key), size_bytes=size_bytes))
            if whole.nbytes != size_bytes:
                raise wrong_size(key, size_bytes, str(whole.nbytes)) from None
            self._retry.once("get", key, lambda: open_sink()(0, whole))

    def _read_file(self, key: str, size_bytes: int, sink: Sink) -> None:
        file = self._call("get", key, "open", self._name(key), "rb")
        if hasattr(file, "prefetch"):
            # paramiko waits for every 32 KiB otherwise. Beyond the end of the file it would wait forever.
            actual = self._once("get", key, file.stat).st_size
            self._once("get", key, partial(file.prefetch, min(actual, size_bytes), max_concurrent_requests=64))
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

    def _turn(self) -> AbstractContextManager[Any]:
        return self._turns[os.getpid()]

    def _probe(self, key: str) -> None:
        filesystem = self._filesystem()
        if filesystem.async_impl:
            call_limited(filesystem, "info", (self._name(key),), {}, self._retry.connect_s)

    def _refresh(self) -> bool:
        """Look for new credentials, and return whether their source changed."""
        stamp = credentials_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self._reopen()
        if self._control is not None:
            self._control.forget()
        return True

    def _reopen(self) -> None:
        # Other threads may still use the old connection. The first call that needs the new one opens it.
        self._opened = PerProcess(self._open_filesystem)

    def _call(
        self, operation: str, key: str, method: str, name: str, *arguments: Any, size_bytes: int = 0, **options: Any
    ) -> Any:
        limit_s = self._limit_s(size_bytes)

        def attempt() -> Any:
            with self._turn():
                filesystem = self._filesystem()
                # No listing is ever taken from a cache: it must show what another client wrote a moment ago.
                filesystem.invalidate_cache()
                try:
                    return call_limited(filesystem, method, (name, *arguments), options, limit_s)
                except Exception as error:
                    self._reopen_if_lost(error)
                    raise

        return self._retry.call(operation, key, attempt)

    def _limit_s(self, size_bytes: int) -> float:
        """Return the time limit of one call that sends or receives `size_bytes`."""
        return self._retry.request_s if size_bytes <= MIB else self.timeout_s + size_bytes / _SLOWEST

    def _once(self, operation: str, key: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that must not be repeated."""

        def attempt() -> Any:
            try:
                return function(*arguments)
            except Exception as error:
                self._reopen_if_lost(error)
                raise

        return self._retry.once(operation, key, attempt)

    def _reopen_if_lost(self, error: Exception) -> None:
        # S3 and the like connect again by themselves. The others have one connection.
        if not self._atomic and is_lost(error):
            self._reopen()


def _info(key: str, entry: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(key, int(entry["size"]), modified_s(entry))


class _Source:
    """An object read through fsspec; see `payloadfs.stores._ranges.Source`."""

    def __init__(self, store: FsspecStore, key: str, size_bytes: int) -> None:
        self._store, self.key, self.size_bytes = store, key, size_bytes

    def open_range(self, part: ByteRange) -> Iterator[memoryview]:
        # One more byte than expected reveals an object that is too large.
        stop = part.stop + (part.stop == self.size_bytes)
        filesystem = self._store._filesystem()
        try:
            name, where = self._store._name(self.key), {"start": part.start, "end": stop}
            piece = call_limited(filesystem, "cat_file", (name,), where, self._store._limit_s(part.size_bytes))
        except Exception as error:
            self._store._reopen_if_lost(error)
            if s3_code(error) not in ("InvalidRange", "416") and status_of(error) != _RANGE_NOT_SATISFIABLE:
                raise
            piece = b""
        if part.size_bytes < self.size_bytes == len(piece):
            raise ranges_unsupported(self.key)
        if len(piece) > part.size_bytes:
            raise wrong_size(self.key, self.size_bytes, "more")
        if len(piece) < part.size_bytes:
            raise wrong_size(self.key, self.size_bytes, f"at most {part.start + len(piece)}")
        return iter((memoryview(piece),))
