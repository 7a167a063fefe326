"""The schema with which pydantic validates and dumps fields that are payloads or pointers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["JSON_SCHEMA", "field_schema"]

JSON_SCHEMA = {
    "type": "object",
    "title": "payloadfs pointer",
    "description": "A signed reference to an object, or a small object itself.",
    "properties": {"payloadfs": {"const": 1}},
    "required": ["payloadfs", "serializer", "size", "created", "type"],
}


def field_schema(cls: type, parse: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Return the core schema of a field of class `cls`: an instance, or the pointer as a JSON object.

    Parameters
    ----------
    cls : type
        With a method ``to_dict``.
    parse : callable
        Returns an instance for a JSON object, or raises `PointerError`. It must not resolve the pointer.
    """
    from pydantic_core import core_schema

    parsed = core_schema.no_info_plain_validator_function(parse)
    return core_schema.json_or_python_schema(
        json_schema=parsed,
        python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), parsed], mode="left_to_right"),
        serialization=core_schema.plain_serializer_function_ser_schema(lambda obj: obj.to_dict(), when_used="json"),
    )
