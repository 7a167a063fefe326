"""Bytes, strings and JSON values, stored as plain files that any program can read."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from .._buffers import as_bytes
from ._base import Encoded, NotExactError

_MAX_NODES = 10_000
"""Larger values are pickled: walking them in Python would cost more than pickling them."""

_MAX_DEPTH = 100
_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
JSON_SCALARS = frozenset({str, int, float, bool, type(None)})
"""Classes of single JSON values. NaN and infinity are floats, but JSON lacks them."""

# `check_exact` refuses circular references.
_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


class BytesSerializer:
    """Serializer of ``bytes``. Loading copies once, since ``bytes`` own their memory."""

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
    """Serializer of ``str`` as UTF-8."""

    id = "text/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return the string as UTF-8. Strings with lone surrogates are left to other serializers."""
        if type(obj) is not str:
            raise NotExactError
        return Encoded([as_bytes(_utf8(obj))], extension="txt")

    def decode(self, buffer: memoryview, *, trusted: bool) -> str:  # noqa: ARG002
        return str(buffer, "utf-8")


class JsonSerializer:
    """Serializer of None, bool, int, float, str, list and dict that JSON restores exactly."""

    id = "json/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return `obj` as compact JSON in UTF-8."""
        check_exact(obj)
        try:
            text = _ENCODER.encode(obj)
        except ValueError as error:  # an int of more digits than Python converts
            raise NotExactError from error
        return Encoded([as_bytes(_utf8(text))], extension="json")

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:
        text = str(buffer, "utf-8")
        if not trusted:
            check_json_size(text, max_nodes=_MAX_NODES)
        return json.loads(text)


def check_json_size(text: str, *, max_nodes: int) -> None:
    """Raise ValueError if the JSON `text` has many more than `max_nodes` values. It need not be valid.

    Parsed, a value of two characters can take 80 bytes and more.
    """
    if _count_marks(text) > 2 * max_nodes and _count_marks(_STRINGS.sub("", text)) > 2 * max_nodes:
        raise ValueError(f"more than {max_nodes} values of JSON")


def _count_marks(text: str) -> int:
    return sum(map(text.count, "[{,"))


def check_exact(obj: Any, *, max_nodes: float = _MAX_NODES) -> None:
    """Raise `NotExactError` if JSON does not restore `obj` exactly, or `obj` has more than `max_nodes` values.

    Only exact classes pass (no subclasses, no tuples). Keys must be ``str`` and floats finite, and
    no list or dict may occur twice, since JSON would make two of it.
    """
    seen: set[int] = set()
    remaining, level = max_nodes - 1, [obj]
    for _ in range(_MAX_DEPTH + 1):
        below: list[Any] = []
        for part in level:
            kind = type(part)
            if kind in JSON_SCALARS and (kind is not float or math.isfinite(part)):
                continue
            if kind not in (dict, list) or id(part) in seen:
                raise NotExactError
            seen.add(id(part))
            remaining -= len(part)
            if remaining < 0 or (kind is dict and not {*map(type, part)} <= {str}):
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
