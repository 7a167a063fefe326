"""Bytes, text and JSON values, stored as themselves: any program reads them in place."""

from __future__ import annotations

import json
import math
from typing import Any

from ..buffers import view
from ._base import Encoded, NotExactError

__all__ = ["BytesSerializer", "JsonSerializer", "TextSerializer", "check_exact", "json_bytes"]

_MAX_NODES = 10_000
"""Larger values are pickled: walking them in Python would cost more than pickling them."""

_MAX_DEPTH = 100


class BytesSerializer:
    """Stores ``bytes`` as they are. Loading copies once, since ``bytes`` own their memory."""

    id = "bytes/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the bytes. No copy."""
        if type(obj) is not bytes:
            raise NotExactError
        return Encoded([view(obj)], extension="bin")

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
        return Encoded([view(_utf8(obj))], extension="txt")

    def decode(self, buffer: memoryview, *, trusted: bool) -> str:  # noqa: ARG002
        """Return the text."""
        return str(buffer, "utf-8")


class JsonSerializer:
    """Stores None, bool, int, float, str, list and dict where JSON gives back the same."""

    id = "json/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return `obj` as compact JSON in UTF-8."""
        return Encoded([view(json_bytes(obj))], extension="json")

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
        text = json.dumps(obj, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:  # an int of more digits than Python converts
        raise NotExactError from error
    return _utf8(text)


def check_exact(obj: Any, *, max_nodes: float = _MAX_NODES) -> None:
    """Raise `NotExactError` unless JSON gives back exactly `obj`, and that within `max_nodes` values."""
    _check(obj, seen=set(), budget=[max_nodes], depth=0)


def _check(obj: Any, *, seen: set[int], budget: list[float], depth: int) -> None:
    budget[0] -= 1
    if budget[0] < 0 or depth > _MAX_DEPTH:
        raise NotExactError
    kind = type(obj)
    if kind is str or kind is int or kind is bool or obj is None:
        return
    if kind is float and math.isfinite(obj):
        return
    if kind not in (dict, list) or id(obj) in seen:
        raise NotExactError
    seen.add(id(obj))
    if kind is dict and any(type(key) is not str for key in obj):
        raise NotExactError
    for part in obj.values() if kind is dict else obj:
        _check(part, seen=seen, budget=budget, depth=depth + 1)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NotExactError from error
