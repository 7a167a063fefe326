"""DBOS: a serializer, so that steps take and return any object and the database holds small JSON.

::

    DBOS(config={..., "serializer": PayloadSerializer()})
"""

from __future__ import annotations

import json
from typing import Any

from dbos import Serializer

from .. import pack, unpack
from .._packing import DEFAULT_OVER_BYTES

__all__ = ["PayloadSerializer"]


class PayloadSerializer(Serializer):
    """Serializer of arguments, results, errors, events and messages.

    Parameters
    ----------
    over : int
        Largest plain value in bytes of JSON; see `payloadfs.pack`.
    prefix : str
        First part of the keys of stored objects.
    """

    def __init__(self, over: int = DEFAULT_OVER_BYTES, prefix: str = "dbos") -> None:
        self._over, self._prefix = over, prefix

    def name(self) -> str:
        """Return the name that DBOS stores with each value."""
        return "payloadfs"

    def serialize(self, data: Any) -> str:
        """Return `data` as JSON. Arguments stay readable, whatever the objects among them are."""
        return json.dumps(pack(_listed(data), over=self._over, prefix=self._prefix))

    def deserialize(self, serialized_data: str) -> Any:
        """Return the value of JSON from `serialize`."""
        return unpack(json.loads(serialized_data))


def _listed(data: Any) -> Any:
    """Return the arguments of a call with the positional ones in a list, which DBOS accepts in place of a tuple."""
    if type(data) is dict and data.keys() == {"args", "kwargs"} and type(data["args"]) is tuple:
        return {"args": list(data["args"]), "kwargs": data["kwargs"]}
    return data
