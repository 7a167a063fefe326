"""Conversion of pandas indexes and categoricals to Arrow and back, with metadata that Arrow lacks."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from .._arrow.ipc import GatheredBuffers, LazyBuffers, from_stream, to_stream
from .._arrow.memory import ObjectBuffer, bitmap, unpack_bits
from .._base import NotExactError
from .._pickle.reducers import lost_attributes
from .columns import decode_array, encode_array, encode_block
from .expected import check_type
from .object_columns import is_mutable
from .scalars import decode_scalar, encode_scalar


def encode_column(values: Any, lazy: LazyBuffers) -> tuple[Any, pa.Array]:
    """Return description and Arrow array of a column, or of the columns of a two-dimensional array.

    Categoricals become dictionaries.
    """
    if values.ndim == 2:
        return encode_block(values, lazy)
    if type(values.dtype) is pd.CategoricalDtype:
        meta, dictionary = _encode_dictionary(values.codes, values.categories, lazy)
        return ["category", bool(values.ordered), meta], dictionary
    if type(values.dtype) is pd.IntervalDtype:
        return _encode_intervals(values, lazy)
    return encode_array(values, lazy)


def decode_column(description: Any, array: pa.Array, memory: ObjectBuffer) -> Any:
    """Return the column that was encoded: a view of `memory` where possible."""
    if not memory.trusted:
        check_type(description, array.type)
    if description[0] == "interval":
        return _decode_intervals(array, memory, *description[1:])
    if description[0] != "category":
        return decode_array(description, array, memory)
    _, ordered, meta = description
    categories, codes = decode_index(meta, [array.dictionary], memory), _decode_codes(array, memory)
    if memory.trusted:
        # The public constructors check every category and code, which takes ten times as long.
        return pd.Categorical._simple_new(codes, pd.CategoricalDtype._from_fastpath(categories, ordered))
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories, ordered=ordered))


def encode_index(index: pd.Index, lazy: LazyBuffers) -> tuple[dict[str, Any], list[pa.Array]]:
    """Return JSON metadata and Arrow arrays of an index.

    Raise `NotExactError` if its class, values, name or freq cannot be stored exactly.
    """
    if lost_attributes(index) or getattr(index, "sortorder", None) is not None:
        raise NotExactError
    if type(index) is pd.RangeIndex:
        bounds = [index.start, index.stop, index.step]
        return {"kind": "range", "range": bounds, "name": encode_scalar(index.name)}, []
    if type(index) is pd.MultiIndex:
        encoded = [
            _encode_dictionary(codes, level, lazy) for codes, level in zip(index.codes, index.levels, strict=True)
        ]
        names = [encode_scalar(name) for name in index.names]
        return {"kind": "multi", "levels": [meta for meta, _ in encoded], "names": names}, [a for _, a in encoded]
    dated = (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex)
    if type(index) not in (pd.Index, pd.CategoricalIndex, pd.IntervalIndex, *dated):
        raise NotExactError
    values = index.to_numpy() if hasattr(index.dtype, "descr") else index.array
    description, array = encode_column(values, lazy)
    if is_mutable(description, values):
        raise NotExactError
    return {
        "kind": "array",
        "values": description,
        "name": encode_scalar(index.name),
        "freq": None if isinstance(index, pd.PeriodIndex) else encode_scalar(getattr(index, "freq", None)),
    }, [array]


def decode_index(meta: dict[str, Any], arrays: list[pa.Array], memory: ObjectBuffer) -> pd.Index:
    """Return the index that was encoded."""
    if meta["kind"] == "range":
        # The values of a dictionary may be a range. Only its length costs memory.
        if any(len(range(*meta["range"])) != len(array) for array in arrays):
            raise ValueError("a range whose length does not match")
        return pd.RangeIndex(*meta["range"], name=decode_scalar(meta["name"]))
    if meta["kind"] == "multi":
        levels = [decode_index(level, [a.dictionary], memory) for level, a in zip(meta["levels"], arrays, strict=True)]
        codes = [_decode_codes(array, memory) for array in arrays]
        names = [decode_scalar(name) for name in meta["names"]]
        return pd.MultiIndex(levels, codes, names=names, verify_integrity=not memory.trusted)
    if meta["kind"] == "texts":
        return decode_stream(meta["facts"], base64.b64decode(meta["stream"]), trusted=memory.trusted)
    if meta["kind"] == "categories":
        (entries,) = arrays
        categories = decode_index(meta["categories"], [entries], memory)
        dtype = pd.CategoricalDtype(categories, ordered=meta["ordered"])
        return pd.CategoricalIndex(
            pd.Categorical.from_codes(range(len(categories)), dtype=dtype), name=decode_scalar(meta["name"])
        )
    (stored,) = arrays
    values = decode_column(meta["values"], stored, memory)
    if is_mutable(meta["values"], values):
        raise ValueError("an index of mutable values")
    freq = decode_scalar(meta["freq"])
    index: Any = pd.Index(values, dtype=values.dtype, name=decode_scalar(meta["name"]), copy=False, tupleize_cols=False)
    if freq is not None:
        if not isinstance(freq, pd.offsets.BaseOffset):
            raise TypeError("not a frequency")
        # The public setter compares every label with the freq, which is slow, and it rejects indexes
        # that pandas itself creates: days converted to a zone with a clock change. A wrong freq in
        # unsigned bytes is only a wrong value: it does not affect memory access.
        holder = index if hasattr(type(index), "_freq") else index._data
        holder._freq = freq
    return index


def decode_stream(meta: dict[str, Any], stream: bytes, *, trusted: bool) -> pd.Index:
    """Return the index whose arrays are in an Arrow stream. One copy of the stream."""
    content = memoryview(bytearray(stream))
    return decode_index(meta, from_stream(content, trusted=trusted), ObjectBuffer(content, trusted=trusted))


def _encode_level(values: pd.Index, lazy: LazyBuffers) -> tuple[dict[str, Any], list[pa.Array]]:
    """Return metadata and arrays of a dictionary's values; a level that lists its own categories is stored as them."""
    if type(values) is not pd.CategoricalIndex or not np.array_equal(values.codes, np.arange(len(values.categories))):
        return encode_index(values, lazy)
    meta, arrays = encode_index(values.categories, lazy)
    name = encode_scalar(values.name)
    return {"kind": "categories", "ordered": bool(values.ordered), "categories": meta, "name": name}, arrays


def _encode_intervals(values: Any, lazy: LazyBuffers) -> tuple[Any, pa.Array]:
    meta, (left,) = encode_index(values.left, lazy)
    right_meta, (right,) = encode_index(values.right, lazy)
    missing = bitmap(np.asarray(values.isna()))
    fields = [pa.field("left", left.type), pa.field("right", right.type)]
    struct = pa.Array.from_buffers(pa.struct(fields), len(values), [missing], children=[left, right])
    return ["interval", values.closed, meta, right_meta], struct


def _decode_intervals(array: pa.Array, memory: ObjectBuffer, closed: Any, left: Any, right: Any) -> Any:
    ends = [decode_index(meta, [array.field(side)], memory) for side, meta in (("left", left), ("right", right))]
    return pd.arrays.IntervalArray.from_arrays(*ends, closed=closed, copy=False)


def _encode_dictionary(codes: Any, values: Any, lazy: LazyBuffers) -> tuple[dict[str, Any], pa.Array]:
    meta, arrays = _encode_level(values, lazy)
    # Only ranges have no array: a range level, or range categories.
    bounds = None if arrays else meta.get("categories", meta)["range"]
    entries = pa.array(np.arange(*bounds)) if bounds else arrays[0]
    if pa.types.is_struct(entries.type):
        # Not every reader supports dictionaries of structs, so they see strings: "(0, 30]".
        _, level_arrays = _encode_level(values, GatheredBuffers())
        meta = {"kind": "texts", "stream": base64.b64encode(to_stream(level_arrays)).decode(), "facts": meta}
        entries = pa.array(list(map(str, values)), pa.large_string())
    if type(values) is pd.MultiIndex or pa.types.is_dictionary(entries.type):
        raise NotExactError
    codes = np.asarray(codes)
    validity = bitmap(codes < 0)
    # Other readers refuse -1, pandas' code for a missing value, even if the cell is null.
    _, indices = encode_array(codes if validity is None else np.maximum(codes, 0), lazy)
    indices = pa.Array.from_buffers(indices.type, len(indices), [validity, indices.buffers()[1]])
    return meta, pa.DictionaryArray.from_arrays(indices, entries, safe=False)


def _decode_codes(array: pa.DictionaryArray, memory: ObjectBuffer) -> Any:
    """Return pandas' codes: a view of `memory`, or a copy where values are missing."""
    codes = memory.view(array.indices, array.indices.type.to_pandas_dtype())
    if array.null_count:
        codes = codes.copy()
        codes[~unpack_bits(array.buffers()[0], array)] = -1
        codes = memory.match_writability(codes)
    return codes
