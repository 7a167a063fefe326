"""Memory and the parts of a stored object: frames, padding, byte ranges.

A *frame* is one contiguous part of an object that is being written. Most frames are views of memory
that the value already owns. A `LazyFrame` creates its bytes piece by piece, so even a column that is
strided in memory is stored without a second copy.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .errors import EncodeError

ALIGNMENT = 64
"""Data starts at multiples of this many bytes: the size of a cache line, which Arrow recommends."""

CHUNK_BYTES = 4 * 1024 * 1024
"""Size of the pieces of large frames: small enough to still be in the cache when they are hashed and written."""

COMPRESSIONS = ("zstd", "lz4")
"""Compression codecs of objects."""

SMALL_BYTES = 256 * 1024
"""Smaller pieces stay valid, so that a store can collect them and write them in one call."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``start`` (included) to ``stop`` (excluded) of an object."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """Size of the range."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class LazyFrame:
    """A frame whose bytes are created each time they are read: `pieces` returns a new iterator over all of them."""

    size_bytes: int
    pieces: Callable[[], Iterator[memoryview]]


Frame = memoryview | LazyFrame


def as_bytes(buffer: bytes | bytearray | memoryview | mmap.mmap) -> memoryview:
    """Return a flat view of the bytes of `buffer`, which must be contiguous. No copy."""
    flat = memoryview(buffer)
    return flat if flat.format == "B" and flat.ndim == 1 else flat.cast("B")


def frame_bytes(frame: Frame) -> int:
    """Return the size of `frame` in bytes."""
    return frame.nbytes if isinstance(frame, memoryview) else frame.size_bytes


def chunks(frame: Frame, offset: int = 0) -> Iterator[memoryview]:
    """Yield the bytes of `frame`, which starts at byte `offset` of an object, in pieces of at most `CHUNK_BYTES`.

    Pieces end at multiples of `CHUNK_BYTES` in the object. A file written that way uses the largest
    pages of the system, and mapping it causes a third of the page faults. Nothing is copied except
    pieces of a `LazyFrame` that are smaller than `SMALL_BYTES`, because these must stay valid.

    Raises
    ------
    EncodeError
        A `LazyFrame` yielded more or fewer bytes than its size: the object could never be read.
    """
    if isinstance(frame, memoryview):
        for start in range(-(offset % CHUNK_BYTES), frame.nbytes, CHUNK_BYTES):
            yield frame[max(start, 0) : start + CHUNK_BYTES]
        return
    actual_bytes = 0
    for piece in frame.pieces():
        actual_bytes += piece.nbytes
        for start in range(0, piece.nbytes, CHUNK_BYTES):
            part = piece[start : start + CHUNK_BYTES]
            yield part if part.nbytes >= SMALL_BYTES else memoryview(bytes(part))
    if actual_bytes != frame_bytes(frame):
        raise EncodeError(f"A frame yielded {actual_bytes} bytes, not {frame_bytes(frame)}.", kind="frame-size")


def padding(size_bytes: int) -> int:
    """Return the number of bytes between `size_bytes` and the next multiple of `ALIGNMENT`."""
    return -size_bytes % ALIGNMENT


def private_memory(size_bytes: int) -> memoryview:
    """Return new, writable, aligned memory of `size_bytes` bytes that only the caller references."""
    if size_bytes < mmap.PAGESIZE:
        return memoryview(bytearray(size_bytes))
    if sys.platform == "win32":
        return memoryview(mmap.mmap(-1, size_bytes))
    else:  # noqa: RET505  for mypy
        return memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class FileMapping(mmap.mmap):
    """A private mapping of a file that does not change.

    Until a page is written to, it can be released: the next access reads it from the file again.
    """

    __slots__ = ()


def read_once(part: memoryview) -> Iterator[memoryview]:
    """Yield `part` in pieces, each of which is read only once.

    If `part` is in a `FileMapping`, which must not have been written to yet, the pages of a piece are
    released when the next piece is requested. Memory use is then that of one piece; no byte is lost.
    """
    if not isinstance(part.obj, FileMapping) or part.nbytes <= CHUNK_BYTES:
        yield part
        return
    for start in range(0, part.nbytes, CHUNK_BYTES):
        piece = part[start : start + CHUNK_BYTES]
        yield piece
        release_pages(piece)


def forget_pages(part: memoryview) -> None:
    """Release all pages of the `FileMapping` of `part`, which must not have been written to. No byte is lost.

    Useful after reading bytes here and there: the system may map 2 MB around each.
    """
    if sys.platform != "win32" and isinstance(part.obj, FileMapping):
        part.obj.madvise(mmap.MADV_DONTNEED)


def release_pages(part: memoryview) -> None:
    """Release the pages of `part`, which the caller no longer reads or writes.

    `part` is private memory such as `Fetched.buffer`; its content is undefined afterwards. Memory
    outside a mapping is not released, and neither are pages that `part` fills only partly. Windows releases none.
    """
    owner = part.obj
    if not isinstance(owner, mmap.mmap) or part.readonly or part.nbytes < mmap.PAGESIZE:
        return
    # Imported here because it takes milliseconds, and only large loads need it.
    from ctypes import addressof, c_char

    start = addressof(c_char.from_buffer(part)) - addressof(c_char.from_buffer(owner))
    first, end = start + -start % mmap.PAGESIZE, (start + part.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if sys.platform != "win32" and first < end:
        owner.madvise(mmap.MADV_DONTNEED, first, end - first)
