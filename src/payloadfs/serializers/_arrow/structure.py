"""Strict reader of the structure of Arrow IPC data, for untrusted bytes.

pyarrow and polars read more than payloadfs writes: old versions of the format, compressed buffers,
extension types that run code of other packages, one batch that is listed a million times. So the
flatbuffers of untrusted data are read here first, and everything that no writer of payloadfs
produces is refused before a library sees a byte. What passes has a bounded cost: every array of
every batch has its own entry in the object, no two buffers overlap, and nothing is compressed.

Only what pyarrow's file and stream readers look at is read. A file's first schema message is not
part of that: they use the schema in the footer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_U8, _U16, _U32, _I16, _I32, _I64 = (struct.Struct(f"<{code}") for code in "BHIhiq")
_PAIR = struct.Struct("<qq")  # FieldNode and Buffer
_BLOCK = struct.Struct("<qi4xq")
_FOOTER_END = struct.Struct("<I6s")
_PREFIX = struct.Struct("<4sI")
_MAGIC, _CONTINUATION = b"ARROW1", b"\xff\xff\xff\xff"
_V5, _LITTLE_ENDIAN = 4, 0
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3  # headers of messages
_MAX_DEPTH = 64

RESERVED_KEYS = b"ARROW:"
"""Metadata of a field with such a key selects code of another package: an extension type."""

# By number of the type in Schema.fbs: its buffers, and how many children it has (None: any number).
# A union (14) is missing, because no serializer writes it.
_TYPES: dict[int, tuple[int, int | None]] = {
    **dict.fromkeys((2, 3, 6, 7, 8, 9, 10, 11, 15, 18), (2, 0)),  # numbers, dates and times, fixed-size binary
    **dict.fromkeys((4, 5, 19, 20), (3, 0)),  # binary and strings
    **dict.fromkeys((23, 24), (2, 0)),  # views of them, which have more buffers
    **dict.fromkeys((12, 17, 21), (2, 1)),  # lists and maps
    **dict.fromkeys((25, 26), (3, 1)),  # list views
    1: (0, 0),  # null
    13: (1, None),  # struct
    16: (1, 1),  # fixed-size list
    22: (0, 2),  # run-end encoded
}
_VIEWS = (23, 24)


def max_rows(size_bytes: int) -> int:
    """Return the length that an array in an object of `size_bytes` may have: only nulls and runs need less than a bit."""
    return (4 << 20) + 8 * size_bytes


def max_arrays(size_bytes: int) -> int:
    """Return the number of arrays, at any depth and in all batches, that an object of `size_bytes` may have.

    Each of them costs pyarrow some 500 bytes, even if it is empty.
    """
    return 50_000 + size_bytes // 256


class Table:
    """A flatbuffers table, by default the root. Nothing outside of the flatbuffer `flat` is read."""

    __slots__ = ("_flat", "_layout", "_layout_bytes", "_pos", "_table_bytes")

    def __init__(self, flat: memoryview, pos: int | None = None) -> None:
        self._flat = flat
        self._pos = _read(_U32, flat, 0) if pos is None else pos
        self._layout = self._pos - _read(_I32, flat, self._pos)
        self._layout_bytes, self._table_bytes = _read(_U16, flat, self._layout), _read(_U16, flat, self._layout + 2)

    def _field(self, number: int) -> int | None:
        """Return the offset of a field, or None if the field is absent."""
        entry = 4 + 2 * number
        if entry + 2 > self._layout_bytes:
            return None
        offset = _read(_U16, self._flat, self._layout + entry)
        if offset >= self._table_bytes:
            raise ValueError("a field outside its table")
        return self._pos + offset if offset else None

    def scalar(self, number: int, form: struct.Struct) -> int:
        """Return the number in a field, 0 if the field is absent."""
        pos = self._field(number)
        return 0 if pos is None else _read(form, self._flat, pos)

    def table(self, number: int) -> Table | None:
        """Return the table that a field refers to."""
        pos = self._field(number)
        return None if pos is None else Table(self._flat, pos + _read(_U32, self._flat, pos))

    def required(self, number: int) -> Table:
        """Return the table that a field refers to; raise ValueError if the field is absent."""
        found = self.table(number)
        if found is None:
            raise ValueError("a required part of the IPC metadata is missing")
        return found

    def vector(self, number: int, item_bytes: int) -> memoryview:
        """Return the items of a vector of structs or scalars as bytes."""
        start, stop = self._vector(number, item_bytes)
        return self._flat[start:stop]

    def tables(self, number: int) -> Iterator[Table]:
        """Yield the tables in a vector."""
        for pos in range(*self._vector(number, 4), 4):
            yield Table(self._flat, pos + _read(_U32, self._flat, pos))

    def _vector(self, number: int, item_bytes: int) -> tuple[int, int]:
        pos = self._field(number)
        if pos is None:
            return 0, 0
        start = pos + _read(_U32, self._flat, pos)
        stop = start + 4 + item_bytes * _read(_U32, self._flat, start)
        if stop > self._flat.nbytes:
            raise ValueError("a vector outside its flatbuffer")
        return start + 4, stop


def _read(form: struct.Struct, flat: memoryview, pos: int) -> int:
    if pos < 0:
        raise ValueError("an offset before the start of a flatbuffer")
    return int(form.unpack_from(flat, pos)[0])


@dataclass(slots=True)
class _Layout:
    """What each record batch (or dictionary batch) of a schema has."""

    nodes: int = 0
    buffers: int = 0
    views: int = 0


class _Schema:
    """Layout of the batches of a schema. Refuses what payloadfs never writes."""

    def __init__(self, schema: Table, size_bytes: int) -> None:
        self.dictionaries: dict[int, _Layout] = {}
        self.batch = _Layout()
        self._rows, self._arrays = max_rows(size_bytes), max_arrays(size_bytes)
        if schema.scalar(0, _I16) != _LITTLE_ENDIAN:
            raise ValueError("big-endian data")
        for field in schema.tables(1):
            self._add(field, self.batch, _MAX_DEPTH)

    def _add(self, field: Table, layout: _Layout, depth: int) -> None:
        self._count(1)
        if not depth:
            raise ValueError("too many nested types")
        if any(bytes(pair.vector(0, 1)).startswith(RESERVED_KEYS) for pair in field.tables(6)):
            raise ValueError("an extension type")
        dictionary = field.table(4)
        if dictionary is not None:
            number = dictionary.scalar(0, _I64)
            if number in self.dictionaries:
                raise ValueError("two fields with the same dictionary")
            layout.nodes, layout.buffers = layout.nodes + 1, layout.buffers + 2
            layout = self.dictionaries[number] = _Layout()
        kind = field.scalar(2, _U8)
        if kind not in _TYPES:
            raise ValueError(f"type {kind} is not supported")
        buffers, width = _TYPES[kind]
        layout.nodes += 1
        layout.buffers += buffers
        layout.views += kind in _VIEWS
        if width is not None and field.vector(5, 4).nbytes != 4 * width:
            raise ValueError(f"type {kind} with a wrong number of children")
        for child in field.tables(5):
            self._add(child, layout, depth - 1)

    def _count(self, arrays: int) -> None:
        self._arrays -= arrays
        if self._arrays < 0:
            raise ValueError("too many arrays for the size of the object")

    def check_message(self, message: Table, body_bytes: int) -> int:
        """Check a message after the schema. Return the number of its dictionary, or -1 if it is a record batch."""
        _check_message(message, body_bytes)
        kind, content, number, layout = message.scalar(1, _U8), message.required(2), -1, self.batch
        if kind == _DICTIONARY:
            number = content.scalar(0, _I64)
            if number not in self.dictionaries or content.scalar(2, _U8):
                raise ValueError("an unknown dictionary, or a part of one")
            layout, content = self.dictionaries[number], content.required(1)
        elif kind != _BATCH:
            raise ValueError(f"an unexpected message of kind {kind}")
        self._check_batch(content, layout, body_bytes)
        return number

    def _check_batch(self, batch: Table, layout: _Layout, body_bytes: int) -> None:
        nodes, variadic = batch.vector(1, 16), [count for (count,) in _I64.iter_unpack(batch.vector(4, 8))]
        buffers = batch.vector(2, 16)
        if batch.table(3) is not None:
            raise ValueError("compressed buffers")
        if (nodes.nbytes, buffers.nbytes) != (16 * layout.nodes, 16 * (layout.buffers + sum(variadic))):
            raise ValueError("a batch that does not match its schema")
        if len(variadic) != layout.views or min(variadic, default=0) < 0:
            raise ValueError("a batch with wrong counts of view buffers")
        self._count(layout.nodes)
        lengths = [(batch.scalar(0, _I64), 0), *_PAIR.iter_unpack(nodes)]
        if any(not 0 <= nulls <= length <= self._rows for length, nulls in lengths):
            raise ValueError("an array that is too long for the size of the object")
        end = 0
        for start, size_bytes in _PAIR.iter_unpack(buffers):
            if size_bytes and not end <= start <= start + size_bytes <= body_bytes:
                raise ValueError("buffers that overlap or leave their batch")
            end = start + size_bytes if size_bytes else end


def _check_message(message: Table, body_bytes: int) -> None:
    if message.scalar(0, _I16) != _V5:
        raise ValueError("an old version of the IPC format")
    if message.scalar(3, _I64) != body_bytes:
        raise ValueError("a message with two sizes")
    if message.vector(4, 4).nbytes:
        raise ValueError("metadata of a message")


def check_file(buffer: memoryview) -> None:
    """Raise an exception unless `buffer` is an IPC file as payloadfs and polars write it.

    Cost: some 5 microseconds per column, and as much per column and batch. Buffers are not read.
    """
    footer, end = _footer(buffer)
    if footer.scalar(0, _I16) != _V5 or footer.vector(4, 4).nbytes:
        raise ValueError("an old version of the IPC format, or metadata in the footer")
    schema, blocks = _Schema(footer.required(1), buffer.nbytes), list(file_blocks(buffer))
    seen = [
        schema.check_message(_message(buffer, start, head_bytes)[0], body_bytes)
        for start, head_bytes, body_bytes in blocks
    ]
    numbers = [number for number in seen if number >= 0]
    if len(set(numbers)) < len(numbers):
        raise ValueError("a dictionary occurs twice")
    position = 2 + len(_MAGIC)
    for start, head_bytes, body_bytes in sorted(blocks):
        if min(head_bytes, body_bytes) < 0 or start < position:
            raise ValueError("batches that overlap")
        position = start + head_bytes + body_bytes
    if position > end:
        raise ValueError("a batch outside the object")


def check_stream(stream: memoryview) -> None:
    """Raise an exception unless `stream` is an IPC stream of one batch, as `to_stream` writes it."""
    message, position = _message(stream, 0)
    _check_message(message, 0)
    if message.scalar(1, _U8) != _SCHEMA:
        raise ValueError("a stream without a schema")
    schema = _Schema(message.required(2), stream.nbytes)
    seen: list[int] = []
    while not seen or seen[-1] >= 0:
        message, position = _message(stream, position)
        body_bytes = message.scalar(3, _I64)
        seen.append(schema.check_message(message, body_bytes))
        position += body_bytes
    if len(set(seen)) < len(seen) or stream[position:] != _CONTINUATION + bytes(4):
        raise ValueError("not a stream with one batch")


def file_blocks(buffer: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield start, metadata size and body size of each message that the footer of an IPC file lists."""
    footer, _ = _footer(buffer)
    for number in (2, 3):  # dictionaries, record batches
        yield from _BLOCK.iter_unpack(footer.vector(number, _BLOCK.size))


def _footer(buffer: memoryview) -> tuple[Table, int]:
    """Return the footer of an IPC file and its offset."""
    stop = buffer.nbytes - _FOOTER_END.size
    footer_bytes, magic = _FOOTER_END.unpack_from(buffer, max(stop, 0))
    start = stop - footer_bytes
    if magic != _MAGIC or buffer[: len(_MAGIC)] != _MAGIC or start < len(_MAGIC):
        raise ValueError("not an IPC file")
    return Table(buffer[start:stop]), start


def _message(buffer: memoryview, start: int, head_bytes: int | None = None) -> tuple[Table, int]:
    """Return the metadata of the message at `start`, and where its body begins."""
    if start < 0:
        raise ValueError("a message before the start of the object")
    mark, flat_bytes = _PREFIX.unpack_from(buffer, start)
    body = start + _PREFIX.size + flat_bytes
    if mark != _CONTINUATION or body > buffer.nbytes or head_bytes not in (None, body - start):
        raise ValueError("the footer points at something that is not an IPC message")
    return Table(buffer[start + _PREFIX.size : body]), body
