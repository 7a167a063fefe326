"""Keys of objects: which are allowed, how they are generated, and how a prefix becomes part of one."""

from __future__ import annotations

import os
import re
import time

from ._durations import duration_name, seconds
from .errors import ConfigError, PointerError

_KEY = re.compile(r"(?:[A-Za-z0-9_=-][A-Za-z0-9._=-]*/)*[A-Za-z0-9_=-][A-Za-z0-9._=-]*")
MAX_KEY_CHARS = 512
_MAX_PREFIX_CHARS = 400
_ESCAPED = re.compile(r"[^A-Za-z0-9._=-]|^\.|=(?=[0-9A-F]{2})|(?<=^ttl)=|(?<=^payloadfs)-(?=gc$)")
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Alphabet of keys and of names of runs: 32 characters that are hard to confuse."""

EXPIRING = "ttl="
"""Start of the keys of objects that expire. Their first segment is ``ttl=7d``, the time that they live."""

ID = re.compile(f"[{ALPHABET}]{{26}}")
"""What identifies an object: 48 bits of time in milliseconds and 80 random bits, in base 32."""

_LIFETIME = re.compile(r"ttl=([1-9][0-9]{0,8}[smhd])/")
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_DIGITS = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")  # those of `int`


def check_key(key: str) -> str:
    """Return `key`, or raise `PointerError` if it cannot be the key of an object.

    Keys are ASCII letters, digits and ``._=-`` in segments that do not start with a dot.
    """
    if len(key) > MAX_KEY_CHARS or not _KEY.fullmatch(key):
        raise PointerError(
            f"{key[:80]!r} is not a valid key: use letters, digits and ._=- in segments that do not start with a dot.",
            kind="key-format",
        )
    return key


def escape_prefix(prefix: str) -> str:
    """Return `prefix` as the first segments of a key.

    Letters, digits and ``._=-`` stay. Every other character, a dot at the start of a segment, and an
    ``=`` that would read as an escape or as a lifetime become ``=XX`` for each byte of their UTF-8 form, so no two
    prefixes become the same key.

    Raises
    ------
    ConfigError
        The prefix is not a string, is too long, or has a segment that is empty, ``.`` or ``..``.

    Examples
    --------
    >>> escape_prefix("order:42/eu")
    'order=3A42/eu'
    """
    if not isinstance(prefix, str):
        raise ConfigError(f"A prefix must be a string, not {type(prefix).__name__}.", kind="prefix")
    if any(segment in ("", ".", "..") for segment in prefix.split("/")):
        raise ConfigError(
            f"The prefix {prefix[:80]!r} has a segment that is empty, '.' or '..': use a name such as 'run/7', "
            "without a slash at its start or end.",
            kind="prefix",
        )
    escaped = "/".join(_ESCAPED.sub(_escape, segment) for segment in prefix.split("/"))
    if len(escaped) > _MAX_PREFIX_CHARS:
        raise ConfigError(
            f"The prefix {prefix[:80]!r} is too long: it takes {len(escaped)} characters of the key, and at most "
            f"{_MAX_PREFIX_CHARS} are allowed.",
            kind="prefix",
        )
    return escaped


def _escape(match: re.Match[str]) -> str:
    return "".join(f"={byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def new_key(prefix: str | None, extension: str, lifetime_s: int | None = None) -> str:
    """Return a new key under an escaped `prefix`, by default the date (UTC).

    Its last segment is an `ID` and the extension. If the object expires, the first segment says when.
    """
    number = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    digits = "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
    expiring = f"{EXPIRING}{duration_name(lifetime_s)}/" if lifetime_s else ""
    return check_key(f"{expiring}{prefix or time.strftime('%Y-%m-%d', time.gmtime())}/{digits}.{extension}")


def lifetime_s(key: str) -> int | None:
    """Return for how many seconds the object `key` lives; None if it does not expire.

    Examples
    --------
    >>> lifetime_s("ttl=7d/run/01kjk3c8r0z5v9n2q7w4t6y8bd.arrow")
    604800
    """
    match = _LIFETIME.match(key)
    return seconds(match[1]) if match and created_s(key) is not None else None


def created_s(key: str) -> float | None:
    """Return the time in the id of `key`, in seconds since 1970 by the writer's clock; None if it has no id."""
    match = ID.match(key.rpartition("/")[2])
    return (int(match[0].translate(_DIGITS), 32) >> 80) / 1000 if match else None
