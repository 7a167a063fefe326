"""What payloadfs asks of obstore: objects and parts of them, straight to their place, and small creations."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..buffers import ByteRange
from ..errors import StoreError
from ._patience import Patience
from ._transfer import MIB, split, wrong_size

__all__ = ["ObstoreCalls", "Sink", "client_options", "into_buffer", "into_file"]

Sink = Callable[[int, memoryview], None]
"""Takes bytes of an object and where in it they begin; from several threads, in any order."""

_RANGES_AT_ONCE = 8
_CHUNK_BYTES = MIB
_RANGE_NOT_SATISFIABLE = 416
_IDLE_S = 15
_LONGEST_S = 86_400


def client_options(endpoint: str, connect_s: float, read_s: float, ca_file: str | None = None) -> dict[str, Any]:
    """Return what obstore's HTTP client is to do. The only limits are on silence, never on a whole request."""
    from datetime import timedelta

    options: dict[str, Any] = {
        "allow_http": endpoint.startswith("http:"),
        "connect_timeout": timedelta(seconds=connect_s),
        "read_timeout": timedelta(seconds=read_s),
        "timeout": timedelta(seconds=_LONGEST_S),
        "pool_idle_timeout": timedelta(seconds=_IDLE_S),
    }
    if ca_file is not None:
        with open(ca_file, "rb") as file:
            options["root_certificate"] = file.read()
    return options


def into_buffer(buffer: memoryview, first: int = 0) -> Sink:
    """Return a sink that fills `buffer`, which stands for the object from its byte `first` on."""

    def sink(start: int, chunk: memoryview) -> None:
        buffer[start - first : start - first + chunk.nbytes] = chunk

    return sink


def into_file(file: int) -> Sink:
    """Return a sink that writes into the descriptor `file`, wherever it stands."""

    def sink(start: int, chunk: memoryview) -> None:
        while chunk.nbytes:
            written = os.pwrite(file, chunk, start)
            start, chunk = start + written, chunk[written:]

    return sink


class ObstoreCalls:
    """Requests about one bucket or container.

    Parameters
    ----------
    make : callable
        Makes obstore's client, when first needed: obstore is imported there.
    patience : Patience
        Sends requests again, and translates errors.
    """

    def __init__(self, make: Callable[[], Any], patience: Patience) -> None:
        self._make = make
        self._made: Any = None
        self._patience = patience
        self._gives_ranges = True

    @property
    def client(self) -> Any:
        """Obstore's client. No request."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def create(self, key: str, name: str, content: bytes | list[memoryview]) -> None:
        """Make the object `name` of `content`, unless there is one. One PUT."""
        import obstore

        client = self.client
        self._patience.tried("put", key, lambda: obstore.put(client, name, content, mode="create", use_multipart=False))

    def read(self, key: str, name: str, size_bytes: int, sink: Sink) -> None:
        """Give the bytes of the object `name`, which must have `size_bytes`, to `sink`; `key` is for messages.

        One GET if it is missing or small; else one per range, at most eight at once.
        """
        if 0 < size_bytes <= _CHUNK_BYTES and self._gives_ranges:
            try:
                sink(0, self._patience.tried("get", key, lambda: self._small(key, name, size_bytes)))
            except StoreError as error:
                if error.kind != "no-ranges":
                    raise
                self._gives_ranges = False
            else:
                return
        source = _Source(self, key, name, size_bytes, sink)
        first, *others = split(size_bytes)
        # Alone until it is answered: a missing object costs one request, not eight.
        opened = self._patience.tried("get", key, lambda: source.opened(first))
        if not others:
            self._drain(source, first, opened)
            return
        # Here, since it loads logging: a small load does without.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(len(others), _RANGES_AT_ONCE - 1), thread_name_prefix="payloadfs-get") as pool:
            jobs = [pool.submit(self._drain, source, part, None) for part in others]
            try:
                self._drain(source, first, opened)
                for job in jobs:
                    job.result()
            finally:
                source.stopped = True
                pool.shutdown(wait=True, cancel_futures=True)

    def read_range(self, key: str, name: str, part: ByteRange, size_bytes: int, sink: Sink) -> None:
        """Give one part of the object `name`, which must have `size_bytes`, to `sink`. One GET."""
        self._drain(_Source(self, key, name, size_bytes, sink), part, None)

    def _small(self, key: str, name: str, size_bytes: int) -> memoryview:
        """Return the bytes of a small object by one call: after each a thread queues for the interpreter's lock."""
        import obstore

        try:
            # One byte more than there should be tells of an object that is too large.
            content = memoryview(obstore.get_range(self.client, name, start=0, end=size_bytes + 1))
        except Exception as error:
            if _is_unsatisfiable(error):
                raise wrong_size(key, size_bytes, "none") from None
            raise
        if content.nbytes != size_bytes:
            raise wrong_size(key, size_bytes, "more" if content.nbytes > size_bytes else str(content.nbytes))
        return content

    def _drain(self, source: _Source, part: ByteRange, opened: Any) -> None:
        start = part.start

        def attempt() -> None:
            nonlocal start, opened
            # What arrived before a break is not fetched again.
            result, opened = opened or source.opened(ByteRange(start, part.stop)), None
            for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
                self._patience.heard()
                if start + len(chunk) > part.stop:
                    raise wrong_size(source.key, source.size_bytes, "more")
                source.sink(start, memoryview(chunk))
                start += len(chunk)
                if source.stopped:
                    return
            if start < part.stop:
                raise ConnectionAbortedError("the answer ended early")

        self._patience.tried("get", source.key, attempt, lambda: source.stopped)


def _is_unsatisfiable(error: Exception) -> bool:
    return f"status code: {_RANGE_NOT_SATISFIABLE}" in str(error)


class _Source:
    """The object that is read: its key, its name, the size that it should have, and where its bytes go."""

    def __init__(self, calls: ObstoreCalls, key: str, name: str, size_bytes: int, sink: Sink) -> None:
        self._client = calls.client
        self.key, self.name, self.size_bytes, self.sink = key, name, size_bytes, sink
        self.stopped = False

    def opened(self, part: ByteRange) -> Any:
        """Ask for `part`, and return the answer if the object has the right size."""
        import obstore

        options: Any = {"range": (part.start, part.stop)} if part.size_bytes < self.size_bytes else None
        try:
            result = obstore.get(self._client, self.name, options=options)
        except Exception as error:
            if options and _is_unsatisfiable(error):
                raise wrong_size(self.key, self.size_bytes, f"at most {part.start}") from None
            raise
        if result.meta["size"] != self.size_bytes:
            raise wrong_size(self.key, self.size_bytes, str(result.meta["size"]))
        return result
