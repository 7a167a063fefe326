"""numpy arrays as ``.npy`` files that any numpy can open; loading maps them."""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .._buffers import CHUNK_BYTES, Frame, LazyFrame, as_bytes
from ._base import Encoded, NotExactError

_KINDS = "biufcmMSU"
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<>|][%s]\d+(?:\[\w+\])?)', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d+, ?)*(?:\d+)?)\), \} *\n" % _KINDS.encode(),
    re.DOTALL,
)
"""The header as numpy writes it. numpy's own reader, which accepts any Python literal, takes ten times as long."""


class NumpySerializer:
    """Serializer of arrays of exact class ``numpy.ndarray`` and plain dtype.

    Structured, object, ``StringDType`` and extended-precision arrays and subclasses are left to
    pickle, since ``.npy`` would change them. A ``numpy.memmap`` is stored as the array that it
    shows and loaded as a plain array; its file and path are not stored.

    Notes
    -----
    Cost of saving: no copy; only the cells of a strided view are gathered, piece by piece.
    Cost of loading: no copy, the array is a view of the object's memory.
    """

    id = "npy/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        encoded = _encode(obj)
        if not obj.flags.writeable:
            raise NotExactError(instead=(ReadOnlyNumpySerializer(), encoded))
        return encoded

    def decode(self, buffer: memoryview, *, trusted: bool) -> npt.NDArray[Any]:
        header = _HEADER.match(buffer)
        if header is None or header.end() != 10 + int.from_bytes(header[1], "little"):
            raise ValueError("not a .npy file of version 1.0 with the header of a plain array")
        dtype: np.dtype[Any] = np.dtype(header[2].decode())
        order: Literal["F", "C"] = "F" if header[3] == b"True" else "C"
        shape = [int(length) for length in header[4].split(b",") if length]
        if not _is_plain(dtype):
            raise ValueError(f"invalid dtype: {dtype}")
        count, offset = math.prod(shape), header.end()
        if count == 0:
            return np.empty(shape, dtype, order=order)
        if count * dtype.itemsize > buffer.nbytes - offset:
            raise ValueError("the array is larger than the object")
        flat = np.frombuffer(buffer, dtype, count, offset)
        if not trusted:
            _check_cells(flat)
        return flat.reshape(shape, order=order)


class ReadOnlyNumpySerializer:
    """Serializer of read-only arrays. Stores them as `NumpySerializer` does and loads them read-only.

    Arrays that pandas returns (``frame.to_numpy()``) are read-only.
    """

    id = "npy-readonly/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        encoded = _encode(obj)
        if obj.flags.writeable:
            raise NotExactError
        return encoded

    def decode(self, buffer: memoryview, *, trusted: bool) -> npt.NDArray[Any]:
        array = NumpySerializer().decode(buffer, trusted=trusted)
        array.flags.writeable = False
        return array


def _encode(obj: Any) -> Encoded:
    if type(obj) not in (np.ndarray, np.memmap) or not _is_plain(obj.dtype):
        raise NotExactError
    array = obj.view(np.ndarray)  # without its file, a memmap is a plain array; the path is never stored
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    header = io.BytesIO()
    fields = {"descr": array.dtype.str, "fortran_order": fortran, "shape": array.shape}
    np.lib.format.write_array_header_1_0(header, fields)
    frames: list[Frame] = [as_bytes(header.getvalue()), array_frame(array.T if fortran else array)]
    return Encoded(frames, extension="npy", sealable=True, data=frozenset({1}))


def _check_cells(flat: npt.NDArray[Any]) -> None:
    """Raise ValueError if a boolean is neither 0 nor 1, or a character is not in Unicode.

    numpy checks neither, and creates Python strings that are invalid.
    """
    if flat.dtype.kind == "b":
        cells, largest = flat.view(np.uint8), 1
    elif flat.dtype.kind == "U":
        cells, largest = flat.view(flat.dtype.str[0] + "u4"), sys.maxunicode
    else:
        return
    if cells.max() > largest:
        raise ValueError("a cell that its dtype does not have")


def _is_plain(dtype: np.dtype[Any]) -> bool:
    widest = 16 if dtype.kind == "c" else 8
    return (
        dtype.kind in _KINDS
        and dtype.itemsize > 0
        and (dtype.kind in "SU" or dtype.itemsize <= widest)
        and dtype.fields is None
        and dtype.subdtype is None
        and not dtype.metadata
    )


def array_frame(array: npt.NDArray[Any]) -> Frame:
    """Return the cells of `array` in C order as a frame. Copies only strided arrays, piece by piece."""
    if array.flags.c_contiguous:
        return array.reshape(-1).view(np.uint8).data
    return LazyFrame(array.nbytes, lambda: _gather(array))


def _gather(array: npt.NDArray[Any]) -> Iterator[memoryview]:
    cells = np.nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        order="C",
        buffersize=max(1, CHUNK_BYTES // array.itemsize),
    )
    for piece in cells:
        yield np.ascontiguousarray(piece).view(np.uint8).data
