"""Temporal: payloads as arguments and results, and large data outside the history.

::

    client = await Client.connect(address, data_converter=data_converter())
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload as Message
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    ExternalStorage,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from .. import Payload, Pointer, aio, pack, unpack

__all__ = ["PayloadConverter", "PayloadStorageDriver", "data_converter"]


class PayloadConverter(EncodingPayloadConverter):
    """Converter of payloads and pointers, which resolves nothing: workflows hold pointers, activities load."""

    encoding = "json/payloadfs"

    def to_payload(self, value: Any) -> Message | None:
        """Return the message of a payload or pointer, or None for another value. An unsaved payload is saved."""
        if not isinstance(value, Payload | Pointer):
            return None
        return Message(metadata={"encoding": self.encoding.encode()}, data=json.dumps(pack(value)).encode())

    def from_payload(self, payload: Message, type_hint: type | None = None) -> Any:
        """Return the payload or pointer of a message."""
        return unpack(json.loads(payload.data))


class _Converter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(PayloadConverter(), *DefaultPayloadConverter.default_encoding_payload_converters)


class PayloadStorageDriver(StorageDriver):
    """Storage for messages that are too large for Temporal's history, which then holds pointers.

    Parameters
    ----------
    prefix : str
        First part of the keys; the id of the workflow or activity follows.
    """

    def __init__(self, prefix: str = "temporal") -> None:
        self._prefix = prefix

    def name(self) -> str:
        """Return the name by which messages refer to this driver."""
        return "payloadfs"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Message]) -> list[StorageDriverClaim]:
        """Save messages, sixteen at the same time."""
        target = getattr(context.target, "id", None)
        prefix = f"{self._prefix}/{target}" if target else self._prefix
        pointers = await aio.save_many([message.SerializeToString() for message in payloads], prefix=prefix)
        return [StorageDriverClaim({"pointer": pointer.to_json()}) for pointer in pointers]

    async def retrieve(
        self,
        context: StorageDriverRetrieveContext,
        claims: Sequence[StorageDriverClaim],
    ) -> list[Message]:
        """Load messages, sixteen at the same time."""
        contents = await aio.load_many([claim.claim_data["pointer"] for claim in claims])
        return [Message.FromString(content) for content in contents]


def data_converter(*, over: int = 256 * 1024, prefix: str = "temporal") -> DataConverter:
    """Return Temporal's data converter with `PayloadConverter` and `PayloadStorageDriver`.

    Parameters
    ----------
    over : int
        Size of the smallest message that is stored outside the history, in bytes.
    prefix : str
        First part of the keys of these messages.
    """
    storage = ExternalStorage(drivers=[PayloadStorageDriver(prefix)], payload_size_threshold=over)
    return dataclasses.replace(DataConverter.default, payload_converter_class=_Converter, external_storage=storage)
