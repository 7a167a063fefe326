"""The seal: what is written, what a check detects, and that a check raises only IntegrityError."""

from __future__ import annotations

import gc
import itertools
import random
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payloadfs import _seal as seal
from payloadfs._buffers import CHUNK_BYTES, SMALL_BYTES, LazyFrame, as_bytes
from payloadfs._digest import Digest, digest_of, digests_of
from payloadfs._seal import DATA_FROM_BYTES, SEAL_FROM_BYTES, Encoded, Outgoing, check, read_seal, spans_of
from payloadfs.errors import EncodeError, IntegrityError

KIB, MIB = 1024, 1024 * 1024
BORDERS = [64 * KIB, 256 * KIB, 1 * MIB, 4 * MIB]


def _bytes(size: int, seed: int = 0) -> memoryview:
    return as_bytes(random.Random(seed).randbytes(size))


def _lazy(size: int, step: int = 100_000) -> LazyFrame:
    """Return a frame that creates its bytes each time, in pieces of `step`."""

    def pieces() -> Iterator[memoryview]:
        for start in range(0, size, step):
            yield as_bytes(random.Random(start).randbytes(min(step, size - start)))

    return LazyFrame(size, pieces)


def _sent(encoded: Encoded, algorithm: Any = "b3") -> tuple[memoryview, Digest]:
    outgoing = Outgoing(encoded, algorithm)
    stored = b"".join(outgoing)
    assert len(stored) == outgoing.size_bytes
    return memoryview(stored), outgoing.digest


def _arrow_parts() -> tuple[list[Any], bytes]:
    """The bytes of a real Arrow file, cut into frames, and its footer."""
    pa = pytest.importorskip("pyarrow")
    sink = pa.BufferOutputStream()
    batch = pa.record_batch(
        {"a": pa.array(range(40_000), pa.int64()), "b": pa.array(range(10), pa.int64()).take(pa.array([1] * 40_000))}
    )
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    whole = bytes(sink.getvalue())
    (footer_bytes,) = struct.unpack_from("<I", whole, len(whole) - 10)
    footer_at = len(whole) - 10 - footer_bytes
    cuts = [0, 1000, 1000 + 300_000, footer_at]
    return [as_bytes(whole[a:b]) for a, b in itertools.pairwise(cuts)], whole[footer_at:]


ALL = frozenset(range(1000))


def _layouts() -> dict[str, Encoded]:
    frames, suffix = _arrow_parts()
    return {
        "arrow": Encoded(frames, "arrow", suffix, sealable=True, data=ALL),
        "container": Encoded([_bytes(300), _bytes(70 * KIB), as_bytes(bytes(20)), _bytes(200 * KIB, 1), as_bytes(b"end")], "p", sealable=True, data=ALL),
        "structure only": Encoded([_bytes(1000, i) for i in range(300)], "p", sealable=True, data=ALL),
        "one data span": Encoded([_bytes(SEAL_FROM_BYTES)], "p", sealable=True, data=ALL),
        "lazy": Encoded([_bytes(128), _lazy(300 * KIB), as_bytes(bytes(63))], "npy", sealable=True, data=ALL),
        "large structure": Encoded([_bytes(100), _bytes(300 * KIB)], "p", sealable=True),
        "plain": Encoded([_bytes(5000)], "bin"),
        "plain with suffix": Encoded([_bytes(5000)], "arrow", suffix),
        "empty": Encoded([], "bin"),
    }  # fmt: skip


LAYOUTS = _layouts()
SENT = {
    (name, algorithm): _sent(encoded, algorithm) for name, encoded in LAYOUTS.items() for algorithm in ("b3", "s256")
}
SEALED = [name for name in LAYOUTS if SENT[name, "b3"][1].sealed]


def _refused(stored: memoryview | bytes | bytearray, digest: Digest, *, data: bool = True) -> bool:
    """Any exception but IntegrityError goes through and fails the test."""
    try:
        check(memoryview(stored), digest, data=data)
    except IntegrityError:
        return True
    return False


def _positions(size: int, tail: int, algorithm: str) -> list[int]:
    """Every byte of a small object; of a large one every byte of both ends and 700 between."""
    if size <= 6000:
        return list(range(size))
    some = random.Random(algorithm).sample(range(size), 500 if algorithm == "b3" else 100)
    return sorted({*range(200), *some, *range(size - tail - 50, size)})


@pytest.mark.parametrize(("name", "algorithm"), SENT)
def test_unchanged_objects_pass(name: str, algorithm: str) -> None:
    stored, digest = SENT[name, algorithm]
    assert not _refused(stored, digest)
    assert not _refused(stored, digest, data=False)
    assert digest.algorithm == algorithm


def test_layouts_are_as_intended() -> None:
    assert SEALED == ["arrow", "container", "structure only", "one data span", "lazy", "large structure"]
    kinds = {name: [kind for _, kind, _ in _seal(name).spans] for name in SEALED}
    assert kinds == {
        "arrow": [False, True, True],
        "container": [False, True, True, False],
        "structure only": [False],
        "one data span": [True],
        "lazy": [False, True],
        "large structure": [False],
    }


def _seal(name: str) -> Any:
    seal = read_seal(SENT[name, "b3"][0])
    assert seal is not None
    return seal


@pytest.mark.parametrize(("name", "algorithm"), SENT)
def test_every_flip_is_detected(name: str, algorithm: str) -> None:
    stored, digest = SENT[name, algorithm]
    tail = _seal(name).tail_bytes if digest.sealed else 0
    changed = bytearray(stored)
    for position in _positions(len(stored), tail, algorithm):
        changed[position] ^= 1 << position % 8
        assert _refused(changed, digest), position
        changed[position] = stored[position]
    assert changed == stored


@pytest.mark.parametrize("name", SEALED)
def test_flips_in_structure_and_tail_are_detected_without_data(name: str) -> None:
    stored, digest = SENT[name, "b3"]
    changed = bytearray(stored)
    start, found = 0, []
    for size, is_data, _ in [*_seal(name).spans, (_seal(name).tail_bytes, False, b"")]:
        for position in {start, start + size // 3, start + size - 1, *range(start, start + size, max(1, size // 200))}:
            changed[position] ^= 0x80
            assert _refused(changed, digest, data=False) is not is_data, position
            changed[position] = stored[position]
        found.append(is_data)
        start += size
    assert start == len(stored)
    assert False in found


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_truncation_and_growth_is_detected(name: str) -> None:
    stored, digest = SENT[name, "b3"]
    sizes = range(len(stored)) if len(stored) <= 6000 else _positions(len(stored), 1000, "b3")
    for size in sizes:
        assert _refused(stored[:size], digest), size
        if size:
            assert _refused(stored[size:], digest, data=False), size
    for more in (
        b"\0",
        b"x",
        bytes(48),
        bytes(stored[-100:]),
        bytes(stored),
        b"ARROW1",
        b"\xff\xff\xff\xffARROW1",
        b"payloadfs seal 1",
    ):
        if more:
            assert _refused(bytes(stored) + more, digest), more
            assert _refused(more + bytes(stored), digest, data=False), more


TRAILERS = [
    struct.pack("<QQ16s", count, body, b"payloadfs seal 1")
    for count in (0, 1, 2, 5, 2**32, 2**63, 2**64 - 1)
    for body in (0, 1, 48, 100, 2**32, 2**63, 2**64 - 1, 2**64 - 48)
]


@pytest.mark.parametrize(
    "suffix", [b"", b"\0\0\0\0ARROW1", b"\xff\xff\xff\xffARROW1", b"\x20\0\0\0ARROW1", b"\x05\0\0\0ARROW1"]
)
def test_forged_tails_raise_no_other_error(suffix: bytes) -> None:
    sealed = Digest("b3", bytes(32), sealed=True)
    for trailer in TRAILERS:
        for body in (b"", bytes(48), bytes(100), b"\xff" * 148, struct.pack("<QQ32s", 2**64 - 1, 7, b"") * 2):
            forged = memoryview(body + trailer + suffix)
            assert _refused(forged, sealed)
            # Even if the tail were the right one: then its spans must be.
            seal = read_seal(forged)
            if seal is not None and seal.spans:
                assert _refused(forged, Digest("b3", digest_of([forged[-seal.tail_bytes :]], "b3"), sealed=True))


@pytest.mark.parametrize(
    "sizes", [[], [50], [99], [50, 49], [101], [50, 51], [100, 0, 1], [0], [200], [2**64 - 1, 101]]
)
def test_a_table_that_does_not_cover_the_body_is_refused(sizes: list[int]) -> None:
    # All digests match, but the bytes between the last span and the table would not be checked.
    body, table, start = bytes(_bytes(100)), b"", 0
    for size in sizes:
        table += struct.pack("<QQ32s", size, 0, digest_of([body[start : start + size]], "b3"))
        start += size
    tail = table + struct.pack("<QQ16s", len(sizes), 100, b"payloadfs seal 1")
    assert _refused(body + tail, Digest("b3", digest_of([tail], "b3"), sealed=True))


@given(st.binary(max_size=200))
def test_read_seal_never_raises(raw: bytes) -> None:
    assert read_seal(memoryview(raw)) is None
    assert _refused(raw, Digest("s256", bytes(32), sealed=True))


@pytest.mark.parametrize("name", LAYOUTS)
def test_plain_and_sealed_digests_are_not_interchangeable(name: str) -> None:
    stored, digest = SENT[name, "b3"]
    assert _refused(stored, replace(digest, sealed=not digest.sealed))
    assert _refused(stored, replace(digest, algorithm="s256"))
    if digest.sealed:
        tail = stored[-_seal(name).tail_bytes :]
        # The tail alone has the value of the sealed digest, but no body that fits its table.
        assert digest_of([tail], "b3") == digest.value
        assert _refused(tail, digest)
        plain = Digest("b3", digest_of([stored], "b3"))
        assert not _refused(stored, plain)
        assert _refused(stored, replace(plain, sealed=True))


def test_spans_swapped_between_objects_are_detected() -> None:
    encoded = LAYOUTS["container"]
    other = _sent(replace(encoded, frames=[encoded.frames[0], _bytes(70 * KIB, 9), *encoded.frames[2:]]))
    stored, digest = SENT["container", "b3"]
    assert len(other[0]) == len(stored)
    assert _refused(other[0], digest, data=False)
    # One span of the other object, under the one tail and under the other.
    mixed = bytearray(stored)
    mixed[300 : 300 + 70 * KIB] = other[0][300 : 300 + 70 * KIB]
    assert _refused(mixed, digest)
    assert _refused(mixed, other[1])
    tail_bytes = _seal("container").tail_bytes
    mixed = bytearray(stored)
    mixed[-tail_bytes:] = other[0][-tail_bytes:]
    assert _refused(mixed, digest, data=False)
    assert _refused(mixed, other[1])


@pytest.mark.parametrize("algorithm", ["b3", "s256"])
@pytest.mark.parametrize("size", [0, 1, *(border + step for border in BORDERS for step in (-1, 0, 1)), 9 * MIB + 5])
def test_outgoing_at_every_border(size: int, algorithm: Any) -> None:
    layouts: list[list[Any]] = [[_bytes(size)], [_lazy(size)], [_bytes(100), _lazy(size, 6 * MIB), as_bytes(b"")]]
    for frames in layouts:
        for sealable in (False, True):
            outgoing = Outgoing(Encoded(frames, "bin", sealable=sealable, data=ALL), algorithm)
            with pytest.raises(RuntimeError):
                _ = outgoing.digest
            pieces = [bytes(piece) for piece in outgoing]
            first = outgoing.digest
            assert max(map(len, pieces), default=0) <= CHUNK_BYTES
            stored = b"".join(pieces)
            assert len(stored) == outgoing.size_bytes
            # A store that retries iterates again.
            assert b"".join(outgoing) == stored
            assert outgoing.digest == first
            assert first.sealed is (sealable and sum(_size(frame) for frame in frames) >= SEAL_FROM_BYTES)
            assert not _refused(stored, first)


def _size(frame: Any) -> int:
    return frame.size_bytes if isinstance(frame, LazyFrame) else int(frame.nbytes)


def _digest_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("payloadfs-digest")]


@pytest.mark.parametrize("leave", ["close", "drop", "raise"])
@pytest.mark.parametrize("after", [1, 3, 5])  # of five pieces
def test_an_abandoned_iterator_leaves_no_thread(leave: str, after: int) -> None:
    pieces = iter(Outgoing(Encoded([_bytes(17 * MIB)], "bin"), "b3"))
    for _ in range(after):
        next(pieces)
    assert len(_digest_threads()) == 1
    if leave == "close":
        pieces.close()  # type: ignore[attr-defined]
    elif leave == "raise":
        with pytest.raises(OSError, match="disk"):
            pieces.throw(OSError("disk"))  # type: ignore[attr-defined]
    del pieces
    gc.collect()
    assert _digest_threads() == []


@pytest.mark.parametrize("size_bytes", [0, 99_999, 100_001, 2 * MIB])
def test_a_lazy_frame_of_another_size_is_refused(size_bytes: int) -> None:
    # The size in the pointer would be wrong, so the object could never be read.
    frame = LazyFrame(size_bytes, _lazy(100_000).pieces)
    with pytest.raises(EncodeError, match="yielded 100000 bytes"):
        list(Outgoing(Encoded([frame], "bin", sealable=True, data=ALL), "b3"))


@pytest.mark.parametrize("suffix", [b"x", b"footer", b"\x01\0\0\0ARROW1", b"x\0\0\0\0ARROW1"])
def test_a_suffix_that_hides_the_seal_is_not_sealed(suffix: bytes) -> None:
    stored, digest = _sent(Encoded([_bytes(SEAL_FROM_BYTES)], "x", suffix, sealable=True))
    assert not digest.sealed
    assert not _refused(stored, digest)


def test_spans() -> None:
    small, large, zeros = _bytes(10), _bytes(DATA_FROM_BYTES), as_bytes(bytes(63))
    cases: list[tuple[list[Any], list[tuple[int, bool]]]] = [
        ([], []),
        ([small, small], [(2, False)]),
        ([small, large, zeros, small, small], [(1, False), (2, True), (2, False)]),
        ([large, large], [(1, True), (1, True)]),
        ([large, as_bytes(bytes(64))], [(1, True), (1, False)]),
        ([zeros, large], [(1, False), (1, True)]),
        ([large, zeros, zeros], [(3, True)]),
        ([_bytes(DATA_FROM_BYTES - 1)], [(1, False)]),
        ([_lazy(DATA_FROM_BYTES), _lazy(5)], [(1, True), (1, False)]),
    ]
    for frames, expected in cases:
        assert [(len(span.frames), span.is_data) for span in spans_of(frames, ALL)] == expected
    # A pickle stream is structure at any size: it decides what runs.
    marked = spans_of([small, large, large, small], frozenset({2}))
    assert [(len(span.frames), span.is_data) for span in marked] == [(2, False), (1, True), (1, False)]


def _many() -> list[Any]:
    """Frames of all kinds, small ones by the thousand."""
    small = [_bytes(number % 700, number) for number in range(3000)]
    return [
        *small,
        _bytes(9 * MIB),
        as_bytes(bytes(63)),
        _lazy(3 * MIB, 300_000),
        *small,
        _lazy(70_000, 1000),
        _bytes(5 * MIB),
    ]


@pytest.mark.parametrize("algorithm", ["b3", "s256"])
def test_many_frames_are_hashed_in_their_order(algorithm: Any) -> None:
    frames = _many()
    stored, digest = _sent(Encoded(frames, "p", sealable=True, data=frozenset({3000, 3002})), algorithm)
    table, start = read_seal(stored), 0
    assert table is not None
    assert [is_data for _, is_data, _ in table.spans] == [False, True, True, False]
    for size, _, value in table.spans:
        assert digest_of([stored[start : start + size]], algorithm) == value
        start += size
    assert not _refused(stored, digest)


def test_pieces_end_at_whole_chunks_of_the_object() -> None:
    frames = [as_bytes(_bytes(size, size)) for size in (1216, 9 * MIB, 100, 2 * CHUNK_BYTES, 64)]
    offset, whole = 0, set()
    for piece in Outgoing(Encoded(frames, "bin", sealable=True, data=frozenset({1, 3})), "b3"):
        assert offset // CHUNK_BYTES == (offset + piece.nbytes - 1) // CHUNK_BYTES
        offset += piece.nbytes
        whole |= {offset} if offset % CHUNK_BYTES == 0 else set()
    assert whole == set(range(CHUNK_BYTES, offset, CHUNK_BYTES))


def test_pieces_stay_valid_as_long_as_promised() -> None:
    """Small pieces are kept until the end, large ones only until the next one; lazy frames reuse memory."""

    def reusing(size: int, step: int) -> LazyFrame:
        def pieces() -> Iterator[memoryview]:
            memory = bytearray(step)
            for start in range(0, size, step):
                memory[:] = random.Random(start).randbytes(step)
                yield as_bytes(memory)[: min(step, size - start)]
            memory[:] = bytes(step)

        return LazyFrame(size, pieces)

    for frames in ([reusing(9 * MIB, MIB), _bytes(10)], [reusing(3 * MIB, 5000), reusing(70_000, 300)]):
        outgoing = Outgoing(Encoded(frames, "p", sealable=True, data=ALL), "b3")
        kept: list[memoryview | bytes] = []
        for piece in outgoing:
            kept.append(piece if piece.nbytes < SMALL_BYTES else bytes(piece))
        assert not _refused(b"".join(kept), outgoing.digest)


class _FailingHasher:
    def __init__(self, after: int) -> None:
        self.left = after

    def update(self, _: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise MemoryError("no room to hash")

    def digest(self) -> bytes:
        return bytes(32)


@pytest.mark.parametrize("after", [0, 1, 5, 16])
def test_an_error_in_the_hash_thread_is_raised(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    monkeypatch.setattr(seal, "hasher", lambda _: _FailingHasher(after))
    outgoing = Outgoing(Encoded([_bytes(17 * MIB), *[_bytes(100)] * 12], "bin"), "b3")
    with pytest.raises(MemoryError, match="no room to hash"):
        list(outgoing)
    with pytest.raises(RuntimeError):
        _ = outgoing.digest
    assert _digest_threads() == []
    monkeypatch.undo()
    assert not _refused(b"".join(outgoing), outgoing.digest)


class _SlowHasher(_FailingHasher):
    def __init__(self) -> None:
        super().__init__(0)
        self.hashed = 0

    def update(self, _: Any) -> None:
        time.sleep(0.005)
        self.hashed += 1


def test_the_writer_waits_for_a_slow_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise pieces would have left the CPU cache before they are hashed."""
    slow = _SlowHasher()
    monkeypatch.setattr(seal, "hasher", lambda _: slow)
    pieces = 0
    for _ in Outgoing(Encoded([_bytes(60 * MIB)], "bin"), "b3"):
        pieces += 1
        assert slow.hashed >= pieces - 10
    assert pieces == 15


@pytest.mark.parametrize("after", [1, 3, 10_000])
@pytest.mark.parametrize("frames", [[_bytes(17 * MIB)], [_lazy(9 * MIB)], [_bytes(100, n) for n in range(20_000)]])
def test_a_store_that_stops_and_starts_again(after: int, frames: list[Any]) -> None:
    outgoing = Outgoing(Encoded(frames, "bin", sealable=True, data=ALL), "b3")
    for _ in range(3):
        for number, _ in enumerate(outgoing, 1):
            if number == after:
                break
    two = [iter(outgoing), iter(outgoing)]  # at once, even
    stored = [bytearray(), bytearray()]
    for first, second in itertools.zip_longest(*two):
        stored[0] += first
        stored[1] += second
    assert stored[0] == stored[1]
    assert not _refused(stored[0], outgoing.digest)


SIZES = [[], [0], [5], [0, 0, 3 * MIB, 7], [MIB - 1, MIB, MIB + 1], [70_000] * 50, [9 * MIB, 100, *[300_000] * 9]]


@pytest.mark.parametrize("algorithm", ["b3", "s256"])
@pytest.mark.parametrize("sizes", SIZES)
def test_digests_of_many_parts_are_those_of_each(sizes: list[int], algorithm: Any) -> None:
    parts = [_bytes(size, number) for number, size in enumerate(sizes)]
    expected = [digest_of([part], algorithm) for part in parts]
    for step in (7 * MIB, 100_000, 10 * MIB):

        def pieces(part: memoryview, step: int = step) -> Iterator[memoryview]:
            return (part[start : start + step] for start in range(0, part.nbytes, step))

        assert digests_of(parts, algorithm, pieces) == expected
    assert _digest_threads() == []


@pytest.mark.parametrize("algorithm", ["b3", "s256"])
def test_each_of_many_spans_is_checked(algorithm: Any) -> None:
    stored, digest = _sent(Encoded([_bytes(70_000, n) for n in range(60)], "p", sealable=True, data=ALL), algorithm)
    changed = bytearray(stored)
    for number in range(60):
        changed[number * 70_000 + 13 * number] ^= 1
        assert _refused(changed, digest), number
        changed[number * 70_000 + 13 * number] ^= 1
    assert not _refused(changed, digest)
