"""Long lists and dicts of plain values: pickled some thousand items at a time.

A pickler remembers everything that it met, since it might meet it again. For a million rows that
takes more memory than their bytes, and most of the time, which goes by in looking things up there.
Here it may forget after every batch, because nothing that can be changed occurs in two of them:
that is made sure of first, at the speed of C, by counting owners. What has one owner can't.
"""

from __future__ import annotations

import itertools
import os
import pickle
import sys
import tempfile

# By its name: the pickler in Python would be twenty times slower.
from _pickle import Pickler
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..._buffers import Frame, LazyFrame, as_bytes, release_pages
from ...errors import EncodeError
from .._base import Encoded, NotExactError
from .._versions import versions_here
from .container import pack, unpack
from .pickler import PROTOCOL

__all__ = ["RowsSerializer"]

FROM_ITEMS = 16_384
"""Fewer are pickled in one: what the pickler remembers then fits into a core's cache anyway."""

_BATCH_ITEMS = 4096
_IN_MEMORY_BYTES = 4 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_GIVEN_BACK_BYTES = 2 * 1024 * 1024

_CONTAINERS = frozenset({list, dict, tuple, set})
_TEXTS = frozenset({str, bytes})
_ATOMS = _TEXTS | {int, float, bool, type(None)}
_TIMES = frozenset({("datetime", "datetime"), ("datetime", "time")})
_OTHER_ATOMS = frozenset(
    {
        *_TIMES,
        ("datetime", "date"),
        ("datetime", "timedelta"),
        ("decimal", "Decimal"),
        ("uuid", "UUID"),
    }
)
"""Classes by module and name, so that none is imported to find out what an object is not."""

_FIXED_PLACES = frozenset({("builtins", "NoneType"), ("datetime", "timezone")})

_SMALL_BYTES, _LONG_BYTES, _LARGE_BYTES = 24, 64, 16 * 1024
_MOST_REPEATED_BYTES = 4 * 1024 * 1024
_MOST_OWNED_TWICE = 100_000
"""So many are remembered: beyond that the pickler's own memory is no more."""


class RowsSerializer:
    """Stores a list or dict of 16,384 items and more, if all in it is plain.

    Plain are None, bool, int, float, str, bytes, dates and times without a place, Decimal and UUID,
    and lists, dicts, tuples and sets of these, however deep. None of the latter may occur twice.

    Notes
    -----
    Cost of saving: one pass over the object in half the time of one pickle. Some 15 MB of memory,
    whatever the size: bytes beyond 4 MiB wait in a temporary file that has no name.
    Cost of loading: one pass. The stored bytes are given back as the items come to be.
    """

    id = "pickle-batches/1"
    executable = True

    def encode(self, obj: Any) -> Encoded:
        """Return `obj` as a container that has one pickle per batch in its head.

        Raises
        ------
        NotExactError
            `obj` is short, or something in it is not plain or occurs twice.
        EncodeError
            There is no room for a temporary file.
        """
        if type(obj) not in (list, dict) or len(obj) < FROM_ITEMS:
            raise NotExactError
        spool = _Spool()
        try:
            sizes = list(_pickled(obj, spool))
            frames = spool.frames()
        except (pickle.PicklingError, RecursionError) as error:
            raise NotExactError from error
        except OSError as error:
            raise EncodeError(
                f"The object's bytes don't fit into a temporary file: {error}. Make room there, or set TMPDIR "
                "to a folder that has some. Nothing was written."
            ) from error
        return pack({"versions": versions_here(), "kind": type(obj).__name__, "batches": sizes}, frames, [], [])

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:  # noqa: ARG002
        """Return the list or dict in the container `buffer`, which is given back on the way. Runs what the pickles say."""
        meta, head, _ = unpack(buffer)
        items, start, kept = [], 0, 0
        for size in meta["batches"]:
            items += pickle.loads(head[start : start + size])
            start += size
            if start - kept >= _GIVEN_BACK_BYTES:
                release_pages(head[kept:start])
                kept = start
        if start != head.nbytes:
            raise ValueError("the batches don't fit the container")
        return items if meta["kind"] == "list" else dict(zip(items[::2], items[1::2], strict=True))


def _pickled(obj: Any, spool: _Spool) -> Iterator[int]:
    """Write one pickle per batch of `obj` to `spool`, and yield how many bytes each has."""
    pickler, occurring = Pickler(spool, PROTOCOL), _Occurring()
    # What was registered with copyreg may share what it likes.
    pickler.dispatch_table = {}
    items = iter(obj) if type(obj) is list else itertools.chain.from_iterable(obj.items())
    texts = True
    while batch := list(itertools.islice(items, _BATCH_ITEMS)):
        begin = spool.size_bytes
        count = occurring.check(batch, texts=texts)
        pickler.dump(batch)
        pickler.clear_memo()
        size_bytes = spool.size_bytes - begin
        if size_bytes > _LARGE_BYTES * count:
            raise NotExactError  # beside such values a pickler's memory is small
        # Batches are alike: after one of short values there are no long texts worth a look at each.
        texts = size_bytes > _SMALL_BYTES * count
        yield size_bytes


class _Occurring:
    """Makes sure, batch by batch, that all is plain and that nothing that can change occurs twice."""

    def __init__(self) -> None:
        self._containers: set[int] = set()
        self._texts: set[int] = set()
        self._repeated_bytes = 0

    def check(self, batch: list[Any], *, texts: bool) -> int:
        """Return how many values there are, or raise `NotExactError`; `texts`: also for long texts."""
        level, count = batch, 0
        while level:
            kinds = frozenset(map(type, level))
            _check_plain(kinds - _CONTAINERS - _ATOMS, level)
            if texts and not kinds.isdisjoint(_TEXTS):
                self._note_texts([part for part in level if type(part) in _TEXTS and len(part) > _LONG_BYTES])
            count += len(level)
            if kinds.isdisjoint(_CONTAINERS):
                break
            containers = list(level) if kinds <= _CONTAINERS else [part for part in level if type(part) in _CONTAINERS]
            self._note_containers(containers)
            level = _inside(containers)
        return count

    def _note_containers(self, containers: list[Any]) -> None:
        for part in _owned_twice(containers):
            if type(part) is tuple and not part:
                continue  # of which there is but one
            if id(part) in self._containers or len(self._containers) == _MOST_OWNED_TWICE:
                raise NotExactError
            self._containers.add(id(part))

    def _note_texts(self, texts: list[Any]) -> None:
        # They may occur twice, but each batch has them anew.
        found = {id(part): len(part) for part in _owned_twice(texts)}
        self._repeated_bytes += sum(size for text, size in found.items() if text in self._texts)
        self._texts.update(found)
        if self._repeated_bytes > _MOST_REPEATED_BYTES or len(self._texts) > _MOST_OWNED_TWICE:
            raise NotExactError


def _inside(containers: list[Any]) -> list[Any]:
    """Return all items and values of `containers`, and raise `NotExactError` for a key that is not plain."""
    dicts = [part for part in containers if type(part) is dict]
    if not set(map(type, itertools.chain.from_iterable(dicts))) <= _ATOMS:
        raise NotExactError
    others = () if len(dicts) == len(containers) else [part for part in containers if type(part) is not dict]
    return [
        *itertools.chain.from_iterable(map(dict.values, dicts)),
        *itertools.chain.from_iterable(others),
    ]


def _counted(parts: list[Any], chosen: Callable[[int], bool]) -> Iterator[Any]:
    """Yield those of `parts` whose number of references is `chosen`.

    They are to be in their container, in `parts` and in one list more, as in `_Occurring.check`. All
    of it runs in C, where nothing else takes hold of them.
    """
    return itertools.compress(parts, map(chosen, map(sys.getrefcount, parts)))


def _count_of_one_owner() -> int:
    container: list[list[None]] = [[]]
    level = list(container)
    return next(count for count in itertools.count(1) if not [*_counted(list(level), count.__lt__)])


_ONE_OWNER = _count_of_one_owner()
_owned_twice = partial(_counted, chosen=_ONE_OWNER.__lt__)


def _check_plain(kinds: frozenset[type], level: list[Any]) -> None:
    names = {kind: _name(kind) for kind in kinds}
    if not _OTHER_ATOMS.issuperset(names.values()):
        raise NotExactError
    times = {kind for kind, name in names.items() if name in _TIMES}
    # Times of one place are compared as they stand, those of two places that are equal are not.
    if times and not {_name(type(part.tzinfo)) for part in level if type(part) in times} <= _FIXED_PLACES:
        raise NotExactError


def _name(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


class _Spool:
    """A file in memory; what goes beyond 4 MiB waits in a temporary file, which goes with the frames."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._file: Any = None
        self.size_bytes = 0

    def write(self, piece: bytes) -> None:
        """Add `piece`."""
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
        # No buffer of its own: that would be written once more when the file is closed, full or not.
        self._file = self._file or tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  see __del__
        left = memoryview(b"".join(self._pieces))
        while left:
            left = left[self._file.write(left) :]
        self._pieces, self._held_bytes = [], 0

    def _written(self) -> Iterator[memoryview]:
        start = 0
        while piece := os.pread(self._file.fileno(), _READ_BYTES, start):
            yield memoryview(piece)
            start += len(piece)

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
