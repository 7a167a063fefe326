"""Objects that are read in one range or in several at once, whoever sends the requests, and where their bytes go."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol

from .._buffers import ByteRange
from ._retry import Patience
from ._transfer import split, wrong_size

__all__ = ["Reading", "Sink", "Source", "into_buffer", "into_file"]

Sink = Callable[[int, memoryview], None]
"""Takes bytes of an object and where in it they begin; from several threads, in any order."""

_RANGES_AT_ONCE = 8


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


class Source(Protocol):
    """An object, by its key and the size that it should have, and who asks for its bytes."""

    @property
    def key(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    def opened(self, part: ByteRange) -> Iterator[memoryview]:
        """Ask for `part` and return its bytes in chunks, each valid until the next; raise if the object has another size."""
        ...


class Reading:
    """One object on its way here.

    Parameters
    ----------
    patience : Patience
        Sends requests again, and translates errors.
    source : Source
        The object.
    sink : Sink
        Where its bytes go.
    """

    def __init__(self, patience: Patience, source: Source, sink: Sink) -> None:
        self._patience, self._source, self._sink = patience, source, sink
        self._stopped = False

    def whole(self) -> None:
        """Read all of it. One GET if it is missing or small; else one per range, at most eight at once."""
        first, *others = split(self._source.size_bytes)
        # Alone until it is answered: a missing object costs one request, not eight.
        opened = self._patience.tried("get", self._source.key, lambda: self._source.opened(first))
        if not others:
            self.part(first, opened)
            return
        # Here, since it loads logging: a small load does without.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(len(others), _RANGES_AT_ONCE - 1), thread_name_prefix="payloadfs-get") as pool:
            jobs = [pool.submit(self.part, part) for part in others]
            try:
                self.part(first, opened)
                for job in jobs:
                    job.result()
            finally:
                self._stopped = True
                pool.shutdown(wait=True, cancel_futures=True)

    def part(self, part: ByteRange, opened: Iterator[memoryview] | None = None) -> None:
        """Read one part, from its answer if that is `opened`. One GET."""
        source, start = self._source, part.start

        def attempt() -> None:
            nonlocal start, opened
            # What arrived before a break is not fetched again.
            chunks, opened = opened or source.opened(ByteRange(start, part.stop)), None
            for chunk in chunks:
                self._patience.heard()
                if start + chunk.nbytes > part.stop:
                    raise wrong_size(source.key, source.size_bytes, "more")
                self._sink(start, chunk)
                start += chunk.nbytes
                if self._stopped:
                    return
            if start < part.stop:
                raise ConnectionAbortedError("the answer ended early")

        self._patience.tried("get", source.key, attempt, lambda: self._stopped)
