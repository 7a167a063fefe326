"""pyarrow, polars, xarray, scipy, torch and PIL in words."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["TABLE", "values"]

Line = tuple[str, str]


def values(array: Any, path: str, walk: Any) -> Iterator[Line]:
    """Yield type and values of an Arrow array, whatever its chunks."""
    yield f"{path}.type", _type(array.type)
    storage = getattr(array, "storage", array)
    for number, value in enumerate(_pylist(storage)):
        yield from walk(value, f"{path}[{number}]")


def _pylist(array: Any) -> list[Any]:
    import pyarrow as pa

    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    found: list[Any] = []
    for chunk in chunks:
        # Nanoseconds become datetimes that can't hold them; so numbers are compared.
        temporal = pa.types.is_timestamp(chunk.type) or pa.types.is_duration(chunk.type) or pa.types.is_time(chunk.type)
        if temporal:
            chunk = chunk.view(pa.int32() if chunk.type.bit_width == 32 else pa.int64())
        found += chunk.to_pylist()
    return found


def _type(kind: Any) -> str:
    storage = getattr(kind, "storage_type", None)
    words = f"{type(kind).__module__}.{type(kind).__name__} {kind}"
    return words if storage is None else f"{words} of {storage}"


def _schemas(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    for number, field in enumerate(obj):
        yield from _fields(field, f"{path}.field({number})", walk)
    yield from walk(obj.metadata, f"{path}.metadata")


def _fields(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield path, f"{obj.name!r} {_type(obj.type)} nullable={obj.nullable}"
    yield from walk(obj.metadata, f"{path}.metadata")


def _types(obj: Any, path: str, _: Any) -> Iterator[Line]:
    yield path, _type(obj)


def _tables(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.num_rows", str(obj.num_rows)
    yield from _schemas(obj.schema, f"{path}.schema", walk)
    for number, column in enumerate(obj.columns):
        yield from values(column, f"{path}.column({number})", walk)


def _chunked(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.type", _type(obj.type)
    yield f"{path}.num_chunks", str(obj.num_chunks)
    for number, chunk in enumerate(obj.chunks):
        yield from values(chunk, f"{path}.chunk({number})", walk)


def _scalars(obj: Any, path: str, _: Any) -> Iterator[Line]:
    yield f"{path}.type", _type(obj.type)
    yield f"{path}.is_valid", str(obj.is_valid)
    yield path, repr(obj)


def _polars(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.shape", str(obj.shape)
    for number, series in enumerate(obj.get_columns() if hasattr(obj, "get_columns") else [obj]):
        yield f"{path}.columns[{number}]", f"{series.name!r} {series.dtype!r}"
        yield from walk(series.to_list(), f"{path}.columns[{number}].to_list()")


def _plans(obj: Any, path: str, _: Any) -> Iterator[Line]:
    yield path, obj.explain(optimized=False)


def _xarrays(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    for name, variable in sorted(obj.variables.items() if hasattr(obj, "variables") else obj.coords.items(), key=str):
        yield f"{path}[{name!r}].dims", str(variable.dims)
        yield from walk.parts({"attrs": variable.attrs, "values": variable.values}, f"{path}[{name!r}]")
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
    """Stands for a storage of torch, which makes a new Python object each time it is asked for."""

    @staticmethod
    def of(storage: Any, walk: Any) -> Any:
        known = vars(walk).setdefault("storages", {})
        return known.setdefault(storage.data_ptr(), _Storage()) if storage.nbytes() else _Storage()


def _images(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield path, f"{obj.mode} {obj.size} {hashlib.sha256(obj.tobytes()).hexdigest()[:16]}"
    yield from walk.parts({"info": obj.info, "palette": obj.getpalette()}, path)


TABLE: list[tuple[str, Callable[..., Iterator[Line]]]] = [
    ("pyarrow.Table", _tables),
    ("pyarrow.RecordBatch", _tables),
    ("pyarrow.ChunkedArray", _chunked),
    ("pyarrow.Array", values),
    ("pyarrow.Scalar", _scalars),
    ("pyarrow.Schema", _schemas),
    ("pyarrow.Field", _fields),
    ("pyarrow.DataType", _types),
    ("polars.DataFrame", _polars),
    ("polars.Series", _polars),
    ("polars.LazyFrame", _plans),
    ("xarray.Dataset", _xarrays),
    ("xarray.DataArray", _xarrays),
    ("torch.Tensor", _tensors),
    ("PIL.Image.Image", _images),
]
