"""pyarrow tables and record batches as plain Arrow IPC files."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from .._base import Encoded, NotExactError
from .ipc import read_batch, read_ipc, write_ipc
from .structure import RESERVED_KEYS


class ArrowTableSerializer:
    """Serializer of ``pyarrow.Table`` as an Arrow IPC file that other programs and languages can open.

    After loading, all columns are chunked at the same rows. Tables with extension types or with
    dictionaries that differ by chunk are left to pickle.

    Notes
    -----
    Cost: no copy to save or to load.
    """

    id = "arrow-table/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        if type(obj) is not pa.Table or is_changed_by_ipc(obj.schema):
            raise NotExactError
        return write_ipc(obj.schema, obj.to_batches())

    def decode(self, buffer: memoryview, *, trusted: bool) -> pa.Table:
        return read_ipc(buffer, trusted=trusted)


class ArrowBatchSerializer:
    """Serializer of ``pyarrow.RecordBatch`` as an Arrow IPC file with one batch."""

    id = "arrow-batch/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        if type(obj) is not pa.RecordBatch or is_changed_by_ipc(obj.schema):
            raise NotExactError
        return write_ipc(obj.schema, [obj])

    def decode(self, buffer: memoryview, *, trusted: bool) -> pa.RecordBatch:
        return read_batch(buffer, trusted=trusted)


def is_changed_by_ipc(schema: pa.Schema) -> bool:
    """Return whether a field of `schema`, at any depth, is an extension, a union, an unusual map, or nested dictionaries.

    A reader that did not register an extension would silently get its storage type, and a reader
    that did register it would get the extension, even if the writer had not. IPC replaces unusual
    names and metadata of a map's fields by the standard ones, and mixes up the dictionaries inside of
    a dictionary's values.
    """

    def inside(kind: pa.DataType, in_dictionary: bool = False) -> bool:
        if isinstance(kind, pa.BaseExtensionType) or pa.types.is_union(kind):
            return True
        if pa.types.is_map(kind) and _is_unusual(kind):
            return True
        if pa.types.is_dictionary(kind):
            return in_dictionary or inside(kind.value_type, True)
        return any(of_field(kind.field(index), in_dictionary) for index in range(kind.num_fields))

    def of_field(field: pa.Field, in_dictionary: bool = False) -> bool:
        return inside(field.type, in_dictionary) or any(key.startswith(RESERVED_KEYS) for key in field.metadata or ())

    return any(map(of_field, schema))


def _is_unusual(kind: pa.MapType) -> bool:
    named = {"entries": kind.field(0), "key": kind.key_field, "value": kind.item_field}
    return any(field.name != name or field.metadata for name, field in named.items())
