"""Arrow IPC files without a copy: writing as frames, reading as views.

pyarrow's writer hands each buffer of a batch to its sink as it lies in memory; the sink here keeps
the views instead of copying them. A column that is strided in memory, and so no Arrow buffer, goes
through the writer as a reserved range of untouched address space, and its real bytes, gathered
piece by piece, take the place of that range among the frames.
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
    """Stand-ins for frames that are made piece by piece, known to the writer by their address."""

    def __init__(self) -> None:
        self._frames: dict[int, LazyFrame] = {}

    def stand_in(self, frame: LazyFrame) -> pa.Buffer:
        """Return a buffer of the size of `frame` that must never be read."""
        import pyarrow as pa

        reserved = pa.py_buffer(mmap.mmap(-1, frame.size_bytes))
        self._frames[reserved.address] = frame
        return reserved

    def real(self, buffer: pa.Buffer) -> Frame:
        """Return the frame that `buffer` stands for, or `buffer` itself as one."""
        return self._frames.get(buffer.address) or as_bytes(buffer)


class GatheredBuffers(LazyBuffers):
    """No stand-ins, for arrays that are small and do not go through `write_ipc`."""

    def stand_in(self, frame: LazyFrame) -> pa.Buffer:
        """Return a buffer with the bytes of `frame`. One copy."""
        import pyarrow as pa

        return pa.py_buffer(b"".join(frame.pieces()))


def as_buffer(frame: Frame, lazy: LazyBuffers) -> pa.Buffer:
    """Return `frame` as an Arrow buffer. No copy."""
    import pyarrow as pa

    return lazy.stand_in(frame) if isinstance(frame, LazyFrame) else pa.py_buffer(frame)


class _FrameSink:
    """A file to pyarrow's eyes that keeps what it is given."""

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
            self.settle()
            if data.address in self._data_addresses:
                self.data.add(len(self.frames))
            self.frames.append(self._lazy.real(data))

    def settle(self) -> None:
        if self._small:
            self.frames.append(as_bytes(b"".join(self._small)))
            self._small = []

    def flush(self) -> None:
        """Part of being a file; nothing is held back that a flush could send."""

    def close(self) -> None:
        self.closed = True


def write_ipc(schema: pa.Schema, batches: Iterable[pa.RecordBatch], lazy: LazyBuffers | None = None) -> Encoded:
    """Return an Arrow IPC file of `batches`: frames are views of their memory.

    Raises
    ------
    NotExactError
        An IPC file can't hold these batches, for example with dictionaries that differ.
    """
    import pyarrow as pa

    batches = list(batches)
    sink = _FrameSink(lazy or LazyBuffers(), {place for batch in batches for place in _data_addresses(batch.columns)})
    try:
        with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise NotExactError from error
    sink.settle()
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
    """Yield the addresses of buffers in which any bytes are harmless: numbers and characters.

    Offsets, validity, dictionary codes and the like decide which memory is read, so they are
    structure; so is every buffer of a nested type, and what the writer had to copy.
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
    Arrow checks no offset, and has no limit for what compressed bytes unpack to. So what no
    signature vouches for is refused if anything in it is compressed or if it claims more rows than
    it has bits, and validated in full.
    """
    import pyarrow as pa

    if not trusted and any(map(_is_compressed, _messages(buffer))):
        raise ValueError("it is compressed, which needs a signature")
    table = pa.ipc.open_file(pa.py_buffer(buffer)).read_all()
    if not trusted:
        if table.num_rows > 8 * buffer.nbytes:
            raise ValueError(f"it claims {table.num_rows} rows in {buffer.nbytes} bytes, which needs a signature")
        table.validate(full=True)
    return table


def to_stream(arrays: list[pa.Array]) -> bytes:
    """Return `arrays`, of one length, as an Arrow IPC stream with one batch; nothing if there are none."""
    import pyarrow as pa

    if not arrays:
        return b""
    batch = pa.RecordBatch.from_arrays(arrays, names=[str(number) for number in range(len(arrays))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def from_stream(stream: memoryview, *, trusted: bool) -> list[pa.Array]:
    """Return the arrays in an Arrow IPC stream as views of it; checks what `read_ipc` checks."""
    import pyarrow as pa

    if not stream.nbytes:
        return []
    messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(stream))
    if not trusted and any(
        message.type != "schema" and _is_compressed(memoryview(message.metadata)) for message in messages
    ):
        raise ValueError("it is compressed, which needs a signature")
    batch = pa.ipc.open_stream(pa.py_buffer(stream)).read_next_batch()
    if not trusted:
        batch.validate(full=True)
    return list(batch.columns)


def batches_end(buffer: memoryview) -> int:
    """Return where in an IPC file the end-of-stream mark behind the last batch ends."""
    return max(start + head_bytes + body_bytes for start, head_bytes, body_bytes in _blocks(buffer)) + _MARK_BYTES


def _messages(buffer: memoryview) -> Iterator[memoryview]:
    """Yield the metadata of every message that an IPC file names."""
    for start, _, _ in _blocks(buffer):
        if start < 0 or buffer[start : start + 4] != _MESSAGE_MARK:
            raise ValueError("its footer names a message that is none")
        yield buffer[start + 8 :]


def _blocks(buffer: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield start, size of metadata and size of body of what the footer of an IPC file names (File.fbs)."""
    footer_bytes, _ = _FOOTER_END.unpack_from(buffer, buffer.nbytes - _FOOTER_END.size)
    footer = buffer[buffer.nbytes - _FOOTER_END.size - footer_bytes :]
    for number in (_DICTIONARIES, _BATCHES):
        field = _field(footer, _U32.unpack_from(footer)[0], number)
        if field is None:
            continue
        blocks = field + _U32.unpack_from(footer, field)[0]
        for place in range(_U32.unpack_from(footer, blocks)[0]):
            yield _BLOCK.unpack_from(footer, blocks + 4 + _BLOCK.size * place)


def _is_compressed(message: memoryview) -> bool:
    """Return whether an IPC message holds compressed buffers (Message.fbs).

    pyarrow does not tell before it has unpacked them, so the field is looked up by hand: Message
    (header type: field 1, header: 2), DictionaryBatch (data: 1), RecordBatch (compression: 3).
    """
    root = _U32.unpack_from(message)[0]
    kind = _field(message, root, 1)
    batch = _table(message, root, 2)
    if kind is not None and message[kind] == _DICTIONARY:
        batch = _table(message, batch, 1)
    return _field(message, batch, 3) is not None


def _field(flat: memoryview, table: int, number: int) -> int | None:
    """Return where field `number` of a flatbuffers table lies, or None if it is left out."""
    layout = table - _I32.unpack_from(flat, table)[0]
    place = 4 + 2 * number
    offset = _U16.unpack_from(flat, layout + place)[0] if place < _U16.unpack_from(flat, layout)[0] else 0
    return table + offset if offset else None


def _table(flat: memoryview, table: int, number: int) -> int:
    field = _field(flat, table, number)
    if field is None:
        raise ValueError("an IPC message without content")
    return int(field + _U32.unpack_from(flat, field)[0])
