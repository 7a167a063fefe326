"""Compressed objects: the output of another serializer as one plain ``.zst`` or ``.lz4`` file.

::

    chunk 0 | chunk 1 | ... | table

    chunk    up to 4 MiB of the object: one frame of the Zstandard or LZ4 frame format
    table    a skippable frame of both formats: magic u32, size u32, and in it per chunk: size u64,
             unpacked size u64; then number of chunks u64, magic 16 bytes

All numbers are little-endian. The command line tools ``zstd`` and ``lz4`` decompress such a file;
they skip the table, which lets all cores decompress at the same time into memory of the right size.
The table states the cost, so an object that is too large is refused before any memory is allocated.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from .._buffers import CHUNK_BYTES, LazyFrame, as_bytes, chunks, private_memory
from .._threads import available_cores
from ..errors import PolicyError
from ._base import Encoded, Serializer

_MIN_BYTES = 4096
"""Smaller objects are not compressed: the request costs more than their bytes."""

_UNTRUSTED_BYTES, _UNTRUSTED_RATIO = 32 * 1024 * 1024, 100
"""An untrusted object may become this large, plus this many times its size, unless `max_bytes` is set."""

_ENTRY = struct.Struct("<QQ")
_SKIPPABLE = struct.Struct("<II")
_SKIPPABLE_MAGIC = 0x184D2A50
_TRAILER = struct.Struct("<Q16s")
_MAGIC = b"payloadfs packed"
_EXTENSIONS = {"zstd": "zst", "lz4": "lz4"}

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Compressed:
    """Serializer that compresses the output of the serializer `inner`; its id combines both: ``"zstd-pandas/1"``.

    Cost of saving: one pass on all cores; the compressed bytes are held in memory.
    Cost of loading: one pass on all cores, into memory of the object's size.
    """

    def __init__(self, inner: Serializer, codec: str) -> None:
        self.inner = inner
        self.id = f"{codec}-{inner.id}"
        self.executable = inner.executable
        self._codec = codec

    def encode(self, obj: Any) -> Encoded:
        return self.compress(self.inner.encode(obj))

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:
        return self.inner.decode(self.decompress(buffer, trusted=trusted), trusted=trusted)

    def compress(self, encoded: Encoded) -> Encoded:
        """Return `encoded` compressed."""
        import pyarrow as pa

        def pack(chunk: list[memoryview]) -> tuple[int, bytes]:
            raw = chunk[0] if len(chunk) == 1 else b"".join(chunk)
            return memoryview(raw).nbytes, pa.Codec(self._codec).compress(raw, asbytes=True)

        done = list(_parallel_map(pack, _iter_chunks(encoded)))
        entries = [_ENTRY.pack(len(piece), raw_bytes) for raw_bytes, piece in done]
        table = b"".join([*entries, _TRAILER.pack(len(entries), _MAGIC)])
        table = _SKIPPABLE.pack(_SKIPPABLE_MAGIC, len(table)) + table
        return Encoded(
            [*(as_bytes(piece) for _, piece in done), as_bytes(table)],
            f"{encoded.extension}.{_EXTENSIONS[self._codec]}",
        )

    def decompress(self, buffer: memoryview, *, trusted: bool, max_bytes: int | None = None) -> memoryview:
        """Return the bytes that the inner serializer wrote, in newly allocated memory.

        Raises
        ------
        ValueError
            The table is invalid. Nothing was allocated.
        PolicyError
            The result would be larger than `max_bytes` or, without that, much larger than an
            untrusted object. Nothing was allocated.
        """
        import pyarrow as pa

        ranges = _chunk_ranges(buffer)
        size_bytes = ranges[-1][3] if ranges else 0
        if max_bytes is not None and size_bytes > max_bytes:
            raise PolicyError(
                f"The object has {size_bytes} bytes uncompressed, but max_bytes is {max_bytes}. "
                "Nothing was decompressed.",
                kind="policy-size",
            )
        if max_bytes is None and not trusted and size_bytes > _UNTRUSTED_BYTES + _UNTRUSTED_RATIO * buffer.nbytes:
            raise PolicyError(
                f"The object has {buffer.nbytes} bytes compressed and {size_bytes} uncompressed, which is too much for "
                "an object that the policy does not trust. Nothing was decompressed. Set max_bytes to allow it.",
                kind="policy-size",
            )
        whole = private_memory(size_bytes)

        def unpack(chunk_range: tuple[int, int, int, int]) -> None:
            start, stop, raw_start, raw_stop = chunk_range
            packed, raw_bytes = pa.py_buffer(buffer[start:stop]), raw_stop - raw_start
            if trusted or self._codec == "zstd":
                raw = pa.Codec(self._codec).decompress(packed, raw_bytes)
            else:
                # If a frame of LZ4 is shorter than the table says, `decompress` shows memory of this process.
                raw = pa.CompressedInputStream(pa.BufferReader(packed), self._codec).read(raw_bytes + 1)
            whole[raw_start:raw_stop] = as_bytes(memoryview(raw))

        for _ in _parallel_map(unpack, ranges):
            pass
        return whole.toreadonly() if buffer.readonly else whole


def compress(serializer: Serializer, encoded: Encoded, codec: str) -> tuple[Serializer, Encoded]:
    """Return serializer and object, compressed with `codec` unless that is "none" or does not help."""
    if codec != "none" and encoded.size_bytes >= _MIN_BYTES:
        outer = Compressed(serializer, codec)
        packed = outer.compress(encoded)
        if packed.size_bytes < encoded.size_bytes:
            return outer, packed
    return serializer, encoded


def _iter_chunks(encoded: Encoded) -> Iterator[list[memoryview]]:
    """Yield the object in chunks of at most 4 MiB, each as a list of pieces."""
    chunk: list[memoryview] = []
    chunk_bytes = 0
    for frame in (*encoded.frames, memoryview(encoded.suffix)):
        for piece in chunks(frame):
            if chunk and chunk_bytes + piece.nbytes > CHUNK_BYTES:
                yield chunk
                chunk, chunk_bytes = [], 0
            # A piece of a lazy frame is only valid until the next one.
            chunk.append(memoryview(bytes(piece)) if isinstance(frame, LazyFrame) else piece)
            chunk_bytes += piece.nbytes
    if chunk:
        yield chunk


def _chunk_ranges(buffer: memoryview) -> list[tuple[int, int, int, int]]:
    """Return the compressed and uncompressed start and stop of each chunk."""
    count, magic = _TRAILER.unpack_from(buffer, buffer.nbytes - _TRAILER.size)
    table_bytes = count * _ENTRY.size + _TRAILER.size
    table_at = buffer.nbytes - table_bytes
    head_at = table_at - _SKIPPABLE.size
    if magic != _MAGIC or head_at < 0 or _SKIPPABLE.unpack_from(buffer, head_at) != (_SKIPPABLE_MAGIC, table_bytes):
        raise ValueError("the chunk table is invalid")
    ranges, start, raw_start = [], 0, 0
    for size, raw_bytes in _ENTRY.iter_unpack(buffer[table_at : buffer.nbytes - _TRAILER.size]):
        if raw_bytes > CHUNK_BYTES:
            raise ValueError(f"a chunk of {raw_bytes} bytes is too large")
        ranges.append((start, start + size, raw_start, raw_start + raw_bytes))
        start, raw_start = start + size, raw_start + raw_bytes
    if start != head_at:
        raise ValueError("the chunk table does not cover the object")
    return ranges


def _parallel_map(work: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """Yield the result of `work` for each of `items`, in order, with only a few in flight."""
    items, cores = iter(items), available_cores()
    batch = list(itertools.islice(items, cores))
    if len(batch) < 2:
        yield from map(work, batch)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(cores) as pool:
        while batch:
            yield from pool.map(work, batch)
            batch = list(itertools.islice(items, 2 * cores))
