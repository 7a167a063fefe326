"""Arrow IPC files without a copy: writing as frames, reading as views.

pyarrow's writer hands each buffer of a batch to its sink as it lies in memory; the sink here keeps
the views instead of copying them. A column that is strided in memory, and so no Arrow buffer, goes
through the writer as a reserved range of untouched address space, and its real bytes, gathered
piece by piece, take the place of that range among the frames.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..buffers import Frame, LazyFrame, view
from ..seal import Encoded
from ._base import NotExactError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LazyBuffers", "as_buffer", "read_ipc", "write_ipc"]

_FOOTER_END = struct.Struct("<I6s")


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
        return self._frames.get(buffer.address) or view(buffer)


def as_buffer(frame: Frame, lazy: LazyBuffers) -> pa.Buffer:
    """Return `frame` as an Arrow buffer. No copy."""
    import pyarrow as pa

    return lazy.stand_in(frame) if isinstance(frame, LazyFrame) else pa.py_buffer(frame)


class _FrameSink:
    """A file to pyarrow's eyes that keeps what it is given."""

    closed = False

    def __init__(self, lazy: LazyBuffers) -> None:
        self.frames: list[Frame] = []
        self.data: set[int] = set()
        self._small: list[bytes] = []
        self._lazy = lazy

    def write(self, data: Any) -> None:
        if isinstance(data, bytes):
            self._small.append(data)
        elif data.size:
            self.settle()
            self.data.add(len(self.frames))
            self.frames.append(self._lazy.real(data))

    def settle(self) -> None:
        if self._small:
            self.frames.append(view(b"".join(self._small)))
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

    sink = _FrameSink(lazy or LazyBuffers())
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


def read_ipc(buffer: memoryview, *, trusted: bool) -> pa.Table:
    """Return the table in the Arrow IPC file `buffer` as views of it.

    Notes
    -----
    What no signature vouches for is refused if it is compressed (a bomb has no limit in pyarrow)
    and is validated in full, since Arrow itself checks no offset.
    """
    import pyarrow as pa

    table = pa.ipc.open_file(pa.py_buffer(buffer)).read_all()
    if not trusted:
        if table.nbytes > 2 * buffer.nbytes:
            raise ValueError("the table is larger than its object; a signature is needed to load it")
        table.validate(full=True)
    return table
