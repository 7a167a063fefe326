"""Metadata of an object that can be read without decoding it: versions, columns. Runs no code."""

from __future__ import annotations

import json
from typing import Any

from .._typenames import split_serializer
from ._arrow.structure import check_file
from ._container import unpack
from ._versions import read_sidecar

_MAX_COLUMNS = 50


def read_metadata(serializer_id: str, buffer: memoryview) -> dict[str, Any]:
    """Return metadata of the object `buffer`, whose digest must have been checked.

    Plain bytes and strings, and objects of unknown serializers, have none.
    """
    codec, serializer_id = split_serializer(serializer_id)
    if codec:
        return {"compressed": codec}
    name = serializer_id.partition("/")[0]
    if name == "pickle":
        meta, head, buffers = unpack(buffer)
        return {
            "versions": meta["versions"],
            "pickle": {"stream bytes": head.nbytes, "buffers": len(buffers), "functions": meta["code"]},
        }
    if name == "tree":
        meta, head, _ = unpack(buffer)
        counts = {leaf: meta["leaves"].count(leaf) for leaf in sorted(set(meta["leaves"]))}
        return {"versions": meta["versions"], "tree": {"msgpack bytes": head.nbytes, **counts}}
    if name.startswith("polars"):
        versions = read_sidecar(buffer).get("versions")
        return ({"versions": versions} if versions else {}) | _arrow_metadata(buffer)
    if name.startswith(("pandas", "arrow")):
        return _arrow_metadata(buffer)
    return {}


def _arrow_metadata(buffer: memoryview) -> dict[str, Any]:
    try:
        import pyarrow as pa
    except ImportError:
        return {"columns": "unknown: pyarrow is not installed"}
    # Only the schema: no batch is read. What other libraries see must be harmless, signed or not.
    check_file(buffer)
    schema = pa.ipc.open_file(pa.py_buffer(buffer)).schema
    columns = {field.name: str(field.type) for field in list(schema)[:_MAX_COLUMNS]}
    if len(schema) > _MAX_COLUMNS:
        columns["..."] = f"and {len(schema) - _MAX_COLUMNS} more"
    sidecar = (schema.metadata or {}).get(b"payloadfs")
    if not sidecar:
        return {"columns": columns}
    meta = json.loads(sidecar)
    pickled = meta["columns"].count(["rest"])
    return {"versions": meta["versions"], "columns": columns} | ({"pickled columns": pickled} if pickled else {})
