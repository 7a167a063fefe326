"""pandas frames and series as Arrow IPC files with a sidecar.

Arrow gives back one pandas frame in three: labels, index kinds, freq, dtypes, attrs and kinds of
missing value get lost. Here columns go to Arrow by position, each as other programs read it, and
all that Arrow has no place for goes to a sidecar in the schema's metadata: JSON from a closed
vocabulary, and the column labels as a small Arrow stream. So nothing in the object can run code.
A frame that this can't give back exactly is left to pickle as a whole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import DecodeError
from ._base import Encoded, NotExactError
from ._index import decode_column, decode_index, encode_column, encode_index
from ._ipc import LazyBuffers, read_ipc, write_ipc
from ._plain import json_bytes
from ._versions import told_apart, versions_here
from ._views import Memory

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["FrameSerializer", "SeriesSerializer"]

MAX_COLUMNS = 2_000
"""Wider frames are pickled: Arrow's cost per column would be hundreds of times that of pickle."""

_FACTS = b"payloadfs"
_LABELS = b"payloadfs.labels"


class FrameSerializer:
    """Stores a DataFrame of exact class ``pandas.DataFrame`` that Arrow and sidecar give back exactly.

    Notes
    -----
    Cost of saving: numeric, datetime and string columns are written from where they lie; booleans
    and masks are packed to bits, objects are copied.
    Cost of loading: the same columns are views of the object's memory, frames of one numeric dtype
    a single block; masks, booleans and objects are unpacked.
    """

    id = "pandas/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the frame as an Arrow IPC file with a sidecar."""
        import pandas as pd

        if type(obj) is not pd.DataFrame or not 1 <= obj.shape[1] <= MAX_COLUMNS:
            raise NotExactError
        return _encode(obj, [column for _, column in obj.items()], obj.columns)

    def decode(self, buffer: memoryview, *, trusted: bool) -> pd.DataFrame:
        """Return the frame: its columns are views of `buffer` where they can be."""
        frame, _ = _decode(buffer, trusted=trusted)
        return frame


class SeriesSerializer:
    """Stores a Series of exact class ``pandas.Series`` as a frame with one column."""

    id = "pandas-series/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the series as an Arrow IPC file with a sidecar."""
        import pandas as pd

        if type(obj) is not pd.Series:
            raise NotExactError
        # An index of one label carries the series' name, of whatever kind.
        return _encode(obj, [obj], pd.RangeIndex(1, name=obj.name))

    def decode(self, buffer: memoryview, *, trusted: bool) -> pd.Series:
        """Return the series, a view of `buffer` where it can be."""
        frame, labels = _decode(buffer, trusted=trusted)
        series: pd.Series = frame.iloc[:, 0]
        series.name = labels.name
        series.attrs, series.flags.allows_duplicate_labels = frame.attrs, frame.flags.allows_duplicate_labels
        return series


def _encode(obj: Any, columns: list[pd.Series], labels: pd.Index) -> Encoded:
    import pyarrow as pa

    lazy = LazyBuffers()
    try:
        encoded = [encode_column(_values(column), lazy) for column in columns]
        index_facts, index_arrays = encode_index(obj.index, lazy)
        label_facts, label_arrays = encode_index(labels, LazyBuffers())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise NotExactError from error
    facts = {
        "version": 1,
        "versions": versions_here(),
        "columns": [description for description, _ in encoded],
        "index": index_facts,
        "labels": label_facts,
        "attrs": json.loads(json_bytes(dict(obj.attrs))),
        "duplicates": obj.flags.allows_duplicate_labels,
    }
    metadata = {_FACTS: json.dumps(facts, separators=(",", ":")).encode(), _LABELS: _stream(label_arrays)}
    names = _field_names(labels, [f"__index_level_{level}__" for level in range(len(index_arrays))])
    arrays = [array for _, array in encoded] + index_arrays
    schema = pa.schema([(name, array.type) for name, array in zip(names, arrays, strict=True)], metadata)
    return write_ipc(schema, [pa.RecordBatch.from_arrays(arrays, schema=schema)], lazy)


def _decode(buffer: memoryview, *, trusted: bool) -> tuple[pd.DataFrame, pd.Index]:
    table = read_ipc(buffer, trusted=trusted)
    facts = json.loads(table.schema.metadata[_FACTS])
    try:
        return _rebuild(buffer, table, facts, trusted=trusted)
    except Exception as error:
        raise DecodeError(
            f"The frame can't be rebuilt: {type(error).__name__}: {error}; it was {told_apart(facts['versions'])}."
        ) from error


def _rebuild(
    buffer: memoryview, table: pa.Table, facts: dict[str, Any], *, trusted: bool
) -> tuple[pd.DataFrame, pd.Index]:
    import pandas as pd
    import pyarrow as pa

    if facts["version"] != 1:
        raise ValueError(f"unknown sidecar version {facts['version']!r}")
    memory = Memory(buffer, trusted=trusted)
    arrays = [column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in table.columns]
    width = len(facts["columns"])
    index = decode_index(facts["index"], arrays[width:], memory)
    stored = table.schema.metadata[_LABELS]
    labels_memory = memoryview(bytearray(stored))
    labels = decode_index(facts["labels"], _unstream(labels_memory), Memory(labels_memory, trusted=trusted))
    frame = _frame(facts["columns"], arrays[:width], index, memory)
    frame.columns = labels
    frame.attrs = facts["attrs"]
    if not facts["duplicates"]:
        frame.flags.allows_duplicate_labels = False
    if not isinstance(frame, pd.DataFrame) or frame.shape != (len(index), width):
        raise ValueError("the frame has another shape than its index and columns")
    return frame, labels


def _frame(descriptions: list[Any], arrays: list[pa.Array], index: pd.Index, memory: Memory) -> pd.DataFrame:
    import pandas as pd

    kind, *facts = descriptions[0]
    if kind == "numpy" and facts[0] != "|b1" and len(arrays) > 1 and all(d == descriptions[0] for d in descriptions):
        block = memory.block(arrays, facts[0])
        if block is not None:
            return pd.DataFrame(block.T, index=index, copy=False)
    columns = {}
    for position, (description, array) in enumerate(zip(descriptions, arrays, strict=True)):
        values = decode_column(description, array, memory)
        # With its dtype given, so that pandas does not infer another from the cells.
        columns[position] = pd.Series(values, index=index, dtype=values.dtype, copy=False)
    return pd.DataFrame(columns, index=index, copy=False)


def _values(column: pd.Series) -> Any:
    import numpy as np

    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array


def _field_names(labels: pd.Index, extra: list[str]) -> list[str]:
    """Return Arrow's names of the columns: the labels where they are unique texts."""
    names = list(labels)
    if not all(type(name) is str for name in names) or len({*names, *extra}) < len(names) + len(extra):
        names = [f"column_{position}" for position in range(len(names))]
    return names + extra


def _stream(arrays: list[pa.Array]) -> bytes:
    import pyarrow as pa

    if not arrays:
        return b""
    batch = pa.RecordBatch.from_arrays(arrays, names=[str(number) for number in range(len(arrays))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _unstream(stream: memoryview) -> list[pa.Array]:
    import pyarrow as pa

    if not stream.nbytes:
        return []
    return list(pa.ipc.open_stream(pa.py_buffer(stream)).read_next_batch().columns)
