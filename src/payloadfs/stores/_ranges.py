"""Reading a remote object: in one range or in several at the same time, into memory or into a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol

from .._buffers import ByteRange
from ..errors import IntegrityError, StoreError
from ._retry import Retry

__all__ = ["MIB", "RangedDownload", "Sink", "Source", "into_buffer", "into_file", "ranges_unsupported", "wrong_size"]

MIB = 1024 * 1024
_ONE_RANGE_BYTES = 16 * MIB
_MAX_RANGE_BYTES = 32 * MIB
_CONCURRENCY = 8

Sink = Callable[[int, memoryview], None]
"""Called with an offset in the object and the bytes there, by several threads, in any order."""


def into_buffer(buffer: memoryview) -> Sink:
    """Return a sink that fills `buffer`. One copy."""

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
    sink : Sink
        Receives its bytes.
    """

    def __init__(self, retry: Retry, source: Source, sink: Sink) -> None:
        self._retry, self._source, self._sink = retry, source, sink
        self._stopped = False

    def run(self) -> None:
        """Read the whole object. One request if it is small or missing, else one for each range, eight at a time."""
        first, *others = split_ranges(self._source.size_bytes)
        # Alone until the server answers: a missing object costs one request, not eight.
        opened = self._retry.call("get", self._source.key, lambda: self._source.open_range(first))
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


def split_ranges(size_bytes: int) -> list[ByteRange]:
    """Return the ranges in which an object of `size_bytes` bytes is read, in order.

    Up to 16 MiB it is one range; beyond, even ranges of 8 to 32 MiB, so that up to eight streams
    end at about the same time. Smaller ranges cost real servers more than they gain.

    Examples
    --------
    >>> [part.size_bytes for part in split_ranges(64 * MIB)] == [16 * MIB] * 4
    True
    """
    if size_bytes <= _ONE_RANGE_BYTES:
        return [ByteRange(0, size_bytes)]
    count = max(-(-size_bytes // _MAX_RANGE_BYTES), min(_CONCURRENCY, -(-size_bytes // _ONE_RANGE_BYTES)))
    step = -(-size_bytes // count)
    return [ByteRange(start, min(start + step, size_bytes)) for start in range(0, size_bytes, step)]


def wrong_size(key: str, size_bytes: int, actual: str) -> IntegrityError:
    """Return the error for an object whose size is not the one that its pointer states."""
    return IntegrityError(f"The object {key!r} should have {size_bytes} bytes but has {actual}.", kind="size")


def ranges_unsupported(key: str) -> StoreError:
    """Return the error for a response that is not the range that was requested."""
    return StoreError(
        f"Cannot get {key!r}: the server ignored the Range header and did not send the requested bytes.",
        kind="ranges-unsupported",
    )
