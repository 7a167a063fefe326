"""msgpack to objects. Nothing in the data names code: constructors come from a closed table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._buffers import forget_pages
from ..._seal import SPANS_UNTIL_FORGOTTEN
from .._base import Serializer
from .check import MAX_DEPTH
from .encode import DICT, LEAF, LEAF_SERIALIZERS, MEMORY, OBJECT, TUPLE, VALUE
from .register import find_class
from .standard import make_pairs
from .vocabulary import expect, makers

_LARGE_PAGE_BYTES = 2 * 1024 * 1024
"""Size of the pages that the system may map to read one byte of a file."""


class Decoder:
    """Decoder of the values of one tree.

    `leaves` has the serializer of each of `buffers`, which are used once, in order. Bytes that are not `trusted`
    must also be those that this value is encoded to, so that nothing in them is ignored: no key twice, no longer
    form of a number. With `readonly`, arrays are read-only.
    """

    def __init__(
        self,
        leaves: Sequence[str] = (),
        buffers: Sequence[memoryview] = (),
        *,
        trusted: bool = False,
        readonly: bool = False,
    ) -> None:
        import msgspec

        if len(leaves) != len(buffers) or not LEAF_SERIALIZERS.issuperset(leaves):
            raise ValueError("the leaves do not match the container")
        self._decode = msgspec.msgpack.decode
        self._encode = msgspec.msgpack.encode
        self._leaves, self._buffers = leaves, buffers
        self._trusted, self._readonly = trusted, readonly
        self._makers = makers()
        self._next = self._depth = 0

    def decode(self, content: memoryview | bytes) -> Any:
        """Return the value in `content`, one msgpack value."""
        if not self._trusted and self._encode(self._decode(content)) != content:
            raise ValueError("the msgpack value is not in its shortest form, or a key occurs twice")
        return self._decode(content, ext_hook=self._decode_extension)

    def finish(self) -> None:
        """Raise `ValueError` if a leaf was not used."""
        if self._next != len(self._buffers):
            raise ValueError("a leaf is not used")

    def _decode_extension(self, code: int, content: memoryview) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        parts = self.decode(content)
        self._depth -= 1
        if code in (VALUE, OBJECT):  # most extensions
            name, *fields = expect(parts, list)
            make = find_class(name) if code == OBJECT else self._makers.get(name)
            if make is None:
                raise ValueError(f"unknown class {name!r}: it may need a newer payloadfs")
            return self._locked(make(*fields)) if self._readonly else make(*fields)
        if code in (LEAF, MEMORY):
            serializer, buffer = self._next_leaf(expect(parts, int))
            if code == MEMORY:
                return buffer
            value = serializer.decode(buffer, trusted=self._trusted)
            if buffer.nbytes >= _LARGE_PAGE_BYTES and self._next % SPANS_UNTIL_FORGOTTEN == 0:
                forget_pages(buffer)
            return value
        if code == TUPLE:
            return tuple(expect(parts, list))
        if code == DICT:
            return dict(make_pairs(parts))
        raise ValueError(f"unknown extension {code}")

    def _next_leaf(self, pos: int) -> tuple[Serializer, memoryview]:
        if pos != self._next or pos >= len(self._buffers):
            raise ValueError("a leaf is used twice or out of order")
        from .._registry import built_in

        self._next += 1
        return built_in(self._leaves[pos]), self._buffers[pos]

    @staticmethod
    def _locked(value: Any) -> Any:
        """Return `value`, made read-only if it is an array."""
        if type(value).__name__ in ("ndarray", "MaskedArray"):
            value.flags.writeable = False
        return value
