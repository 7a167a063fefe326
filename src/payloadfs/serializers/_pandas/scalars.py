"""Names of indexes, frequencies and `attrs` in the sidecar: JSON where that is exact, else msgpack of a tree."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from .._base import NotExactError
from .._plain import check_exact
from .._tree.check import TreeChecker, is_immutable
from .._tree.decode import Decoder
from .._tree.encode import Encoder

_MAX_CHARS = 1024 * 1024
"""Decoded, one character can take 50 bytes."""


def encode_scalar(value: Any) -> Any:
    """Return an immutable value as JSON: None and strings unchanged, any other as ``{"msgpack": base64}``.

    Raise `NotExactError` if the value is mutable, or outside the vocabulary of trees.

    Examples
    --------
    >>> encode_scalar("x"), encode_scalar(("x", 5))
    ('x', {'msgpack': '1gKSoXgF'})
    """
    if value is None or type(value) is str:
        return value
    if not is_immutable(value):
        raise NotExactError
    return _encode(value)


def decode_scalar(encoded: Any) -> Any:
    """Return the value that `encode_scalar` encoded."""
    return encoded if encoded is None or isinstance(encoded, str) else _decode(encoded)


def encode_attrs(attrs: Mapping[Any, Any]) -> Any:
    """Return ``DataFrame.attrs`` as plain JSON where that is exact, else as ``{"msgpack": base64}``."""
    try:
        check_exact(attrs := dict(attrs))
    except NotExactError:
        return _encode(attrs)
    return {"json": attrs}


def decode_attrs(encoded: Any) -> Any:
    """Return the `attrs` that were encoded."""
    return encoded["json"] if "json" in encoded else _decode(encoded)


def _encode(value: Any) -> dict[str, str]:
    native = TreeChecker(check_strings=False).check([value])
    content = base64.b64encode(Encoder(inline=True).encode(value, native=native)).decode()
    if len(content) > _MAX_CHARS:
        raise NotExactError
    return {"msgpack": content}


def _decode(encoded: Any) -> Any:
    content = encoded["msgpack"]
    if len(content) > _MAX_CHARS:
        raise ValueError("a value of this size is not in the sidecar")
    return Decoder().decode(base64.b64decode(content))
