"""How pydantic validates and dumps fields that are payloads or pointers."""

from __future__ import annotations

from typing import Any

_JSON_SCHEMA = {
    "type": "object",
    "title": "payloadfs pointer",
    "description": "A signed reference to an object, or a small object itself.",
    "properties": {"payloadfs": {"const": 1}},
    "required": ["payloadfs", "serializer", "size", "created", "type"],
}


class PydanticField:
    """Base of classes that can be fields of pydantic models, with ``from_dict`` and ``to_dict``.

    A field takes an instance, or the pointer as a JSON object, which is not resolved. JSON holds the pointer.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        parse: Any = cls
        parsed = core_schema.no_info_plain_validator_function(parse.from_dict)
        return core_schema.json_or_python_schema(
            json_schema=parsed,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), parsed], mode="left_to_right"),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda obj: obj.to_dict(), when_used="json"),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return dict(_JSON_SCHEMA)
