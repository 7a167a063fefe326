"""What all remote stores share: pieces become parts, and a size becomes ranges."""

from __future__ import annotations

import io
from collections.abc import Iterator

from .._buffers import ByteRange, view
from ..errors import IntegrityError, StoreError
from ._base import Body

__all__ = ["MIB", "PAUSES_S", "jitter", "parts", "ropes", "split", "wrong_size"]

MIB = 1024 * 1024

PAUSES_S = (0.2, 0.6, 1.8)
"""Between attempts at what a living server refused or broke off.

A server that gives no answer at all is not asked again.
"""

_ONE_RANGE_BYTES = 16 * MIB
_MOST_BYTES = 32 * MIB
_STREAMS = 8


def jitter(pause_s: float) -> float:
    """Return a random time up to `pause_s`, so that many clients don't come back together."""
    import random

    return pause_s * random.uniform(0.5, 1)  # noqa: S311


def split(size_bytes: int) -> list[ByteRange]:
    """Return the ranges in which an object of `size_bytes` bytes is read, in order.

    Up to 16 MiB it is one range; beyond, even ranges of 8 to 32 MiB, so that up to eight streams
    end at about the same time. Smaller ones cost real servers more than they gain.

    Examples
    --------
    >>> [part.size_bytes for part in split(64 * MIB)] == [16 * MIB] * 4
    True
    """
    if size_bytes <= _ONE_RANGE_BYTES:
        return [ByteRange(0, size_bytes)]
    count = max(-(-size_bytes // _MOST_BYTES), min(_STREAMS, -(-size_bytes // _ONE_RANGE_BYTES)))
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


def ropes(body: Body, part_bytes: int) -> Iterator[list[memoryview]]:
    """Yield the bytes of `body` in parts as `parts` does, each as a row of slices that may be kept.

    Nothing is copied if the body is stable; otherwise each byte is, once. An empty body is one
    empty part.

    Raises
    ------
    StoreError
        The body has more or fewer bytes than it said.
    """
    stable = getattr(body, "stable", False)
    taken, room, rope = 0, part_bytes, list[memoryview]()
    for piece in map(view, body):
        taken += piece.nbytes
        if taken > body.size_bytes:
            raise _not_as_said(body, f"at least {taken}")
        rest = piece if stable else memoryview(bytes(piece))
        while rest.nbytes:
            if not room:
                yield rope
                rope, room = [], part_bytes
            rope.append(rest[:room])
            rest = rest[room:]
            room -= rope[-1].nbytes
    if taken != body.size_bytes:
        raise _not_as_said(body, str(taken))
    yield rope


def _not_as_said(body: Body, actual: str) -> StoreError:
    return StoreError(
        f"The body said that it has {body.size_bytes} bytes and gave {actual}; nothing was stored.", kind="body-size"
    )


def wrong_size(key: str, size_bytes: int, actual: str) -> IntegrityError:
    """Return the error for an object that has another size than its pointer says."""
    return IntegrityError(f"The object {key!r} should have {size_bytes} bytes, it has {actual}.", kind="size")
