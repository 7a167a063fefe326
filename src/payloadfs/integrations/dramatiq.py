"""Dramatiq: an encoder, so that actors take and return any object.

::

    dramatiq.set_encoder(PayloadEncoder())
"""

from __future__ import annotations

import json
from typing import Any

import dramatiq

from .. import pack, unpack

__all__ = ["PayloadEncoder"]


class PayloadEncoder(dramatiq.Encoder):
    """Encoder of messages and results: JSON in which objects are pointers. Arguments arrive as a list.

    Parameters
    ----------
    prefix : str
        First part of the keys of stored objects.
    """

    def __init__(self, prefix: str = "dramatiq") -> None:
        self._prefix = prefix

    def encode(self, data: dict[str, Any]) -> bytes:
        """Return a message, or the result of an actor, as JSON."""
        if type(data) is dict and "message_id" in data:
            data = {**data, "args": list(data["args"])}
        return json.dumps(pack(data, prefix=self._prefix)).encode()

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the message of JSON from `encode`."""
        message: dict[str, Any] = unpack(json.loads(data))
        return message
