"""Arrow IPC files without a copy: writing as frames, reading as views.

pyarrow's writer passes each buffer of a batch to its sink without a copy; the sink here keeps
views of them. A column that is strided in memory cannot be an Arrow buffer. It goes through the
writer as a reserved range of untouched address space, which is then replaced among the frames by
the actual bytes, gathered piece by piece.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..._buffers import Frame, LazyFrame, as_bytes
from ..._seal import Encoded
from .._base import NotExactError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "GatheredBuffers",
    "LazyBuffers",
    "as_buffer",
    "batches_end",
    "from_stream",
    "read_ipc",
    "to_stream",
    "write_ipc",
]

_FOOTER_END = struct.Struct("<I6s")
_U16, _U32, _I32 = (struct.Struct(f"<{code}") for code in "HIi")
_MESSAGE_MARK = b"\xff\xff\xff\xff"
_MARK_BYTES = 8
_DICTIONARIES, _BATCHES, _BLOCK = 2, 3, struct.Struct("<qi4xq")  # in File.fbs
_DICTIONARY = 2  # in Message.fbs


class LazyBuffers:
    """Placeholders for frames that are created piece by piece, identified by their address."""

    def __init__(self) -> None:
        self._frames: dict[int, LazyFrame] = {}

    def placeholder(self, frame: LazyFrame) -> pa.Buffer:
        """Return a buffer of the size of `frame` that must never be read."""
        import pyarrow as pa

        reserved = pa.py_buffer(mmap.mmap(-1, frame.size_bytes))
        self._frames[reserved.address] = frame
        return reserved

    def resolve(self, buffer: pa.Buffer) -> Frame:
        """Return the frame that `buffer` stands for, or `buffer` itself as one."""
        return self._frames.get(buffer.address) or as_bytes(buffer)


class GatheredBuffers(LazyBuffers):
    """Variant without placeholders, for small arrays that do not go through `write_ipc`."""

    def placeholder(self, frame: LazyFrame) -> pa.Buffer:
        """Return a buffer with the bytes of `frame`. One copy."""
        import pyarrow as pa

        return pa.py_buffer(b"".join(frame.pieces()))


def as_buffer(frame: Frame, lazy: LazyBuffers) -> pa.Buffer:
    """Return `frame` as an Arrow buffer. No copy."""
    import pyarrow as pa

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

    Raises
    ------
    NotExactError
        An IPC file cannot hold these batches, for example because their dictionaries differ.
    """
    import pyarrow as pa

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
    ending = sink.frames.pop()
    assert isinstance(ending, memoryview)
    footer_bytes, _ = _FOOTER_END.unpack_from(ending, ending.nbytes - _FOOTER_END.size)
    footer_at = ending.nbytes - _FOOTER_END.size - footer_bytes
    return Encoded(
        [*sink.frames, ending[:footer_at]],
        extension="arrow",
        suffix=bytes(ending[footer_at:]),
        sealable=True,
        data=frozenset(sink.data),
    )


def _data_addresses(arrays: Iterable[pa.Array]) -> Iterator[int]:
    """Yield the addresses of buffers whose bytes cannot affect memory access: numbers and characters.

    Offsets, validity and dictionary codes decide which memory is read, so they are structure. So is
    every buffer of a nested type, and every buffer that the writer had to copy.
    """
    import pyarrow as pa

    for array in arrays:
        if pa.types.is_dictionary(array.type):
            yield from _data_addresses([array.dictionary])
        elif pa.types.is_primitive(array.type) or pa.types.is_decimal(array.type):
            yield from (buffer.address for buffer in array.buffers()[1:2] if buffer)
        elif array.type in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
            yield from (buffer.address for buffer in array.buffers()[2:3] if buffer)


def read_ipc(buffer: memoryview, *, trusted: bool) -> pa.Table:
    """Return the table in the Arrow IPC file `buffer` as views of it.

    Notes
    -----
    Arrow checks no offsets and does not limit the size of decompressed data. Therefore unsigned
    files are refused if anything in them is compressed or if they claim more rows than they have
    bits, and are otherwise validated in full.
    """
    import pyarrow as pa

    if not trusted and any(map(_is_compressed, _messages(buffer))):
        raise ValueError("compressed objects need a signed pointer")
    table = pa.ipc.open_file(pa.py_buffer(buffer)).read_all()
    if not trusted:
        if table.num_rows > 8 * buffer.nbytes:
            raise ValueError(f"{table.num_rows} rows in {buffer.nbytes} bytes need a signed pointer")
        table.validate(full=True)
    return table


def to_stream(arrays: list[pa.Array]) -> bytes:
    """Return `arrays` of equal length as an Arrow IPC stream with one batch; empty bytes for no arrays."""
    import pyarrow as pa

    if not arrays:
        return b""
    batch = pa.RecordBatch.from_arrays(arrays, names=[str(number) for number in range(len(arrays))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def from_stream(stream: memoryview, *, trusted: bool) -> list[pa.Array]:
    """Return the arrays in an Arrow IPC stream as views of it. Checks the same as `read_ipc`."""
    import pyarrow as pa

    if not stream.nbytes:
        return []
    messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(stream))
    if not trusted and any(
        message.type != "schema" and _is_compressed(memoryview(message.metadata)) for message in messages
    ):
        raise ValueError("compressed objects need a signed pointer")
    batch = pa.ipc.open_stream(pa.py_buffer(stream)).read_next_batch()
    if not trusted:
        batch.validate(full=True)
    return list(batch.columns)


def batches_end(buffer: memoryview) -> int:
    """Return the offset in an IPC file after the end-of-stream mark that follows the last batch."""
    return max(start + head_bytes + body_bytes for start, head_bytes, body_bytes in _blocks(buffer)) + _MARK_BYTES


def _messages(buffer: memoryview) -> Iterator[memoryview]:
    """Yield the metadata of every message in the footer of an IPC file."""
    for start, _, _ in _blocks(buffer):
        if start < 0 or buffer[start : start + 4] != _MESSAGE_MARK:
            raise ValueError("the footer points at something that is not an IPC message")
        yield buffer[start + 8 :]


def _blocks(buffer: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield start, metadata size and body size of each message in the footer of an IPC file (File.fbs)."""
    footer_bytes, _ = _FOOTER_END.unpack_from(buffer, buffer.nbytes - _FOOTER_END.size)
    footer = buffer[buffer.nbytes - _FOOTER_END.size - footer_bytes :]
    for number in (_DICTIONARIES, _BATCHES):
        field = _field(footer, _U32.unpack_from(footer)[0], number)
        if field is None:
            continue
        blocks = field + _U32.unpack_from(footer, field)[0]
        for pos in range(_U32.unpack_from(footer, blocks)[0]):
            yield _BLOCK.unpack_from(footer, blocks + 4 + _BLOCK.size * pos)


def _is_compressed(message: memoryview) -> bool:
    """Return whether an IPC message has compressed buffers (Message.fbs).

    pyarrow only reports this after decompression, so the field is read directly: Message
    (header type: field 1, header: 2), DictionaryBatch (data: 1), RecordBatch (compression: 3).
    """
    root = _U32.unpack_from(message)[0]
    kind = _field(message, root, 1)
    batch = _table(message, root, 2)
    if kind is not None and message[kind] == _DICTIONARY:
        batch = _table(message, batch, 1)
    return _field(message, batch, 3) is not None


def _field(flat: memoryview, table: int, number: int) -> int | None:
    """Return the offset of field `number` of a flatbuffers table, or None if the field is absent."""
    layout = table - _I32.unpack_from(flat, table)[0]
    entry = 4 + 2 * number
    offset = _U16.unpack_from(flat, layout + entry)[0] if entry < _U16.unpack_from(flat, layout)[0] else 0
    return table + offset if offset else None


def _table(flat: memoryview, table: int, number: int) -> int:
    field = _field(flat, table, number)
    if field is None:
        raise ValueError("an IPC message without content")
    return int(field + _U32.unpack_from(flat, field)[0])
