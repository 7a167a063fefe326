"""Codecs of numpy, pandas, pyarrow and polars. A library is imported when one of its values is decoded."""

from __future__ import annotations

import ast
import math
from functools import partial
from typing import Any

from ..._typenames import loaded_class, short_class_name
from .._base import NotExactError
from .._numpy import array_frame
from .._pandas.expected import check_freq
from .._zones import decode_zone, encode_zone
from .standard import flatten, make_pairs
from .vocabulary import LARGE_BYTES, Codec, Memory, expect

_MAX_DTYPE_CHARS = 10_000
"""The limit of numpy for the headers of ``.npy`` files, which have the same notation."""

_INDEXES = frozenset(
    {
        *("Index", "RangeIndex", "MultiIndex", "CategoricalIndex"),
        *("DatetimeIndex", "TimedeltaIndex", "PeriodIndex", "IntervalIndex"),
    }
)


def library_codec(cls: type) -> Codec | None:
    """Return the codec of objects of exact class `cls`, a class of numpy, pandas, pyarrow or polars, or None."""
    name = short_class_name(cls)
    package = name.partition(".")[0]
    # A name can be claimed by any class.
    is_public = loaded_class(name) is cls
    if package == "numpy":
        return _numpy_codec(cls)
    if package == "pandas":
        return _pandas_codec(cls, name.removeprefix("pandas."), is_public)
    if package == "pyarrow":
        return _arrow_codec(cls) or (_LEAVES.get(name) if is_public else None)
    return _LEAVES.get(name) if is_public else None


def _pandas_codec(cls: type, name: str, is_public: bool) -> Codec | None:
    codec = _INDEX if name in _INDEXES else _SCALARS.get(name) or _LEAVES.get(f"pandas.{name}")
    if codec is not None:
        return codec if is_public else None
    for missing, codec in _MISSING.items():
        if cls is type(loaded_class(f"pandas.{missing}")):
            return codec
    if issubclass(cls, loaded_class("pandas.api.extensions.ExtensionArray")):
        return _PANDAS_ARRAY
    return _OFFSET if issubclass(cls, loaded_class("pandas.tseries.offsets.BaseOffset")) else None


def _leaf(serializer_id: str) -> Codec:
    return Codec(serializer_id, lambda obj: [obj], lambda obj: obj, has_identity=True, leaf=serializer_id)


_LEAVES = {
    "pandas.DataFrame": _leaf("pandas/1"),
    "pandas.Series": _leaf("pandas-series/1"),
    "pyarrow.Table": _leaf("arrow-table/1"),
    "pyarrow.RecordBatch": _leaf("arrow-batch/1"),
    "polars.DataFrame": _leaf("polars/1"),
    "polars.Series": _leaf("polars-series/1"),
}


def _numpy_codec(cls: type) -> Codec | None:
    import numpy as np

    if cls in (np.ndarray, np.memmap):
        return _NDARRAY
    if cls is np.ma.MaskedArray:
        return _MASKED
    if issubclass(cls, np.generic) and cls.__module__ == "numpy" and cls not in (np.object_, np.str_, np.bytes_):
        return _NUMPY_SCALAR
    if cls in (np.str_, np.bytes_):
        return _NUMPY_STRINGS[cls.__name__]
    if cls is type(np.ma.masked):
        return _MASKED_CONSTANT
    return _DTYPE if issubclass(cls, np.dtype) else None


def _dtype_fields(dtype: Any) -> Any:
    """Return a dtype in numpy's notation of ``.npy`` files.

    Raises
    ------
    NotExactError
        The dtype has objects or metadata, or the notation would change it.
    """
    import numpy as np

    if dtype.hasobject or dtype.kind == "T" or _has_metadata(dtype):
        raise NotExactError
    if dtype.char in "qQ" and dtype.isnative:
        return dtype.char  # numpy has two names for 64-bit integers
    try:
        descr: Any = np.lib.format.dtype_to_descr(dtype)
        fields = descr if isinstance(descr, str) else repr(descr)
        again = _make_dtype(fields)
    except (TypeError, ValueError) as error:
        raise NotExactError from error
    same_type = again.type is dtype.type or dtype.kind in "iu"  # numpy has two names for 64-bit integers
    if not same_type or again != dtype or _alignment(again) != _alignment(dtype):
        raise NotExactError
    return fields


def _make_dtype(text: Any) -> Any:
    import numpy as np

    if len(expect(text, str)) > _MAX_DTYPE_CHARS:
        raise ValueError("a dtype of this size is not stored here")
    dtype = np.lib.format.descr_to_dtype(ast.literal_eval(text) if text[:1] in ("[", "(") else text)
    if dtype.hasobject or dtype.kind == "T":
        raise ValueError("a dtype with objects")
    return dtype


def _has_metadata(dtype: Any) -> bool:
    parts = [field[0] for field in (dtype.fields or {}).values()]
    parts += [dtype.subdtype[0]] if dtype.subdtype else []
    return dtype.metadata is not None or any(map(_has_metadata, parts))


def _alignment(dtype: Any) -> list[Any]:
    parts = [field[0] for field in (dtype.fields or {}).values()]
    return [dtype.isalignedstruct, dtype.itemsize, *map(_alignment, parts)]


def _array_fields(obj: Any) -> list[Any]:
    import numpy as np

    array = obj.view(np.ndarray)  # without its file, a memmap is a plain array
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    cells = array.T if fortran else array
    if array.dtype == np.object_ and not _has_metadata(array.dtype):
        dtype, content = "O", cells.reshape(-1).tolist()
    else:
        dtype = _dtype_fields(array.dtype)
        content = cells.tobytes() if array.nbytes < LARGE_BYTES else Memory(array_frame(cells))
    return [dtype, list(array.shape), content, fortran, bool(array.flags.writeable)]


def _make_array(dtype: Any, shape: Any, content: Any, fortran: bool, writable: bool) -> Any:
    import numpy as np

    lengths = [expect(length, int) for length in expect(shape, list)]
    if any(length < 0 for length in lengths):
        raise ValueError("a negative length")
    if dtype == "O":
        objects = np.fromiter(expect(content, list), object, len(content))
        array: Any = objects.reshape(lengths, order="F" if expect(fortran, bool) else "C")
        array.flags.writeable = expect(writable, bool)
        return array
    kind = _make_dtype(dtype)
    if math.prod(lengths) >= 2**63 or (math.prod(lengths) * kind.itemsize != len(expect(content, bytes, memoryview))):
        raise ValueError("the array does not match its content")
    memory = bytearray(content) if type(content) is bytes else content
    array = np.ndarray(lengths, kind, memory, order="F" if expect(fortran, bool) else "C")
    if not expect(writable, bool):
        array.flags.writeable = False
    return array


def _masked_fields(obj: Any) -> list[Any]:
    import numpy as np

    array: Any = obj
    # What numpy records about a file is not kept, as for other arrays.
    extra = array._optinfo.keys() - {"_mmap", "filename", "offset", "mode"}
    known = {
        "_optinfo",
        "_basedict",
        "_data",
        "_mask",
        "_fill_value",
        "_hardmask",
        "_sharedmask",
        "_isfield",
        "_baseclass",
    }
    if extra or array._baseclass is not np.ndarray or not vars(array).keys() <= known:
        raise NotExactError
    mask = None if array.mask is np.ma.nomask else array.mask
    return [array.data, mask, array._fill_value, bool(array.hardmask)]


def _make_masked(data: Any, mask: Any, fill_value: Any, hard: Any) -> Any:
    import numpy as np

    from .. import _restore

    expect(data, np.ndarray)
    if mask is not None and (expect(mask, np.ndarray).shape != data.shape):
        raise ValueError("the mask does not match the array")
    if fill_value is not None:
        expect(fill_value, np.ndarray)
    return _restore.masked_array(data, mask, fill_value, expect(hard, bool), {})


def _scalar_fields(obj: Any) -> list[Any]:
    import numpy as np

    if obj.dtype.char in "gG":
        raise NotExactError  # the padding of extended precision would change
    fields = [_dtype_fields(obj.dtype), np.asarray(obj).tobytes()]
    if type(_make_scalar(*fields)) is not type(obj):
        raise NotExactError
    return fields


def _make_scalar(dtype: Any, content: Any) -> Any:
    return _make_array(dtype, [], content, False, True)[()]


def _make_string(name: str, content: Any) -> Any:
    import numpy as np

    return np.str_(expect(content, str)) if name == "str_" else np.bytes_(expect(content, bytes))


def _make_masked_constant() -> Any:
    import numpy as np

    return np.ma.masked


def _cells(array: Any) -> Any:
    return array.reshape(-1).tolist() if array.dtype.hasobject else ()


_NDARRAY = Codec("ndarray", _array_fields, _make_array, has_identity=True, children=_cells)
_MASKED = Codec("MaskedArray", _masked_fields, _make_masked, has_identity=True, children=lambda m: _cells(m.data))
_NUMPY_SCALAR = Codec("numpy", _scalar_fields, _make_scalar)
_NUMPY_STRINGS = {
    "str_": Codec("numpy.str", lambda v: [str.__str__(v)], partial(_make_string, "str_")),
    "bytes_": Codec("numpy.bytes", lambda v: [bytes.__getitem__(v, slice(None))], partial(_make_string, "bytes_")),
}
_MASKED_CONSTANT = Codec("masked", lambda _: [], _make_masked_constant)
_DTYPE = Codec("dtype", lambda v: [_dtype_fields(v)], _make_dtype)


def _check_attributes(obj: Any) -> None:
    """Raise `NotExactError` if attributes were set on a scalar of pandas."""
    # Names that begin with an underscore are caches of pandas.
    if any(not name.startswith("_") for name in getattr(obj, "__dict__", ())):
        raise NotExactError


def _timestamp_fields(obj: Any) -> list[Any]:
    _check_attributes(obj)
    fields = [int(obj.asm8.view("i8")), obj.unit, *([] if obj.tz is None else [encode_zone(obj.tz)])]
    if repr(_make_timestamp(*fields)) != repr(obj):
        raise NotExactError
    return fields


def _make_timestamp(count: Any, unit: Any, zone: Any = None) -> Any:
    import numpy as np
    import pandas as pd

    naive = pd.Timestamp(np.datetime64(expect(count, int), unit))
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(decode_zone(expect(zone, list)))


def _timedelta_fields(obj: Any) -> list[Any]:
    _check_attributes(obj)
    return [int(obj.asm8.view("i8")), obj.unit]


def _make_timedelta(count: Any, unit: Any) -> Any:
    import numpy as np
    import pandas as pd

    return pd.Timedelta(np.timedelta64(expect(count, int), unit))


def _period_fields(obj: Any) -> list[Any]:
    import pandas as pd

    # The dtype spells the frequency as all versions of pandas read it ("M", not "ME").
    name = pd.PeriodDtype(obj.freq).name
    fields = [obj.ordinal, name.removeprefix("period[").removesuffix("]")]
    if _make_period(*fields).freq != obj.freq:
        raise NotExactError
    return fields


def _make_period(ordinal: Any, freq: Any) -> Any:
    import pandas as pd

    check_freq(freq)
    return pd.Period(ordinal=expect(ordinal, int), freq=freq)


def _interval_fields(obj: Any) -> list[Any]:
    return [obj.left, obj.right, obj.closed]


def _make_interval(*fields: Any) -> Any:
    import pandas as pd

    return pd.Interval(*fields)


def _make_missing(name: str) -> Any:
    import pandas as pd

    return getattr(pd, name)


def _index_fields(obj: Any) -> list[Any]:
    import pandas as pd

    from .._pickle.reducers import lost_attributes

    if lost_attributes(obj):
        raise NotExactError
    return [pd.DataFrame(index=obj)]


def _make_index(frame: Any) -> Any:
    import pandas as pd

    return expect(frame, pd.DataFrame).index


def _array_as_series(obj: Any) -> list[Any]:
    import pandas as pd

    series = pd.Series(obj, copy=False)
    state = getattr(obj, "__dict__", {})
    if (
        type(series.array) is not type(obj)
        or series.array.dtype != obj.dtype
        or state.get("_freq") is not None
        or getattr(obj, "_readonly", False)
    ):
        raise NotExactError
    return [series]


def _make_pandas_array(series: Any) -> Any:
    import pandas as pd

    return expect(series, pd.Series).array


def _offset_fields(obj: Any) -> list[Any]:
    # The calendar is made from the holidays.
    options = {name: value for name, value in obj.kwds.items() if name != "calendar"}
    fields = [type(obj).__name__, obj.n, obj.normalize, flatten(options)]
    try:
        again = _make_offset(*fields)
    except (TypeError, ValueError) as error:
        raise NotExactError from error
    if type(again) is not type(obj) or again != obj or repr(again) != repr(obj):
        raise NotExactError
    return fields


def _make_offset(name: Any, n: Any, normalize: Any, options: Any) -> Any:
    from pandas.tseries import offsets

    cls = getattr(offsets, name) if name in offsets.__all__ else None
    if not (isinstance(cls, type) and issubclass(cls, offsets.BaseOffset)):
        raise ValueError(f"pandas has no offset {name!r}")  # noqa: TRY004  the name is wrong, not its class
    return cls(n=expect(n, int), normalize=expect(normalize, bool), **dict(make_pairs(options)))


_SCALARS = {
    "Timestamp": Codec("Timestamp", _timestamp_fields, _make_timestamp),
    "Timedelta": Codec("Timedelta", _timedelta_fields, _make_timedelta),
    "Period": Codec("Period", _period_fields, _make_period),
    "Interval": Codec("Interval", _interval_fields, _make_interval),
}
_MISSING = {name: Codec(name, lambda _: [], partial(_make_missing, name)) for name in ("NA", "NaT")}
_INDEX = Codec("Index", _index_fields, _make_index)
_PANDAS_ARRAY = Codec("pandas.array", _array_as_series, _make_pandas_array, has_identity=True)
_OFFSET = Codec("offset", _offset_fields, _make_offset)


def _arrow_codec(cls: type) -> Codec | None:
    for name, codec in _ARROW.items():
        if issubclass(cls, loaded_class(f"pyarrow.{name}")) and cls.__module__.partition(".")[0] == "pyarrow":
            return None if issubclass(cls, loaded_class("pyarrow.ExtensionArray")) else codec
    return None


def _batch(array: Any) -> list[Any]:
    import pyarrow as pa

    return [pa.record_batch([array], names=["0"])]


def _first_column(obj: Any) -> Any:
    import pyarrow as pa

    if expect(obj, pa.RecordBatch, pa.Table).num_columns != 1:
        raise ValueError("expected one column")
    return obj.column(0)


def _first_cell(obj: Any) -> Any:
    column = _first_column(obj)
    if len(column) != 1:
        raise ValueError("expected one cell")
    return column[0]


def _chunked_fields(obj: Any) -> list[Any]:
    import pyarrow as pa

    table = pa.table([obj], names=["0"])
    # Arrow drops some empty chunks.
    if [batch.num_rows for batch in table.to_batches()] != list(map(len, obj.chunks)):
        raise NotExactError
    return [table]


def _scalar_as_batch(obj: Any) -> list[Any]:
    import pyarrow as pa

    try:
        array = pa.repeat(obj, 1)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise NotExactError from error
    if type(array[0]) is not type(obj) or array.type != obj.type:
        raise NotExactError
    return _batch(array)


def _schema_fields(obj: Any) -> list[Any]:
    import pyarrow as pa

    # `empty_table` cannot create columns of every type.
    return [pa.Table.from_batches([], obj)]


def _make_schema(table: Any) -> Any:
    import pyarrow as pa

    return expect(table, pa.Table).schema


_ARROW = {
    "Array": Codec("arrow.Array", _batch, _first_column, has_identity=True),
    "ChunkedArray": Codec("arrow.ChunkedArray", _chunked_fields, _first_column, has_identity=True),
    "Scalar": Codec("arrow.Scalar", _scalar_as_batch, _first_cell, has_identity=True),
    "Schema": Codec("arrow.Schema", _schema_fields, _make_schema, has_identity=True),
}
CODECS = (
    *(_NDARRAY, _MASKED, _NUMPY_SCALAR, *_NUMPY_STRINGS.values(), _MASKED_CONSTANT, _DTYPE),
    *_SCALARS.values(),
    *_MISSING.values(),
    *(_INDEX, _PANDAS_ARRAY, _OFFSET),
    *_ARROW.values(),
)
