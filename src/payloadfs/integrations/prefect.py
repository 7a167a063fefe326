"""Prefect 3: a serializer for results, and cache keys by content.

::

    prefect config set PREFECT_RESULTS_DEFAULT_SERIALIZER=payloadfs
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from prefect.cache_policies import Inputs
from prefect.context import TaskRunContext
from prefect.serializers import Serializer
from pydantic import Field

from .. import Payload, Pointer, pack, unpack
from .._packing import DEFAULT_OVER_BYTES

__all__ = ["PayloadInputs", "PayloadSerializer"]


class PayloadSerializer(Serializer):
    """Serializer of results: JSON in which objects are pointers, so that results are small and need no pickle.

    Parameters
    ----------
    over : int
        Largest plain result in bytes of JSON; see `payloadfs.pack`.
    prefix : str
        First part of the keys of stored objects.
    """

    type: Literal["payloadfs"] = Field(default="payloadfs", frozen=True)
    over: int = DEFAULT_OVER_BYTES
    prefix: str = "prefect"

    def dumps(self, obj: Any) -> bytes:
        """Return `obj` as JSON."""
        return json.dumps(pack(obj, over=self.over, prefix=self.prefix)).encode()

    def loads(self, blob: bytes) -> Any:
        """Return the value of JSON from `dumps`."""
        return unpack(json.loads(blob))


@dataclass
class PayloadInputs(Inputs):
    """Cache policy like ``INPUTS``, in which payloads of equal content are equal, wherever they are stored."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the cache key of the inputs."""
        by_content = {name: _content(value) for name, value in inputs.items()}
        key: str | None = super().compute_key(task_ctx, by_content, flow_parameters, **kwargs)
        return key


def _content(value: Any) -> Any:
    pointer = value.pointer if isinstance(value, Payload) else value
    return f"payloadfs:{pointer.content_key}" if isinstance(pointer, Pointer) else value
