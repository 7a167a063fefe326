"""Reading a remote object: in one range or in several at the same time, into memory or into a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol

from .._buffers import ByteRange, private_memory
from ..errors import IntegrityError, StoreError
from ._retry import Retry

__all__ = ["MIB", "Memory", "RangedDownload", "Sink", "Source", "into_file", "ranges_unsupported", "wrong_size"]

MIB = 1024 * 1024
_ONE_RANGE_BYTES = 16 * MIB
_MAX_RANGE_BYTES = 32 * MIB
_CONCURRENCY = 8

Sink = Callable[[int, memoryview], None]
"""Called with an offset in the object and the bytes there, by several threads, in any order."""


class Memory:
    """Private memory of `size_bytes` bytes, allocated by `open_sink`."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self.buffer = memoryview(b"")

    def open_sink(self) -> Sink:
        """Allocate the memory and return a sink that fills it. One copy."""
        self.buffer = buffer = private_memory(self._size_bytes)

        def sink(start: int, chunk: memoryview) -> None:
            buffer[start : start + chunk.nbytes] = chunk

        return sink


def into_file(file: int) -> Sink:
    """Return a sink that writes into the descriptor `file`, whatever its position."""

    def sink(start: int, chunk: memoryview) -> None:
        while chunk.nbytes:
            written = os.pwrite(file, chunk, start)
            start, chunk = start + written, chunk[written:]

    return sink


class Source(Protocol):
    """A remote object with the size that its pointer states."""

    @property
    def key(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    def open_range(self, part: ByteRange) -> Iterator[memoryview]:
        """Request `part` and return its bytes in chunks, each valid until the next.

        Raises
        ------
        IntegrityError
            The object has another size.
        """
        ...


class RangedDownload:
    """A download of one object.

    Parameters
    ----------
    retry : Retry
        Sends requests again and translates errors.
    source : Source
        The object.
    open_sink : callable
        Returns what receives its bytes. Called once the server has answered, so that a missing object, or
        one that is smaller than its pointer states, costs no memory.
    """

    def __init__(self, retry: Retry, source: Source, open_sink: Callable[[], Sink]) -> None:
        self._retry, self._source, self._open_sink = retry, source, open_sink
        self._sink: Sink = lambda *_: None
        self._stopped = False

    def run(self) -> None:
        """Read the whole object. One request if it is small or missing, else one for each range, eight at a time."""
        self._retry.once("get", self._source.key, self._run)

    def _run(self) -> None:
        size_bytes = self._source.size_bytes
        step = range_bytes(size_bytes)
        first = ByteRange(0, min(step, size_bytes))
        # Alone until the server answers: a missing object costs one request, not eight.
        opened = self._retry.call("get", self._source.key, lambda: self._source.open_range(first))
        self._sink = self._open_sink()
        others = [ByteRange(start, min(start + step, size_bytes)) for start in range(step, size_bytes, step)]
        if not others:
            self._read(first, opened)
            return
        # Here, because it imports logging, which a small load does without.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(len(others), _CONCURRENCY - 1), thread_name_prefix="payloadfs-get") as pool:
            jobs = [pool.submit(self._read, part) for part in others]
            try:
                self._read(first, opened)
                for job in jobs:
                    job.result()
            finally:
                self._stopped = True
                pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, part: ByteRange, opened: Iterator[memoryview] | None = None) -> None:
        source, start = self._source, part.start

        def attempt() -> None:
            nonlocal start, opened
            # What arrived before the connection was lost is not requested again.
            chunks, opened = opened or source.open_range(ByteRange(start, part.stop)), None
            for chunk in chunks:
                self._retry.note_response()
                if start + chunk.nbytes > part.stop:
                    raise wrong_size(source.key, source.size_bytes, "more")
                self._sink(start, chunk)
                start += chunk.nbytes
                if self._stopped:
                    return
            if start < part.stop:
                raise ConnectionAbortedError("the response ended early")

        self._retry.call("get", source.key, attempt, is_stopped=lambda: self._stopped)


def range_bytes(size_bytes: int) -> int:
    """Return the size of the ranges in which an object of `size_bytes` bytes is read.

    Up to 16 MiB it is one range; beyond, even ranges of 8 to 32 MiB, so that up to eight streams
    end at about the same time. Smaller ranges cost real servers more than they gain.

    Examples
    --------
    >>> range_bytes(64 * MIB) == 16 * MIB
    True
    """
    if size_bytes <= _ONE_RANGE_BYTES:
        return max(size_bytes, 1)
    count = max(-(-size_bytes // _MAX_RANGE_BYTES), min(_CONCURRENCY, -(-size_bytes // _ONE_RANGE_BYTES)))
    return -(-size_bytes // count)


def wrong_size(key: str, size_bytes: int, actual: str) -> IntegrityError:
    """Return the error for an object whose size is not the one that its pointer states."""
    return IntegrityError(f"The object {key!r} should have {size_bytes} bytes but has {actual}.", kind="size")


def ranges_unsupported(key: str) -> StoreError:
    """Return the error for a response that is not the range that was requested."""
    return StoreError(
        f"Cannot get {key!r}: the server ignored the Range header and did not send the requested bytes.",
        kind="ranges-unsupported",
    )
