"""What all remote stores share: pieces become parts, and a size becomes ranges."""

from __future__ import annotations

import io
from collections.abc import Iterator

from ..buffers import ByteRange, view
from ..errors import IntegrityError, StoreError
from ._base import Body

__all__ = ["MIB", "parts", "split", "wrong_size"]

MIB = 1024 * 1024

_FEWEST_BYTES = 8 * MIB
_MOST_BYTES = 16 * MIB
_STREAMS = 8


def split(size_bytes: int) -> list[ByteRange]:
    """Return the ranges in which an object of `size_bytes` bytes is read, in order.

    Up to 16 MiB it is one range; beyond, even ranges of 8 to 16 MiB, so that up to eight streams
    end at about the same time.

    Examples
    --------
    >>> [part.size_bytes for part in split(40 * MIB)] == [8 * MIB] * 5
    True
    """
    if size_bytes <= _MOST_BYTES:
        return [ByteRange(0, size_bytes)]
    count = max(-(-size_bytes // _MOST_BYTES), min(_STREAMS, size_bytes // _FEWEST_BYTES))
    step = -(-size_bytes // count)
    return [ByteRange(start, min(start + step, size_bytes)) for start in range(0, size_bytes, step)]


def parts(body: Body, part_bytes: int) -> Iterator[io.BytesIO]:
    """Yield the bytes of `body` in parts of exactly `part_bytes` bytes; the last may be shorter.

    Each byte is copied once. An empty body is one empty part.

    Raises
    ------
    StoreError
        The body has more or fewer bytes than it said.
    """
    taken, part = 0, io.BytesIO()
    for piece in map(view, body):
        taken += piece.nbytes
        if taken > body.size_bytes:
            raise _not_as_said(body, f"at least {taken}")
        start = 0
        while start < piece.nbytes:
            if part.tell() == part_bytes:
                part.seek(0)
                yield part
                part = io.BytesIO()
            start += part.write(piece[start : start + part_bytes - part.tell()])
    if taken != body.size_bytes:
        raise _not_as_said(body, str(taken))
    part.seek(0)
    yield part


def _not_as_said(body: Body, actual: str) -> StoreError:
    return StoreError(
        f"The body said that it has {body.size_bytes} bytes and gave {actual}; nothing was stored.", kind="body"
    )


def wrong_size(key: str, size_bytes: int, actual: str) -> IntegrityError:
    """Return the error for an object that has another size than its pointer says."""
    return IntegrityError(f"The object {key!r} should have {size_bytes} bytes, it has {actual}.", kind="size")
