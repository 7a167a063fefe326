"""References to objects in text of any form."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .._keys import ID
from .._typenames import check_argument
from ..errors import PointerError
from ..pointer import MAX_INLINE_BYTES, Pointer

_ID = re.compile(b"(?=(%b))" % ID.pattern.encode())  # overlapping: an id may follow characters that look like one
_ID_CHARS = 26
_OLDEST, _NEWEST = b"01dz", b"02z"

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{36,}")  # an id in base64 has at least 36 characters
_BASE64_END = re.compile(rb"[A-Za-z0-9+/]+\Z")
_MAX_INLINE_CHARS = MAX_INLINE_BYTES // 3 * 4 + 4
_MAX_DEPTH = 100


def has_usual_time(object_id: bytes) -> bool:
    """Return whether an id has a time from 2020 to 2073. Most strings that only look like an id, such as digests, do not."""
    return _OLDEST <= object_id < _NEWEST


def references_in(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the ids of objects in the bytes of any text: JSON, a database dump, a log.

    Every string that looks like an id counts, so a pointer is found however it is formatted, quoted or
    nested. If an unrelated string looks like an id, the worst result is that an object is kept. Text that is
    compressed or encrypted hides its pointers. An object that is inline in a pointer is searched as well.

    Parameters
    ----------
    chunks : iterable of bytes
        Pieces of the text. An id may begin in one and end in the next. An id may be yielded more than once.

    Examples
    --------
    >>> list(references_in([b'{"key":"run/01kjk3c8r0z5v9n2', b'q7w4t6y8bd.arrow"}']))
    [b'01kjk3c8r0z5v9n2q7w4t6y8bd']
    """
    kept = b""
    for chunk in chunks:
        check_argument("a piece of the references", chunk, bytes)
        text = kept + chunk
        yield from _ids(text)
        for encoded in _BASE64.finditer(text):
            yield from _ids(binascii.a2b_base64(encoded[0][: len(encoded[0]) // 4 * 4]))
        # What may continue: an id, or the data of an inline object.
        unfinished = _BASE64_END.search(text, max(0, len(text) - _MAX_INLINE_CHARS))
        size = max(_ID_CHARS - 1, len(unfinished[0]) if unfinished else 0)
        kept = text[len(text) - min(len(text), size) :]


def _ids(text: bytes) -> Iterator[bytes]:
    return (match[1] for match in _ID.finditer(text) if has_usual_time(match[1]))


def pointers_in(lines: Iterable[str]) -> Iterator[Pointer]:
    """Yield the pointers in JSON lines, at any depth, including in strings that hold a pointer as JSON.

    Raises
    ------
    PointerError
        A line is not JSON. The message contains the line's number.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise PointerError(f"Line {number} is not JSON.", kind="pointer-format") from error
        yield from _pointers(value, _MAX_DEPTH)


def _pointers(value: Any, depth: int) -> Iterator[Pointer]:
    if not depth:
        raise PointerError("The JSON is nested too deeply.", kind="pointer-format")
    if isinstance(value, str) and '"payloadfs"' in value:
        yield Pointer.from_json(value)
    elif isinstance(value, dict):
        if "payloadfs" in value:
            yield Pointer.from_dict(value)
            return
        for part in value.values():
            yield from _pointers(part, depth - 1)
    elif isinstance(value, list):
        for part in value:
            yield from _pointers(part, depth - 1)
