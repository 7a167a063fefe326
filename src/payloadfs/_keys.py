"""Names that objects go by: their keys, and what a pointer says of serializer and class."""

from __future__ import annotations

import os
import re
import time
from typing import Any

from ._buffers import COMPRESSIONS
from .errors import PointerError

__all__ = ["ALPHABET", "check_key", "new_key", "split_serializer", "type_label"]

_KEY = re.compile(r"(?:[A-Za-z0-9_=-][A-Za-z0-9._=-]*/)*[A-Za-z0-9_=-][A-Za-z0-9._=-]*")
_MAX_KEY_CHARS = 512
_MAX_TYPE_CHARS = 80
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Of keys and names of runs: 32 characters that people don't mix up."""

_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]


def check_key(key: str) -> str:
    """Return `key` if it may name an object, else raise `PointerError`.

    Keys are ASCII letters, digits and ``._=-`` in segments that do not begin with a dot.
    """
    if len(key) > _MAX_KEY_CHARS or not _KEY.fullmatch(key):
        raise PointerError(
            f"{key[:80]!r} can't be a key: use letters, digits and ._=- in segments that begin with no dot.",
            kind="key-format",
        )
    return key


def new_key(prefix: str | None, extension: str) -> str:
    """Return a new key: 48 bits of time in milliseconds, then 80 random bits, in base 32."""
    number = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    digits = "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
    return check_key(f"{prefix or time.strftime('%Y-%m-%d', time.gmtime())}/{digits}.{extension}")


def split_serializer(serializer_id: str) -> tuple[str, str]:
    """Return the compression that a serializer's id names, "" if it does not, and the id without it.

    Examples
    --------
    >>> split_serializer("zstd-pandas/1"), split_serializer("npy-readonly/1")
    (('zstd', 'pandas/1'), ('', 'npy-readonly/1'))
    """
    codec, _, inner = serializer_id.partition("-")
    return (codec, inner) if codec in COMPRESSIONS else ("", serializer_id)


def type_label(obj: Any) -> str:
    """Return the name of the class of `obj` for a pointer: top package and class, ASCII."""
    name = f"{type(obj).__module__.partition('.')[0]}.{type(obj).__qualname__}".removeprefix("builtins.")
    return re.sub(r"[^A-Za-z0-9_.<>-]", "_", name)[:_MAX_TYPE_CHARS]
