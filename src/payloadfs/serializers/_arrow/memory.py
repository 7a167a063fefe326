"""Arrow arrays over numpy memory, and numpy views over Arrow memory. Only bitmaps are copied."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .._base import NotExactError
from .._numpy import array_frame
from .ipc import LazyBuffers, as_buffer


class ObjectBuffer:
    """Memory of a stored object, of which decoded arrays are views.

    If it is not `trusted`, decoders must also check what Arrow's validation leaves out.
    """

    def __init__(self, buffer: memoryview, *, trusted: bool) -> None:
        self.trusted, self.readonly = trusted, buffer.readonly
        self._buffer = buffer
        self._address: int = pa.py_buffer(buffer).address

    def offset(self, buffer: pa.Buffer) -> int:
        """Return the offset of `buffer` in the object."""
        return int(buffer.address) - self._address

    def match_writability(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return `array`, which does not share this memory, made read-only if this memory is."""
        array.flags.writeable = not self.readonly
        return array

    def view(self, array: pa.Array, dtype: Any) -> npt.NDArray[Any]:
        """Return the data buffer of `array` as a numpy array of `dtype`. No copy."""
        dtype, count = _view_dtype(array, dtype), len(array)
        if not count:
            return np.empty(0, dtype)
        start = self.offset(array.buffers()[1]) + array.offset * dtype.itemsize
        return np.frombuffer(self._buffer, dtype, count, start)

    def block(self, arrays: list[pa.Array], dtype: Any) -> npt.NDArray[Any] | None:
        """Return `arrays` as the rows of one strided view, or None if their spacing is uneven."""
        kind, dtype = arrays[0].type, _view_dtype(arrays[0], dtype)
        starts = [self.offset(array.buffers()[1]) for array in arrays] if len(arrays[0]) else []
        steps = {after - before for before, after in itertools.pairwise(starts)}
        if len(steps) != 1 or any(array.offset or array.type != kind for array in arrays):
            return None
        shape, strides = (len(arrays), len(arrays[0])), (steps.pop(), dtype.itemsize)
        return np.ndarray(shape, dtype, self._buffer, starts[0], strides)


def _view_dtype(array: pa.Array, dtype: Any) -> np.dtype[Any]:
    """Return `dtype` if memory of `array` may be viewed as it.

    Bytes that are viewed as objects would be followed as pointers, so this is checked in trusted
    data too.
    """
    checked: np.dtype[Any] = np.dtype(dtype)
    if checked.kind not in "iufMm" or 8 * checked.itemsize != array.type.bit_width:
        raise ValueError(f"an Arrow array of {array.type} is not an array of {checked}")
    return checked


def bitmap(mask: npt.NDArray[np.bool_]) -> pa.Buffer | None:
    """Return Arrow's validity bitmap for `mask` (true where missing), or None if nothing is missing."""
    return pack_bits(~mask) if mask.any() else None


def nat_bitmap(values: npt.NDArray[Any]) -> pa.Buffer | None:
    """Return Arrow's validity bitmap for datetimes or timedeltas, or None if none is NaT."""
    # NaT is the smallest integer: a search for it is several times faster than `isnat`.
    if not len(values) or values.view("i8").min() != np.iinfo("i8").min:
        return None
    return bitmap(np.isnat(values))


def pack_bits(flags: npt.NDArray[np.bool_]) -> pa.Buffer:
    """Return `flags` as bits in Arrow's order."""
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def one_chunk(array: Any) -> pa.Array:
    """Return a chunked or plain Arrow array as one array; copies if there are several chunks."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    whole = array.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        raise NotExactError
    return whole


def primitive(kind: pa.DataType, values: npt.NDArray[Any], missing: pa.Buffer | None, lazy: LazyBuffers) -> pa.Array:
    """Return an Arrow array of the numbers of type `kind` in the memory of `values`."""
    data = as_buffer(array_frame(values), lazy) if len(values) else pa.py_buffer(b"")
    return pa.Array.from_buffers(kind, 8 * values.nbytes // kind.bit_width, [missing, data])


def unpack_bits(bits: pa.Buffer, array: pa.Array) -> npt.NDArray[np.bool_]:
    """Return the bits of a bitmap of `array` as a new boolean array."""
    if not len(array):
        return np.empty(0, np.bool_)
    raw = np.frombuffer(bits, np.uint8)
    return np.unpackbits(raw, count=array.offset + len(array), bitorder="little")[array.offset :].view(np.bool_)
