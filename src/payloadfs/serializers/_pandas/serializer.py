"""pandas frames and series as Arrow IPC files with a sidecar.

Plain Arrow restores only one pandas frame in three: labels, index kinds, freq, dtypes, attrs and
kinds of missing values are lost. Here columns go to Arrow by position, each as other programs read
it. Everything that Arrow cannot express goes to a sidecar in the schema's metadata: JSON from a
closed vocabulary, and the column labels as a small Arrow stream. Nothing in the object can run code.

Columns and labels outside that vocabulary, the remainder, share one pickle, so that references
between them are kept. Such an object has another serializer id, since a pickle can run code::

    ARROW1 00 00 | schema | batches ... | end-of-stream mark | zeros | container | footer ... | ARROW1

The container is the one of `_container` and begins at a multiple of 64 bytes. Other readers
of the file see only the columns that Arrow stores. A frame that is not exact this way either is
pickled as a whole.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..._buffers import frame_bytes, padding
from ...errors import DecodeError
from .._arrow.ipc import GatheredBuffers, LazyBuffers, batches_end, read_batch, to_stream, write_ipc
from .._arrow.memory import ObjectBuffer
from .._base import Encoded, NotExactError
from .._pickle.reducers import lost_attributes
from .._pickle.serializer import PickleSerializer, pickle_container
from .._plain import check_json_size
from .._tree.check import TreeChecker
from .._versions import describe_mismatch, versions_here
from .blocks import REMAINDER, blocks, build_frame
from .expected import MAX_WIDTH
from .index import decode_index, decode_stream, encode_column, encode_index
from .object_columns import is_mutable
from .scalars import decode_attrs, encode_attrs

MAX_COLUMNS = 2_000
"""Of wider frames, adjacent numeric columns are stored as one array: Arrow's cost per column is high."""

_SIDECAR_BYTES, _SIDECAR_NODES = 8 << 20, 50_000
"""Frames with a larger sidecar, because of their `attrs`, are pickled: readers of untrusted bytes need a limit."""

_REMAINDER_COLUMN: tuple[list[str], None] = (REMAINDER, None)
_REMAINDER_INDEX: tuple[dict[str, str], list[Any]] = ({"kind": "rest"}, [])
_SIDECAR = b"payloadfs"
_LABELS = b"payloadfs.labels"


class FrameSerializer:
    """Serializer of frames of exact class ``pandas.DataFrame`` that Arrow and the sidecar restore exactly.

    Notes
    -----
    Cost of saving: numeric, datetime and string columns are not copied; booleans and masks are
    packed to bits, objects are copied.
    Cost of loading: the same columns are views of the object's memory, frames of one numeric dtype
    a single block; masks, booleans and objects are copied.
    """

    id = "pandas/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        encoded, remainder = _encode_frame(obj)
        if remainder:
            raise NotExactError(instead=(MixedFrameSerializer(), _add_remainder(encoded, remainder, obj)))
        return encoded

    def decode(self, buffer: memoryview, *, trusted: bool) -> pd.DataFrame:
        """Return the frame: its columns are views of `buffer` where possible."""
        return _decode(buffer, {}, trusted=trusted)[0]


class MixedFrameSerializer:
    """Serializer of frames with some columns in Arrow and the others in one pickle.

    Cost: that of ``pandas/1`` and, for the remainder, ``pickle/1``.
    """

    id = "pandas-mixed/1"
    executable = True

    def encode(self, obj: Any) -> Encoded:
        encoded, remainder = _encode_frame(obj)
        if not remainder:
            raise NotExactError
        return _add_remainder(encoded, remainder, obj)

    def decode(self, buffer: memoryview, *, trusted: bool) -> pd.DataFrame:
        """Return the frame. Runs the pickle."""
        end = batches_end(buffer)
        remainder = PickleSerializer().decode(buffer[end + padding(end) :], trusted=True)
        return _decode(buffer, remainder, trusted=trusted)[0]


class SeriesSerializer:
    """Serializer of series of exact class ``pandas.Series`` as a frame with one column."""

    id = "pandas-series/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        if type(obj) is not pd.Series or lost_attributes(obj):
            raise NotExactError
        # An index with one label stores the series' name, of any class.
        encoded, remainder = _encode(obj, [_plain_array(obj)], pd.RangeIndex(1, name=obj.name))
        if remainder:
            raise NotExactError
        return encoded

    def decode(self, buffer: memoryview, *, trusted: bool) -> pd.Series:
        """Return the series, a view of `buffer` where possible."""
        frame, labels = _decode(buffer, {}, trusted=trusted)
        if frame.shape[1] != 1:
            raise ValueError(f"a series with {frame.shape[1]} columns")
        series: pd.Series = frame.iloc[:, 0]
        series.name = labels.name
        series.attrs, series.flags.allows_duplicate_labels = frame.attrs, frame.flags.allows_duplicate_labels
        return series


def _encode_frame(obj: Any) -> tuple[Encoded, dict[str, Any]]:
    if type(obj) is not pd.DataFrame or lost_attributes(obj):
        raise NotExactError
    # The public ways create a Series for each column, with a deep copy of the frame's attrs.
    values = [_plain_array(values) for values in obj._iter_column_arrays()]
    if obj.shape[1] <= MAX_COLUMNS:
        return _encode(obj, values, obj.columns)
    encoded, remainder = _encode(obj, _merge_columns(obj, values), obj.columns)
    if remainder:
        raise NotExactError
    return encoded, remainder


def _merge_columns(frame: pd.DataFrame, values: list[Any]) -> list[Any]:
    """Return the columns of a wide frame; adjacent columns of one numeric dtype become one array of rows.

    Raise `NotExactError` if there are still too many columns.
    """
    merged: list[Any] = []
    stop = 0
    for dtype, run in itertools.groupby(column.dtype for column in values):
        start, stop = stop, stop + len(list(run))
        is_number = isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.itemsize <= 8 and dtype.isnative
        if is_number and stop - start > 1 and len(frame) and not dtype.metadata:
            merged.append(frame.iloc[:, start:stop].to_numpy())
        else:
            merged += values[start:stop]
    if len(merged) > MAX_COLUMNS or stop > MAX_WIDTH:
        raise NotExactError
    return merged


def _encode(obj: Any, values: list[Any], labels: pd.Index) -> tuple[Encoded, dict[str, Any]]:
    """Return the Arrow file and the remainder, which is empty for most frames."""
    lazy, attrs = LazyBuffers(), encode_attrs(obj.attrs)
    index, label = _try_encode(encode_index, obj.index, lazy), _try_encode(encode_index, labels, GatheredBuffers())
    encoded = _encode_columns(values, obj.attrs, lazy, alone=index is not None and label is not None)
    # Copies, since pandas returns read-only arrays.
    remainder = {str(pos): values[pos].copy() for pos, (_, array) in enumerate(encoded) if array is None}
    if any(array.dtype.kind in "mM" and not getattr(array.dtype, "isnative", True) for array in remainder.values()):
        raise NotExactError  # pandas changes the byte order of times where it creates a frame
    remainder |= {"index": obj.index} if index is None else {}
    remainder |= {"labels": labels} if label is None else {}
    if remainder and obj.attrs:
        # Cells and labels in the remainder may refer to the attrs or to a part of them.
        remainder, attrs = remainder | {"attrs": obj.attrs}, None
    index_meta, index_arrays = index or _REMAINDER_INDEX
    label_meta, label_arrays = label or _REMAINDER_INDEX
    sidecar = {
        "version": 1,
        "versions": versions_here(),
        "columns": [description for description, _ in encoded],
        "index": index_meta,
        "labels": label_meta,
        "attrs": attrs,
        "duplicates": obj.flags.allows_duplicate_labels,
    }
    text = json.dumps(sidecar, separators=(",", ":"))
    try:
        _check_sidecar(text)
    except ValueError as error:
        raise NotExactError from error
    metadata = {_SIDECAR: text.encode(), _LABELS: to_stream(label_arrays)}
    indexes = [f"__index_level_{level}__" for level in range(len(index_arrays))]
    names = [*_field_names(labels, indexes, values), *indexes]
    arrays = [*(array for _, array in encoded), *index_arrays]
    stored = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
    schema = pa.schema([(name, array.type) for name, array in stored.items()], metadata)
    batch = pa.RecordBatch.from_arrays(list(stored.values()), schema=schema)
    return write_ipc(schema, [batch], lazy), remainder


def _encode_columns(
    values: list[Any], attrs: Mapping[Any, Any], lazy: LazyBuffers, *, alone: bool
) -> list[tuple[Any, pa.Array | None]]:
    """Return description and Arrow array of each column; columns of the remainder have no array.

    `alone` means that no labels go to the remainder.
    """
    encoded = [_try_encode(encode_column, part, lazy) or _REMAINDER_COLUMN for part in values]
    mutable = [pos for pos, (description, _) in enumerate(encoded) if is_mutable(description)]
    if mutable:
        checker = TreeChecker(check_strings=False)
        for cells in ([attrs], *(values[pos].tolist() for pos in mutable)):
            checker.check(cells)
    if _REMAINDER_COLUMN in encoded or not alone:
        # The remainder may refer to mutable cells, so their columns go with it.
        encoded = [_REMAINDER_COLUMN if pos in mutable else column for pos, column in enumerate(encoded)]
    if encoded and all(array is None for _, array in encoded):
        raise NotExactError
    return encoded


def _try_encode(encode: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return encode(*arguments)
    except (NotExactError, pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None


def _decode(buffer: memoryview, remainder: dict[str, Any], *, trusted: bool) -> tuple[pd.DataFrame, pd.Index]:
    batch = read_batch(buffer, trusted=trusted)
    metadata = batch.schema.metadata
    text = str(metadata[_SIDECAR], "ascii")
    if not trusted:
        _check_sidecar(text)
    sidecar = json.loads(text)
    # Types are checked when they are decoded.
    if not trusted and (len(metadata) != 2 or len(sidecar["columns"]) > MAX_COLUMNS):
        raise ValueError("metadata or columns that no frame has")
    try:
        return _rebuild(batch.columns, sidecar, metadata[_LABELS], remainder, ObjectBuffer(buffer, trusted=trusted))
    except (DecodeError, MemoryError):
        raise
    except Exception as error:
        raise DecodeError(
            f"Cannot rebuild the frame: {type(error).__name__}: {error}; it was {describe_mismatch(sidecar['versions'])}."
        ) from error


def _check_sidecar(text: str) -> None:
    """Raise ValueError if a sidecar is larger than that of any frame that is stored this way."""
    if len(text) > _SIDECAR_BYTES:
        raise ValueError(f"a sidecar of {len(text)} bytes")
    check_json_size(text, max_nodes=_SIDECAR_NODES)


def _rebuild(
    arrays: list[pa.Array],
    sidecar: dict[str, Any],
    label_stream: bytes,
    remainder: dict[str, Any],
    memory: ObjectBuffer,
) -> tuple[pd.DataFrame, pd.Index]:
    if sidecar["version"] != 1:
        raise ValueError(f"unknown sidecar version {sidecar['version']!r}")
    descriptions = sidecar["columns"]
    width = len(descriptions) - descriptions.count(REMAINDER)
    index = remainder["index"] if "index" in remainder else decode_index(sidecar["index"], arrays[width:], memory)
    if "labels" in remainder:
        labels = remainder["labels"]
    else:
        labels = decode_stream(sidecar["labels"], label_stream, trusted=memory.trusted)
    frame = build_frame(blocks(descriptions, arrays[:width], remainder, memory), index, labels)
    # The setter would copy the dict, to which cells in the remainder may refer.
    frame._attrs = remainder["attrs"] if "attrs" in remainder else decode_attrs(sidecar["attrs"])
    if not sidecar["duplicates"]:
        frame.flags.allows_duplicate_labels = False
    return frame, labels


def _add_remainder(encoded: Encoded, remainder: dict[str, Any], frame: Any) -> Encoded:
    """Return the Arrow file `encoded` with the remainder of `frame` in it.

    Raise `NotExactError` if the remainder cannot be pickled, or contains the frame itself. Pickling the whole
    frame then succeeds, or raises an error that names the part that fails.
    """
    try:
        pickled = pickle_container(remainder, without=frame)
    except Exception as error:
        raise NotExactError from error
    zeros = memoryview(bytes(padding(sum(map(frame_bytes, encoded.frames)))))
    before = len(encoded.frames) + 1
    return Encoded(
        [*encoded.frames, zeros, *pickled.frames],
        encoded.extension,
        suffix=encoded.suffix,
        sealable=encoded.sealable,
        data=encoded.data | {before + pos for pos in pickled.data},
    )


def _plain_array(values: Any) -> Any:
    """Return the array of a column or series: numpy's, even if pandas wraps it."""
    return np.asarray(values) if isinstance(values.dtype, np.dtype) else getattr(values, "array", values)


def _field_names(labels: pd.Index, others: list[str], values: list[Any]) -> list[str]:
    """Return Arrow's names of the columns: the labels if they are unique strings that UTF-8 can encode."""
    if len(values) < len(labels):
        starts = itertools.accumulate((part.shape[-1] if part.ndim == 2 else 1 for part in values), initial=0)
        return [f"columns_from_{start}" for start, _ in zip(starts, values, strict=False)]
    names = [name for name in labels if type(name) is str and name == name.encode("utf-8", "ignore").decode()]
    if len({*names, *others}) < len(labels) + len(others):
        names = [f"column_{position}" for position in range(len(labels))]
    return names
