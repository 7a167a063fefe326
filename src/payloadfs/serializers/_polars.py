"""polars frames and series as the Arrow IPC files that polars itself writes.

A ``polars.LazyFrame`` is no data but a plan, and is pickled as such: a scan of a file stays a path,
which has to mean the same where it is collected. Collect it first to store what it gives.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ..buffers import view
from ..errors import EncodeError
from ._base import Encoded, NotExactError
from ._ipc import read_ipc

if TYPE_CHECKING:
    import polars as pl

__all__ = ["PolarsFrameSerializer", "PolarsSeriesSerializer"]


class PolarsFrameSerializer:
    """Stores a ``polars.DataFrame`` through polars' own writer and reader.

    Notes
    -----
    Cost: one copy of the frame's size while saving, another while loading.
    """

    id = "polars/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the frame as an Arrow IPC file."""
        import polars as pl

        if type(obj) is not pl.DataFrame:
            raise NotExactError
        _refuse_objects(obj)
        if any(map(_is_opaque, obj.dtypes)):
            raise NotExactError
        file = io.BytesIO()
        obj.write_ipc(file, compat_level=pl.CompatLevel.newest())
        return Encoded([view(file.getbuffer())], extension="arrow")

    def decode(self, buffer: memoryview, *, trusted: bool) -> pl.DataFrame:
        """Return the frame."""
        import polars as pl

        return pl.read_ipc(io.BytesIO(buffer) if trusted else _validated(buffer))


class PolarsSeriesSerializer:
    """Stores a ``polars.Series`` as a frame with one column."""

    id = "polars-series/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the series as an Arrow IPC file."""
        import polars as pl

        if type(obj) is not pl.Series:
            raise NotExactError
        return PolarsFrameSerializer().encode(obj.to_frame())

    def decode(self, buffer: memoryview, *, trusted: bool) -> pl.Series:
        """Return the series."""
        return PolarsFrameSerializer().decode(buffer, trusted=trusted).to_series(0)


def _validated(buffer: memoryview) -> io.BytesIO:
    """Return the same frame written anew, after pyarrow validated it: polars itself validates nothing."""
    import pyarrow as pa

    table = read_ipc(buffer, trusted=False)
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    file.seek(0)
    return file


def _refuse_objects(frame: pl.DataFrame) -> None:
    import polars as pl

    for name, dtype in frame.schema.items():
        if dtype.base_type() is pl.Object:
            raise EncodeError(
                f"The column {name!r} of the polars frame has the dtype Object, which polars itself can't store. "
                "Give it another dtype, or store its values as a list.",
                path=f"obj[{name!r}]",
            )


def _is_opaque(dtype: Any) -> bool:
    """Return whether a column of `dtype` is an extension or unknown, which IPC would change."""
    import polars as pl

    return dtype.base_type() is pl.Unknown or type(dtype).__module__.split(".")[0] != "polars"
