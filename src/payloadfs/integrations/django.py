"""Django: a model field for payloads. The row holds the pointer, as JSON."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from .. import Payload, Pointer, PointerError

__all__ = ["PayloadField"]


class PayloadField(models.JSONField):
    """Field of `payloadfs.Payload`.

    A payload that is not saved yet is saved when its row is written. Reading a row resolves nothing.
    """

    description = "A payloadfs payload"

    def to_python(self, value: Any) -> Any:
        """Return the payload of `value`: a payload, a pointer, or its JSON as a dict or string."""
        if value is None or isinstance(value, Payload):
            return value
        try:
            if isinstance(value, Pointer):
                return Payload.from_pointer(value)
            return Payload.from_json(value) if isinstance(value, str) else Payload.from_dict(value)
        except PointerError as error:
            raise ValidationError(error.message) from error

    def validate(self, value: Any, model_instance: Any) -> None:
        """Check `value` as JSON."""
        super().validate(self.get_prep_value(value), model_instance)

    def get_prep_value(self, value: Any) -> Any:
        """Return the pointer as JSON values."""
        payload = self.to_python(value)
        return None if payload is None else payload.to_dict()

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Return the payload of the pointer in a row."""
        return self.to_python(super().from_db_value(value, expression, connection))

    def value_to_string(self, obj: Any) -> Any:
        """Return what serializers write: the pointer."""
        return self.get_prep_value(self.value_from_object(obj))
