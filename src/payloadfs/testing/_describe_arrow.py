"""Descriptions of pyarrow objects: types with all metadata of their fields, and cells by their bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Line = tuple[str, str]


def values(array: Any, path: str, walk: Any) -> Iterator[Line]:
    """Yield type and values of an Arrow array, independent of its chunks."""
    import pyarrow as pa

    yield f"{path}.type", describe_type(array.type)
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    chunks = _joined(chunks) if len(chunks) > 1 else chunks
    start = 0
    for chunk in chunks:
        yield from _cells(chunk, path, walk, start)
        start += len(chunk)
    yield f"len({path})", str(start)


def _joined(chunks: list[Any]) -> list[Any]:
    """Return `chunks` joined, or unchanged if Arrow cannot join their type or dictionaries."""
    import pyarrow as pa

    of_one = not pa.types.is_dictionary(chunks[0].type) or all(
        chunk.dictionary.equals(chunks[0].dictionary) for chunk in chunks
    )
    try:
        return [pa.concat_arrays(chunks if of_one else pa.chunked_array(chunks).unify_dictionaries().chunks)]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return chunks


def _cells(array: Any, path: str, walk: Any, start: int = 0) -> Iterator[Line]:
    """Yield the cells of one array, as bits where Python objects would lose some."""
    import pyarrow as pa

    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        yield from _cells(array.storage, path, walk, start)
    elif pa.types.is_dictionary(kind):
        yield from _cells(array.indices, f"{path}.indices", walk, start)
        yield from _cells(array.dictionary, f"{path}.dictionary", walk)
    elif pa.types.is_struct(kind) and kind.num_fields and not _has_parts_without_nulls(kind):
        for number, valid in enumerate(array.is_valid().to_pylist(), start):
            yield f"{path}.is_valid[{number}]", str(valid)
        for number, child in enumerate(array.flatten()):
            yield from _cells(child, f"{path}.field({number})", walk, start)
    elif pa.types.is_nested(kind) and kind.num_fields:
        for number, cell in enumerate(array, start):
            yield from _scalars(cell, f"{path}[{number}]", walk)
    else:
        yield from _leaves(array, path, walk, start)


def _has_parts_without_nulls(kind: Any) -> bool:
    """Return whether `flatten` would abort the process, because nulls of the struct cannot be nulls of a part."""
    import pyarrow as pa

    parts = [kind.field(number).type for number in range(kind.num_fields)]
    stored = [part.storage_type if isinstance(part, pa.BaseExtensionType) else part for part in parts]
    return any(pa.types.is_union(part) or pa.types.is_run_end_encoded(part) for part in stored)


def _has_lists(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
        or pa.types.is_map(kind)
    )


def _leaves(array: Any, path: str, walk: Any, start: int) -> Iterator[Line]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_floating(kind):
        # Bits too: NaN has many bit patterns, and Python floats are wider than some of Arrow's.
        bits = array.view({16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[kind.bit_width]).to_pylist()
        for number, (value, word) in enumerate(zip(array.to_pylist(), bits, strict=True), start):
            yield f"{path}[{number}]", "None" if word is None else f"{value!r} {word:x}"
        return
    if pa.types.is_temporal(kind) and kind.bit_width <= 64:
        # Python times are limited to microseconds and to the year 9999.
        array = array.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    for number, cell in enumerate(array.to_pylist(), start):
        yield from walk(cell, f"{path}[{number}]")


def describe_type(kind: Any) -> str:
    """Return the description of an Arrow type, with names, nullability and metadata of its fields."""
    import pyarrow as pa

    name = f"{type(kind).__module__}.{type(kind).__name__} {kind}"
    if isinstance(kind, pa.BaseExtensionType):
        written = kind.__arrow_ext_serialize__() if isinstance(kind, pa.ExtensionType) else b""
        return f"{name} {written!r} of {describe_type(kind.storage_type)}"
    if pa.types.is_dictionary(kind):
        return f"{name} of {describe_type(kind.value_type)}"
    fields = [kind.field(number) for number in range(kind.num_fields)]
    inside = [f"{field.name!r} {field.nullable} {field.metadata} {describe_type(field.type)}" for field in fields]
    return f"{name} {inside}" if inside else name


def _schemas(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    for number, field in enumerate(obj):
        yield from _fields(field, f"{path}.field({number})", walk)
    yield from walk(obj.metadata, f"{path}.metadata")


def _fields(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield path, f"{obj.name!r} {describe_type(obj.type)} nullable={obj.nullable}"
    yield from walk(obj.metadata, f"{path}.metadata")


def _types(obj: Any, path: str, _: Any) -> Iterator[Line]:
    yield path, describe_type(obj)


def _tables(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.num_rows", str(obj.num_rows)
    yield from _schemas(obj.schema, f"{path}.schema", walk)
    for number, column in enumerate(obj.columns):
        yield from values(column, f"{path}.column({number})", walk)


def _chunked(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    yield f"{path}.type", describe_type(obj.type)
    yield f"{path}.num_chunks", str(obj.num_chunks)
    for number, chunk in enumerate(obj.chunks):
        yield from values(chunk, f"{path}.chunk({number})", walk)


def _scalars(obj: Any, path: str, walk: Any) -> Iterator[Line]:
    """Yield one cell. Its parts are scalars and arrays."""
    import pyarrow as pa

    kind = obj.type
    yield f"{path}.type", describe_type(kind)
    yield f"{path}.is_valid", str(obj.is_valid)
    if not obj.is_valid:
        return
    if pa.types.is_struct(kind):
        for number in range(len(obj)):
            yield from _scalars(obj[number], f"{path}[{number}]", walk)
    elif pa.types.is_dictionary(kind):
        yield from _scalars(obj.index, f"{path}.index", walk)
        yield from _cells(obj.dictionary, f"{path}.dictionary", walk)
    elif _has_lists(kind):
        yield from values(obj.values, f"{path}.values", walk)
    elif isinstance(getattr(obj, "value", None), pa.Scalar):
        yield from walk.parts({"type_code": getattr(obj, "type_code", None)}, path)
        yield from _scalars(obj.value, f"{path}.value", walk)
    else:
        yield from walk(obj.value if hasattr(obj, "value") else obj.as_py(), path)


TABLE: list[tuple[str, Callable[..., Iterator[Line]]]] = [
    ("pyarrow.Table", _tables),
    ("pyarrow.RecordBatch", _tables),
    ("pyarrow.ChunkedArray", _chunked),
    ("pyarrow.Array", values),
    ("pyarrow.Scalar", _scalars),
    ("pyarrow.Schema", _schemas),
    ("pyarrow.Field", _fields),
    ("pyarrow.DataType", _types),
]
