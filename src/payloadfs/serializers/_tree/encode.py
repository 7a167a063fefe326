"""Objects to msgpack: native values as they are, all others as extension values, large parts as leaves.

The codes and their contents::

    1  leaf    position of a buffer, which is an object of the serializer in ``leaves``
    2  tuple   array of its items
    3  dict    with any keys: array of key, value, key, value ...
    4  value   array of a name of the vocabulary and the fields
    5  object  array of the name of a registered class and the fields
    6  memory  position of a buffer, whose bytes are a field of a value
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from ..._buffers import chunks
from ...errors import EncodeError
from .._base import Encoded, NotExactError
from .standard import CODECS
from .vocabulary import LARGE_BYTES, NATIVE, Codec, Memory, find_codec, flatten

LEAF, TUPLE, DICT, VALUE, OBJECT, MEMORY = range(1, 7)

LEAF_SERIALIZERS = frozenset(
    {
        *("npy/1", "npy-readonly/1", "bytes/1", "text/1", "arrow-table/1", "arrow-batch/1"),
        *("pandas/1", "pandas-series/1", "polars/1", "polars-series/1"),
    }
)
"""Serializers of leaves: all are safe."""

_MAX_INT, _MIN_INT = 2**64 - 1, -(2**63)


@functools.cache
def _msgpack() -> tuple[Callable[[Any], bytes], Callable[[int, bytes], Any]]:
    import msgspec

    return msgspec.msgpack.Encoder().encode, msgspec.msgpack.Ext


class Encoder:
    """Encoder of the values of one tree.

    With `inline`, large parts stay in the msgpack value, and DataFrames and tables are refused.
    """

    def __init__(self, *, inline: bool = False) -> None:
        self.leaves: list[tuple[str, Encoded]] = []
        self.names: set[str] = set()  # of the codecs of values
        self._encode, self._ext = _msgpack()
        self._inline = inline
        self._careful = False

    def encode(self, obj: Any, *, native: bool) -> bytes:
        """Return `obj` as one msgpack value; `native` says that it needs no conversion. Adds its leaves.

        Raise `NotExactError` if a value cannot be restored exactly. Leaves of it may have been added then.
        """
        count = len(self.leaves)
        try:
            return self._encode(obj if native else self._convert(obj))
        except (OverflowError, UnicodeEncodeError):
            # An int beyond 64 bits, or a string that is not Unicode. Both are too rare to search for first.
            del self.leaves[count:]
        self._careful = True
        try:
            return self._encode(self._convert(obj))
        except (OverflowError, UnicodeEncodeError) as error:
            raise NotExactError from error
        finally:
            self._careful = False

    def _convert(self, obj: Any) -> Any:
        """Return `obj` as values that msgpack has, leaves and extension values."""
        kind = type(obj)
        if kind is list:
            return self._convert_items(obj)
        if kind is dict:
            return self._convert_dict(obj)
        if kind in NATIVE:
            return self._convert_native(obj, kind)
        if kind is tuple:
            return self._ext(TUPLE, self._encode(self._convert_items(obj)))
        codec = find_codec(kind)
        if codec is not None:
            return self._convert_other(obj, codec)
        if kind is not Memory:
            raise NotExactError
        if self._inline:
            return b"".join(chunks(obj.frame))
        return self._add_leaf(MEMORY, "bytes/1", Encoded([obj.frame], "bin", data=frozenset({0})))

    def _convert_items(self, items: Iterable[Any]) -> Iterable[Any]:
        if not self._careful and frozenset(map(type, items)) <= _SCALARS:
            return items
        return [self._convert(item) for item in items]

    def _convert_dict(self, obj: dict[Any, Any]) -> Any:
        if set(map(type, obj)) <= NATIVE and not (self._careful and not all(map(is_plain, obj))):
            if not self._careful and frozenset(map(type, obj.values())) <= _SCALARS:
                return obj
            return {key: self._convert(value) for key, value in obj.items()}
        return self._ext(DICT, self._encode(self._convert_items(flatten(obj))))

    def _convert_native(self, obj: Any, kind: type) -> Any:
        if not self._inline and (kind is str or kind is bytes) and len(obj) >= LARGE_BYTES:
            # As a value if it has lone surrogates.
            return self._leaf("text/1" if kind is str else "bytes/1", obj, CODECS["str"])
        if self._careful and not is_plain(obj):
            return self._value(CODECS[kind.__name__], obj)
        return obj

    def _convert_other(self, obj: Any, codec: Codec) -> Any:
        if codec.leaf:
            return self._leaf(codec.leaf, obj)
        if not self._inline and codec.name == "ndarray" and obj.nbytes >= LARGE_BYTES:
            return self._leaf("npy/1", obj, codec)  # as a value if it is structured
        return self._value(codec, obj)

    def _value(self, codec: Codec, obj: Any) -> Any:
        self.names.add(codec.name)
        fields = [codec.name, *map(self._convert, codec.fields(obj))]
        return self._ext(OBJECT if codec.is_class else VALUE, self._encode(fields))

    def _leaf(self, serializer_id: str, obj: Any, otherwise: Codec | None = None) -> Any:
        """Return `obj` as a leaf, or as a value of the codec `otherwise` if the serializer declines it."""
        from .._registry import built_in

        if self._inline:
            raise NotExactError
        try:
            encoded = built_in(serializer_id).encode(obj)
        except NotExactError as declined:
            if declined.instead is None or declined.instead[0].id not in LEAF_SERIALIZERS:
                if otherwise is not None:
                    return self._value(otherwise, obj)
                raise NotExactError from declined
            serializer, encoded = declined.instead
            serializer_id = serializer.id
        except EncodeError as error:
            # Pickle refuses it as well, with the path to this part.
            raise NotExactError from error
        return self._add_leaf(LEAF, serializer_id, encoded)

    def _add_leaf(self, code: int, serializer_id: str, encoded: Encoded) -> Any:
        self.leaves.append((serializer_id, encoded))
        return self._ext(code, self._encode(len(self.leaves) - 1))


_SCALARS = NATIVE - {str, bytes}


def is_plain(value: Any) -> bool:
    """Return whether msgpack has `value`: a native one, whose number or characters it can store."""
    if type(value) is int:
        return _MIN_INT <= value <= _MAX_INT
    if type(value) is str:
        return value.isascii() or value.encode("utf-8", "ignore").decode() == value
    return type(value) in NATIVE


def header(kind: type, count: int) -> bytes:
    """Return the bytes of msgpack before the items of a list, or before the pairs of a dict."""
    short, code16, code32 = (0x90, b"\xdc", b"\xdd") if kind is list else (0x80, b"\xde", b"\xdf")
    if count < 16:
        return bytes([short | count])
    return code16 + count.to_bytes(2, "big") if count < 2**16 else code32 + count.to_bytes(4, "big")
