"""Serializer of trees: a container whose head is one msgpack value and whose buffers are leaves."""

from __future__ import annotations

import itertools
from typing import Any

from ..._buffers import release_pages
from ...errors import DecodeError, EncodeError
from .._base import Encoded, NotExactError
from .._container import pack, unpack
from .._versions import describe_mismatch, versions_here
from .check import TreeChecker
from .decode import Decoder
from .encode import Encoder, header, is_plain
from .spool import Spool
from .vocabulary import NATIVE, expect, find_codec

BATCH_FROM_ITEMS = 16_384
"""Longer lists and dicts are encoded in batches, so that their msgpack is never in memory as a whole."""

_BATCH_ITEMS = 4096
_LEVELS, _MAX_PARTS = 2, 64
"""How deep, and in how many parts, to search for long lists and dicts."""

_RELEASE_BYTES = 2 * 1024 * 1024


class TreeSerializer:
    """Serializer of plain data: containers, dates, numbers, arrays, frames and registered classes, nested arbitrarily.

    Every part must be of an exact class of the vocabulary, and no mutable part may occur twice.

    Notes
    -----
    Cost of saving: one pass at the speed of C over lists and dicts of native values, one in Python
    over others. Arrays, frames and tables are not copied, except by their own serializers. Lists and
    dicts of at least 16,384 items, alone or in lists and dicts of at most 64 items up to two levels
    above, need about 8 MB of memory, whatever their size: beyond 4 MiB, bytes go to an unnamed
    temporary file.
    Cost of loading: one pass. Leaves are views of the object's memory where their serializers allow it.
    """

    id = "tree/1"
    executable = False

    def encode(self, obj: Any) -> Encoded:
        """Return `obj` as a container.

        Raises
        ------
        NotExactError
            A part is not in the vocabulary, occurs twice, or is refused by its own serializer.
        EncodeError
            The disk has no space for a temporary file. Nothing was written to the store.
        """
        codec = find_codec(type(obj))
        if codec is not None and codec.leaf:
            raise NotExactError  # its own serializer declined it before
        try:
            writer = _Writer()
            try:
                chunks = writer.write(obj, _LEVELS)
            except _KeyNotNativeError:
                writer = _Writer()
                chunks = writer.write_whole(obj)
            frames = writer.spool.frames()
        except RecursionError as error:
            raise NotExactError from error
        except OSError as error:
            raise EncodeError(
                f"Cannot write the object to a temporary file: {error}. Free some space, or set TMPDIR "
                "to a folder with enough space. Nothing was written to the store."
            ) from error
        packages = {"python", *(name.partition(".")[0] for name in writer.encoder.names)}
        meta: dict[str, Any] = {
            "versions": {name: version for name, version in versions_here().items() if name in packages},
            "leaves": [serializer_id for serializer_id, _ in writer.encoder.leaves],
        }
        meta |= {"chunks": chunks} if chunks else {}
        return pack(meta, frames, [leaf for _, leaf in writer.encoder.leaves], extension="tree")

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:
        """Return the object in the container `buffer`. Runs no code except constructors of registered classes."""
        meta, head, buffers = unpack(buffer)
        leaves, chunks = expect(meta["leaves"], list), expect(meta.get("chunks", []), list)
        decoder = Decoder(leaves, buffers, trusted=trusted, readonly=buffer.readonly)
        try:
            obj = _read(head, chunks, decoder)
            decoder.finish()
        except (DecodeError, MemoryError):
            raise
        except Exception as error:
            raise DecodeError(
                f"Cannot load the tree: {type(error).__name__}: {error}; it was {describe_mismatch(meta['versions'])}."
            ) from error
        return obj


class _KeyNotNativeError(Exception):
    """A key of a long dict is an int beyond 64 bits, or a string that is not Unicode."""


def _is_long(obj: Any) -> bool:
    if type(obj) not in (list, dict) or len(obj) < BATCH_FROM_ITEMS:
        return False
    return type(obj) is list or set(map(type, obj)) <= NATIVE


def _has_long(obj: Any, levels: int) -> bool:
    """Return whether `obj`, or a part of it at most `levels` levels down, is long."""
    if not levels or type(obj) not in (list, dict) or len(obj) > _MAX_PARTS:
        return _is_long(obj)
    if type(obj) is list:
        return _is_long(obj) or any(_has_long(part, levels - 1) for part in obj)
    return all(map(is_plain, obj)) and (_is_long(obj) or any(_has_long(part, levels - 1) for part in obj.values()))


class _Writer:
    """Writer of the msgpack of one tree, in pieces if there are long lists or dicts in it."""

    def __init__(self) -> None:
        self.spool, self.encoder, self._checker = Spool(), Encoder(), TreeChecker()

    def write(self, obj: Any, levels: int) -> list[list[int]]:
        """Write `obj`, and return the number of items and bytes of each batch if `obj` itself is long.

        `levels` says how many levels down to look for long parts.
        """
        if not _has_long(obj, levels):
            return self.write_whole(obj)
        self._checker.note(obj)
        self.spool.write(header(type(obj), len(obj)))
        if _is_long(obj):
            return self._write_batches(obj)
        for part in obj:
            if type(obj) is dict:
                self.spool.write(self.encoder.encode(part, native=True))
            self.write(obj[part] if type(obj) is dict else part, levels - 1)
        return []

    def write_whole(self, obj: Any) -> list[list[int]]:
        """Write `obj` in one piece."""
        self.spool.write(self.encoder.encode(obj, native=self._checker.check([obj])))
        return []

    def _write_batches(self, obj: Any) -> list[list[int]]:
        chunks = []
        items, keys = iter(obj if isinstance(obj, list) else obj.values()), iter(obj)
        while batch := list(itertools.islice(items, _BATCH_ITEMS)):
            native = self._checker.check(batch)
            part = batch if type(obj) is list else dict(zip(itertools.islice(keys, len(batch)), batch, strict=True))
            encoded, head = self.encoder.encode(part, native=native), header(type(obj), len(batch))
            if not encoded.startswith(head):
                raise _KeyNotNativeError
            self.spool.write(encoded[len(head) :])
            chunks.append([len(batch), len(encoded) - len(head)])
            self._checker.note_size(len(encoded))
        return chunks


def _read(head: memoryview, chunks: list[Any], decoder: Decoder) -> Any:
    """Return the value in `head`. With `chunks`, its memory is released while the items are created."""
    if not chunks:
        return decoder.decode(head)
    count = sum(expect(items, int) for items, _ in chunks)
    kind: Any = next((kind for kind in (list, dict) if bytes(head[:5]).startswith(header(kind, count))), None)
    if kind is None:
        raise ValueError("the chunks do not match the value")
    result = kind()
    start, kept = len(header(kind, count)), 0
    for items, size in chunks:
        part = decoder.decode(b"".join([header(kind, items), head[start : start + expect(size, int)]]))
        if kind is list:
            result += part
        else:
            result.update(part)
        start += size
        if start - kept >= _RELEASE_BYTES:
            release_pages(head[kept:start])
            kept = start
    if start != head.nbytes or len(result) != count:
        raise ValueError("the chunks do not match the value")
    return result
