"""In-memory file that spills to disk, for the head of a tree."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from ..._buffers import Frame, LazyFrame, as_bytes

_IN_MEMORY_BYTES = 4 * 1024 * 1024
_READ_BYTES = 1024 * 1024


class Spool:
    """In-memory file; beyond 4 MiB it spills to a temporary file, which lives as long as the frames."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._file: Any = None
        self._reading = threading.Lock()
        self.size_bytes = 0

    def write(self, piece: bytes) -> None:
        """Append `piece`."""
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        self.size_bytes += len(piece)
        if self._held_bytes > _IN_MEMORY_BYTES:
            self._spill()

    def frames(self) -> list[Frame]:
        """Return all that was written."""
        held: list[Frame] = [as_bytes(piece) for piece in self._pieces]
        if self._file is None:
            return held
        return [LazyFrame(self.size_bytes - self._held_bytes, self._written), *held]

    def _spill(self) -> None:
        # Unbuffered: a buffer would be written again when the file is closed, even if the disk is full.
        self._file = self._file or tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  see __del__
        for piece in self._pieces:
            remaining = memoryview(piece)
            while remaining:
                remaining = remaining[self._file.write(remaining) :]
        self._pieces, self._held_bytes = [], 0

    def _written(self) -> Iterator[memoryview]:
        start = 0
        while piece := self._read_at(start):
            yield memoryview(piece)
            start += len(piece)

    def _read_at(self, start: int) -> bytes:
        if sys.platform == "win32":
            with self._reading:
                self._file.seek(start)
                piece: bytes = self._file.read(_READ_BYTES)
                return piece
        else:
            return os.pread(self._file.fileno(), _READ_BYTES, start)

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
