"""Codecs of numpy, pandas, pyarrow and polars. A library is imported when one of its values is decoded."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..._typenames import loaded_class
from .._base import NotExactError
from .._zones import decode_zone, encode_zone
from .standard import make_pairs
from .vocabulary import LARGE_BYTES, NATIVE, Codec, Memory, expect, flatten

_MAX_DTYPE_CHARS = 10_000
"""The limit of numpy for the headers of ``.npy`` files, which have the same notation."""

_NAME_CHARS = 100


def library_codec(cls: type) -> Codec | None:
    """Return the codec of objects of exact class `cls`, a class of numpy, pandas, pyarrow or polars, or None."""
    # By identity, because any class can claim a name.
    for name, codec in _EXACT.items():
        if cls is loaded_class(name):
            return codec
    for name, codec in _CONSTANTS.items():
        if cls is type(loaded_class(name)):
            return codec
    return next((codec for name, codec in _BASES.items() if issubclass(cls, loaded_class(name))), None)


def _attribute_of(class_name: str, name: str) -> Callable[[Any], Any]:
    """Return a function that returns the attribute `name` of an object of exact class `class_name`."""
    return lambda obj: getattr(expect(obj, loaded_class(class_name)), name)


def _dtype_fields(dtype: Any) -> Any:
    """Return a dtype in numpy's notation of ``.npy`` files.

    Raise `NotExactError` if the dtype has objects or metadata, or the notation would change it.
    """
    import numpy as np

    if dtype.hasobject or dtype.kind == "T" or _has_metadata(dtype):
        raise NotExactError
    if dtype.kind in "biufc":
        return dtype.char if dtype.char in "qQ" and dtype.isnative else dtype.str  # 64-bit integers have two names
    try:
        descr: Any = np.lib.format.dtype_to_descr(dtype)
        fields = descr if isinstance(descr, str) else repr(descr)
        again = _make_dtype(fields)
    except (TypeError, ValueError) as error:
        raise NotExactError from error
    if again.type is not dtype.type or again != dtype or _alignment(again) != _alignment(dtype):
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

    from .._numpy import array_frame

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
    order: Any = "F" if expect(fortran, bool) else "C"
    if dtype == "O":
        array: Any = np.fromiter(expect(content, list), object, len(content)).reshape(lengths, order=order)
    else:
        kind, count = _make_dtype(dtype), math.prod(lengths)
        if count >= 2**63 or count * kind.itemsize != len(expect(content, bytes, memoryview)):
            raise ValueError("the array does not match its content")
        array = np.ndarray(lengths, kind, bytearray(content) if type(content) is bytes else content, order=order)
    if not expect(writable, bool):
        array.flags.writeable = False
    return array


def _masked_fields(obj: Any) -> list[Any]:
    from .. import _restore
    from .._pickle.reducers import reduce_masked

    create, args, *_ = reduce_masked(obj)
    if create is not _restore.masked_array or args[-1]:
        raise NotExactError  # it has other attributes
    data, mask, fill_value, hard, _ = args
    return [data, mask, fill_value, bool(hard)]


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
    if obj.dtype.char in "gG" or obj.dtype.type is not type(obj):
        raise NotExactError  # the padding of extended precision would change
    return [_dtype_fields(obj.dtype), obj.tobytes()]


def _make_scalar(dtype: Any, content: Any) -> Any:
    import numpy as np

    kind = _make_dtype(dtype)
    if len(expect(content, bytes)) != kind.itemsize:
        raise ValueError("the scalar does not match its content")
    return np.ndarray((), kind, bytearray(content))[()]


def _cells(array: Any) -> Any:
    return array.reshape(-1).tolist() if array.dtype == object else ()


def _pandas_children(obj: Any) -> list[Any]:
    """Return the attrs, and the cells that are not native: a program may also refer to them in another way."""
    columns = obj._iter_column_arrays() if obj.ndim == 2 else [obj._values]
    cells = [cells for cells in map(_cells, columns) if not NATIVE.issuperset(map(type, cells))]
    return [obj.attrs, *(cell for column in cells for cell in column if type(cell) not in NATIVE)]


def _check_attributes(obj: Any) -> None:
    # Names that begin with an underscore are caches of pandas.
    if any(not name.startswith("_") for name in getattr(obj, "__dict__", ())):
        raise NotExactError


def _count_and_unit(obj: Any) -> list[Any]:
    _check_attributes(obj)
    return [int(obj.asm8.view("i8")), obj.unit]


def _timestamp_fields(obj: Any) -> list[Any]:
    fields = [*_count_and_unit(obj), *([] if obj.tz is None else [encode_zone(obj.tz)])]
    again = _make_timestamp(*fields)
    if repr(again) != repr(obj) or again.fold != obj.fold:
        raise NotExactError
    return fields


def _make_timestamp(count: Any, unit: Any, zone: Any = None) -> Any:
    import numpy as np
    import pandas as pd

    naive = pd.Timestamp(np.datetime64(expect(count, int), unit))
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(decode_zone(expect(zone, list)))


def _make_timedelta(count: Any, unit: Any) -> Any:
    import numpy as np
    import pandas as pd

    return pd.Timedelta(np.timedelta64(expect(count, int), unit))


def _period_fields(obj: Any) -> list[Any]:
    import pandas as pd

    _check_attributes(obj)
    # The dtype spells the frequency as all versions of pandas read it ("M", not "ME").
    name = pd.PeriodDtype(obj.freq).name
    fields = [obj.ordinal, name.removeprefix("period[").removesuffix("]")]
    if _make_period(*fields).freq != obj.freq:
        raise NotExactError
    return fields


def check_freq(freq: Any) -> None:
    """Raise ValueError if `freq` is too long for the name of a frequency."""
    if freq is not None and len(freq) > _NAME_CHARS:
        raise ValueError("the name of a frequency is too long")


def _make_period(ordinal: Any, freq: Any) -> Any:
    import pandas as pd

    check_freq(freq)
    return pd.Period(ordinal=expect(ordinal, int), freq=freq)


def _index_fields(obj: Any) -> list[Any]:
    import pandas as pd

    from .._pickle.reducers import lost_attributes

    if lost_attributes(obj):
        raise NotExactError
    return [pd.DataFrame(index=obj)]


def _array_as_series(obj: Any) -> list[Any]:
    import pandas as pd

    _check_attributes(obj)
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


def _leaf(serializer_id: str, children: Any = None) -> Codec:
    return Codec(serializer_id, lambda obj: [obj], lambda obj: obj, True, children, serializer_id)


_NDARRAY = Codec("ndarray", _array_fields, _make_array, has_identity=True, children=_cells)
_INDEX = Codec("Index", _index_fields, _attribute_of("pandas.DataFrame", "index"))
_EXACT = {
    "numpy.ndarray": _NDARRAY,
    "numpy.memmap": _NDARRAY,
    "numpy.ma.MaskedArray": Codec(
        "MaskedArray", _masked_fields, _make_masked, has_identity=True, children=lambda v: _cells(v.data)
    ),
    "numpy.str_": Codec("numpy.str", lambda v: [str.__str__(v)], lambda v: import_module("numpy").str_(expect(v, str))),
    "numpy.bytes_": Codec(
        "numpy.bytes",
        lambda v: [bytes.__getitem__(v, slice(None))],
        lambda v: import_module("numpy").bytes_(expect(v, bytes)),
    ),
    "pandas.Timestamp": Codec("Timestamp", _timestamp_fields, _make_timestamp),
    "pandas.Timedelta": Codec("Timedelta", _count_and_unit, _make_timedelta),
    "pandas.Period": Codec("Period", _period_fields, _make_period),
    "pandas.Interval": Codec(
        "Interval", lambda v: [v.left, v.right, v.closed], lambda *fields: import_module("pandas").Interval(*fields)
    ),
    **dict.fromkeys(("pandas.Index", "pandas.RangeIndex", "pandas.MultiIndex", "pandas.CategoricalIndex"), _INDEX),
    **{f"pandas.{kind}Index": _INDEX for kind in ("Datetime", "Timedelta", "Period", "Interval")},
    "pandas.DataFrame": _leaf("pandas/1", _pandas_children),
    "pandas.Series": _leaf("pandas-series/1", _pandas_children),
    "pyarrow.Table": _leaf("arrow-table/1"),
    "pyarrow.RecordBatch": _leaf("arrow-batch/1"),
    "polars.DataFrame": _leaf("polars/1"),
    "polars.Series": _leaf("polars-series/1"),
}
_CONSTANTS = {
    "pandas.NA": Codec("NA", lambda _: [], lambda: import_module("pandas").NA),
    "pandas.NaT": Codec("NaT", lambda _: [], lambda: import_module("pandas").NaT),
    "numpy.ma.masked": Codec("masked", lambda _: [], lambda: import_module("numpy.ma").masked),
}
_BASES = {
    "numpy.void": Codec("numpy", _scalar_fields, _make_scalar, has_identity=True),  # its fields can be set
    "numpy.generic": Codec("numpy", _scalar_fields, _make_scalar),
    "numpy.dtype": Codec("dtype", lambda v: [_dtype_fields(v)], _make_dtype),
    "pandas.api.extensions.ExtensionArray": Codec(
        "pandas.array",
        _array_as_series,
        _attribute_of("pandas.Series", "array"),
        has_identity=True,
        children=lambda v: _cells(getattr(v, "_ndarray", v)),
    ),
    "pandas.tseries.offsets.BaseOffset": Codec("offset", _offset_fields, _make_offset),
    "pyarrow.ExtensionArray": None,
    "pyarrow.Array": Codec("arrow.Array", _batch, _first_column, has_identity=True),
    "pyarrow.ChunkedArray": Codec("arrow.ChunkedArray", _chunked_fields, _first_column, has_identity=True),
    "pyarrow.Scalar": Codec("arrow.Scalar", _scalar_as_batch, _first_cell, has_identity=True),
    "pyarrow.Schema": Codec(
        "arrow.Schema", _schema_fields, _attribute_of("pyarrow.Table", "schema"), has_identity=True
    ),
}
_ALL = (*_EXACT.values(), *_CONSTANTS.values(), *_BASES.values())
CODECS = [codec for codec in _ALL if codec is not None and not codec.leaf]
