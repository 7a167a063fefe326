"""Serializer of trees: a container whose head is one msgpack value and whose buffers are leaves."""

from __future__ import annotations

import itertools
from typing import Any

from ..._buffers import release_pages
from ...errors import DecodeError, EncodeError
from .._base import Encoded, NotExactError, Serializer
from .._container import pack, unpack
from .._versions import describe_mismatch, versions_here
from .check import TreeChecker
from .decode import Decoder
from .encode import Encoder, array_header, map_header
from .spool import Spool
from .vocabulary import NATIVE, expect, find_codec

__all__ = ["TreeSerializer"]

BATCH_FROM_ITEMS = 16_384
"""Longer lists and dicts are encoded in batches, so that their msgpack never is in memory as a whole."""

_BATCH_ITEMS = 4096
_RELEASE_BYTES = 2 * 1024 * 1024


class TreeSerializer:
    """Serializer of plain data: containers, dates, numbers, arrays, frames and registered classes, nested at will.

    Every part must be of an exact class of the vocabulary, and no mutable part may occur twice.

    Notes
    -----
    Cost of saving: one pass at the speed of C over lists and dicts of native values, one in Python
    over others. Arrays, frames and tables are not copied, except by their own serializers. Lists and
    dicts of at least 16,384 items need about 8 MB of memory, whatever their size: beyond 4 MiB, bytes
    go to an unnamed temporary file.
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
            try:
                spool, encoder, chunks = _write(obj, in_batches=_is_long(obj))
            except _KeyNotNativeError:
                spool, encoder, chunks = _write(obj, in_batches=False)
            frames = spool.frames()
        except RecursionError as error:
            raise NotExactError from error
        except OSError as error:
            raise EncodeError(
                f"Cannot write the object to a temporary file: {error}. Free some space, or set TMPDIR "
                "to a folder with enough space. Nothing was written to the store."
            ) from error
        meta: dict[str, Any] = {
            "versions": {name: version for name, version in versions_here().items() if name in encoder.packages},
            "leaves": [serializer_id for serializer_id, _ in encoder.leaves],
        }
        meta |= {"chunks": chunks} if chunks else {}
        return pack(meta, frames, [leaf for _, leaf in encoder.leaves], extension="tree")

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:
        """Return the object in the container `buffer`. Runs no code except constructors of registered classes."""
        meta, head, buffers = unpack(buffer)
        leaves, chunks = expect(meta["leaves"], list), expect(meta.get("chunks", []), list)
        decoder = Decoder(_by_id, leaves, buffers, trusted=trusted, readonly=buffer.readonly)
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


def _by_id(serializer_id: str) -> Serializer:
    from .._registry import ready

    return ready(serializer_id)


class _KeyNotNativeError(Exception):
    """A key of a long dict is an int beyond 64 bits, or a string that is not Unicode."""


def _is_long(obj: Any) -> bool:
    if type(obj) not in (list, dict) or len(obj) < BATCH_FROM_ITEMS:
        return False
    return type(obj) is list or set(map(type, obj)) <= NATIVE


def _write(obj: Any, *, in_batches: bool) -> tuple[Spool, Encoder, list[list[int]]]:
    """Return the msgpack of `obj`, the encoder with its leaves, and the number of items and bytes of each batch."""
    spool, encoder, checker = Spool(), Encoder(_by_id), TreeChecker()
    if not in_batches:
        spool.write(encoder.encode(obj, native=checker.check([obj])))
        return spool, encoder, []
    header = array_header if type(obj) is list else map_header
    spool.write(header(len(obj)))
    chunks = []
    items, keys = iter(obj if isinstance(obj, list) else obj.values()), iter(obj)
    while batch := list(itertools.islice(items, _BATCH_ITEMS)):
        native = checker.check(batch)
        part = batch if type(obj) is list else dict(zip(itertools.islice(keys, len(batch)), batch, strict=True))
        encoded, head = encoder.encode(part, native=native), header(len(batch))
        if not encoded.startswith(head):
            raise _KeyNotNativeError
        spool.write(encoded[len(head) :])
        chunks.append([len(batch), len(encoded) - len(head)])
        checker.note_size(len(encoded))
    return spool, encoder, chunks


def _read(head: memoryview, chunks: list[Any], decoder: Decoder) -> Any:
    """Return the value in `head`. With `chunks`, its memory is released while the items are created."""
    if not chunks:
        return decoder.decode(head)
    count = sum(expect(items, int) for items, _ in chunks)
    header = next((make for make in (array_header, map_header) if bytes(head[: len(make(count))]) == make(count)), None)
    if header is None:
        raise ValueError("the chunks do not match the value")
    result: Any = [] if header is array_header else {}
    start, kept = len(header(count)), 0
    for items, size in chunks:
        part = decoder.decode(b"".join([header(items), head[start : start + expect(size, int)]]))
        if header is array_header:
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
