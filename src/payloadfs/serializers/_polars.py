"""polars frames and series as the Arrow IPC files that polars itself writes.

Before its footer, the file contains versions and schema, which polars itself does not record. They detect an older polars
that would read a column as another dtype.

A ``polars.LazyFrame`` is a query plan, not data, and is pickled as such: a scanned file stays a path,
which must be valid where the plan is collected. Collect the frame first to store its result.
"""

from __future__ import annotations

import io
import re
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from .._buffers import as_bytes
from .._seal import suffix_bytes
from ..errors import DecodeError, EncodeError
from ._arrow.ipc import read_ipc
from ._base import Encoded, NotExactError
from ._versions import describe_mismatch, pack_sidecar, read_sidecar, versions_here


class PolarsFrameSerializer:
    """Serializer of ``polars.DataFrame`` that uses polars' own writer and reader.

    Cost: one copy of the frame to save, and one to load.
    """

    id = "polars/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        if type(obj) is not pl.DataFrame:
            raise NotExactError
        problem = find_unsupported(obj)
        if problem is not None:
            raise EncodeError(f"The polars frame cannot be stored: {problem[1]}.", path=f"obj{problem[0]}")
        if any(map(_is_opaque, obj.dtypes)):
            raise NotExactError
        file = io.BytesIO()
        obj.write_ipc(file, compat_level=pl.CompatLevel.newest())
        content = as_bytes(file.getvalue())
        footer = content.nbytes - suffix_bytes(content)
        schema = {name: _describe_dtype(dtype) for name, dtype in obj.schema.items()}
        sidecar = pack_sidecar({"versions": versions_here(), "schema": list(schema.items())})
        return Encoded([content[:footer], as_bytes(sidecar), content[footer:]], extension="arrow")

    def decode(self, buffer: memoryview, *, trusted: bool) -> pl.DataFrame:
        sidecar = read_sidecar(buffer)
        frame = pl.read_ipc(io.BytesIO(buffer) if trusted else _validated(buffer))
        for (name, dtype), (written_name, written) in zip(
            frame.schema.items(), sidecar.get("schema", ()), strict=False
        ):
            if name != written_name or _describe_dtype(dtype) != written:
                raise DecodeError(
                    f"polars reads the column {name!r} as {dtype} and not as {written[0]}: update polars. The frame was "
                    f"{describe_mismatch(sidecar['versions'])}."
                )
        return frame


class PolarsSeriesSerializer:
    """Serializer of ``polars.Series`` as a frame with one column."""

    id = "polars-series/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        if type(obj) is not pl.Series or find_unsupported(obj):
            raise NotExactError
        return PolarsFrameSerializer().encode(obj.to_frame())

    def decode(self, buffer: memoryview, *, trusted: bool) -> pl.Series:
        return PolarsFrameSerializer().decode(buffer, trusted=trusted).to_series(0)


def _describe_dtype(dtype: Any) -> list[Any]:
    """Return class, parameters and nested dtypes of `dtype` as JSON, the same in all versions of polars."""
    nested = [_describe_dtype(part) for part in _parts(dtype)]
    values = [getattr(dtype, name, None) for name in ("time_unit", "time_zone", "scale", "size")]
    names = [field.name for field in getattr(dtype, "fields", ())]
    return [dtype.base_type().__name__, [value for value in values if value is not None], names, nested]


def _validated(buffer: memoryview) -> io.BytesIO:
    """Return the frame rewritten by pyarrow after full validation, because polars validates nothing.

    Cost: one more copy of the frame. polars panics, or aborts the process, for types and metadata
    that it does not write itself, so only those that it writes are allowed.
    """
    table = read_ipc(buffer, trusted=False)
    if table.schema.metadata or len(set(table.column_names)) < table.num_columns:
        raise ValueError("metadata or names of columns that polars does not write")
    for field, column in zip(table.schema, table.columns, strict=True):
        _check_field(field)
        for chunk in column.chunks:
            _check_content(chunk, buffer.nbytes)
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    file.seek(0)
    return file


def _check_field(field: pa.Field) -> None:
    """Raise ValueError unless polars writes fields of this type with this metadata."""
    kind, is_type = field.type, pa.types
    is_dictionary = is_type.is_dictionary(kind)
    for key, value in (field.metadata or {}).items():
        if not is_dictionary or key not in _METADATA or not _METADATA[key](value):
            raise ValueError(f"polars does not write the metadata {key!r} for {kind}")
    if is_type.is_struct(kind):
        if len({part.name for part in kind}) < kind.num_fields:
            raise ValueError("a struct with two fields of one name")
        for part in kind:
            _check_field(part)
    elif is_type.is_large_list(kind) or (is_type.is_fixed_size_list(kind) and kind.list_size):
        _check_field(kind.value_field)
    elif not _is_written(kind):
        raise ValueError(f"polars does not write {kind}")


def _check_content(array: pa.Array, max_bytes: int) -> None:
    """Raise ValueError for values, at any depth, with which polars panics: times beyond its calendar, missing categories.

    Categories must not be larger than the object either.
    """
    import pyarrow.compute

    compute: Any = pyarrow.compute
    if pa.types.is_timestamp(array.type) and array.type.tz:
        extremes = compute.min_max(array.cast(pa.int64())).as_py().values()
        limit = _CALENDAR_S * {"ms": 10**3, "us": 10**6}.get(array.type.unit, 10**9)
        if any(value is not None and abs(value) > limit for value in extremes):
            raise ValueError("a time beyond the calendar of polars")
    elif pa.types.is_struct(array.type):
        for number in range(array.type.num_fields):
            _check_content(array.field(number), max_bytes)
    elif pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        _check_content(array.values, max_bytes)
    elif pa.types.is_dictionary(array.type) and len(array.dictionary):
        # Views may overlap, and polars copies what they show. The first of the four parts of a view is its length.
        import numpy as np  # polars does not need numpy

        lengths = np.frombuffer(array.dictionary.buffers()[1], "<i4")[: 4 * len(array.dictionary) : 4]
        if array.dictionary.null_count or lengths.sum(dtype="i8") > max_bytes:
            raise ValueError("categories that are missing or larger than the object")


def _is_written(kind: pa.DataType) -> bool:
    """Return whether polars writes columns of this Arrow type, which has no children."""
    is_type = pa.types
    if is_type.is_timestamp(kind):
        # An unknown zone would be a panic.
        return kind.unit != "s" and (kind.tz is None or bool(zoneinfo.ZoneInfo(kind.tz)))
    if is_type.is_dictionary(kind):
        return kind.index_type in (pa.uint8(), pa.uint16(), pa.uint32()) and kind.value_type == pa.string_view()
    return (
        is_type.is_integer(kind)
        or is_type.is_floating(kind)
        or is_type.is_decimal128(kind)
        or (is_type.is_duration(kind) and kind.unit != "s")
        or kind in (pa.null(), pa.bool_(), pa.date32(), pa.time64("ns"), pa.string_view(), pa.binary_view())
    )


def _is_enum(metadata: bytes) -> bool:
    """Return whether `metadata` lists different strings, as polars writes them: ``1;a2;bc``."""
    strings, rest = _split_strings(metadata, len(metadata))
    return not rest and len({part.decode() for part in strings}) == len(strings)


def _is_categories(metadata: bytes) -> bool:
    """Return whether `metadata` has a name, a namespace and an integer type, each with its size: ``0;0;u32;``."""
    strings, rest = _split_strings(metadata, 2)
    return len(strings) == 2 and all(part.decode() is not None for part in strings) and rest in _CODES


def _split_strings(metadata: bytes, count: int) -> tuple[list[bytes], bytes]:
    """Return up to `count` strings at the start of polars' metadata, and what follows them."""
    found: list[bytes] = []
    pos = 0
    while len(found) < count and (match := _SIZE.match(metadata, pos)):
        stop = match.end() + int(match[1])
        if stop > len(metadata):
            break
        found.append(metadata[match.end() : stop])
        pos = stop
    return found, metadata[pos:]


_CALENDAR_S = 260_000 * 365 * 86_400
_SIZE = re.compile(rb"([0-9]{1,9});")
_CODES = (b"u8;", b"u16;", b"u32;")
_METADATA: dict[bytes, Callable[[bytes], bool]] = {
    b"_PL_ENUM_VALUES": _is_enum,
    b"_PL_ENUM_VALUES2": _is_enum,
    b"_PL_CATEGORICAL": (b"physical", b"lexical").__contains__,
    b"_PL_CATEGORICAL2": _is_categories,
}


def find_unsupported(obj: Any) -> tuple[str, str] | None:
    """Return the path and reason why a polars frame or series cannot be stored, or None if it can."""
    own = [name for name in vars(obj) if not name.startswith("_")]
    if own:
        return f".{own[0]}", f"polars would lose the attribute {own[0]!r}; keep it beside the frame"
    schema = obj.schema if isinstance(obj, pl.DataFrame) else {obj.name: obj.dtype}
    for name, dtype in schema.items():
        if any(part.base_type() is pl.Object for part in _nested_dtypes(dtype)):
            return f"[{name!r}]", (
                f"its column {name!r} has the dtype Object, which polars itself cannot store; "
                "convert it to another dtype, or store its values as a list"
            )
        if any(isinstance(part, pl.Array) and 0 in part.shape for part in _nested_dtypes(dtype)):
            return f"[{name!r}]", f"its column {name!r} has arrays of width 0, which polars can write but not read"
    return None


def _nested_dtypes(dtype: Any) -> Iterator[Any]:
    """Yield `dtype` and its nested dtypes, at any depth."""
    yield dtype
    for part in _parts(dtype):
        yield from _nested_dtypes(part)


def _parts(dtype: Any) -> list[Any]:
    inner = getattr(dtype, "inner", None)
    return [*(field.dtype for field in getattr(dtype, "fields", ())), *([] if inner is None else [inner])]


def _is_opaque(dtype: Any) -> bool:
    """Return whether IPC would change `dtype`, or pyarrow cannot check it: extensions, and integers of 128 bits."""
    unreadable = (pl.Unknown, pl.Int128, getattr(pl, "UInt128", pl.Unknown))
    return any(part.base_type() in unreadable for part in _nested_dtypes(dtype)) or (
        type(dtype).__module__.split(".")[0] != "polars"
    )
