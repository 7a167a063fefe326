"""Objects in S3, GCS and Azure through obstore."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from heapq import heappop, heappush
from typing import Any

from .._buffers import ByteRange, as_bytes
from .._forks import obstore_unusable_after_fork
from .._log import warn_once
from .._secrets import StaysInProcess
from .._urls import scheme_of
from ..errors import ConfigError, IntegrityError, NotFoundError, StoreError, is_interrupt
from ._base import Body, Fetched, Leftover, ObjectInfo, body_size_error, collect, exists_error
from ._errors import STATUS, UNCONDITIONAL, ErrorTranslator
from ._obstore_options import Limits, Target, UnmappedError, credentials_stamp, gs_az_target, refuse_fsspec_settings
from ._ranges import MAX_RANGE_BYTES, MIB, Memory, RangedDownload, Sink, into_file, ranges_unsupported, wrong_size
from ._retry import RETRIED, TIMEOUT_S, Retry
from ._s3_control import S3Control

_ONE_PUT_BYTES = 16 * MIB
"""Up to this size an object is created by one conditional request."""

_PART_BYTES, _PARTS_AT_ONCE = 8 * MIB, 6
_MAX_PARTS = 10_000
_ONE_CALL_BYTES = MIB
"""Up to this size an object is read by one call: each further call waits for the interpreter's lock."""

_CHUNK_BYTES = MIB
_PAGE_OBJECTS = 1_000
_SLOWEST = 64 * 1024
"""Bytes per second. obstore cannot distinguish a server that receives slowly from a silent one; `Retry.watch` can."""

_RANGE_NOT_SATISFIABLE = 416


def obstore_target(root: str, options: Mapping[str, Any]) -> Target:
    """Return what the canonical `root` and fsspec's `options` mean for obstore; see `gs_az_target` and `s3_target`."""
    refuse_fsspec_settings(scheme_of(root))
    if scheme_of(root) != "s3":
        return gs_az_target(root, options)
    from ._aws import s3_target

    return s3_target(root, options)


class ObstoreStore(StaysInProcess):
    """Objects under one bucket or container and path. ``read_timeout`` in the options takes precedence over `timeout_s`.

    Raises
    ------
    ConfigError
        An option is not valid, or obstore is not installed. No request was sent.

    Notes
    -----
    `put` costs one conditional PUT up to 16 MiB and never overwrites; above that, one HEAD and an upload
    in parts of 8 MiB, six at a time, which holds up to 56 MiB. S3 servers verify a SHA-256 of each
    request's body. `get` costs one GET up to 16 MiB, beyond it one for each 8 to 32 MiB; each byte is
    copied once, into its final memory. Safe to use from many threads. In a process forked from one
    that had loaded obstore, every call raises `StoreError`.
    """

    transport = "obstore"

    def __init__(
        self, root: str, storage_options: Mapping[str, Any] | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.root = root
        path = root.partition("://")[2].partition("/")[2]
        self._prefix = f"{path}/" if path else ""
        self._options = options = storage_options or {}
        self._target = obstore_target(root, options)
        self._stamp = credentials_stamp()
        self._translator = ErrorTranslator(root, {"options": options, "secrets": self._target.secrets})
        self.timeout_s = timeout_s if self._target.answer_s is None else self._target.answer_s * 1.5
        self._retry = Retry(self._translator, self.timeout_s, self._refresh)
        self._control = S3Control(root, options, self._retry) if scheme_of(root) == "s3" else None
        self._clients: dict[Limits, Any] = {}
        self._sends_ranges = self._is_conditional = True
        if self._control is None:
            # obstore checks these options itself; those of S3 were checked with the target.
            self._client()

    def __repr__(self) -> str:
        return f"ObstoreStore({self.root!r})"

    def put(self, key: str, body: Body) -> None:
        """Create the object `key`; see `Store.put`. It appears whole or not at all.

        An object that already exists with exactly these bytes is a success: the response to our own
        earlier attempt may have been lost.
        """
        name = self._prefix + key
        try:
            if body.size_bytes <= _ONE_PUT_BYTES:
                self._put_small(key, name, body)
            else:
                self._put_large(key, name, body)
        except StoreError as error:
            if error.kind not in ("exists", "upload-gone") or not self._already_uploaded(key, body):
                raise

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`; see `Store.get`. A missing object costs one GET."""
        memory = Memory(size_bytes)
        self._download(key, size_bytes, memory.open_sink)
        return Fetched(memory.buffer)

    def get_into(self, key: str, size_bytes: int, file: int) -> None:
        """Write the bytes of the object `key` into the descriptor `file`; see `SupportsFiles`. Requests as for `get`."""
        self._download(key, size_bytes, lambda: into_file(file))

    def info(self, key: str) -> ObjectInfo:
        """Return size and time of the object `key`; see `Store.info`. One HEAD."""
        meta = self._call("look up", key, "head", self._prefix + key)
        # obstore's time for "unknown" is the epoch.
        return ObjectInfo(key, meta["size"], meta["last_modified"].timestamp() or float("inf"))

    def delete(self, key: str) -> None:
        """Remove the object `key`, if it exists. One DELETE."""
        with suppress(NotFoundError):
            self._call("delete", key, "delete", self._prefix + key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key begins with `prefix`, ordered by key. One request per 1,000.

        Holds the objects of one folder in memory: S3 lists by key, but some servers list folder by
        folder, where ``run/1`` comes before ``run-2/1``.
        """
        # Everything that is still to come is in the folder of this entry, or after it.
        depth = len(self._prefix) + prefix.rfind("/") + 1
        waiting: list[tuple[str, ObjectInfo]] = []
        for name, size_bytes, modified in self._listed(prefix):
            key = name.removeprefix(self._prefix)
            earliest = name[len(self._prefix) : depth] + name[depth:].partition("/")[0]
            while waiting and waiting[0][0] < earliest:
                yield heappop(waiting)[1]
            heappush(waiting, (key, ObjectInfo(key, size_bytes, modified.timestamp())))
        while waiting:
            yield heappop(waiting)[1]

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the open uploads of payloadfs in S3; see `SupportsLeftovers`. GCS and Azure remove theirs after a week."""
        return iter(()) if self._control is None else self._control.leftovers()

    def set_lifecycle_rules(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Set lifecycle rules of the bucket; see `S3Control.set_rules`."""
        if self._control is not None:
            self._control.set_rules(rules)

    def _listed(self, prefix: str) -> Iterator[tuple[str, int, datetime]]:
        if self._control is not None:
            yield from ((entry["Key"], entry["Size"], entry["LastModified"]) for entry in self._control.list(prefix))
            return
        import obstore

        # obstore lists folders, not prefixes within a name.
        folder = (self._prefix + prefix).rpartition("/")[0]
        # obstore itself repeats requests: after an error its iterator ends, as if the listing were complete.
        client = self._client(retries=3)
        pages: Any = self._retry.once(
            "list", prefix, lambda: iter(obstore.list(client, folder or None, chunk_size=_PAGE_OBJECTS))
        )
        while page := self._retry.once("list", prefix, next, pages, None):
            objects: Any = page
            listed = ((meta["path"], meta["size"], meta["last_modified"]) for meta in objects)
            yield from (entry for entry in listed if entry[0].startswith(self._prefix + prefix))

    def _put_small(self, key: str, name: str, body: Body) -> None:
        content = collect(key, body)
        sent = _ONE_PUT_BYTES if len(content) > MIB else 0
        is_conditional = self._is_conditional  # another thread may change it
        if not is_conditional and self._may_exist(key):
            raise exists_error(self.root, key)
        mode = "create" if is_conditional else "overwrite"

        def put() -> None:
            self._call("put", key, "put", name, content, sent=sent, mode=mode, use_multipart=False)

        try:
            self._retry.watch("put", key, put, partial(self._probe, key)) if sent else put()
        except StoreError as error:
            if error.kind != "unsupported" or not is_conditional:
                raise
            self._is_conditional = False
            warn_once(UNCONDITIONAL.format(root=self.root))
            self._put_small(key, name, body)

    def _put_large(self, key: str, name: str, body: Body) -> None:
        if self._may_exist(key):
            raise exists_error(self.root, key)
        part_bytes = max(_PART_BYTES, -(-body.size_bytes // _MAX_PARTS))
        pieces = _Pieces(key, body)

        def put() -> None:
            self._call(
                "put",
                key,
                "put",
                name,
                pieces.__iter__,
                # obstore itself sends a part again, but not after damage, or if an answer breaks off in its body: then the
                # whole object is sent again.
                kinds=("checksum", "connection-lost"),
                sent=part_bytes * _PARTS_AT_ONCE,
                retries=3,
                use_multipart=True,
                chunk_size=part_bytes,
                max_concurrency=_PARTS_AT_ONCE,
            )

        try:
            self._retry.watch("put", key, put, partial(self._probe, key))
        except StoreError:
            if pieces.error is not None:
                raise pieces.error from None
            raise
        finally:
            pieces.is_stopped = True

    def _probe(self, key: str) -> None:
        import obstore

        limit_s = self._retry.connect_s
        obstore.head(self._client_with(Limits(limit_s, limit_s, limit_s)), self._prefix + key)

    def _may_exist(self, key: str) -> bool:
        try:
            self.info(key)
        except NotFoundError:
            return False
        except StoreError as error:
            # Without permission to list, Amazon answers 403 for a missing object. Keys are random.
            if error.kind == "denied":
                return False
            raise
        return True

    def _already_uploaded(self, key: str, body: Body) -> bool:
        """Return whether the object `key` has exactly the bytes of `body`. Reads it piece by piece."""
        start, source = 0, self._source(key, body.size_bytes)
        try:
            for piece in map(as_bytes, body):
                if not piece.nbytes:
                    continue
                part = ByteRange(start, start + piece.nbytes)
                if self._retry.call("compare", key, partial(_joined, source, part)) != piece:
                    return False
                start = part.stop
            return start > 0 or self.info(key).size_bytes == 0
        except (NotFoundError, IntegrityError):
            return False

    def _source(self, key: str, size_bytes: int) -> _Source:
        return _Source(partial(self._client, received=MAX_RANGE_BYTES), key, self._prefix + key, size_bytes)

    def _download(self, key: str, size_bytes: int, open_sink: Callable[[], Sink]) -> None:
        name = self._prefix + key
        if 0 < size_bytes <= _ONE_CALL_BYTES and self._sends_ranges:
            try:
                content = self._retry.call("get", key, lambda: _read_small(self._client(), key, name, size_bytes))
            except StoreError as error:
                if error.kind != "ranges-unsupported":
                    raise
                self._sends_ranges = False
            else:
                self._retry.once("get", key, lambda: open_sink()(0, content))
                return
        download = RangedDownload(self._retry, self._source(key, size_bytes), open_sink)
        if size_bytes > _ONE_CALL_BYTES:
            download.watched(partial(self._probe, key), patience_s=3 * self.timeout_s)
        else:
            download.run()

    def _call(
        self,
        operation: str,
        key: str,
        method: str,
        *args: Any,
        kinds: Collection[str] = RETRIED,
        sent: int = 0,
        retries: int = 0,
        **options: Any,
    ) -> Any:
        """Call a function of obstore, with retries. Each callable argument is called for each attempt."""
        import obstore

        function: Callable[..., Any] = getattr(obstore, method)

        def attempt() -> Any:
            client = self._client(sent=sent, retries=retries)
            return function(client, *(one() if callable(one) else one for one in args), **options)

        return self._retry.call(operation, key, attempt, kinds=kinds)

    def _client(self, *, sent: int = 0, received: int = 0, retries: int = 0) -> Any:
        """Return obstore's client for requests that together send `sent` or receive `received` bytes at the same time."""
        answer_s = self.timeout_s + sent / _SLOWEST if sent else self._retry.request_s
        request_s = answer_s + 4 * self.timeout_s + received / _SLOWEST
        return self._client_with(Limits(self._target.connect_s or self._retry.connect_s, answer_s, request_s, retries))

    def _client_with(self, limits: Limits) -> Any:
        """Return obstore's client with `limits`. Each client has its own connections, so there are few clients."""
        if obstore_unusable_after_fork():
            raise StoreError(
                "obstore does not survive a fork: start processes by spawn, or set transport to 'fsspec'.",
                kind="forked",
            )
        if limits not in self._clients:
            self._clients[limits] = self._new_client(limits)
        if self._target.credentials is not None:
            # Here, because an error inside obstore's own call would come back as a message only.
            self._translator.secrets.add(self._target.credentials().secrets)
        return self._clients[limits]

    def _refresh(self) -> bool:
        """Look for new credentials, and return whether their source changed."""
        stamp = credentials_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._target = obstore_target(self.root, self._options)
        except UnmappedError:
            return False
        self._clients = {}
        if self._control is not None:
            self._control.forget()
        return True

    def _new_client(self, limits: Limits) -> Any:
        try:
            return self._target.new_client(limits)
        except ImportError as error:
            extra = scheme_of(self.root)
            raise ConfigError(
                f"{extra}:// needs obstore: pip install 'payloadfs[{extra}]'.", kind="missing-package"
            ) from error
        except BaseException as error:
            # obstore raises many kinds of errors. Not chained: the message may hold an option's value.
            if is_interrupt(error):
                raise
            raise ConfigError(f"The storage options for {self.root} are not valid.", kind="options") from None


def _joined(source: _Source, part: ByteRange) -> bytes:
    return b"".join(source.open_range(part))


class _Pieces:
    """The pieces of a body on their way to obstore, each valid until the upload ends, and the error of the body."""

    def __init__(self, key: str, body: Body) -> None:
        self._key, self._body = key, body
        self.error: BaseException | None = None
        self.is_stopped = False

    def __iter__(self) -> Iterator[memoryview]:
        body, sent_bytes = self._body, 0
        stable = getattr(body, "stable", False)
        try:
            for piece in map(as_bytes, body):
                sent_bytes += piece.nbytes
                if sent_bytes > body.size_bytes or self.is_stopped:
                    break
                yield piece if stable else memoryview(bytes(piece))
            if sent_bytes != body.size_bytes:
                raise body_size_error(self._key, body.size_bytes, sent_bytes)
        except GeneratorExit:
            # obstore has closed this generator, after an error that is not the body's.
            raise
        except BaseException as error:
            self.error = error
            raise


def _read_small(client: Any, key: str, name: str, size_bytes: int) -> memoryview:
    import obstore

    try:
        # One more byte than expected reveals an object that is too large.
        content = memoryview(obstore.get_range(client, name, start=0, end=size_bytes + 1))
    except Exception as error:
        _raise_size_error(error, key, size_bytes, "0")
        raise
    if content.nbytes != size_bytes:
        raise wrong_size(key, size_bytes, "more" if content.nbytes > size_bytes else str(content.nbytes))
    return content


def _raise_size_error(error: Exception, key: str, size_bytes: int, actual: str) -> None:
    """Raise an error of ours if `error` is about the range that was requested."""
    message = str(error)
    if (match := STATUS.search(message)) and int(match[1] or match[2]) == _RANGE_NOT_SATISFIABLE:
        raise wrong_size(key, size_bytes, actual) from None
    if "NotPartial" in message or "UnexpectedRange" in message:
        raise ranges_unsupported(key) from None


class _Source:
    """An object read through obstore; see `payloadfs.stores._ranges.Source`."""

    def __init__(self, client: Callable[[], Any], key: str, name: str, size_bytes: int) -> None:
        self._client, self._name = client, name
        self.key, self.size_bytes = key, size_bytes

    def open_range(self, part: ByteRange) -> Iterator[memoryview]:
        import obstore

        options: Any = {"range": (part.start, part.stop)} if part.size_bytes < self.size_bytes else None
        try:
            result = obstore.get(self._client(), self._name, options=options)
        except Exception as error:
            _raise_size_error(error, self.key, self.size_bytes, f"at most {part.start}")
            raise
        if result.meta["size"] != self.size_bytes:
            raise wrong_size(self.key, self.size_bytes, str(result.meta["size"]))
        return map(memoryview, result.stream(min_chunk_size=_CHUNK_BYTES))
