"""Long lists and dicts of plain values, pickled a few thousand items at a time.

A pickler remembers every object, because it may occur again. For a million rows this memo takes
more memory than the data, and filling it takes most of the time. Here it is cleared after every batch, because no
mutable object occurs in two batches. That is checked first, at the speed of C, by counting
references: an object with one owner cannot occur twice.
"""

from __future__ import annotations

import itertools
import os
import pickle
import sys
import tempfile

# The C class explicitly: the pickler in Python is twenty times slower.
from _pickle import Pickler
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..._buffers import Frame, LazyFrame, as_bytes, release_pages
from ..._typenames import class_name
from ...errors import EncodeError
from .._base import Encoded, NotExactError
from .._plain import IMMUTABLE_SCALARS, JSON_SCALARS
from .._versions import versions_here
from .container import pack, unpack
from .pickler import PROTOCOL

__all__ = ["BatchedPickleSerializer"]

FROM_ITEMS = 16_384
"""Shorter objects are pickled as a whole: the memo then fits into the CPU cache."""

_BATCH_ITEMS = 4096
_IN_MEMORY_BYTES = 4 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_RELEASE_BYTES = 2 * 1024 * 1024

_CONTAINERS = frozenset({list, dict, tuple, set})
_STRINGS = frozenset({str, bytes})
_KEYS = JSON_SCALARS | {bytes}
_TIMES = frozenset({"datetime.datetime", "datetime.time"})
_FIXED_OFFSETS = frozenset({"NoneType", "datetime.timezone"})

_SMALL_BYTES, _LONG_BYTES, _LARGE_BYTES = 24, 64, 16 * 1024
_MAX_REPEATED_BYTES = 4 * 1024 * 1024
_MAX_SHARED = 100_000
"""Maximum number of shared objects to remember; beyond it this costs as much as the pickler's memo."""


class BatchedPickleSerializer:
    """Serializer of lists and dicts with at least 16,384 items that contain only plain values.

    Plain values are None, bool, int, float, str, bytes, dates and times without a named zone,
    Decimal and UUID, and lists, dicts, tuples and sets of these at any depth. No such container
    may occur twice.

    Notes
    -----
    Cost of saving: one pass over the object in half the time of one pickle. About 15 MB of memory,
    whatever the size: beyond 4 MiB, bytes go to an unnamed temporary file.
    Cost of loading: one pass. The memory of the stored bytes is released as the items are created.
    """

    id = "pickle-batches/1"
    executable = True

    def encode(self, obj: Any) -> Encoded:
        """Return `obj` as a container with one pickle per batch in its head.

        Raises
        ------
        NotExactError
            `obj` is too short, or contains a value that is not plain or a container that occurs twice.
        EncodeError
            The disk has no space for a temporary file. Nothing was written to the store.
        """
        if type(obj) not in (list, dict) or len(obj) < FROM_ITEMS:
            raise NotExactError
        spool = _Spool()
        try:
            sizes = list(_pickle_batches(obj, spool))
            frames = spool.frames()
        except (pickle.PicklingError, RecursionError) as error:
            raise NotExactError from error
        except OSError as error:
            raise EncodeError(
                f"Cannot write the object to a temporary file: {error}. Free some space, or set TMPDIR "
                "to a folder with enough space. Nothing was written to the store."
            ) from error
        return pack({"versions": versions_here(), "kind": type(obj).__name__, "batches": sizes}, frames, [], [])

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:  # noqa: ARG002
        """Return the list or dict in the container `buffer`, whose memory is released. Runs the pickles."""
        meta, head, _ = unpack(buffer)
        items, start, kept = [], 0, 0
        for size in meta["batches"]:
            items += pickle.loads(head[start : start + size])
            start += size
            if start - kept >= _RELEASE_BYTES:
                release_pages(head[kept:start])
                kept = start
        if start != head.nbytes:
            raise ValueError("the batches do not match the container")
        return items if meta["kind"] == "list" else dict(zip(items[::2], items[1::2], strict=True))


def _pickle_batches(obj: Any, spool: _Spool) -> Iterator[int]:
    """Write one pickle per batch of `obj` to `spool`, and yield the size of each."""
    pickler, checker = Pickler(spool, PROTOCOL), _SharingChecker()
    # Reducers registered with copyreg could introduce shared objects.
    pickler.dispatch_table = {}
    items = iter(obj) if type(obj) is list else itertools.chain.from_iterable(obj.items())
    strings = True
    while batch := list(itertools.islice(items, _BATCH_ITEMS)):
        begin = spool.size_bytes
        count = checker.check(batch, strings=strings)
        pickler.dump(batch)
        pickler.clear_memo()
        size_bytes = spool.size_bytes - begin
        if size_bytes > _LARGE_BYTES * count:
            raise NotExactError  # compared with such large values, the memo is small
        # Batches are alike: after one with short values, long strings need not be checked.
        strings = size_bytes > _SMALL_BYTES * count
        yield size_bytes


class _SharingChecker:
    """Check, batch by batch, that all values are plain and that no mutable object occurs twice."""

    def __init__(self) -> None:
        self._containers: set[int] = set()
        self._texts: set[int] = set()
        self._repeated_bytes = 0

    def check(self, batch: list[Any], *, strings: bool) -> int:
        """Return the number of values, or raise `NotExactError`; `strings` also checks long strings."""
        level, count = batch, 0
        while level:
            kinds = frozenset(map(type, level))
            _check_plain(kinds - _CONTAINERS - _KEYS, level)
            if strings and not kinds.isdisjoint(_STRINGS):
                self._note_strings([part for part in level if type(part) in _STRINGS and len(part) > _LONG_BYTES])
            count += len(level)
            if kinds.isdisjoint(_CONTAINERS):
                break
            containers = list(level) if kinds <= _CONTAINERS else [part for part in level if type(part) in _CONTAINERS]
            self._note_containers(containers)
            level = _children(containers)
        return count

    def _note_containers(self, containers: list[Any]) -> None:
        for part in _shared(containers):
            if type(part) is tuple and not part:
                continue  # the empty tuple is a singleton
            if id(part) in self._containers or len(self._containers) == _MAX_SHARED:
                raise NotExactError
            self._containers.add(id(part))

    def _note_strings(self, strings: list[Any]) -> None:
        # Strings may occur twice, but each batch stores them again.
        sizes = {id(part): len(part) for part in _shared(strings)}
        self._repeated_bytes += sum(size for text, size in sizes.items() if text in self._texts)
        self._texts.update(sizes)
        if self._repeated_bytes > _MAX_REPEATED_BYTES or len(self._texts) > _MAX_SHARED:
            raise NotExactError


def _children(containers: list[Any]) -> list[Any]:
    """Return all items and values of `containers`. Raise `NotExactError` if a key is not plain."""
    dicts = [part for part in containers if type(part) is dict]
    if not set(map(type, itertools.chain.from_iterable(dicts))) <= _KEYS:
        raise NotExactError
    others = () if len(dicts) == len(containers) else [part for part in containers if type(part) is not dict]
    return [
        *itertools.chain.from_iterable(map(dict.values, dicts)),
        *itertools.chain.from_iterable(others),
    ]


def _select_by_refcount(parts: list[Any], chosen: Callable[[int], bool]) -> Iterator[Any]:
    """Yield those of `parts` for whose reference count `chosen` is true.

    Each part must be referenced by its container, by `parts` and by one more list, as in
    `_SharingChecker.check`. Everything runs in C, which adds no further references.
    """
    return itertools.compress(parts, map(chosen, map(sys.getrefcount, parts)))


def _refcount_of_one_owner() -> int:
    container: list[list[None]] = [[]]
    level = list(container)
    return next(count for count in itertools.count(1) if not [*_select_by_refcount(list(level), count.__lt__)])


_ONE_OWNER = _refcount_of_one_owner()
_shared = partial(_select_by_refcount, chosen=_ONE_OWNER.__lt__)


def _check_plain(kinds: frozenset[type], level: list[Any]) -> None:
    names = {kind: class_name(kind) for kind in kinds}
    if not IMMUTABLE_SCALARS.issuperset(names.values()):
        raise NotExactError
    times = {kind for kind, name in names.items() if name in _TIMES}
    # Datetimes compare by wall time if they share one zone object, and by UTC if they do not. So the
    # identity of a zone matters, except for fixed offsets.
    if times and not {class_name(type(part.tzinfo)) for part in level if type(part) in times} <= _FIXED_OFFSETS:
        raise NotExactError


class _Spool:
    """In-memory file; beyond 4 MiB it spills to a temporary file, which lives as long as the frames."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._file: Any = None
        self.size_bytes = 0

    def write(self, piece: bytes) -> None:
        """Append `piece`."""
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        self.size_bytes += len(piece)
        if self._held_bytes > _IN_MEMORY_BYTES:
            self._spill()

    def frames(self) -> list[Frame]:
        """Return all that was written."""
        held: list[Frame] = [as_bytes(piece) for piece in self._pieces]
        if self._file is None:
            return held
        return [LazyFrame(self.size_bytes - self._held_bytes, self._written), *held]

    def _spill(self) -> None:
        # Unbuffered: a buffer would be written again when the file is closed, even if the disk is full.
        self._file = self._file or tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  see __del__
        remaining = memoryview(b"".join(self._pieces))
        while remaining:
            remaining = remaining[self._file.write(remaining) :]
        self._pieces, self._held_bytes = [], 0

    def _written(self) -> Iterator[memoryview]:
        start = 0
        while piece := os.pread(self._file.fileno(), _READ_BYTES, start):
            yield memoryview(piece)
            start += len(piece)

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
