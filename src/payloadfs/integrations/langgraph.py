"""LangGraph: a serializer for checkpoints, so that the state of a graph may hold any object.

::

    SqliteSaver(connection, serde=PayloadSerializer())
"""

from __future__ import annotations

import json
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from .. import pack, unpack
from .._packing import DEFAULT_OVER_BYTES

__all__ = ["PayloadSerializer"]

_TYPE = "payloadfs"


class PayloadSerializer(SerializerProtocol):
    """Serializer of checkpoints: JSON in which objects are pointers.

    Parameters
    ----------
    over : int
        Largest plain value in bytes of JSON; see `payloadfs.pack`.
    prefix : str
        First part of the keys of stored objects.
    before : SerializerProtocol, optional
        Reads the checkpoints that were written before. Default: LangGraph's own serializer, which resolves no class
        that it does not allow.
    """

    def __init__(
        self, over: int = DEFAULT_OVER_BYTES, prefix: str = "langgraph", before: SerializerProtocol | None = None
    ) -> None:
        self._over, self._prefix = over, prefix
        self._before = before or JsonPlusSerializer()

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return `obj` as JSON, with the name of this format."""
        return _TYPE, json.dumps(pack(obj, over=self._over, prefix=self._prefix)).encode()

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the object, whichever of the two serializers wrote it."""
        name, content = data
        return unpack(json.loads(content)) if name == _TYPE else self._before.loads_typed(data)
