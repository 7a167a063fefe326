"""Keys of objects."""

from __future__ import annotations

import os
import re
import time

from .errors import PointerError

__all__ = ["ALPHABET", "check_key", "new_key"]

_KEY = re.compile(r"(?:[A-Za-z0-9_=-][A-Za-z0-9._=-]*/)*[A-Za-z0-9_=-][A-Za-z0-9._=-]*")
_MAX_KEY_CHARS = 512
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
