"""Memory, and how it is laid out in an object: frames, padding, byte ranges.

A *frame* is one run of bytes on its way into an object. Most are views of memory that the
object already owns; a `LazyFrame` makes its bytes piece by piece, so that even a column that is
strided in memory is stored without a second copy of it.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .errors import EncodeError

__all__ = [
    "ALIGNMENT",
    "CHUNK_BYTES",
    "COMPRESSIONS",
    "SMALL_BYTES",
    "ByteRange",
    "FileMapping",
    "Frame",
    "LazyFrame",
    "as_bytes",
    "chunks",
    "frame_bytes",
    "padding",
    "private_memory",
    "read_once",
    "release_pages",
]

ALIGNMENT = 64
"""Data starts at multiples of this many bytes: a cache line, and what Arrow asks for."""

CHUNK_BYTES = 4 * 1024 * 1024
"""Large frames travel in pieces of this size: hot in cache for the hash that runs beside the write."""

COMPRESSIONS = ("zstd", "lz4")
"""What an object may be compressed with."""

SMALL_BYTES = 256 * 1024
"""Pieces below this size stay valid, so that a store may collect them and write them in one call."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``start`` (included) to ``stop`` (excluded) of an object."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """How many bytes the range has."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class LazyFrame:
    """A frame whose bytes are made when they are asked for, as often as they are.

    Parameters
    ----------
    size_bytes : int
        Total size; `pieces` must give exactly so many bytes.
    pieces : callable
        Gives a fresh iterator over the bytes.
    """

    size_bytes: int
    pieces: Callable[[], Iterator[memoryview]]


Frame = memoryview | LazyFrame


def as_bytes(buffer: bytes | bytearray | memoryview | mmap.mmap) -> memoryview:
    """Return `buffer` as a flat view of bytes. No copy; it must be contiguous."""
    flat = memoryview(buffer)
    return flat if flat.format == "B" and flat.ndim == 1 else flat.cast("B")


def frame_bytes(frame: Frame) -> int:
    """Return how many bytes `frame` has."""
    return frame.nbytes if isinstance(frame, memoryview) else frame.size_bytes


def chunks(frame: Frame, offset: int = 0) -> Iterator[memoryview]:
    """Yield the bytes of `frame`, which begins at byte `offset` of an object, at most `CHUNK_BYTES` at a time.

    Memory is cut where the object has a multiple of `CHUNK_BYTES`: a file that is written in such
    pieces lies in the largest pages that the system has, and is mapped by a third of the faults.
    No copy, but of pieces of less than `SMALL_BYTES` that a `LazyFrame` made: these are to stay valid.

    Raises
    ------
    EncodeError
        A `LazyFrame` gave more or fewer bytes than it said: the object could never be read.
    """
    if isinstance(frame, memoryview):
        for start in range(-(offset % CHUNK_BYTES), frame.nbytes, CHUNK_BYTES):
            yield frame[max(start, 0) : start + CHUNK_BYTES]
        return
    given_bytes = 0
    for piece in frame.pieces():
        given_bytes += piece.nbytes
        for start in range(0, piece.nbytes, CHUNK_BYTES):
            part = piece[start : start + CHUNK_BYTES]
            yield part if part.nbytes >= SMALL_BYTES else memoryview(bytes(part))
    if given_bytes != frame_bytes(frame):
        raise EncodeError(f"A frame gave {given_bytes} bytes, not {frame_bytes(frame)}.", kind="frame-size")


def padding(size_bytes: int) -> int:
    """Return how many bytes bring `size_bytes` to the next multiple of `ALIGNMENT`."""
    return -size_bytes % ALIGNMENT


def private_memory(size_bytes: int) -> memoryview:
    """Return fresh, writable, aligned memory of `size_bytes` bytes that nobody else holds."""
    if size_bytes < mmap.PAGESIZE:
        return memoryview(bytearray(size_bytes))
    return memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class FileMapping(mmap.mmap):
    """A private mapping of a file that does not change. Until it is written to, its pages can be given back and come again."""

    __slots__ = ()


def read_once(part: memoryview) -> Iterator[memoryview]:
    """Yield `part` piece by piece, to be read once.

    Of a `FileMapping`, which nobody has written to yet, each piece is given back to the system when
    the next one is asked for: so the memory that is taken is that of one piece. The bytes stay.
    """
    if not isinstance(part.obj, FileMapping) or part.nbytes <= CHUNK_BYTES:
        yield part
        return
    for start in range(0, part.nbytes, CHUNK_BYTES):
        piece = part[start : start + CHUNK_BYTES]
        yield piece
        release_pages(piece)


def release_pages(part: memoryview) -> None:
    """Let the system take back the pages of `part`, which nobody reads or writes any more.

    `part` is memory as `Fetched.buffer` has it, of the caller's own. What it holds afterwards is undefined.
    Memory that is not mapped by itself stays as it is, and so do pages that `part` shares with others.
    """
    owner = part.obj
    if not isinstance(owner, mmap.mmap) or part.readonly or part.nbytes < mmap.PAGESIZE:
        return
    # Here, since it takes some milliseconds: only large loads come this way.
    from ctypes import addressof, c_char

    start = addressof(c_char.from_buffer(part)) - addressof(c_char.from_buffer(owner))
    first, end = start + -start % mmap.PAGESIZE, (start + part.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if first < end:
        owner.madvise(mmap.MADV_DONTNEED, first, end - first)
