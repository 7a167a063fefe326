"""The two-level digest: an object is a row of spans, and its tail holds a table of their digests.

::

    span 0 | span 1 | ... | table | trailer | suffix
                            `------ tail ---------'

    table    per span: size u64, kind u64, digest 32 bytes
    trailer  number of spans u64, bytes before the table u64, magic 16 bytes
    suffix   what the format itself needs at the very end (the footer of an Arrow file), or nothing

All numbers are little-endian. The pointer holds the digest of the tail, so pointer > tail > spans
is a chain. A span is *structure* (pickle head, Arrow messages, sidecar: everything that decides
how the rest is read) or *data* (one large buffer). Structure is always checked before it is used;
data is checked too, unless the caller knows that nobody else can have changed it.

Other readers of an Arrow file never see the table: it lies behind the end-of-stream mark and in
front of the footer, which finds batches by their offsets. Where the tail begins is worked out from
bytes that are not yet checked; that is safe, because a wrong guess can't have the right digest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ._buffers import ALIGNMENT, Frame, LazyFrame, chunks, frame_bytes, read_once
from ._digest import DIGEST_BYTES, Algorithm, Digest, Hasher, HashThread, digest_of, digests_of, hasher
from .errors import IntegrityError

__all__ = ["SEAL_FROM_BYTES", "Encoded", "Outgoing", "Seal", "Span", "check", "read_seal", "spans_of"]

SEAL_FROM_BYTES = 256 * 1024
"""Smaller objects have one digest over all their bytes: checking all of it costs under 0.1 ms."""

DATA_FROM_BYTES = 64 * 1024
"""Smaller frames join the structure around them, so they are always checked."""

_THREAD_FROM_BYTES = 1024 * 1024
_ENTRY = struct.Struct(f"<QQ{DIGEST_BYTES}s")
_TRAILER = struct.Struct("<QQ16s")
_MAGIC = b"payloadfs seal 1"
_ARROW_END = struct.Struct("<I6s")
_ARROW_MAGIC = b"ARROW1"
_STRUCTURE, _DATA = 0, 1


@dataclass(frozen=True, slots=True)
class Encoded:
    """An object as a serializer lays it out.

    Parameters
    ----------
    frames : sequence of Frame
        Everything up to the seal, in order.
    extension : str
        Ending of the key, without a dot.
    suffix : bytes
        What the format needs behind the seal.
    sealable : bool
        Whether readers of the format put up with a seal between frames and suffix.
    data : frozenset of int
        Positions of the frames that are data: memory of the user's own, none of which decides how
        the rest is read. Every other frame is structure, however large.
    """

    frames: Sequence[Frame]
    extension: str
    suffix: bytes = b""
    sealable: bool = False
    data: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive frames with one digest; `is_data` if it is one large buffer and its padding."""

    frames: tuple[Frame, ...]
    is_data: bool

    @property
    def size_bytes(self) -> int:
        """How many bytes the span has."""
        return sum(map(frame_bytes, self.frames))


def spans_of(frames: Sequence[Frame], data: frozenset[int]) -> list[Span]:
    """Return `frames`, those at the positions `data` being data, grouped into spans.

    Small data joins the structure around it; a few zeros behind data are its padding.
    """
    groups: list[tuple[list[Frame], bool]] = []
    for position, frame in enumerate(frames):
        if frame_bytes(frame) >= DATA_FROM_BYTES and position in data:
            groups.append(([frame], True))
        elif groups and (not groups[-1][1] or _is_padding(frame)):
            groups[-1][0].append(frame)
        else:
            groups.append(([frame], False))
    return [Span(tuple(group), is_data) for group, is_data in groups]


def _is_padding(frame: Frame) -> bool:
    return isinstance(frame, memoryview) and frame.nbytes < ALIGNMENT and not any(frame)


class Outgoing:
    """The bytes of one object on their way into a store, hashed while they are read.

    Iterating yields them in order, in pieces of at most `CHUNK_BYTES`; a store that has to try
    again iterates again. From 1 MiB on, a second thread hashes them while the consumer writes. A
    piece is valid until the next one is asked for; one of less than `SMALL_BYTES` stays valid.

    Parameters
    ----------
    encoded : Encoded
        From a serializer.
    algorithm : {"b3", "s256"}
        For every digest of the object.
    """

    def __init__(self, encoded: Encoded, algorithm: Algorithm) -> None:
        # Pieces that are made when asked for may share their memory.
        self.stable = not any(isinstance(frame, LazyFrame) for frame in encoded.frames)
        self._suffix = encoded.suffix
        self._algorithm: Algorithm = algorithm
        size_bytes = sum(map(frame_bytes, encoded.frames)) + len(encoded.suffix)
        # A seal in front of a suffix that `read_seal` would not find again could never be read.
        found = _suffix_bytes(memoryview(encoded.suffix)) == len(encoded.suffix)
        self._sealed = encoded.sealable and found and size_bytes >= SEAL_FROM_BYTES
        if self._sealed:
            self._spans = spans_of(encoded.frames, encoded.data)
            size_bytes += len(self._spans) * _ENTRY.size + _TRAILER.size
        else:
            self._spans = [Span((*encoded.frames, memoryview(encoded.suffix)), is_data=False)]
        self.size_bytes = size_bytes
        self._digest: Digest | None = None

    @property
    def digest(self) -> Digest:
        """What goes into the pointer."""
        if self._digest is None:
            raise RuntimeError("The digest is known once all bytes were read.")
        return self._digest

    def __iter__(self) -> Iterator[memoryview]:
        if self.size_bytes < _THREAD_FROM_BYTES:
            yield from self._pieces(_Inline())
            return
        beside = HashThread()
        try:
            yield from self._pieces(beside)
        finally:
            beside.close()

    def _pieces(self, hashing: HashThread | _Inline) -> Iterator[memoryview]:
        states, offset = [], 0
        for span in self._spans:
            states.append(state := hasher(self._algorithm))
            for frame in span.frames:
                for piece in chunks(frame, offset):
                    hashing.update(state, piece)
                    yield piece
                    if isinstance(frame, LazyFrame):
                        # The next piece may take this one's place in memory.
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
    """Hashes at once: below 1 MiB a thread would cost more than it saves."""

    def update(self, state: Hasher, piece: memoryview) -> None:
        state.update(piece)

    def settle(self) -> None:
        """Nothing is under way."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The table at the end of an object: per span its size, whether it is data, and its digest."""

    spans: tuple[tuple[int, bool, bytes], ...]
    tail_bytes: int


def read_seal(buffer: memoryview) -> Seal | None:
    """Return the seal at the end of `buffer`, or None if there is none that fits. Not verified."""
    trailer_at = buffer.nbytes - _suffix_bytes(buffer) - _TRAILER.size
    if trailer_at < 0:
        return None
    count, body_bytes, magic = _TRAILER.unpack_from(buffer, trailer_at)
    if magic != _MAGIC or trailer_at - count * _ENTRY.size != body_bytes:
        return None
    entries = _ENTRY.iter_unpack(buffer[body_bytes:trailer_at])
    spans = tuple((size, kind == _DATA, digest) for size, kind, digest in entries)
    if sum(size for size, _, _ in spans) != body_bytes:
        return None
    return Seal(spans, buffer.nbytes - body_bytes)


def _suffix_bytes(buffer: memoryview) -> int:
    """Return how many bytes at the end of `buffer` are the footer of an Arrow file."""
    if buffer.nbytes < _ARROW_END.size:
        return 0
    footer_bytes, magic = _ARROW_END.unpack_from(buffer, buffer.nbytes - _ARROW_END.size)
    return int(footer_bytes) + _ARROW_END.size if magic == _ARROW_MAGIC else 0


def check(buffer: memoryview, digest: Digest, *, data: bool) -> None:
    """Return if `buffer` holds the bytes that `digest` stands for.

    Parameters
    ----------
    buffer : memoryview
        The whole object.
    digest : Digest
        From a pointer.
    data : bool
        Check data spans too. False is for memory that nobody else can have changed.

    Raises
    ------
    IntegrityError
        They differ. Nothing was decoded.

    Notes
    -----
    Cost: no copy. Structure and tail are hashed, without staying in memory if they are mapped; with
    `data`, every byte is, once, on all cores.
    """
    if not digest.sealed:
        if digest_of([buffer], digest.algorithm) != digest.value:
            raise _changed("the object's bytes")
        return
    seal = read_seal(buffer)
    if seal is None:
        raise _changed("the object's tail")
    if digest_of([buffer[-seal.tail_bytes :]], digest.algorithm) != digest.value:
        raise _changed("the object's tail")
    start, chosen = 0, []
    for size, is_data, expected in seal.spans:
        if data or not is_data:
            chosen.append((start, start + size, expected))
        start += size
    # What a load does not touch otherwise is let go of; all of the data is hashed quicker in one piece.
    pieces = _in_one_piece if data else read_once
    found = digests_of([buffer[start:stop] for start, stop, _ in chosen], digest.algorithm, pieces)
    for (start, stop, expected), value in zip(chosen, found, strict=True):
        if value != expected:
            raise _changed(f"bytes {start} to {stop}")


def _changed(what: str) -> IntegrityError:
    return IntegrityError(f"{what[0].upper()}{what[1:]} are not those that were saved.", kind="digest")


def _in_one_piece(part: memoryview) -> tuple[memoryview]:
    return (part,)
