"""polars, xarray, torch and PIL in words."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["TABLE"]

Line = tuple[str, str]


def _polars(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.shape", str(obj.shape)
    for number, series in enumerate(obj.get_columns() if hasattr(obj, "get_columns") else [obj]):
        yield f"{path}.columns[{number}]", f"{series.name!r} {series.dtype!r}"
        yield from _polars_cells(series, f"{path}.columns[{number}]", walk)


def _polars_cells(series: Any, path: str, walk: Any) -> Iterator[Line]:
    words = repr(series.dtype)
    if words.startswith("Struct("):
        yield f"{path}.is_null()", str(series.is_null().to_list())
        for field in series.struct.fields:
            yield from _polars_cells(series.struct.field(field), f"{path}[{field!r}]", walk)
        return
    if any(name in words for name in ("Datetime(", "Duration(", "Time")) and "Categorical" not in words:
        # Python's times end at microseconds. Categories have other numbers in each process.
        series = series.to_physical()
    yield from walk(series.to_list(), f"{path}.to_list()")


def _plans(obj: Any, path: str, _: Any) -> Iterator[Line]:
    yield path, obj.explain(optimized=False)
    # The plan in words says nothing of the data in it.
    yield f"{path}.serialize()", hashlib.sha256(obj.serialize()).hexdigest()[:16]


def _xarrays(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.coords", str(list(obj.coords))
    yield f"{path}.data_vars", str(list(getattr(obj, "data_vars", ())))
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
    yield from walk.parts({"info": obj.info, "palette": obj.getpalette(None)}, path)


TABLE: list[tuple[str, Callable[..., Iterator[Line]]]] = [
    ("polars.DataFrame", _polars),
    ("polars.Series", _polars),
    ("polars.LazyFrame", _plans),
    ("xarray.Dataset", _xarrays),
    ("xarray.DataArray", _xarrays),
    ("torch.Tensor", _tensors),
    ("PIL.Image.Image", _images),
]
