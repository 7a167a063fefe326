"""SQLAlchemy 2: a column type for payloads. The row holds the pointer, as JSON."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from .. import Payload, Pointer

__all__ = ["PayloadType"]


class PayloadType(TypeDecorator[Payload[Any]]):
    """Column type of `payloadfs.Payload`: JSON, or JSONB in PostgreSQL.

    A payload that is not saved yet is saved when its row is written: save before the commit. Reading a row
    resolves nothing. Setting an equal payload again causes no UPDATE.
    """

    impl = JSON
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(none_as_null=True)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the column in the database."""
        json_type = postgresql.JSONB if dialect.name == "postgresql" else JSON
        return dialect.type_descriptor(json_type(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> dict[str, str | int] | None:  # noqa: ARG002
        """Return the pointer of a payload, or raise `TypeError` for anything else."""
        if value is None:
            return None
        if not isinstance(value, Payload | Pointer):
            raise TypeError(f"The column takes a Payload or a Pointer, not {type(value).__name__}: use Payload(value).")
        return value.to_dict()

    def process_result_value(self, value: Any, dialect: Dialect) -> Payload[Any] | None:  # noqa: ARG002
        """Return the payload of the pointer in a row. Nothing is resolved."""
        return None if value is None else Payload.from_dict(value)
