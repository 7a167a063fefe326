"""Descriptions of objects of numpy, pandas, polars, xarray, torch and PIL. Imports none of them."""

from __future__ import annotations

import hashlib
import re
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from .._typenames import loaded_class
from . import _describe_arrow

Line = tuple[str, str]


def class_of(obj: Any) -> type:
    """Return the class to describe: a memmap counts as the array that it shows."""
    return loaded_class("numpy.ndarray") if isinstance(obj, loaded_class("numpy.memmap")) else type(obj)


_VALUES = (
    "pandas.Index",
    "pandas.Interval",
    "pandas.api.extensions.ExtensionDtype",
    "pandas.tseries.offsets.BaseOffset",
    "numpy.dtype",
    "numpy.generic",
    "pyarrow.DataType",
    "pyarrow.Field",
    "pyarrow.Scalar",
    "pyarrow.Schema",
)


def has_no_identity(obj: Any) -> bool:
    """Return whether `obj` is immutable, so that it is indistinguishable from an equal object."""
    # The fields of a structured scalar can be set.
    is_record = isinstance(obj, loaded_class("numpy.void")) and obj.dtype.fields is not None
    return not is_record and isinstance(obj, tuple(map(loaded_class, _VALUES)))


def scalar(obj: Any) -> str | None:
    """Return the description of a scalar of numpy or pandas, or None for any other object."""
    if obj is loaded_class("pandas.NaT") or type(obj).__name__ == "NAType":
        return "missing"
    if isinstance(obj, loaded_class("pandas.Timestamp")):
        return f"{without_address(repr(obj))} {obj.unit} {obj.asm8.view('i8')} {_zone(obj.tz)} fold={obj.fold}"
    if isinstance(obj, loaded_class("pandas.Timedelta")):
        return f"{obj!r} {obj.unit} {obj.asm8.view('i8')}"
    if isinstance(obj, loaded_class("pandas.Period")):
        return f"{obj!r} {obj.ordinal} {obj.freq!r}"
    if isinstance(obj, loaded_class("pandas.tseries.offsets.BaseOffset")):
        kwds = {name: value for name, value in obj.kwds.items() if name != "calendar"}
        return f"{obj!r} {obj.n} {obj.normalize} {sorted(kwds.items(), key=str)}"
    if isinstance(obj, loaded_class("numpy.dtype")):
        return describe_dtype(obj)
    if isinstance(obj, loaded_class("pandas.CategoricalDtype")):
        return None
    if isinstance(obj, loaded_class("pandas.api.extensions.ExtensionDtype")):
        return _extension_dtype(obj)
    if isinstance(obj, loaded_class("numpy.generic")) and not obj.dtype.hasobject and obj.dtype.fields is None:
        return f"{describe_dtype(obj.dtype)} {obj!r} {obj.tobytes().hex()}"
    return None


def without_address(text: str) -> str:
    """Return the repr `text` of an object without the address in memory that Python adds where a class has no repr."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def describe_dtype(dtype: Any) -> str:
    """Return the description of a numpy dtype."""
    # Not its class: numpy counts the two names of one integer (l and q) as the same.
    description = f"{dtype!r} {dtype.str} {dtype.itemsize}"
    if dtype.fields:
        inside = sorted((name, describe_dtype(field), rest) for name, (field, *rest) in dtype.fields.items())
        description += f" aligned={dtype.isalignedstruct} {inside}"
    if dtype.subdtype:
        description += f" of {describe_dtype(dtype.subdtype[0])}"
    if dtype.metadata:
        description += f" metadata={sorted(dtype.metadata.items(), key=str)}"
    if type(dtype).__name__ == "StringDType":
        description += f" {getattr(dtype, 'na_object', 'none')!r} {dtype.coerce}"
    return description


def _zone(zone: Any) -> str:
    return without_address(f"{type(zone).__module__}.{type(zone).__name__} {zone!r} {getattr(zone, '__dict__', '')}")


def _extension_dtype(dtype: Any) -> str:
    description = without_address(f"{type(dtype).__module__}.{type(dtype).__name__} {dtype}")
    description += f" tz={_zone(dtype.tz)}" if hasattr(dtype, "tz") else ""
    for name in ("storage", "na_value", "unit", "freq", "closed", "fill_value", "ordered"):
        value = getattr(dtype, name, None)
        description += f" {name}={type(value).__module__}.{type(value).__name__} {value!r}" if value is not None else ""
    fill_value = getattr(dtype, "fill_value", None)
    if isinstance(fill_value, float):
        description += f" {struct.pack('>d', fill_value).hex()}"
    if hasattr(dtype, "pyarrow_dtype"):
        description += f" of {_describe_arrow.describe_type(dtype.pyarrow_dtype)}"
    return description


def find_describer(obj: Any) -> Callable[..., Iterator[Line]] | None:
    """Return the function that describes `obj`, or None if it belongs to none of these packages."""
    table: list[tuple[str, Callable[..., Iterator[Line]]]] = [
        ("pandas.DataFrame", _frames),
        ("pandas.Series", _series),
        ("pandas.Index", indexes),
        ("pandas.Interval", _intervals),
        ("pandas.CategoricalDtype", _category_dtypes),
        ("pandas.api.extensions.ExtensionArray", _extension_arrays),
        ("numpy.ma.MaskedArray", _masked),
        ("numpy.ndarray", _arrays),
        *_describe_arrow.TABLE,
        ("polars.DataFrame", _polars),
        ("polars.Series", _polars),
        ("polars.LazyFrame", _plans),
        ("xarray.Dataset", _xarrays),
        ("xarray.DataArray", _xarrays),
        ("torch.Tensor", _tensors),
        ("PIL.Image.Image", _images),
        ("shapely.Geometry", _geometries),
    ]
    return next((function for name, function in table if isinstance(obj, loaded_class(name))), None)


def _arrays(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.shape", str(obj.shape)
    yield f"{path}.flags.writeable", str(obj.flags.writeable)
    if obj.dtype.itemsize:
        yield f"{path}.flags.fnc", str(obj.flags.fnc)
    yield from contents(obj, path, walk)
    if hasattr(obj, "__dict__") and class_of(obj) is type(obj):
        yield from walk.parts(vars(obj), path)


def contents(array: Any, path: str, walk: Any) -> Iterator[Line]:
    """Yield the cells of an array in C order: each object, or a digest of their bytes."""
    yield f"{path}.dtype", describe_dtype(array.dtype)
    if array.dtype.names:
        # Field by field, since the bytes between fields are padding.
        for name in array.dtype.names:
            yield from contents(sys.modules["numpy"].asarray(array[name]), f"{path}[{name!r}]", walk)
    elif array.dtype.hasobject or array.dtype.kind == "T":
        for number, cell in enumerate(array.ravel().tolist()):
            yield from walk(cell, f"{path}.ravel()[{number}]")
    else:
        digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        yield f"{path}.tobytes()", f"{digest} {array.ravel()[:6].tolist()!r}"


_MEMMAP_INFO = ("_mmap", "filename", "offset", "mode")
_MASKED_INTERNALS = frozenset(
    (
        *_MEMMAP_INFO,
        "_fill_value",
        "_hardmask",
        "_sharedmask",
        "_isfield",
        "_baseclass",
        "_optinfo",
        "_basedict",
        "_mask",
    )
)


def _masked(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    import numpy as np

    if obj is np.ma.masked:
        return
    yield from _arrays(obj.data, f"{path}.data", walk)
    yield f"{path}.mask", "nomask" if obj.mask is np.ma.nomask else "an array"
    yield f"{path}.hardmask", str(obj.hardmask)
    if obj.mask is not np.ma.nomask:
        yield from _arrays(obj.mask, f"{path}.mask", walk)
    yield from walk(obj.fill_value, f"{path}.fill_value")
    attributes = {name: value for name, value in vars(obj).items() if name not in _MASKED_INTERNALS}
    yield from walk.parts(attributes, path)
    # The file of a memmap is not stored.
    info = {name: value for name, value in obj._optinfo.items() if name not in _MEMMAP_INFO}
    yield from walk(info, f"{path}._optinfo")


def _frames(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.shape", str(obj.shape)
    yield from indexes(obj.columns, f"{path}.columns", walk)
    yield from indexes(obj.index, f"{path}.index", walk)
    yield from _metadata_of(obj, path, walk)
    # Without attrs, which pandas would deep-copy for each column.
    bare = sys.modules["pandas"].DataFrame(obj, copy=False)
    for number in range(bare.shape[1]):
        yield from _values(bare.iloc[:, number], f"{path}.iloc[:, {number}]", walk)


def _series(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield from walk(obj.name, f"{path}.name")
    yield from indexes(obj.index, f"{path}.index", walk)
    yield from _metadata_of(obj, path, walk)
    yield from _values(obj, path, walk)


def _metadata_of(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield from walk(obj.attrs, f"{path}.attrs")
    yield f"{path}.flags.allows_duplicate_labels", str(obj.flags.allows_duplicate_labels)
    for name in obj._metadata:
        if name not in ("_name", "name"):
            yield from walk(getattr(obj, name, None), f"{path}.{name}")
    yield from _own(obj, path, walk)


def _own(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    """Yield the attributes that were set on a pandas object."""
    known = {*getattr(obj, "_metadata", ()), *obj._accessors, "sortorder"}
    named = {name: value for name, value in sorted(vars(obj).items()) if name not in known and name[0] != "_"}
    yield from walk.parts(named, path)


def indexes(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    """Yield the description of an index: names, freq, levels and codes, or the labels."""
    yield f"{path}.__class__", f"{type(obj).__module__}.{type(obj).__name__}"
    for number, name in enumerate(obj.names):
        yield from walk(name, f"{path}.names[{number}]")
    if type(obj).__name__ != "PeriodIndex" and getattr(obj, "freq", None) is not None:
        yield f"{path}.freq", f"{type(obj.freq).__name__} {scalar(obj.freq)}"
    yield from _own(obj, path, walk)
    if isinstance(obj, loaded_class("pandas.MultiIndex")):
        yield f"{path}.sortorder", str(obj.sortorder)
        for number, (level, codes) in enumerate(zip(obj.levels, obj.codes, strict=True)):
            yield from indexes(level, f"{path}.levels[{number}]", walk)
            # In one width, because pandas changes the width freely.
            yield from contents(codes.astype("i8"), f"{path}.codes[{number}]", walk)
    elif isinstance(obj, loaded_class("pandas.RangeIndex")):
        yield path, f"{obj.start} {obj.stop} {obj.step} {obj.dtype}"
    else:
        yield from _values(obj, path, walk)


def _values(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    """Yield the values of a series or index; whether pandas returns them read-only is ignored."""
    if isinstance(obj.dtype, loaded_class("numpy.dtype")):
        yield from contents(obj.to_numpy(), path, walk)
    else:
        yield from _extension_arrays(obj.array, path, walk)


def _category_dtypes(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield path, _extension_dtype(obj)
    if obj.categories is not None:
        yield from indexes(obj.categories, f"{path}.categories", walk)


def _intervals(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield from walk.parts({"left": obj.left, "right": obj.right, "closed": obj.closed}, path)


def _extension_arrays(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.array.__class__", f"{type(obj).__module__}.{type(obj).__name__}"
    own = getattr(obj, "__dict__", {}) if type(obj).__module__.startswith("pandas.") else {}
    yield from walk.parts({name: value for name, value in own.items() if name[0] != "_"}, path)
    yield f"{path}.dtype", _extension_dtype(obj.dtype) if hasattr(obj.dtype, "na_value") else describe_dtype(obj.dtype)
    yield f"len({path})", str(len(obj))
    if hasattr(obj, "categories"):
        yield from indexes(obj.categories, f"{path}.categories", walk)
        yield from contents(obj.codes, f"{path}.codes", walk)
    elif hasattr(obj, "_mask"):
        yield from contents(obj._mask, f"{path}.mask", walk)
        yield from contents(obj._data[~obj._mask], f"{path}.valid", walk)
    elif hasattr(obj, "sp_index"):
        yield from contents(obj.sp_values, f"{path}.sp_values", walk)
        yield from walk(obj.fill_value, f"{path}.fill_value")
        yield f"{path}.sp_index", type(obj.sp_index).__name__
        yield from contents(obj.sp_index.indices, f"{path}.sp_index.indices", walk)
    elif hasattr(obj, "closed") and hasattr(obj, "left"):
        yield from indexes(obj.left, f"{path}.left", walk)
        yield from indexes(obj.right, f"{path}.right", walk)
    elif hasattr(obj, "asi8"):
        freq = getattr(obj, "freq", None)
        yield f"{path}.freq", f"{type(freq).__name__} {freq!r}"
        yield from contents(obj.asi8, path, walk)
    elif hasattr(obj, "_pa_array"):
        yield from _describe_arrow.values(obj.__arrow_array__(), path, walk)
    else:
        yield f"{path}.crs", str(getattr(obj, "crs", None))
        for number, cell in enumerate(obj):
            yield from walk(cell, f"{path}[{number}]")


def _polars(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.shape", str(obj.shape)
    for number, series in enumerate(obj.get_columns() if hasattr(obj, "get_columns") else [obj]):
        yield f"{path}.columns[{number}]", f"{series.name!r} {series.dtype!r}"
        yield from _polars_cells(series, f"{path}.columns[{number}]", walk)


def _polars_cells(series: Any, path: str, walk: Any) -> Iterator[Line]:
    description = repr(series.dtype)
    if description.startswith("Struct("):
        yield f"{path}.is_null()", str(series.is_null().to_list())
        for field in series.struct.fields:
            yield from _polars_cells(series.struct.field(field), f"{path}[{field!r}]", walk)
        return
    if any(name in description for name in ("Datetime(", "Duration(", "Time")) and "Categorical" not in description:
        # Python times are limited to microseconds. Physical codes of categories differ by process.
        series = series.to_physical()
    yield from walk(series.to_list(), f"{path}.to_list()")


def _plans(obj: Any, path: str, _: Any) -> Iterator[Line]:
    yield path, obj.explain(optimized=False)
    # The explained plan does not include its data.
    yield f"{path}.serialize()", hashlib.sha256(obj.serialize()).hexdigest()[:16]


def _xarrays(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.coords", str(list(obj.coords))
    yield f"{path}.data_vars", str(list(getattr(obj, "data_vars", ())))
    for name, variable in sorted(obj.variables.items() if hasattr(obj, "variables") else obj.coords.items(), key=str):
        yield f"{path}[{name!r}].dims", str(variable.dims)
        parts = {"attrs": variable.attrs, "encoding": variable.encoding, "values": variable.values}
        yield from walk.parts(parts, f"{path}[{name!r}]")
    yield f"{path}.dims", str(dict(obj.sizes))
    yield from walk(obj.attrs, f"{path}.attrs")
    if hasattr(obj, "name"):
        yield from walk.parts({"name": obj.name, "values": obj.values}, path)
    for name, index in sorted(obj.indexes.items(), key=str):
        yield from walk(index, f"{path}.indexes[{name!r}]")


def _tensors(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield path, f"{obj.dtype} {tuple(obj.shape)} {obj.requires_grad} {obj.layout} {obj.device}"
    if obj.layout is not sys.modules["torch"].strided:
        yield from walk(obj.to_dense(), f"{path}.to_dense()")
        return
    yield from walk(obj.grad, f"{path}.grad")
    storage = obj.untyped_storage()
    yield from walk(_Storage.of(storage, walk), f"{path}.untyped_storage()")
    yield f"{path}.stride()", str(obj.stride())
    dense = obj.detach().contiguous().view(-1)
    content = dense.view(sys.modules["torch"].uint8).numpy().tobytes() if dense.numel() else b""
    yield f"{path}.tobytes()", hashlib.sha256(content).hexdigest()[:16]


class _Storage:
    """Stand-in for a torch storage, because torch creates a new Python object on every access."""

    @staticmethod
    def of(storage: Any, walk: Any) -> Any:
        known = vars(walk).setdefault("storages", {})
        return known.setdefault(storage.data_ptr(), _Storage()) if storage.nbytes() else _Storage()


def _images(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield path, f"{obj.mode} {obj.size} {hashlib.sha256(obj.tobytes()).hexdigest()[:16]}"
    yield from walk.parts({"info": obj.info, "palette": obj.getpalette(None)}, path)


def _geometries(obj: Any, path: str, _: Any) -> Iterator[Line]:
    shapely = sys.modules["shapely"]
    yield path, shapely.to_wkb(obj, include_srid=True, hex=True)
    yield f"{path}.precision", str(shapely.get_precision(obj))
