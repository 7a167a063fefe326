"""Conversion of columns of Python objects to Arrow arrays and back, after a pass over every cell.

Inference from the first few cells changes values silently, so the exact class of every cell counts:
a subclass of ``str`` is not ``str``. Cells of one class become a column of that type, with at most
one kind of missing value. Mixtures, lists and dicts that JSON restores exactly become JSON strings.
All other cells of the vocabulary of trees become one value of msgpack each. Everything else is not
stored here (`NotExactError`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import itertools
import json
import math
import struct
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from .._arrow.memory import ObjectBuffer, bitmap, unpack_bits
from .._base import NotExactError
from .._plain import JSON_SCALARS, check_exact
from .._tree.check import TreeChecker, is_immutable
from .._tree.decode import Decoder
from .._tree.encode import Encoder
from .expected import cell_types

_MUTABLE = ("list", "ndarray", "json", "tree")
_NAN = struct.pack("<d", math.nan)
_NUMERIC = "iuf"
_DECIMAL_DIGITS = 38
_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_cells(values: npt.NDArray[Any]) -> tuple[list[Any], pa.Array]:
    """Return description and Arrow array of a one-dimensional array of objects, or raise `NotExactError`."""
    cells = values.tolist()
    try:
        return _encode_cells(cells)
    except NotExactError:
        return ["object", "tree"], _encode_tree(cells)


def _encode_cells(cells: list[Any]) -> tuple[list[Any], pa.Array]:
    """Return description and Arrow array of cells that other programs read without msgpack."""
    kinds, missing, missing_mask = _split_missing(cells)
    kind = next(iter(kinds), str)
    try:
        if len(kinds) > 1 or kind in (dict, type(None)):
            name, params, array = _encode_json(cells, kinds, missing_mask)
        elif kind is list:
            name, params, array = _encode_lists(cells, missing_mask)
        elif kind is np.ndarray:
            name, params, array = _encode_arrays(cells)
        elif kind in _SCALARS:
            name, params, array = kind.__name__, [], _encode_scalars(kind, cells, missing_mask)
        else:
            raise NotExactError
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeError, OverflowError) as error:
        raise NotExactError from error
    return ["object", name, *([missing, *params] if params or missing != "None" else [])], array


def decode_cells(
    array: pa.Array, memory: ObjectBuffer, kind: str, missing: str = "None", *params: Any
) -> npt.NDArray[Any]:
    """Return the array of objects that was encoded. Its cells are new objects."""
    decoded = _decode_by_kind(array, memory, kind, *params)
    if kind != "tree" and len(decoded) != len(array):
        raise ValueError(f"expected {len(array)} cells, decoded {len(decoded)}")
    cells: npt.NDArray[Any] = decoded if isinstance(decoded, np.ndarray) else np.fromiter(decoded, object, len(array))
    if array.null_count:
        values = {"None": None, "nan": math.nan, "NA": pd.NA, "NaT": pd.NaT}
        cells[~unpack_bits(array.buffers()[0], array)] = values[missing]
    return memory.match_writability(cells)


def is_mutable(description: list[Any], labels: Any = None) -> bool:
    """Return whether the cells of a column may be mutable, so that shared references matter.

    With `labels`, the cells of an index, each of them is checked.
    """
    if description[0] != "object" or description[1] not in _MUTABLE:
        return False
    return description[1] != "tree" or labels is None or not all(map(is_immutable, labels))


def _split_missing(cells: list[Any]) -> tuple[set[type], str, npt.NDArray[np.bool_] | None]:
    """Return the classes of the cells, the kind of missing value, and a mask of the missing cells.

    None counts as missing only if no other kind occurs; otherwise it is a cell, since JSON has null.
    """
    kinds = set(map(type, cells))
    missing_kinds = {name: cls for name, cls in (("NA", type(pd.NA)), ("NaT", type(pd.NaT))) if cls in kinds}
    kinds -= set(missing_kinds.values())
    if float in kinds and kinds - {float, type(None)}:
        floats = [cell for cell in cells if type(cell) is float]
        nans = [struct.pack("<d", cell) for cell in floats if math.isnan(cell)]
        if set(nans) - {_NAN}:
            raise NotExactError
        missing_kinds |= {"nan": float} if nans else {}
        kinds -= {float} if len(nans) == len(floats) else set()
    if len(missing_kinds) > 1:
        raise NotExactError
    for name, cls in missing_kinds.items():
        # Only NaN differs from itself.
        is_missing = (type(cell) is cls and (name != "nan" or cell != cell) for cell in cells)
        return kinds, name, np.fromiter(is_missing, np.bool_, len(cells))
    return kinds - {type(None)}, "None", None


def _encode_json(
    cells: list[Any], kinds: set[type], missing_mask: npt.NDArray[np.bool_] | None
) -> tuple[str, list[Any], pa.Array]:
    if kinds - JSON_SCALARS - {list, dict}:
        raise NotExactError
    missing = [cell is None for cell in cells] if missing_mask is None else missing_mask.tolist()
    check_exact([cell for cell, gone in zip(cells, missing, strict=True) if not gone], max_nodes=math.inf)
    try:
        strings = [None if gone else _dumps(cell) for cell, gone in zip(cells, missing, strict=True)]
    except ValueError as error:  # an int of more digits than Python converts
        raise NotExactError from error
    return "json" if kinds - JSON_SCALARS else "mixed", [], pa.array(strings, pa.large_string())


def _encode_tree(cells: list[Any]) -> pa.Array:
    """Return each cell as a value of msgpack, None as null."""
    native = TreeChecker(check_strings=False).check(cells)
    encoder = Encoder(inline=True)
    return pa.array(
        [None if cell is None else encoder.encode(cell, native=native) for cell in cells], pa.large_binary()
    )


def _encode_lists(cells: list[Any], missing_mask: npt.NDArray[np.bool_] | None) -> tuple[str, list[Any], pa.Array]:
    """Return lists of one immutable class as Arrow lists, other lists as JSON."""
    lists = [cell if type(cell) is list else () for cell in cells]
    flat = list(itertools.chain.from_iterable(lists))
    if set(map(type, flat)) <= {*_SCALARS, type(None)}:
        with contextlib.suppress(NotExactError):
            (_, *inner), values = _encode_cells(flat)
            if inner[0] != "mixed":
                return "list", [inner], _large_list(lists, values)
    return _encode_json(cells, {list}, missing_mask)


def _encode_arrays(cells: list[Any]) -> tuple[str, list[Any], pa.Array]:
    """Return numeric one-dimensional arrays, such as embeddings, as Arrow lists."""
    arrays = [cell for cell in cells if type(cell) is np.ndarray]
    dtype = arrays[0].dtype
    if dtype.kind not in _NUMERIC or dtype.itemsize > 8 or not dtype.isnative or dtype.metadata:
        raise NotExactError
    if any(a.dtype != dtype or a.ndim != 1 or not a.flags.writeable or not a.flags.c_contiguous for a in arrays):
        raise NotExactError
    values = pa.array(np.concatenate(arrays), pa.from_numpy_dtype(dtype), from_pandas=False)
    lists = [cell if type(cell) is np.ndarray else () for cell in cells]
    return "ndarray", [dtype.str], _large_list(lists, values)


def _large_list(lists: list[Any], values: pa.Array) -> pa.Array:
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, lists), np.int64, len(lists)), out=offsets[1:])
    validity = bitmap(np.fromiter((type(part) is tuple for part in lists), np.bool_, len(lists)))
    kind = pa.large_list(values.type)
    return pa.Array.from_buffers(kind, len(lists), [validity, pa.py_buffer(offsets)], children=[values])


def _decode_by_kind(array: pa.Array, memory: ObjectBuffer, kind: str, *params: Any) -> Any:
    """Return the cells as a list, or as an array where Arrow creates one."""
    if kind in ("mixed", "json"):
        return json.loads("[" + ",".join("null" if string is None else string for string in _to_objects(array)) + "]")
    if kind == "tree":
        decoder = Decoder(trusted=memory.trusted, readonly=memory.readonly)
        return (None if cell is None else decoder.decode(cell) for cell in _to_objects(array))
    if kind in ("list", "ndarray"):
        (inner,) = params
        if kind == "ndarray":
            parts: Any = memory.view(array.values, inner)
        else:
            parts = decode_cells(array.values, memory, *inner).tolist()
        offsets = array.offsets.to_numpy(zero_copy_only=False).tolist()
        return [parts[start:stop] for start, stop in itertools.pairwise(offsets)]
    return _DECODERS[kind](array)


def _encode_scalars(kind: type, values: list[Any], missing_mask: npt.NDArray[np.bool_] | None) -> pa.Array:
    """Return the Arrow array of values of exact class `kind`. Without a mask, missing values are None."""
    arrow_type = _decimal_type(values) if kind is decimal.Decimal else cell_types(kind.__name__)[0]
    # Arrow cannot store a zone or a fold.
    if kind in (dt.time, dt.datetime) and any(
        getattr(value, "fold", 0) or getattr(value, "tzinfo", None) is not None for value in values
    ):
        raise NotExactError
    if kind is uuid.UUID:
        uuids = [value if type(value) is uuid.UUID else None for value in values]
        if any(value is not None and value.is_safe is not uuid.SafeUUID.unknown for value in uuids):
            raise NotExactError
        values = [None if value is None else value.bytes for value in uuids]
    return pa.array(values, arrow_type, mask=missing_mask, from_pandas=False)


def _decimal_type(values: list[Any]) -> pa.DataType:
    # All must have one scale: Arrow would turn 1.5 into 1.50. It has no negative zero and no NaN.
    numbers = [value for value in values if type(value) is decimal.Decimal]
    scales = {number.as_tuple().exponent for number in numbers}
    scale = next(iter(scales), 0)
    if len(scales) > 1 or not isinstance(scale, int) or not -_DECIMAL_DIGITS <= scale <= 0:
        raise NotExactError
    if any(number.is_signed() and not number for number in numbers):
        raise NotExactError
    return pa.decimal128(_DECIMAL_DIGITS, -scale)


def _to_numbers(array: pa.Array) -> Any:
    # Many times faster than `to_pylist`, with the same result if nothing is missing.
    return array.to_pylist() if array.null_count else array.to_numpy(zero_copy_only=False).tolist()


def _to_objects(array: pa.Array) -> Any:
    return array.to_numpy(zero_copy_only=False)


_SCALARS: dict[type, Callable[[pa.Array], Any]] = {
    **dict.fromkeys((str, bytes), _to_objects),
    **dict.fromkeys((bool, int, float), _to_numbers),
    **dict.fromkeys((dt.date, dt.time, dt.datetime, dt.timedelta, decimal.Decimal), lambda array: array.to_pylist()),
    uuid.UUID: lambda array: [None if value is None else uuid.UUID(bytes=value) for value in array.to_pylist()],
}
"""Immutable classes of which a column may consist, and how to decode it. Missing cells may become anything."""

_DECODERS = {cls.__name__: decode for cls, decode in _SCALARS.items()}
