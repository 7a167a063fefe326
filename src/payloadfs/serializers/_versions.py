"""Package versions that wrote an object: stored in it, and named if it cannot be decoded elsewhere.

A polars file has them in a sidecar before its footer::

    ARROW1 00 00 | batches ... | JSON | size of the JSON u32, magic 16 bytes | footer ... | ARROW1
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Mapping
from typing import Any

from .._seal import suffix_bytes
from ._plain import check_json_size

_PACKAGES = ("cloudpickle", "numpy", "pandas", "polars", "pyarrow")
_SIDECAR_END = struct.Struct("<I16s")
_MAGIC = b"payloadfs polars"
_MAX_NODES = 100_000


def versions_here() -> dict[str, str]:
    """Return the versions of Python and of the loaded packages. Imports nothing."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _PACKAGES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            versions[name] = version
    return versions


def describe_mismatch(written: Mapping[str, str]) -> str:
    """Return a clause that names the versions that wrote an object and those that are reading it.

    Examples
    --------
    >>> describe_mismatch({"python": "3.1.0"})
    'written with python 3.1.0, read with python ...'
    """
    here = versions_here()
    current = {name: here.get(name, "none") for name in written}
    return f"written with {_format(written)}, read with {_format(current)}"


def pack_sidecar(content: dict[str, Any]) -> bytes:
    """Return the bytes of a sidecar with `content`, which must be JSON."""
    text = json.dumps(content).encode()
    return text + _SIDECAR_END.pack(len(text), _MAGIC)


def read_sidecar(buffer: memoryview) -> Any:
    """Return the content of the sidecar in the Arrow file `buffer`, or an empty dict if it has none."""
    end = buffer.nbytes - suffix_bytes(buffer) - _SIDECAR_END.size
    size, magic = _SIDECAR_END.unpack_from(buffer, end)
    if magic != _MAGIC or size > end:
        return {}
    text = str(buffer[end - size : end], "ascii")
    check_json_size(text, max_nodes=_MAX_NODES)
    return json.loads(text)


def _format(versions: Mapping[str, str]) -> str:
    return " ".join(f"{name} {version}" for name, version in versions.items())
