"""Bytes, text and JSON values, stored as themselves: any program reads them in place."""

from __future__ import annotations

import json
import math
from typing import Any

from .._buffers import as_bytes
from ._base import Encoded, NotExactError

__all__ = ["BytesSerializer", "JsonSerializer", "TextSerializer", "check_exact", "json_bytes"]

_MAX_NODES = 10_000
"""Larger values are pickled: walking them in Python would cost more than pickling them."""

_MAX_DEPTH = 100
_ATOMS = frozenset({str, int, bool, type(None)})
# `check_exact` refuses what would go in circles.
_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


class BytesSerializer:
    """Stores ``bytes`` as they are. Loading copies once, since ``bytes`` own their memory."""

    id = "bytes/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the bytes. No copy."""
        if type(obj) is not bytes:
            raise NotExactError
        return Encoded([as_bytes(obj)], extension="bin")

    def decode(self, buffer: memoryview, *, trusted: bool) -> bytes:  # noqa: ARG002
        """Return the bytes. One copy."""
        return bytes(buffer)


class TextSerializer:
    """Stores ``str`` as UTF-8."""

    id = "text/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the text as UTF-8; a lone surrogate has none and is left to pickle."""
        if type(obj) is not str:
            raise NotExactError
        return Encoded([as_bytes(_utf8(obj))], extension="txt")

    def decode(self, buffer: memoryview, *, trusted: bool) -> str:  # noqa: ARG002
        """Return the text."""
        return str(buffer, "utf-8")


class JsonSerializer:
    """Stores None, bool, int, float, str, list and dict where JSON gives back the same."""

    id = "json/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return `obj` as compact JSON in UTF-8."""
        return Encoded([as_bytes(json_bytes(obj))], extension="json")

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:  # noqa: ARG002
        """Return the JSON value."""
        return json.loads(str(buffer, "utf-8"))


def json_bytes(obj: Any) -> bytes:
    """Return `obj` as JSON, or raise `NotExactError` if that would not give back exactly `obj`.

    Only exact classes pass (no subclass, no tuple), keys are ``str``, floats are finite, and no
    list or dict occurs twice, since JSON would tear the two apart.
    """
    check_exact(obj)
    try:
        text = _ENCODER.encode(obj)
    except ValueError as error:  # an int of more digits than Python converts
        raise NotExactError from error
    return _utf8(text)


def check_exact(obj: Any, *, max_nodes: float = _MAX_NODES) -> None:
    """Raise `NotExactError` unless JSON gives back exactly `obj`, and that within `max_nodes` values."""
    seen: set[int] = set()
    left, level = max_nodes - 1, [obj]
    for _ in range(_MAX_DEPTH + 1):
        below: list[Any] = []
        for part in level:
            kind = type(part)
            if kind in _ATOMS or (kind is float and math.isfinite(part)):
                continue
            if kind not in (dict, list) or id(part) in seen:
                raise NotExactError
            seen.add(id(part))
            left -= len(part)
            if left < 0 or (kind is dict and not {*map(type, part)} <= {str}):
                raise NotExactError
            below.extend(part.values() if kind is dict else part)
        if not below:
            return
        level = below
    raise NotExactError


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NotExactError from error
