"""Exact conversion of pandas arrays to Arrow arrays and back, one kind of dtype at a time.

Each column is stored as the type that other Arrow readers expect, with a short JSON list that
describes how to restore exactly the same pandas array. Dtypes that are not in the table below, by
exact class, are not stored here (`NotExactError`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ...errors import DecodeError
from .._arrow.ipc import LazyBuffers
from .._arrow.memory import ObjectBuffer, bitmap, nat_bitmap, one_chunk, pack_bits, primitive, unpack_bits
from .._arrow.tables import is_changed_by_ipc
from .._base import NotExactError
from .._zones import decode_zone, encode_zone
from .expected import numpy_types, zone_name
from .object_columns import decode_cells, encode_cells

Description = list[Any]


def encode_array(values: Any, lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    """Return description and Arrow array of a numpy or pandas array, or raise `NotExactError`."""
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        if type(values) is not np.ndarray or dtype.metadata:
            raise NotExactError
        return encode_cells(values) if dtype.kind == "O" else _encode_numpy(values, lazy)
    if type(dtype) not in _ENCODERS:
        raise NotExactError
    return _ENCODERS[type(dtype)](values, lazy)


def decode_array(description: Description, array: pa.Array, memory: ObjectBuffer) -> Any:
    """Return the numpy or pandas array that was encoded: a view of `memory` where possible."""
    kind, *params = description
    return _DECODERS[kind](array, memory, *params)


def _encode_numpy(values: npt.NDArray[Any], lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    dtype = values.dtype
    if dtype.kind == "c" and dtype.itemsize <= 16 and dtype.isnative:
        return ["complex", dtype.str], _encode_complex(values, lazy)
    types = numpy_types(dtype.str) if dtype.kind in "biufMm" else []
    if not types:
        raise NotExactError
    description = ["numpy", dtype.str]
    if dtype.kind == "b":
        return description, pa.Array.from_buffers(types[0], len(values), [None, pack_bits(values)])
    # NaT stays in the data, where loading reads it; the bitmap is for other readers.
    missing = nat_bitmap(values) if dtype.kind in "Mm" else None
    return description, primitive(types[0], values, missing, lazy)


def _decode_numpy(array: pa.Array, memory: ObjectBuffer, dtype: str) -> npt.NDArray[Any]:
    if dtype == "|b1":
        return memory.match_writability(unpack_bits(array.buffers()[1], array))
    return memory.view(array, dtype)


def _encode_complex(values: npt.NDArray[Any], lazy: LazyBuffers) -> pa.Array:
    part = pa.float64() if values.dtype.itemsize == 16 else pa.float32()
    parts = primitive(part, values, None, lazy)
    return pa.Array.from_buffers(pa.list_(part, 2), len(values), [None], children=[parts])


def _decode_complex(array: pa.Array, memory: ObjectBuffer, dtype: str) -> npt.NDArray[Any]:
    if dtype not in ("<c8", "<c16"):
        raise ValueError(f"invalid column dtype {dtype!r}")
    return memory.view(array.values, f"<f{int(dtype[2:]) // 2}").view(dtype)


def encode_block(values: npt.NDArray[Any], lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    """Return description and Arrow array of several columns of one numeric dtype: a list of their cells per row."""
    rows = values.view(np.uint8) if values.dtype.kind == "b" else values
    cells = primitive(pa.from_numpy_dtype(rows.dtype), rows, None, lazy)
    kind = pa.list_(cells.type, rows.shape[1])
    return ["block", rows.shape[1], values.dtype.str], pa.Array.from_buffers(kind, len(rows), [None], children=[cells])


def decode_block(array: pa.Array, memory: ObjectBuffer, width: int, dtype: str) -> npt.NDArray[Any]:
    """Return the columns that were encoded as the rows of a view of `memory`."""
    cells = memory.view(array.values, "|u1" if dtype == "|b1" else dtype)
    if dtype == "|b1":
        if not memory.trusted and cells.max() > 1:
            raise ValueError("a boolean that is neither 0 nor 1")
        cells = cells.view(np.bool_)
    return cells.reshape(len(array), width).T


def _encode_zoned(values: Any, lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    unit, zone = values.dtype.unit, encode_zone(values.dtype.tz)
    instants = np.asarray(values.view("i8")).view(f"M8[{unit}]")
    name = zone_name(*zone)
    if name is None:
        raise NotExactError
    try:
        kind = pa.timestamp(unit, name)
    except pa.ArrowInvalid as error:
        raise NotExactError from error
    return ["zoned", unit, *zone], primitive(kind, instants, nat_bitmap(instants), lazy)


def _decode_zoned(array: pa.Array, memory: ObjectBuffer, unit: str, *zone: Any) -> Any:
    dtype = pd.DatetimeTZDtype(unit, decode_zone(zone))  # pyright: ignore[reportArgumentType]
    # No public constructor takes instants without converting them.
    return pd.arrays.DatetimeArray._simple_new(memory.view(array, f"<M8[{unit}]"), dtype=dtype)


def _encode_period(values: Any, lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    name = values.dtype.name
    if pd.api.types.pandas_dtype(name) != values.dtype:
        raise NotExactError
    missing = bitmap(np.asarray(values.isna()))
    return ["period", name], primitive(pa.int64(), np.asarray(values.view("i8")), missing, lazy)


def _decode_period(array: pa.Array, memory: ObjectBuffer, name: str) -> Any:
    if not name.startswith("period["):
        raise ValueError(f"invalid column dtype {name!r}")
    return pd.arrays.PeriodArray(memory.view(array, "<i8"), dtype=pd.api.types.pandas_dtype(name))


def _encode_string(values: Any, _: LazyBuffers) -> tuple[Description, pa.Array]:
    dtype = values.dtype
    description = ["string", dtype.storage, "NA" if dtype.na_value is pd.NA else "nan"]
    try:
        if dtype.storage != "python":
            return description, one_chunk(values.__arrow_array__())
        cells = values.to_numpy(dtype=object, na_value=None)
        return description, one_chunk(pa.array(cells, pa.large_string(), from_pandas=True))
    except (UnicodeError, pa.ArrowInvalid) as error:
        raise NotExactError from error


def _decode_string(array: pa.Array, _: ObjectBuffer, storage: str, missing: str) -> Any:
    if missing != "NA" and pd.__version__ < "2.3":
        raise DecodeError("The frame needs pandas 2.3 or newer: it has cells or labels of pandas 3's str dtype.")
    na_value = pd.NA if missing == "NA" else float("nan")
    dtype = pd.StringDtype(storage) if missing == "NA" else pd.StringDtype(storage, na_value=na_value)
    return dtype.__from_arrow__(array)


def _encode_arrow(values: Any, _: LazyBuffers) -> tuple[Description, pa.Array]:
    if is_changed_by_ipc(pa.schema([("values", values.dtype.pyarrow_dtype)])):
        raise NotExactError
    return ["arrow"], one_chunk(values.__arrow_array__())


def _encode_masked(values: Any, lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    # The two inner arrays have no public names; `to_numpy` would copy and merge them.
    data, mask = values._data, values._mask
    if values.dtype.kind == "b":
        return ["masked", "boolean"], pa.array(data, pa.bool_(), mask=mask, from_pandas=False)
    return ["masked", values.dtype.name], primitive(pa.from_numpy_dtype(data.dtype), data, bitmap(mask), lazy)


def _decode_masked(array: pa.Array, memory: ObjectBuffer, name: str) -> Any:
    validity, bits = array.buffers()
    missing = memory.match_writability(
        np.zeros(len(array), np.bool_) if validity is None else ~unpack_bits(validity, array)
    )
    if name == "boolean":
        return pd.arrays.BooleanArray(memory.match_writability(unpack_bits(bits, array)), missing)
    # Not `pandas_dtype`, which tries every registered dtype.
    dtype: Any = getattr(pd, f"{name}Dtype")()
    kind = pd.arrays.FloatingArray if name.startswith("Float") else pd.arrays.IntegerArray
    return kind(memory.view(array, dtype.numpy_dtype), missing)


_MASKED = ["Boolean", *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)), "Float32", "Float64"]
_ENCODERS: dict[type, Callable[[Any, LazyBuffers], tuple[Description, pa.Array]]] = {
    pd.DatetimeTZDtype: _encode_zoned,
    pd.StringDtype: _encode_string,
    pd.ArrowDtype: _encode_arrow,
    pd.PeriodDtype: _encode_period,
    **{getattr(pd, f"{name}Dtype"): _encode_masked for name in _MASKED},
}
_DECODERS: dict[str, Callable[..., Any]] = {
    "arrow": lambda array, _: pd.arrays.ArrowExtensionArray(pa.chunked_array([array])),
    "complex": _decode_complex,
    "masked": _decode_masked,
    "numpy": _decode_numpy,
    "object": decode_cells,
    "period": _decode_period,
    "string": _decode_string,
    "zoned": _decode_zoned,
}
