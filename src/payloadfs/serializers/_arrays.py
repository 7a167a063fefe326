"""pandas' arrays to Arrow arrays and back, exactly, one kind of dtype at a time.

Each column is stored as what other Arrow readers take it for, and described by a short JSON list
that says how to get the very same pandas array back. What is not in the table below, by exact
class, is not stored here (`NotExactError`).
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._arrow import has_extension
from ._base import NotExactError
from ._ipc import LazyBuffers
from ._views import Memory, bitmap, one_chunk, primitive, unpacked

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["decode_array", "encode_array"]

Description = list[Any]

_UNITS = ("s", "ms", "us", "ns")
_CELLS: dict[type, str] = {
    str: "large_string",
    bytes: "large_binary",
    bool: "bool_",
    int: "int64",
    float: "float64",
    dt.date: "date32",
}


def encode_array(values: Any, lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    """Return description and Arrow array of a numpy or pandas array.

    Raises
    ------
    NotExactError
        Arrow would not give back exactly these values.
    """
    import numpy as np
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        if type(values) is not np.ndarray:
            raise NotExactError
        return _encode_object(values) if dtype.kind == "O" else _encode_numpy(values, lazy)
    encoders: dict[type, Callable[[Any, LazyBuffers], tuple[Description, pa.Array]]] = {
        pd.DatetimeTZDtype: _encode_zoned,
        pd.StringDtype: _encode_string,
        pd.ArrowDtype: _encode_arrow,
        **dict.fromkeys(_masked_dtypes(), _encode_masked),
    }
    if type(dtype) not in encoders:
        raise NotExactError
    return encoders[type(dtype)](values, lazy)


def decode_array(description: Description, array: pa.Array, memory: Memory) -> Any:
    """Return the numpy or pandas array that was encoded: a view of `memory` where it can be."""
    kind, *facts = description
    decoders: dict[str, Callable[..., Any]] = {
        "numpy": _decode_numpy,
        "object": _decode_object,
        "zoned": _decode_zoned,
        "string": _decode_string,
        "arrow": _decode_arrow,
        "masked": _decode_masked,
    }
    return decoders[kind](array, memory, *facts)


def _encode_numpy(values: npt.NDArray[Any], lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    import numpy as np
    import pyarrow as pa

    dtype = values.dtype
    if not dtype.isnative or dtype.metadata:
        raise NotExactError
    description = ["numpy", dtype.str]
    if dtype.kind == "b":
        return description, pa.array(values, pa.bool_())
    if dtype.kind in "Mm":
        unit, step = np.datetime_data(dtype)
        if unit not in _UNITS or step != 1:
            raise NotExactError
        kind = pa.timestamp(unit) if dtype.kind == "M" else pa.duration(unit)
        # NaT stays in the data, where loading finds it; the bitmap is for other readers.
        return description, primitive(kind, values, bitmap(np.isnat(values)), lazy)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise NotExactError
    return description, primitive(pa.from_numpy_dtype(dtype), values, None, lazy)


def _decode_numpy(array: pa.Array, memory: Memory, dtype: str) -> npt.NDArray[Any]:
    import numpy as np

    if dtype == "|b1":
        return unpacked(array.buffers()[1], array)
    if np.dtype(dtype).kind not in "iufMm":
        raise ValueError(f"no column has the dtype {dtype!r}")
    return memory.view(array, dtype)


def _encode_object(values: npt.NDArray[Any]) -> tuple[Description, pa.Array]:
    import pyarrow as pa

    # One pass over every cell: looking at the first few is how peers change values silently.
    kinds = set(map(type, values)) - {type(None)}
    kind = kinds.pop() if kinds else str
    if kinds or kind not in _CELLS:
        raise NotExactError
    try:
        array = pa.array(values, getattr(pa, _CELLS[kind])(), from_pandas=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeError, OverflowError) as error:
        raise NotExactError from error
    return ["object", kind.__name__], one_chunk(array)


def _decode_object(array: pa.Array, _: Memory, kind: str) -> npt.NDArray[Any]:
    import numpy as np

    if kind in ("str", "bytes"):
        texts: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return texts
    cells = np.empty(len(array), object)
    cells[:] = array.to_pylist()
    return cells


def _encode_zoned(values: Any, lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    import numpy as np
    import pyarrow as pa

    unit, zone = values.dtype.unit, values.dtype.tz
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        facts: list[Any] = ["zone", zone.key]
    elif type(zone) is dt.timezone and repr(zone) == repr(dt.timezone(zone.utcoffset(None))):
        facts = ["offset", zone.utcoffset(None).total_seconds()]
    else:
        raise NotExactError
    instants = np.asarray(values.view("i8")).view(f"M8[{unit}]")
    try:
        kind = pa.timestamp(unit, str(values.dtype.tz) if facts[0] == "zone" else _offset_name(facts[1]))
    except pa.ArrowInvalid as error:
        raise NotExactError from error
    return ["zoned", unit, *facts], primitive(kind, instants, bitmap(np.isnat(instants)), lazy)


def _offset_name(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    if rest:
        raise NotExactError
    if not minutes:
        return "UTC"
    hours, minutes = divmod(abs(int(minutes)), 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}"


def _decode_zoned(array: pa.Array, memory: Memory, unit: str, kind: str, fact: Any) -> Any:
    import pandas as pd

    if kind == "zone":
        zone: dt.tzinfo = zoneinfo.ZoneInfo(fact)
    else:
        zone = dt.timezone(dt.timedelta(seconds=fact)) if fact else dt.UTC
    dtype = pd.DatetimeTZDtype(unit, zone)  # pyright: ignore[reportArgumentType]
    # No public constructor takes instants as they are.
    return pd.arrays.DatetimeArray._simple_new(memory.view(array, f"<M8[{unit}]"), dtype=dtype)


def _encode_string(values: Any, _: LazyBuffers) -> tuple[Description, pa.Array]:
    import pandas as pd
    import pyarrow as pa

    dtype = values.dtype
    missing = "NA" if dtype.na_value is pd.NA else "nan"
    try:
        if dtype.storage == "python":
            cells = values.to_numpy(dtype=object, na_value=None)
            return ["string", "python", missing], one_chunk(pa.array(cells, pa.large_string(), from_pandas=True))
        return ["string", dtype.storage, missing], one_chunk(values.__arrow_array__())
    except (UnicodeError, pa.ArrowInvalid) as error:
        raise NotExactError from error


def _decode_string(array: pa.Array, _: Memory, storage: str, missing: str) -> Any:
    import pandas as pd

    na_value = pd.NA if missing == "NA" else float("nan")
    dtype = pd.StringDtype(storage) if missing == "NA" else pd.StringDtype(storage, na_value=na_value)
    return dtype.__from_arrow__(array)


def _encode_arrow(values: Any, _: LazyBuffers) -> tuple[Description, pa.Array]:
    import pyarrow as pa

    if has_extension(pa.schema([("values", values.dtype.pyarrow_dtype)])):
        raise NotExactError
    return ["arrow"], one_chunk(values.__arrow_array__())


def _decode_arrow(array: pa.Array, _: Memory) -> Any:
    import pandas as pd
    import pyarrow as pa

    return pd.arrays.ArrowExtensionArray(pa.chunked_array([array]))


def _masked_dtypes() -> list[type]:
    import pandas as pd

    names = ["Boolean", *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)), "Float32", "Float64"]
    return [getattr(pd, f"{name}Dtype") for name in names]


def _encode_masked(values: Any, lazy: LazyBuffers) -> tuple[Description, pa.Array]:
    import pyarrow as pa

    # The two arrays inside have no public names; `to_numpy` would copy and merge them.
    data, mask = values._data, values._mask
    if values.dtype.kind == "b":
        return ["masked", "boolean"], pa.array(data, pa.bool_(), mask=mask, from_pandas=False)
    return ["masked", values.dtype.name], primitive(pa.from_numpy_dtype(data.dtype), data, bitmap(mask), lazy)


def _decode_masked(array: pa.Array, memory: Memory, name: str) -> Any:
    import numpy as np
    import pandas as pd

    validity, bits = array.buffers()
    missing = np.zeros(len(array), np.bool_) if validity is None else ~unpacked(validity, array)
    if name == "boolean":
        return pd.arrays.BooleanArray(unpacked(bits, array), missing)
    dtype: Any = pd.api.types.pandas_dtype(name)
    kind = pd.arrays.FloatingArray if name.startswith("Float") else pd.arrays.IntegerArray
    return kind(memory.view(array, dtype.numpy_dtype), missing)
