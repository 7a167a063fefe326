"""pandas' indexes and categoricals to Arrow and back, with all that Arrow has no place for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._arrays import decode_array, encode_array
from ._base import NotExactError
from ._ipc import LazyBuffers
from ._views import Memory, bitmap

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["decode_column", "decode_index", "encode_column", "encode_index"]


def encode_column(values: Any, lazy: LazyBuffers) -> tuple[Any, pa.Array]:
    """Return description and Arrow array of a column; categoricals become dictionaries."""
    import pandas as pd

    if type(values.dtype) is not pd.CategoricalDtype:
        return encode_array(values, lazy)
    facts, dictionary = _encode_dictionary(values.codes, values.categories, lazy)
    return ["category", bool(values.ordered), facts], dictionary


def decode_column(description: Any, array: pa.Array, memory: Memory) -> Any:
    """Return the column that was encoded: a view of `memory` where it can be."""
    import pandas as pd

    if description[0] != "category":
        return decode_array(description, array, memory)
    _, ordered, facts = description
    dtype = pd.CategoricalDtype(decode_index(facts, [array.dictionary], memory), ordered=ordered)
    codes = memory.view(array.indices, array.indices.type.to_pandas_dtype())
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=not memory.trusted)


def encode_index(index: pd.Index, lazy: LazyBuffers) -> tuple[dict[str, Any], list[pa.Array]]:
    """Return JSON facts and Arrow arrays of an index.

    Raises
    ------
    NotExactError
        Its class, values, name or freq can't be kept exactly.
    """
    import pandas as pd

    if type(index) is pd.RangeIndex:
        bounds = [index.start, index.stop, index.step]
        return {"kind": "range", "range": bounds, "name": _encode_name(index.name)}, []
    if type(index) is pd.MultiIndex:
        encoded = [
            _encode_dictionary(codes, level, lazy) for codes, level in zip(index.codes, index.levels, strict=True)
        ]
        names = [_encode_name(name) for name in index.names]
        return {"kind": "multi", "levels": [facts for facts, _ in encoded], "names": names}, [a for _, a in encoded]
    if type(index) not in (pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex, pd.CategoricalIndex):
        raise NotExactError
    values = index.to_numpy() if hasattr(index.dtype, "descr") else index.array
    description, array = encode_column(values, lazy)
    return {
        "kind": "array",
        "values": description,
        "name": _encode_name(index.name),
        "freq": _encode_freq(getattr(index, "freq", None)),
    }, [array]


def decode_index(facts: dict[str, Any], arrays: list[pa.Array], memory: Memory) -> pd.Index:
    """Return the index that was encoded."""
    import pandas as pd

    if facts["kind"] == "range":
        return pd.RangeIndex(*facts["range"], name=_decode_name(facts["name"]))
    if facts["kind"] == "multi":
        levels = [decode_index(level, [a.dictionary], memory) for level, a in zip(facts["levels"], arrays, strict=True)]
        codes = [memory.view(a.indices, a.indices.type.to_pandas_dtype()) for a in arrays]
        names = [_decode_name(name) for name in facts["names"]]
        return pd.MultiIndex(levels, codes, names=names, verify_integrity=not memory.trusted)
    values = decode_column(facts["values"], arrays[0], memory)
    index: Any = pd.Index(values, dtype=values.dtype, name=_decode_name(facts["name"]), copy=False, tupleize_cols=False)
    if facts["freq"] is not None:
        index.freq = pd.tseries.frequencies.to_offset(facts["freq"])
    return index


def _encode_dictionary(codes: Any, values: Any, lazy: LazyBuffers) -> tuple[dict[str, Any], pa.Array]:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    facts, arrays = encode_index(values, lazy)
    entries = arrays[0] if arrays else pa.array(np.arange(values.start, values.stop, values.step))
    if type(values) is pd.MultiIndex or pa.types.is_dictionary(entries.type):
        raise NotExactError
    # -1, pandas' mark for a missing value, stays in the data; other readers see null.
    _, indices = encode_array(np.asarray(codes), lazy)
    validity = bitmap(np.asarray(codes) < 0)
    indices = pa.Array.from_buffers(indices.type, len(indices), [validity, indices.buffers()[1]])
    return facts, pa.DictionaryArray.from_arrays(indices, entries, safe=False)


def _encode_name(name: Any) -> Any:
    """Return `name` (of an index) in JSON: text as it is, everything else tagged with its class."""
    kind = type(name)
    if kind is str:
        return name
    if name is None or kind is int or kind is bool:
        return {kind.__name__: name}
    if kind is tuple:
        return {"tuple": [_encode_name(part) for part in name]}
    raise NotExactError


def _decode_name(name: Any) -> Any:
    if isinstance(name, str):
        return name
    ((kind, value),) = name.items()
    return tuple(map(_decode_name, value)) if kind == "tuple" else value


def _encode_freq(freq: Any) -> str | None:
    from pandas.tseries.frequencies import to_offset

    if freq is None:
        return None
    try:
        again = to_offset(freq.freqstr)
    except ValueError as error:
        raise NotExactError from error
    if type(again) is not type(freq) or again != freq:
        raise NotExactError
    return str(freq.freqstr)
