"""The Arrow type that a column must have: derived from its description, never taken from the object.

The description of a column comes with the object, and so does its Arrow type. A reader that follows
one of them without the other can be made to read numbers as something else, or to unpack a type
that no column needs. So untrusted columns are compared before they are converted.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pyarrow as pa

from .._tree.libraries import check_freq

MAX_WIDTH = 1_000_000
"""Most columns of a DataFrame that are stored as one array."""

_UNITS = ("s", "ms", "us", "ns")
_NOT_IN_LISTS = ("list", "ndarray", "mixed", "json", "tree")


def check_type(description: Any, kind: pa.DataType) -> None:
    """Raise ValueError unless the writer stores columns of this description as `kind`.

    The parts of intervals and categoricals have separate descriptions, which are checked when
    they are decoded.
    """
    name, *params = description
    if name == "interval":
        fits = pa.types.is_struct(kind) and [field.name for field in kind] == ["left", "right"]
    elif name == "category":
        fits = pa.types.is_dictionary(kind) and pa.types.is_signed_integer(kind.index_type) and not kind.ordered
    elif name == "block":
        width, dtype = params
        cells = [pa.uint8()] if dtype == "|b1" else numpy_types(dtype, "iuf")
        fits = 0 < width <= MAX_WIDTH and kind in [pa.list_(part, width) for part in cells]
    else:
        # ArrowDtype of any type. Unions and extensions were refused with the structure of the file.
        fits = name == "arrow" or kind in (cell_types(*params) if name == "object" else _array(name, *params))
    if not fits:
        raise ValueError(f"a column of kind {name!r} cannot have the Arrow type {kind}")


def zone_name(kind: str, value: Any, *_: Any) -> str | None:
    """Return Arrow's name of an encoded time zone, or None for an offset that is not a whole number of minutes."""
    if kind in ("zone", "pytz"):
        name: str = value
        return name
    minutes, remainder = divmod(value, 60_000_000) if kind == "offset" else (value, 0)
    if remainder:
        return None
    hours = "{:02}:{:02}".format(*divmod(abs(minutes), 60))
    return f"{'-' if minutes < 0 else '+'}{hours}" if minutes else "UTC"


@functools.lru_cache(maxsize=256)
def numpy_types(name: str, kinds: str = "iufMm") -> list[pa.DataType]:
    """Return the type of a numpy array whose dtype has the string `name`; none if such arrays are not stored."""
    dtype = np.dtype(name)
    if dtype == np.bool_:
        return [pa.bool_()]
    if dtype.kind not in kinds or dtype.str != name or not dtype.isnative or dtype.itemsize > 8:
        return []
    if dtype.kind not in "Mm":
        return [pa.from_numpy_dtype(dtype)]
    unit, step = np.datetime_data(dtype)
    kind = pa.timestamp if dtype.kind == "M" else pa.duration
    return [kind(unit)] if unit in _UNITS and step == 1 else []


def _array(name: str, *params: Any) -> list[pa.DataType]:
    """Return the types of a numpy array of numbers, or of an array of one of pandas' own dtypes."""
    match name, *params:
        case "numpy", dtype:
            return numpy_types(dtype)
        case "masked", dtype:
            return numpy_types("|b1" if dtype == "boolean" else np.dtype(dtype.lower()).str, "iuf")
        case "complex", ("<c8" | "<c16") as dtype:
            return [pa.list_(pa.float32() if dtype == "<c8" else pa.float64(), 2)]
        case "zoned", unit, *zone:
            return [pa.timestamp(unit, zone_name(*zone))]
        case "period", dtype:
            check_freq(dtype)
            return [pa.int64()]
        case "string", _, _:
            return [pa.string(), pa.large_string()]
    return []


def cell_types(kind: str, _missing: str = "None", *params: Any) -> list[pa.DataType]:
    """Return the types of an array of Python objects."""
    match kind, *params:
        case "Decimal", *_:
            return [pa.decimal128(38, scale) for scale in range(39)]
        case "list", [inner, *rest] if inner not in _NOT_IN_LISTS:
            return [pa.large_list(part) for part in cell_types(inner, *rest)]
        case "ndarray", dtype:
            return [pa.large_list(part) for part in numpy_types(dtype, "iuf") if part != pa.bool_()]
    simple = {
        **dict.fromkeys(("str", "mixed", "json"), pa.large_string()),
        **dict.fromkeys(("bytes", "tree"), pa.large_binary()),
        "bool": pa.bool_(),
        "int": pa.int64(),
        "float": pa.float64(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "datetime": pa.timestamp("us"),
        "timedelta": pa.duration("us"),
        "UUID": pa.binary(16),
    }
    return [simple[kind]]
