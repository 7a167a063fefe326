"""Container for pickles: a small head and large aligned buffers in one object.

::

    header   magic 16 bytes, version u32, number of buffers u32, meta size u64, head size u64
    table    per buffer: offset u64, size u64
    meta     JSON: the versions that wrote it
    head     the pickle stream, without the buffers
    buffers  each at a multiple of 64 bytes, zeros between them

All numbers are little-endian. Every length is checked against the object's size before anything is
allocated or read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Sequence
from typing import Any

from ..._buffers import Frame, as_bytes, frame_bytes, padding
from ..._seal import Encoded

__all__ = ["pack", "unpack"]

VERSION = 1
_MAGIC = b"payloadfs frames"
_HEADER = struct.Struct("<16sIIQQ")
_ENTRY = struct.Struct("<QQ")


def pack(meta: dict[str, Any], head: Sequence[Frame], buffers: Sequence[memoryview], data: Collection[int]) -> Encoded:
    """Return a container. Copies neither `head`, a list of pieces, nor `buffers`; `data` lists the data buffers."""
    meta_bytes = json.dumps(meta, separators=(",", ":")).encode()
    head_bytes = sum(map(frame_bytes, head))
    offset = _HEADER.size + _ENTRY.size * len(buffers) + len(meta_bytes) + head_bytes
    front = [_HEADER.pack(_MAGIC, VERSION, len(buffers), len(meta_bytes), head_bytes)]
    body: list[Frame] = []
    for buffer in buffers:
        body.append(memoryview(bytes(padding(offset))))
        offset += padding(offset)
        front.append(_ENTRY.pack(offset, buffer.nbytes))
        body.append(buffer)
        offset += buffer.nbytes
    frames = [as_bytes(b"".join([*front, meta_bytes])), *head, *body]
    first = 1 + len(head) + 1
    return Encoded(frames, extension="pickle", sealable=True, data=frozenset(first + 2 * n for n in data))


def unpack(container: memoryview) -> tuple[dict[str, Any], memoryview, list[memoryview]]:
    """Return meta, head and buffers of `container` as views of it.

    Raises
    ------
    ValueError
        A length or offset is invalid. Nothing was allocated.
    """
    magic, version, count, meta_bytes, head_bytes = _HEADER.unpack_from(container)
    if magic != _MAGIC or version != VERSION:
        raise ValueError(f"not a container of version {VERSION}")
    table_end = _HEADER.size + count * _ENTRY.size
    end = table_end + meta_bytes + head_bytes
    if end > container.nbytes:
        raise ValueError("the container's table exceeds its size")
    buffers = []
    for offset, size in _ENTRY.iter_unpack(container[_HEADER.size : table_end]):
        if offset < end or padding(offset) or offset + size > container.nbytes:
            raise ValueError("a buffer lies outside the container")
        buffers.append(container[offset : offset + size])
        end = offset + size
    meta = json.loads(bytes(container[table_end : table_end + meta_bytes]))
    if not isinstance(meta, dict):
        raise TypeError("the container's metadata is not a JSON object")
    return meta, container[table_end + meta_bytes : table_end + meta_bytes + head_bytes], buffers
