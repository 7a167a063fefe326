"""The two-level digest: an object is a sequence of spans, and its tail holds a table of their digests.

::

    span 0 | span 1 | ... | table | trailer | suffix
                            `------ tail ---------'

    table    per span: size u64, kind u64, digest 32 bytes
    trailer  number of spans u64, bytes before the table u64, magic 16 bytes
    suffix   what the format itself needs at the very end (the footer of an Arrow file), or empty

All numbers are little-endian. The pointer holds the digest of the tail, and the tail holds the digests
of the spans. A span is *structure* (pickle stream, Arrow messages, sidecar: everything that decides how
the other bytes are read) or *data* (one large buffer). Structure is always checked before use. Data is
checked too, unless the caller knows that no other user can have changed it.

Other readers of an Arrow file never see the table: it is after the end-of-stream mark and before the
footer, which locates batches by their offsets. The start of the tail is computed from bytes that are
not checked yet. That is safe, because a wrong start cannot have the right digest.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ._buffers import ALIGNMENT, Frame, LazyFrame, chunks, forget_pages, frame_bytes, read_once
from ._digest import DIGEST_BYTES, Algorithm, Digest, Hasher, HashThread, digest_of, digests_of, hasher
from ._operation import current
from .errors import IntegrityError

SEAL_FROM_BYTES = 256 * 1024
"""Smaller objects have one digest of all their bytes: checking them costs less than 0.1 ms."""

DATA_FROM_BYTES = 64 * 1024
"""Smaller frames become part of the structure around them, so they are always checked."""

SPANS_UNTIL_FORGOTTEN = 4
"""Number of parts of a mapped object that are read before their pages are released."""

_THREAD_FROM_BYTES = 1024 * 1024
_ENTRY = struct.Struct(f"<QQ{DIGEST_BYTES}s")
_TRAILER = struct.Struct("<QQ16s")
_MAGIC = b"payloadfs seal 1"
_ARROW_END = struct.Struct("<I6s")
_ARROW_MAGIC = b"ARROW1"
_STRUCTURE, _DATA = 0, 1


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded object, as a serializer returns it.

    Parameters
    ----------
    frames : sequence of Frame
        All bytes before the seal, in order.
    extension : str
        File extension of the key, without the dot.
    suffix : bytes
        What the format needs after the seal.
    sealable : bool
        Whether readers of the format ignore a seal between frames and suffix.
    data : frozenset of int
        Positions of the frames that are data: the user's buffers, which do not decide how other bytes
        are read. All other frames are structure, however large they are.
    starts : frozenset of int
        Positions of the frames that begin a new span: the objects inside a container that a reader
        may fetch and verify alone.
    """

    frames: Sequence[Frame]
    extension: str
    suffix: bytes = b""
    sealable: bool = False
    data: frozenset[int] = frozenset()
    starts: frozenset[int] = frozenset()

    @property
    def size_bytes(self) -> int:
        """Size of the object without a seal."""
        return sum(map(frame_bytes, self.frames)) + len(self.suffix)


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive frames with one digest; `is_data` if they are one large buffer and its padding."""

    frames: tuple[Frame, ...]
    is_data: bool

    @property
    def size_bytes(self) -> int:
        """Size of the span."""
        return sum(map(frame_bytes, self.frames))


def spans_of(frames: Sequence[Frame], data: frozenset[int], starts: frozenset[int] = frozenset()) -> list[Span]:
    """Group `frames` into spans; `data` and `starts` are those of `Encoded`.

    Small data becomes part of the structure around it. A few zeros after data are its padding.
    """
    groups: list[tuple[list[Frame], bool]] = []
    for position, frame in enumerate(frames):
        if frame_bytes(frame) >= DATA_FROM_BYTES and position in data:
            groups.append(([frame], True))
        elif groups and position not in starts and (not groups[-1][1] or _is_padding(frame)):
            groups[-1][0].append(frame)
        else:
            groups.append(([frame], False))
    return [Span(tuple(group), is_data) for group, is_data in groups]


def _is_padding(frame: Frame) -> bool:
    return isinstance(frame, memoryview) and frame.nbytes < ALIGNMENT and not any(frame)


class Outgoing:
    """The bytes of one object that is being stored, hashed while they are read.

    Iterating yields the bytes in order, in pieces of at most `CHUNK_BYTES`. A store that retries iterates
    again. From 1 MiB on, a second thread hashes them while the consumer writes. A piece is valid until
    the next one is requested; pieces smaller than `SMALL_BYTES` stay valid.
    """

    def __init__(self, encoded: Encoded, algorithm: Algorithm) -> None:
        # The pieces of a lazy frame may reuse the same memory.
        self.stable = not any(isinstance(frame, LazyFrame) for frame in encoded.frames)
        self._suffix = encoded.suffix
        self._algorithm: Algorithm = algorithm
        size_bytes = encoded.size_bytes
        # A seal before a suffix that `read_seal` does not recognize could never be read.
        is_known_suffix = suffix_bytes(memoryview(encoded.suffix)) == len(encoded.suffix)
        self._sealed = encoded.sealable and is_known_suffix and size_bytes >= SEAL_FROM_BYTES
        if self._sealed:
            self._spans = spans_of(encoded.frames, encoded.data, encoded.starts)
            size_bytes += len(self._spans) * _ENTRY.size + _TRAILER.size
        else:
            self._spans = [Span((*encoded.frames, memoryview(encoded.suffix)), is_data=False)]
        self.size_bytes = size_bytes
        self._digest: Digest | None = None
        self._operation = current()

    @property
    def digest(self) -> Digest:
        """The digest for the pointer. Known once all bytes were read."""
        if self._digest is None:
            raise RuntimeError("The digest is not known until all bytes have been read.")
        return self._digest

    def __iter__(self) -> Iterator[memoryview]:
        if self.size_bytes < _THREAD_FROM_BYTES:
            yield from self._pieces(_Inline())
            return
        if self._operation is not None:
            self._operation.restart()
        thread = HashThread()
        try:
            for piece in self._pieces(thread):
                yield piece
                if self._operation is not None:
                    self._operation.advance(piece.nbytes)
        finally:
            thread.close()

    def _pieces(self, hashing: HashThread | _Inline) -> Iterator[memoryview]:
        states, offset = [], 0
        for span in self._spans:
            states.append(state := hasher(self._algorithm))
            for frame in span.frames:
                for piece in chunks(frame, offset):
                    hashing.update(state, piece)
                    yield piece
                    if isinstance(frame, LazyFrame):
                        # The next piece may reuse this memory.
                        hashing.settle()
                offset += frame_bytes(frame)
        hashing.settle()
        digests = [state.digest() for state in states]
        if not self._sealed:
            self._digest = Digest(self._algorithm, digests[0])
            return
        tail = self._tail(digests)
        self._digest = Digest(self._algorithm, digest_of([tail], self._algorithm), sealed=True)
        yield memoryview(tail)

    def _tail(self, digests: list[bytes]) -> bytes:
        entries = [
            _ENTRY.pack(span.size_bytes, _DATA if span.is_data else _STRUCTURE, digest)
            for span, digest in zip(self._spans, digests, strict=True)
        ]
        body_bytes = sum(span.size_bytes for span in self._spans)
        return b"".join([*entries, _TRAILER.pack(len(entries), body_bytes, _MAGIC), self._suffix])


class _Inline:
    """The hashing of small objects in the caller's thread: below 1 MiB a second thread costs more than it saves."""

    def update(self, state: Hasher, piece: memoryview) -> None:
        state.update(piece)

    def settle(self) -> None:
        """Do nothing: everything is hashed already."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The table at the end of an object: per span its size, whether it is data, and its digest."""

    spans: tuple[tuple[int, bool, bytes], ...]
    tail_bytes: int


def read_seal(buffer: memoryview) -> Seal | None:
    """Return the seal at the end of `buffer`, or None if it is missing or inconsistent. It is not verified."""
    trailer_start = buffer.nbytes - suffix_bytes(buffer) - _TRAILER.size
    if trailer_start < 0:
        return None
    count, body_bytes, magic = _TRAILER.unpack_from(buffer, trailer_start)
    if magic != _MAGIC or trailer_start - count * _ENTRY.size != body_bytes:
        return None
    entries = _ENTRY.iter_unpack(buffer[body_bytes:trailer_start])
    spans = tuple((size, kind == _DATA, digest) for size, kind, digest in entries)
    if sum(size for size, _, _ in spans) != body_bytes:
        return None
    return Seal(spans, buffer.nbytes - body_bytes)


def suffix_bytes(buffer: memoryview) -> int:
    """Return the size of the Arrow file footer at the end of `buffer`, or 0."""
    if buffer.nbytes < _ARROW_END.size:
        return 0
    footer_bytes, magic = _ARROW_END.unpack_from(buffer, buffer.nbytes - _ARROW_END.size)
    return int(footer_bytes) + _ARROW_END.size if magic == _ARROW_MAGIC else 0


def check(buffer: memoryview, digest: Digest, *, data: bool) -> None:
    """Raise IntegrityError if the whole object `buffer` does not have the digest `digest`. Nothing was decoded.

    Without `data`, data spans are not checked: for memory that no other user can have changed.

    Cost: no copy. Structure and tail are hashed; if they are mapped, their pages are released again.
    With `data`, every byte is hashed once, on all cores.
    """
    if not digest.sealed:
        if digest_of([buffer], digest.algorithm) != digest.value:
            raise _changed("The object's bytes")
        return
    seal = read_seal(buffer)
    if seal is None or digest_of([buffer[-seal.tail_bytes :]], digest.algorithm) != digest.value:
        raise _changed("The object's tail")
    start, chosen = 0, []
    for size, is_data, expected in seal.spans:
        if data or not is_data:
            chosen.append((start, start + size, expected))
        start += size
    # Pages that decoding does not read again must not stay in memory; all data is hashed faster in one piece.
    pieces = (lambda part: (part,)) if data else _read_here_and_there()
    actual = digests_of([buffer[start:stop] for start, stop, _ in chosen], digest.algorithm, pieces)
    for (start, stop, expected), value in zip(chosen, actual, strict=True):
        if value != expected:
            raise _changed(f"Bytes {start} to {stop} of the object")


def _changed(what: str) -> IntegrityError:
    return IntegrityError(f"{what} changed after it was saved.", kind="digest")


def _read_here_and_there() -> Callable[[memoryview], Iterator[memoryview]]:
    count = itertools.count(1)

    def pieces(part: memoryview) -> Iterator[memoryview]:
        yield from read_once(part)
        if next(count) % SPANS_UNTIL_FORGOTTEN == 0:
            forget_pages(part)

    return pieces
