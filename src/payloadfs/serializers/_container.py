"""Container of pickles and trees: a small head and large aligned buffers in one object.

::

    header   magic 16 bytes, version u32, number of buffers u32, meta size u64, head size u64
    table    per buffer: offset u64, size u64
    meta     JSON: the versions that wrote it
    head     the pickle stream or the msgpack value, without the buffers
    buffers  each at a multiple of 64 bytes, zeros between them

All numbers are little-endian. Every length is checked against the object's size before anything is
allocated or read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Sequence
from typing import Any

from .._buffers import Frame, as_bytes, frame_bytes, padding
from .._seal import DATA_FROM_BYTES, Encoded

VERSION = 1
_MAGIC = b"payloadfs frames"
_HEADER = struct.Struct("<16sIIQQ")
_ENTRY = struct.Struct("<QQ")


def pack(
    meta: dict[str, Any],
    head: Sequence[Frame],
    buffers: Sequence[memoryview | Encoded],
    data: Collection[int] = (),
    *,
    extension: str = "pickle",
) -> Encoded:
    """Return a container. Copies neither `head`, a list of pieces, nor `buffers`.

    Of the plain buffers, those at the positions `data` are data. An encoded object becomes one buffer whose
    data stays data. If it has 64 KiB or more, its spans are its own, so that a reader can fetch and verify it alone.
    """
    meta_bytes = json.dumps(meta, separators=(",", ":")).encode()
    head_bytes = sum(map(frame_bytes, head))
    offset = _HEADER.size + _ENTRY.size * len(buffers) + len(meta_bytes) + head_bytes
    front = [_HEADER.pack(_MAGIC, VERSION, len(buffers), len(meta_bytes), head_bytes)]
    first = 1 + len(head)
    body: list[Frame] = []
    data_frames: set[int] = set()
    starts: set[int] = set()
    for number, buffer in enumerate(buffers):
        body.append(memoryview(bytes(padding(offset))))
        offset += padding(offset)
        begin, size = first + len(body), buffer.size_bytes if isinstance(buffer, Encoded) else buffer.nbytes
        front.append(_ENTRY.pack(offset, size))
        if isinstance(buffer, Encoded):
            body += [*buffer.frames, memoryview(buffer.suffix)]
            data_frames.update(begin + pos for pos in buffer.data)
            if size >= DATA_FROM_BYTES:
                # The padding before the next buffer still belongs to this one.
                starts |= {begin, first + len(body) + 1}
        else:
            body.append(buffer)
            if number in data:
                data_frames.add(begin)
        offset += size
    frames = [as_bytes(b"".join([*front, meta_bytes])), *head, *body]
    return Encoded(frames, extension, sealable=True, data=frozenset(data_frames), starts=frozenset(starts))


def unpack(container: memoryview) -> tuple[dict[str, Any], memoryview, list[memoryview]]:
    """Return meta, head and buffers of `container` as views of it.

    Raise `ValueError` if a length or offset is invalid. Nothing was allocated then.
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
