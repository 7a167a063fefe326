"""Reducers for objects that plain pickle would change, and refusal of objects that cannot be stored.

Read-only arrays stay read-only, masked arrays keep their kind of mask, a slice is stored without
the memory around it, tables without columns keep their rows.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import pickle
import sys
from collections.abc import Callable
from typing import Any

from ..._typenames import class_name, loaded_class
from ...errors import is_interrupt
from .. import _restore
from .classes import find_reduction, list_own_slots, read_slots, registered_reducer
from .reconstructible import checker_for, keep_attributes, reduce_enum, reduce_error

_OFFSET_BYTES = 8
_MEMMAP_INFO = ("_mmap", "filename", "offset", "mode")
"""What numpy records about a masked array over a memmap."""
_MASKED_ATTRIBUTES = frozenset(
    ("_fill_value", "_hardmask", "_sharedmask", "_isfield", "_baseclass", "_optinfo", "_basedict", "_mask")
)


def reducer_for(cls: type) -> Callable[[Any], Any] | None:
    """Return the reducer for objects of class `cls`, or None where pickle is exact or a user registered one in copyreg.

    A reducer returns a reduction or `NotImplemented`. It raises `pickle.PicklingError` for objects
    that cannot be restored exactly.
    """
    if registered_reducer(cls) is not None:
        return None
    for name, reduce in _REDUCERS:
        if issubclass(cls, loaded_class(name)):
            return reduce
    return checker_for(cls)


def _refuse(obj: Any) -> Any:
    raise pickle.PicklingError(f"a {class_name(type(obj))} cannot be copied")


def _reduce_text_file(obj: Any) -> Any:
    name = next((name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is obj), None)
    return _refuse(obj) if name is None else (_restore.standard_stream, (name,))


def reduce_masked(obj: Any) -> Any:
    """Return the reduction of a masked array, without what numpy records about a memmap."""
    import numpy as np

    if obj is np.ma.masked or find_reduction(type(obj)).owner is not np.ma.MaskedArray:
        return NotImplemented
    array: Any = obj
    namespace, info = (
        {name: value for name, value in part.items() if name not in _MEMMAP_INFO}
        for part in (vars(array), array._optinfo)
    )
    if type(obj) is np.ma.MaskedArray and namespace.keys() <= _MASKED_ATTRIBUTES:
        mask = None if array.mask is np.ma.nomask else array.mask
        return _restore.masked_array, (array.data, mask, array._fill_value, array.hardmask, info)
    # A subclass, or an array with attributes: the mask is one of them.
    state: Any = (None, {**namespace, "_optinfo": info}, {})
    data = array.view(np.ndarray)
    return _restore.viewed, (data, type(obj)), state, None, None, _restore.set_attributes


def _reduce_array(obj: Any) -> Any:
    import numpy as np

    if type(obj) not in (np.ndarray, np.memmap):
        return _reduce_array_subclass(obj)
    # Without its file, a memmap is a plain array. The path is never stored.
    array = obj.view(np.ndarray) if type(obj) is np.memmap else obj
    if not array.flags.forc and not array.dtype.hasobject and array.dtype.kind != "T":
        # One copy of the visible cells; numpy itself would copy them several times into the stream.
        array = np.ascontiguousarray(array)
        array.flags.writeable = obj.flags.writeable
    if array.dtype.kind in "Mm" or _loses_order(array.dtype):
        # numpy exports the memory of numbers only.
        plain = array.view("i8" if array.dtype.kind in "Mm" else array.dtype.newbyteorder("="))
        return _restore.viewed, (plain, array.dtype)
    if array.flags.writeable:
        return NotImplemented if array is obj else array.__reduce_ex__(5)
    return _reduce_read_only(array)


def _loses_order(dtype: Any) -> bool:
    """Return whether numpy's own reduction stores an array of `dtype`, and changes its byte order on loading."""
    return bool(not dtype.isnative and dtype.fields is None and dtype.itemsize)


def _reduce_numpy_scalar(obj: Any) -> Any:
    """Return a reduction of a string or a long integer; numpy's own drops trailing NULs, or the class."""
    import numpy as np

    plain: Any = {np.str_: str.__str__, np.bytes_: bytes.__bytes__, np.longlong: int, np.ulonglong: int}.get(type(obj))
    return NotImplemented if plain is None else (type(obj), (plain(obj),))


def _reduce_long_dtype(obj: Any) -> Any:
    # numpy's own reduction takes the other name of 64-bit integers.
    return (type(obj), ()) if obj.isnative and not obj.metadata else NotImplemented


def _reduce_array_subclass(obj: Any) -> Any:
    import numpy as np

    plain = _reduce_read_only(obj)
    if find_reduction(type(obj)).owner is not np.ndarray:
        if _loses_order(obj.dtype) and obj.__reduce_ex__(5)[0].__name__ == "_reconstruct":
            raise pickle.PicklingError("its __reduce__ changes the byte order; use .astype(dtype.newbyteorder('='))")
        return plain
    if _loses_order(obj.dtype):
        state = (None, getattr(obj, "__dict__", None), read_slots(obj, list_own_slots(type(obj))))
        args = (np.ndarray.view(obj, np.ndarray), type(obj))
        return _restore.viewed, args, state, None, None, _restore.set_attributes
    reduced = obj.__reduce_ex__(5)
    kept = keep_attributes(obj, reduced, list_own_slots(type(obj)))
    if kept is reduced:
        return plain
    return kept if obj.flags.writeable else (*kept[:5], _restore.set_attributes_read_only)


def _reduce_read_only(obj: Any) -> Any:
    """Return a reduction that keeps `obj` read-only; numpy itself only does so for plain memory."""
    if obj.flags.writeable:
        return NotImplemented
    reduced = obj.__reduce_ex__(5)
    if reduced[0].__name__ == "_frombuffer":
        return reduced
    if len(reduced) < 3 or reduced[2] is None:
        raise pickle.PicklingError(f"a read-only {class_name(type(obj))} would be writable after loading")
    return (*reduced[:3], None, None, _restore.set_read_only)


def _reduce_pandas(obj: Any) -> Any:
    import pandas as pd

    lost = lost_attributes(obj)
    if lost and isinstance(obj, pd.Index):
        raise pickle.PicklingError(f"pandas would lose the attribute {lost[0]!r} of an index")
    if lost:
        raise pickle.PicklingError(
            f"pandas would lose the attribute {lost[0]!r}; store it in .attrs, or list it in the _metadata of a subclass"
        )
    if isinstance(obj, pd.Series) and "_name" not in obj._metadata and type(obj).__getstate__ is pd.Series.__getstate__:
        raise pickle.PicklingError("it would lose its name, because the _metadata of its class omits '_name'")
    if type(obj) is pd.Index and getattr(obj.dtype, "metadata", None):
        # h5py sets it on strings. An index keeps it only if it is created from a Series.
        return pd.Index, (pd.Series(obj.to_numpy(), name=obj.name, copy=False),)
    return NotImplemented


def _reduce_timestamp(obj: Any) -> Any:
    reduced = keep_attributes(obj, obj.__reduce_ex__(5))
    again = reduced[0](*reduced[1])
    # pandas derives the fold from the time zone.
    return (
        reduced if again.fold == obj.fold else (operator.methodcaller("replace", fold=obj.fold), (again,), *reduced[2:])
    )


def lost_attributes(obj: Any) -> list[str]:
    """Return the names of attributes that were set on a frame, series or index and that pandas never copies."""
    kept = {*getattr(obj, "_metadata", ()), *obj._accessors, "sortorder"}
    return sorted(name for name in vars(obj) if not name.startswith("_") and name not in kept)


def _reduce_polars(obj: Any) -> Any:
    from .._polars import find_unsupported

    problem = find_unsupported(obj)
    if problem is not None:
        raise pickle.PicklingError(problem[1])
    return NotImplemented


def _reduce_lazy_frame(obj: Any) -> Any:
    # Its plan may contain frames that polars can write but not read, which only reading it shows.
    create, args, state, *rest = obj.__reduce_ex__(5)
    try:
        create(*args).__setstate__(state)
    except BaseException as error:  # a panic of Rust is not an `Exception`
        if is_interrupt(error):
            raise
        raise pickle.PicklingError(f"polars cannot read back what it writes: {error}") from error
    return create, args, state, *rest


def _reduce_xarray(obj: Any) -> Any:
    if obj._close is None:
        return NotImplemented
    # Drop the function that closes the source file; the data may already be loaded.
    constructor, args, (state, slots), *remaining = obj.__reduce_ex__(5)
    return constructor, args, (state, slots | {"_close": None}), *remaining


def _refuse_path(_: Any) -> Any:
    raise pickle.PicklingError("its data is still in a file, and only the path would be stored; call .load() first")


def _reduce_image(obj: Any) -> Any:
    if hasattr(obj, "tag_v2") or getattr(obj, "n_frames", 1) > 1:
        raise pickle.PicklingError("PIL would lose its other frames and tags; use .copy(), or store the file's bytes")
    if obj.mode in ("P", "PA") and obj.palette is not None and obj.palette.mode != "RGB":
        raise pickle.PicklingError(f"PIL would lose part of its {obj.palette.mode} palette; convert the image first")
    return NotImplemented


def _reduce_map_type(obj: Any) -> Any:
    create = functools.partial(sys.modules["pyarrow"].map_, keys_sorted=True)
    return (create, (obj.key_field, obj.item_field)) if obj.keys_sorted else NotImplemented


def _reduce_arrow_array(obj: Any) -> Any:
    import pyarrow as pa

    # Plain pickle stores whole buffers, so a slice would include cells outside of it.
    with contextlib.suppress(pa.ArrowTypeError):  # views, whose size pyarrow before 19 cannot report
        if obj.get_total_buffer_size() - obj.nbytes <= _OFFSET_BYTES * len(obj.buffers()):
            return NotImplemented
    return pa.concat_arrays([obj]).__reduce__()


def _reduce_arrow_table(obj: Any) -> Any:
    import pyarrow as pa

    if obj.num_columns or not obj.num_rows:
        return NotImplemented
    restore = _restore.table_of_rows if isinstance(obj, pa.Table) else _restore.batch_of_rows
    return restore, (obj.schema, obj.num_rows)


def _reduce_fixed_list_type(obj: Any) -> Any:
    import pyarrow as pa

    # Plain pickle loses the field of the items.
    return pa.list_, (obj.value_field, obj.list_size)


def _reduce_scalar(obj: Any) -> Any:
    import pyarrow as pa

    # Plain pickle goes through Python objects, which lose nanoseconds and dictionaries.
    return _restore.first, (pa.repeat(obj, 1),)


def _reduce_run_end(obj: Any) -> Any:
    try:
        _restore.run_end_scalar(obj.type, obj.value)
    except sys.modules["pyarrow"].ArrowNotImplementedError as error:
        raise pickle.PicklingError(f"Arrow cannot create an array of {obj.type.value_type}") from error
    return _restore.run_end_scalar, (obj.type, obj.value)


def _reduce_tensor(obj: Any) -> Any:
    torch: Any = sys.modules["torch"]
    # torch's own reduction separates tensors that share a storage, and loses gradients.
    plain = obj.layout is torch.strided and obj.device.type == "cpu" and not obj.is_quantized and obj.is_leaf
    if not plain or vars(obj) or obj.is_conj() or obj.is_neg() or obj._backward_hooks:
        return NotImplemented
    if type(obj) is torch.nn.Parameter:
        return _restore.parameter, (obj.detach(), obj.requires_grad, obj.grad)
    if type(obj) is not torch.Tensor:
        return NotImplemented
    dtype = str(obj.dtype).removeprefix("torch.")
    layout = (obj.storage_offset(), tuple(obj.shape), obj.stride())
    return _restore.tensor, (obj.untyped_storage(), dtype, *layout, obj.requires_grad, obj.grad)


def _reduce_storage(obj: Any) -> Any:
    torch: Any = sys.modules["torch"]
    if type(obj) is not torch.UntypedStorage or obj.device.type != "cpu":
        return NotImplemented
    return _restore.storage, (torch.empty(0, dtype=torch.uint8).set_(obj).numpy(),)


def _reduce_bunch(obj: Any) -> Any:
    # Its __setstate__ ignores the state.
    items = [part for pair in obj.items() for part in pair]
    return _restore.by_base, (dict, type(obj)), (None, vars(obj), {}, items), None, None, _restore.fill


def _reduce_geometry(obj: Any) -> Any:
    shapely = sys.modules["shapely"]
    grid = float(shapely.get_precision(obj))
    if not grid:
        return NotImplemented
    # Well-known binary cannot store the precision.
    create = functools.partial(shapely.set_precision, grid_size=grid, mode="pointwise")
    return create, (shapely.set_precision(obj, 0, mode="pointwise"),)


_REDUCERS: list[tuple[str, Callable[[Any], Any]]] = [
    ("dataclasses._MISSING_TYPE", lambda _: "MISSING"),
    ("dataclasses._HAS_DEFAULT_FACTORY_CLASS", lambda _: "_HAS_DEFAULT_FACTORY"),
    ("builtins.BaseException", reduce_error),
    ("enum.Enum", reduce_enum),
    ("_io.TextIOWrapper", _reduce_text_file),
    *((name, _refuse) for name in ("builtins.memoryview", "_weakref.ProxyType", "_weakref.CallableProxyType")),
    ("ctypes.CDLL", _refuse),
    ("numpy.ma.MaskedArray", reduce_masked),
    ("numpy.ndarray", _reduce_array),
    *((f"numpy.{name}", _reduce_numpy_scalar) for name in ("str_", "bytes_", "longlong", "ulonglong")),
    *((f"pandas.{name}", _reduce_pandas) for name in ("DataFrame", "Series", "Index")),
    ("pandas.Timestamp", _reduce_timestamp),
    *((f"numpy.dtypes.{name}", _reduce_long_dtype) for name in ("LongLongDType", "ULongLongDType")),
    ("PIL.Image.Image", _reduce_image),
    *((f"polars.{name}", _reduce_polars) for name in ("DataFrame", "Series")),
    ("polars.LazyFrame", _reduce_lazy_frame),
    ("pyarrow.Array", _reduce_arrow_array),
    *((f"pyarrow.{name}", _reduce_arrow_table) for name in ("Table", "RecordBatch")),
    ("pyarrow.MapType", _reduce_map_type),
    ("pyarrow.FixedSizeListType", _reduce_fixed_list_type),
    ("pyarrow.MonthDayNano", lambda obj: (_restore.month_day_nano, tuple(obj))),
    ("pyarrow.ExtensionScalar", lambda obj: (_restore.extension_scalar, (obj.type, obj.value))),
    ("pyarrow.RunEndEncodedScalar", _reduce_run_end),
    ("pyarrow.Scalar", _reduce_scalar),
    ("shapely.Geometry", _reduce_geometry),
    ("sklearn.utils.Bunch", _reduce_bunch),
    *((f"xarray.{name}", _reduce_xarray) for name in ("DataArray", "Dataset", "DataTree")),
    ("xarray.backends.file_manager.FileManager", _refuse_path),
    ("torch.Tensor", _reduce_tensor),
    ("torch.UntypedStorage", _reduce_storage),
]
