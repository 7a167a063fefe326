"""Hostile objects for the safe serializers: valid ones with one part that no writer of payloadfs produces."""

import base64
import functools
import json
import struct

import pyarrow as pa

from payloadfs.serializers import default_serializers
from payloadfs.serializers._arrow import structure
from payloadfs.testing.serializers import stored_bytes

from .mutants import arrow_file

RANGE = {"kind": "range", "name": None}


def valid(value):
    """Return serializer id and bytes of `value` as payloadfs stores it."""
    serializer, encoded = default_serializers.encode(value)
    return serializer.id, bytes(stored_bytes(encoded))


def frame_file(
    columns,
    *,
    index=None,
    index_arrays=(),
    labels=None,
    label_stream=b"",
    custom=None,
    options=None,
    changes=None,
    raw="",
):
    """Return a ``pandas/1`` file of ``(description, array)`` pairs."""
    arrays = [*(array for _, array in columns), *index_arrays]
    rows = len(arrays[0]) if arrays else 0
    sidecar = {
        "version": 1,
        "versions": {},
        "columns": [description for description, _ in columns],
        "index": index or RANGE | {"range": [0, rows, 1]},
        "labels": labels or RANGE | {"range": [0, len(columns), 1]},
        "attrs": {"json": {}},
        "duplicates": True,
        **(changes or {}),
    }
    metadata = {"payloadfs": json.dumps(sidecar).replace('"@raw"', raw), "payloadfs.labels": label_stream}
    schema = pa.schema([(f"c{number}", array.type) for number, array in enumerate(arrays)], metadata)
    return arrow_file(schema, [pa.RecordBatch.from_arrays(arrays, schema=schema)], custom=custom, **(options or {}))


def level(array, meta, rows=3):
    """Return a dictionary array of `array`, and the description of a category with values `meta`."""
    codes = pa.array([0] * rows, pa.int8())
    return ["category", False, meta], pa.DictionaryArray.from_arrays(codes, array)


def values(description):
    return {"kind": "array", "values": description, "name": None, "freq": None}


def intervals(stream):
    """Return a category whose values are intervals in the embedded Arrow stream `stream`."""
    facts = values(["interval", "right", values(["numpy", "<i8"]), values(["numpy", "<i8"])])
    return level(pa.array(["(0, 1]"], pa.large_string()), embedded(stream, facts))


def embedded(stream, meta):
    """Return the description of a level that is in `stream`."""
    return {"kind": "texts", "stream": base64.b64encode(stream).decode(), "facts": meta}


def interval_array():
    return pa.StructArray.from_arrays([pa.array([0]), pa.array([1])], ["left", "right"])


def batch_of(content, number=0):
    """Return the record batch of a file, and the offset of its flatbuffer in the file."""
    start, _, _ = list(structure.file_blocks(memoryview(content)))[number]
    message, _ = structure._message(memoryview(content), start)
    return message.required(2), start + 8


def with_node(content, index, length, nulls=0, number=0):
    """Return the file with another length of array `index` in its first batch, and of the batch if it is the first."""
    changed = bytearray(content)
    batch, base = batch_of(content, number)
    start, _ = batch._vector(1, 16)
    struct.pack_into("<qq", changed, base + start + 16 * index, length, nulls)
    if index == 0:
        struct.pack_into("<q", changed, base + batch._field(0), length)
    return bytes(changed)


def with_buffers(content, offset):
    """Return the file with another offset of all buffers of its first batch."""
    changed = bytearray(content)
    batch, base = batch_of(content)
    for pos in range(*batch._vector(2, 16), 16):
        struct.pack_into("<q", changed, base + pos, offset)
    return bytes(changed)


def with_count(content, vector, count):
    """Return the file whose first batch has another number of nodes (1) or buffers (2)."""
    changed = bytearray(content)
    batch, base = batch_of(content)
    struct.pack_into("<I", changed, base + batch._vector(vector, 16)[0] - 4, count)
    return bytes(changed)


def with_batches(content, count):
    """Return the file with a footer that lists its only batch `count` times."""
    (footer_bytes,) = struct.unpack("<i", content[-10:-6])
    start = len(content) - 10 - footer_bytes
    footer, (block,) = bytearray(content[start : start + footer_bytes]), structure.file_blocks(memoryview(content))
    footer += bytes((4 - len(footer)) % 8)
    field = structure.Table(memoryview(bytes(footer)))._field(3)
    struct.pack_into("<I", footer, field, len(footer) - field)
    footer += struct.pack("<I", count) + struct.pack("<qi4xq", *block) * count
    return content[:start] + bytes(footer) + struct.pack("<i6s", len(footer), b"ARROW1")


def with_shared_types(serializer_id, depth=40):
    """Return a file with a type whose children are one and the same, at every level: 2**depth types in a few KB."""
    kind = pa.int8()
    for _ in range(depth):
        kind = pa.struct([("a", pa.int8()), ("b", kind)])
    content = file_for(serializer_id, pa.array([], kind))
    start, changed = len(content) - 10 - struct.unpack("<i", content[-10:-6])[0], bytearray(content)
    field = next(structure.Table(memoryview(content)[start:-10]).required(1).tables(1))
    while children := list(field.tables(5)):
        first, _ = field._vector(5, 4)
        field = children[1]
        struct.pack_into("<I", changed, start + first, field._pos - first)
    return bytes(changed)


@functools.cache
def nested(depth):
    """Return a file without batches and with a type of many levels."""
    kind = pa.int8()
    for _ in range(depth):
        kind = pa.list_(kind)
    return arrow_file(pa.schema([("x", kind)]), [])


def file_for(serializer_id, array):
    """Return a file of one column for one of the serializers of tables and frames."""
    return frame_file([(["arrow"], array)]) if serializer_id.startswith("pandas") else table_file(array)


def table_file(array, name="x", *, field_metadata=None, metadata=None, **options):
    field = pa.field(name, array.type, metadata=field_metadata)
    schema = pa.schema([field], metadata)
    return arrow_file(schema, [pa.RecordBatch.from_arrays([array], schema=schema)], **options)
