"""Arrow IPC files without a copy: writing as frames, reading as views.

pyarrow's writer passes each buffer of a batch to its sink without a copy; the sink here keeps
views of them. A column that is strided in memory cannot be an Arrow buffer. It goes through the
writer as a reserved range of untouched address space, which is then replaced among the frames by
the actual bytes, gathered piece by piece.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from ..._buffers import Frame, LazyFrame, as_bytes, frame_bytes
from ..._seal import Encoded, suffix_bytes
from .._base import NotExactError
from .structure import check_file, check_stream, file_blocks, max_arrays, max_rows

_MARK_BYTES = 8


class LazyBuffers:
    """Placeholders for frames that are created piece by piece, identified by their address."""

    def __init__(self) -> None:
        self._frames: dict[int, LazyFrame] = {}

    def placeholder(self, frame: LazyFrame) -> pa.Buffer:
        """Return a buffer of the size of `frame` that must never be read."""
        reserved = pa.py_buffer(mmap.mmap(-1, frame.size_bytes))
        self._frames[reserved.address] = frame
        return reserved

    def resolve(self, buffer: pa.Buffer) -> Frame:
        """Return the frame that `buffer` represents, or `buffer` itself as one."""
        return self._frames.get(buffer.address) or as_bytes(buffer)


class GatheredBuffers(LazyBuffers):
    """Variant without placeholders, for small arrays that do not go through `write_ipc`."""

    def placeholder(self, frame: LazyFrame) -> pa.Buffer:
        """Return a buffer with the bytes of `frame`. One copy."""
        return pa.py_buffer(b"".join(frame.pieces()))


def as_buffer(frame: Frame, lazy: LazyBuffers) -> pa.Buffer:
    """Return `frame` as an Arrow buffer. No copy."""
    return lazy.placeholder(frame) if isinstance(frame, LazyFrame) else pa.py_buffer(frame)


class _FrameSink:
    """Write-only file for pyarrow that keeps every buffer instead of copying it."""

    closed = False

    def __init__(self, lazy: LazyBuffers, data: set[int]) -> None:
        self.frames: list[Frame] = []
        self.data: set[int] = set()
        self._small: list[bytes] = []
        self._lazy = lazy
        self._data_addresses = data

    def write(self, data: Any) -> None:
        if isinstance(data, bytes):
            self._small.append(data)
        elif data.size:
            self.flush_small()
            if data.address in self._data_addresses:
                self.data.add(len(self.frames))
            self.frames.append(self._lazy.resolve(data))

    def flush_small(self) -> None:
        if self._small:
            self.frames.append(as_bytes(b"".join(self._small)))
            self._small = []

    def flush(self) -> None:
        """Do nothing: pyarrow requires the method, but nothing is buffered."""

    def close(self) -> None:
        self.closed = True


def write_ipc(schema: pa.Schema, batches: Iterable[pa.RecordBatch], lazy: LazyBuffers | None = None) -> Encoded:
    """Return an Arrow IPC file of `batches`: frames are views of their memory.

    Raise `NotExactError` if an IPC file cannot hold them, for example because their dictionaries differ.
    """
    batches = list(batches)
    sink = _FrameSink(
        lazy or LazyBuffers(), {address for batch in batches for address in _data_addresses(batch.columns)}
    )
    try:
        with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise NotExactError from error
    sink.flush_small()
    _check_readable(schema, batches, sink.frames)
    ending = sink.frames.pop()
    assert isinstance(ending, memoryview)
    footer_at = ending.nbytes - suffix_bytes(ending)
    return Encoded(
        [*sink.frames, ending[:footer_at]],
        extension="arrow",
        suffix=bytes(ending[footer_at:]),
        sealable=True,
        data=frozenset(sink.data),
    )


def _check_readable(schema: pa.Schema, batches: list[pa.RecordBatch], frames: list[Frame]) -> None:
    """Raise NotExactError if `check_file` would refuse the file: a million rows of nothing, or batches of few cells."""
    size_bytes = sum(map(frame_bytes, frames))
    rows = max((batch.num_rows for batch in batches), default=0)
    # A column's nested types and dictionary are not counted; half of the limit is left for them.
    arrays = 2 * len(schema) * (len(batches) + 1)
    if rows > max_rows(size_bytes) or arrays > max_arrays(size_bytes):
        raise NotExactError


def _data_addresses(arrays: Iterable[pa.Array]) -> Iterator[int]:
    """Yield the addresses of buffers whose bytes cannot affect memory access: numbers and characters.

    Offsets, validity and dictionary codes decide which memory is read, so they are structure, and so is every buffer of
    a nested type without a fixed size, and every buffer that the writer had to copy.
    """
    for array in arrays:
        if pa.types.is_dictionary(array.type):
            yield from _data_addresses([array.dictionary])
        elif pa.types.is_fixed_size_list(array.type):
            yield from _data_addresses([array.values])
        elif pa.types.is_primitive(array.type) or pa.types.is_decimal(array.type):
            yield from (buffer.address for buffer in array.buffers()[1:2] if buffer)
        elif array.type in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
            yield from (buffer.address for buffer in array.buffers()[2:3] if buffer)


def read_ipc(buffer: memoryview, *, trusted: bool) -> pa.Table:
    """Return the table in the Arrow IPC file `buffer` as views of it.

    pyarrow checks no offsets and bounds nothing. Therefore untrusted files are read by `check_file`
    before pyarrow sees them, and are then validated in full: strings, offsets and dictionary codes
    are read once, numbers are not.
    """
    table = _open(buffer, trusted=trusted).read_all()
    if not trusted:
        table.validate(full=True)
    return table


def read_batch(buffer: memoryview, *, trusted: bool) -> pa.RecordBatch:
    """Return the only batch of the Arrow IPC file `buffer`. Checks the same as `read_ipc`."""
    reader = _open(buffer, trusted=trusted)
    if reader.num_record_batches != 1:
        raise ValueError(f"expected one batch, found {reader.num_record_batches}")
    batch = reader.get_batch(0)
    if not trusted:
        batch.validate(full=True)
    return batch


def _open(buffer: memoryview, *, trusted: bool) -> Any:
    if not trusted:
        check_file(buffer)
    return pa.ipc.open_file(pa.py_buffer(buffer))


def to_stream(arrays: list[pa.Array]) -> bytes:
    """Return `arrays` of equal length as an Arrow IPC stream with one batch; empty bytes for no arrays."""
    if not arrays:
        return b""
    batch = pa.RecordBatch.from_arrays(arrays, names=[str(number) for number in range(len(arrays))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def from_stream(stream: memoryview, *, trusted: bool) -> list[pa.Array]:
    """Return the arrays in an Arrow IPC stream as views of it. Checks the same as `read_ipc`."""
    if not stream.nbytes:
        return []
    if not trusted:
        check_stream(stream)
    batch = pa.ipc.open_stream(pa.py_buffer(stream)).read_next_batch()
    if not trusted:
        batch.validate(full=True)
    return list(batch.columns)


def batches_end(buffer: memoryview) -> int:
    """Return the offset in an IPC file after the end-of-stream mark that follows the last batch."""
    return max(start + head_bytes + body_bytes for start, head_bytes, body_bytes in file_blocks(buffer)) + _MARK_BYTES
