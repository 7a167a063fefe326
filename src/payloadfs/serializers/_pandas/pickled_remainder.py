"""What Arrow can't carry of a frame: one pickle, behind the batches of the Arrow file.

::

    ARROW1 00 00 | schema | batches ... | end-of-stream mark | zeros | container | footer ... | ARROW1

The container is that of pickles (see `_frames`) and begins at a multiple of 64 bytes. Other readers
of the file see the columns that Arrow does carry, and nothing else.
"""

from __future__ import annotations

from typing import Any

from ..._buffers import frame_bytes, padding
from .._arrow.ipc import batches_end
from .._base import Encoded, NotExactError
from .._pickle.serializer import PickleSerializer, container

__all__ = ["read_rest", "with_rest"]


def with_rest(encoded: Encoded, rest: dict[str, Any], frame: Any) -> Encoded:
    """Return the Arrow file `encoded` with the rest of `frame` in it.

    Raises
    ------
    NotExactError
        The rest can't be pickled, or holds the frame itself. An attempt to pickle the frame as a
        whole then succeeds, or names the path to the trouble.
    """
    try:
        pickled = container(rest, without=frame)
    except Exception as error:
        raise NotExactError from error
    zeros = memoryview(bytes(padding(sum(map(frame_bytes, encoded.frames)))))
    before = len(encoded.frames) + 1
    return Encoded(
        [*encoded.frames, zeros, *pickled.frames],
        encoded.extension,
        suffix=encoded.suffix,
        sealable=encoded.sealable,
        data=encoded.data | {before + place for place in pickled.data},
    )


def read_rest(buffer: memoryview) -> dict[str, Any]:
    """Return the rest in the Arrow file `buffer`. Runs what its pickle says."""
    end = batches_end(buffer)
    rest: dict[str, Any] = PickleSerializer().decode(buffer[end + padding(end) :], trusted=True)
    return rest
