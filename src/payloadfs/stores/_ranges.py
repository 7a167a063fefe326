"""Reading a remote object: in one range or in several at the same time, into memory or into a file."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from .._buffers import ByteRange, private_memory
from .._operation import current
from ..errors import IntegrityError, StoreError
from ._retry import Retry

MIB = 1024 * 1024
_ONE_RANGE_BYTES = 16 * MIB
MAX_RANGE_BYTES = 32 * MIB
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
    seeking = threading.Lock()

    def sink(start: int, chunk: memoryview) -> None:
        while chunk.nbytes:
            if sys.platform == "win32":
                with seeking:
                    os.lseek(file, start, os.SEEK_SET)
                    written = os.write(file, chunk)
            else:
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

    `open_sink` is called once the server has answered, so that a missing object, or one that is smaller than its
    pointer states, costs no memory.
    """

    def __init__(self, retry: Retry, source: Source, open_sink: Callable[[], Sink]) -> None:
        self._retry, self._source, self._open_sink = retry, source, open_sink
        self._sink: Sink = lambda *_: None
        self._stopped = False
        self._operation = current()
        self._writing: set[int] = set()
        self._errors: list[BaseException] = []

    def watched(self, probe: Callable[[], Any], patience_s: float = float("inf")) -> None:
        """Read the whole object as `run` does, as long as the server is alive; see `Retry.watch`."""
        try:
            self._retry.watch("get", self._source.key, self.run, probe, patience_s=patience_s)
        finally:
            # The sink belongs to the caller: a thread that is still waiting for the server must not write to it.
            self._stopped = True
            while self._writing:
                time.sleep(0.001)

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
        remaining = iter(others)
        # Not an executor, whose threads cannot be used at the end of the program.
        threads = [
            threading.Thread(target=self._work, args=(remaining,), name="payloadfs-get", daemon=True)
            for _ in others[: _CONCURRENCY - 1]
        ]
        for thread in threads:
            with suppress(RuntimeError):  # no thread can start: this one reads everything
                thread.start()
        self._work(iter([first]), opened)
        self._work(remaining)
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        if self._errors:
            try:
                raise self._errors[0]
            finally:
                # The traceback holds this frame: without a cycle, buffers are released immediately.
                self._errors.clear()

    def _work(self, remaining: Iterator[ByteRange], opened: Iterator[memoryview] | None = None) -> None:
        try:
            while not self._stopped and (part := next(remaining, None)) is not None:
                self._read(part, opened)
        except BaseException as error:  # noqa: BLE001  raised by `_run`
            self._errors.append(error)
            self._stopped = True

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
                if not self._write(start, chunk):
                    return
                if self._operation is not None:
                    self._operation.advance(chunk.nbytes)
                start += chunk.nbytes
            if start < part.stop:
                raise ConnectionAbortedError("the response ended early")

        self._retry.call("get", source.key, attempt, is_stopped=lambda: self._stopped)

    def _write(self, start: int, chunk: memoryview) -> bool:
        """Pass `chunk` to the sink, unless the download was stopped."""
        thread = threading.get_ident()
        # In this order, because the caller that stops the download waits until nothing is being written.
        self._writing.add(thread)
        try:
            if not self._stopped:
                self._sink(start, chunk)
            return not self._stopped
        finally:
            self._writing.discard(thread)


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
    count = max(-(-size_bytes // MAX_RANGE_BYTES), min(_CONCURRENCY, -(-size_bytes // _ONE_RANGE_BYTES)))
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
