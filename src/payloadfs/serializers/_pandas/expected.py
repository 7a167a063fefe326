"""The Arrow type that a column must have: derived from its description, never taken from the object.

The description of a column comes with the object, and so does its Arrow type. A reader that follows
one of them without the other can be made to read numbers as something else, or to unpack a type
that no column needs. So untrusted columns are compared before they are converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["check_freq", "check_type", "offset_name"]

_UNITS = ("s", "ms", "us", "ns")
_NAME_CHARS = 100
_NOT_IN_LISTS = ("list", "ndarray", "mixed", "json")


def check_type(description: Any, kind: pa.DataType) -> None:
    """Raise ValueError unless the writer stores columns of this description as `kind`.

    The parts of intervals and categoricals have separate descriptions, which are checked when
    they are decoded.
    """
    import pyarrow as pa

    name, *params = description
    if name == "interval":
        fits = pa.types.is_struct(kind) and [field.name for field in kind] == ["left", "right"]
    elif name == "category":
        fits = pa.types.is_dictionary(kind) and pa.types.is_signed_integer(kind.index_type) and not kind.ordered
    else:
        # ArrowDtype of any type. Unions and extensions were refused with the structure of the file.
        fits = name == "arrow" or kind in (_cells(*params) if name == "object" else _array(name, *params))
    if not fits:
        raise ValueError(f"a column of kind {name!r} cannot have the Arrow type {kind}")


def check_freq(freq: Any) -> None:
    """Raise ValueError if `freq` is too long for the name of a frequency."""
    if freq is not None and len(freq) > _NAME_CHARS:
        raise ValueError("the name of a frequency is too long")


def offset_name(seconds: float) -> str | None:
    """Return Arrow's name of a fixed offset from UTC, or None if it is not a whole number of minutes."""
    minutes, remainder = divmod(seconds, 60)
    if remainder:
        return None
    if not minutes:
        return "UTC"
    hours, minutes = divmod(abs(int(minutes)), 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}"


def _numpy(name: str, kinds: str = "iufMm") -> list[pa.DataType]:
    import numpy as np
    import pyarrow as pa

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
    import numpy as np
    import pyarrow as pa

    match name, *params:
        case "numpy", dtype:
            return _numpy(dtype)
        case "masked", dtype:
            return _numpy("|b1" if dtype == "boolean" else np.dtype(dtype.lower()).str, "iuf")
        case "complex", ("<c8" | "<c16") as dtype:
            return [pa.list_(pa.float32() if dtype == "<c8" else pa.float64(), 2)]
        case "zoned", unit, "offset", seconds, *_:
            return [pa.timestamp(unit, offset_name(seconds))]
        case "zoned", unit, _, zone:
            return [pa.timestamp(unit, zone)]
        case "period", dtype:
            check_freq(dtype)
            return [pa.int64()]
        case "string", _, _:
            return [pa.string(), pa.large_string()]
    return []


def _cells(kind: str, _missing: str = "None", *params: Any) -> list[pa.DataType]:
    """Return the types of an array of Python objects."""
    import pyarrow as pa

    match kind, *params:
        case "Decimal", *_:
            return [pa.decimal128(38, scale) for scale in range(39)]
        case "list", [inner, *rest] if inner not in _NOT_IN_LISTS:
            return [pa.large_list(part) for part in _cells(inner, *rest)]
        case "ndarray", dtype:
            return [pa.large_list(part) for part in _numpy(dtype, "iuf") if part != pa.bool_()]
    simple = {
        **dict.fromkeys(("str", "mixed", "json"), pa.large_string()),
        "bytes": pa.large_binary(),
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
