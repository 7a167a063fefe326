"""Flyte: payloads as inputs and outputs of tasks. Importing this module registers the type.

A `payloadfs.Payload` then travels as its pointer, in place of a pickle file.
"""

from __future__ import annotations

from typing import Any

from flytekit import FlyteContext
from flytekit.extend import TypeEngine, TypeTransformer
from flytekit.models.literals import Literal, Primitive, Scalar
from flytekit.models.types import LiteralType, SimpleType

from .. import Payload

__all__ = ["PayloadTransformer"]


class PayloadTransformer(TypeTransformer[Payload[Any]]):
    """Transformer of `payloadfs.Payload`: a string with the pointer."""

    def __init__(self) -> None:
        super().__init__("payloadfs", Payload)

    def get_literal_type(self, t: type[Payload[Any]]) -> LiteralType:
        """Return the type of the literal."""
        return LiteralType(simple=SimpleType.STRING)

    def to_literal(
        self,
        ctx: FlyteContext,
        python_val: Payload[Any],
        python_type: Any,
        expected: LiteralType,
    ) -> Literal:
        """Return the pointer. A payload that is not saved yet is saved."""
        return Literal(scalar=Scalar(primitive=Primitive(string_value=python_val.to_json())))

    def to_python_value(self, ctx: FlyteContext, lv: Literal, expected_python_type: Any) -> Payload[Any]:
        """Return the payload. Nothing is resolved."""
        return Payload.from_json(lv.scalar.primitive.string_value)


TypeEngine.register(PayloadTransformer())
