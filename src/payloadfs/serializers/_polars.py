"""polars frames and series as the Arrow IPC files that polars itself writes.

A ``polars.LazyFrame`` is a query plan, not data, and is pickled as such: a scanned file stays a path,
which must be valid where the plan is collected. Collect the frame first to store its result.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .._buffers import as_bytes
from ..errors import EncodeError
from ._arrow.ipc import read_ipc
from ._base import Encoded, NotExactError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["PolarsFrameSerializer", "PolarsSeriesSerializer", "find_unsupported"]


class PolarsFrameSerializer:
    """Serializer of ``polars.DataFrame`` that uses polars' own writer and reader.

    Notes
    -----
    Cost: one copy of the frame to save, and one to load.
    """

    id = "polars/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the frame as an Arrow IPC file."""
        import polars as pl

        if type(obj) is not pl.DataFrame:
            raise NotExactError
        problem = find_unsupported(obj)
        if problem is not None:
            raise EncodeError(f"The polars frame cannot be stored: {problem[1]}.", path=f"obj{problem[0]}")
        if any(map(_is_opaque, obj.dtypes)):
            raise NotExactError
        file = io.BytesIO()
        obj.write_ipc(file, compat_level=pl.CompatLevel.newest())
        return Encoded([as_bytes(file.getvalue())], extension="arrow")

    def decode(self, buffer: memoryview, *, trusted: bool) -> pl.DataFrame:
        """Return the frame."""
        import polars as pl

        return pl.read_ipc(io.BytesIO(buffer) if trusted else _validated(buffer))


class PolarsSeriesSerializer:
    """Serializer of ``polars.Series`` as a frame with one column."""

    id = "polars-series/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the series as an Arrow IPC file."""
        import polars as pl

        if type(obj) is not pl.Series or find_unsupported(obj):
            raise NotExactError
        return PolarsFrameSerializer().encode(obj.to_frame())

    def decode(self, buffer: memoryview, *, trusted: bool) -> pl.Series:
        """Return the series."""
        return PolarsFrameSerializer().decode(buffer, trusted=trusted).to_series(0)


def _validated(buffer: memoryview) -> io.BytesIO:
    """Return the frame rewritten by pyarrow after full validation, because polars validates nothing."""
    import pyarrow as pa

    table = read_ipc(buffer, trusted=False)
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    file.seek(0)
    return file


def find_unsupported(obj: Any) -> tuple[str, str] | None:
    """Return the path and reason why a polars frame or series cannot be stored, or None if it can."""
    import polars as pl

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
    nested = [field.dtype for field in getattr(dtype, "fields", ())]
    for part in [*nested, getattr(dtype, "inner", None)]:
        if part is not None:
            yield from _nested_dtypes(part)


def _is_opaque(dtype: Any) -> bool:
    """Return whether `dtype` is an extension or unknown type, which IPC would change."""
    import polars as pl

    return dtype.base_type() is pl.Unknown or type(dtype).__module__.split(".")[0] != "polars"
