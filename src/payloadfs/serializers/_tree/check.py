"""Check that an object is a tree: only classes of the vocabulary, and no mutable object twice.

Lists, dicts and native values are checked level by level at the speed of C: the classes of a level
are one set, and an object with one reference cannot occur twice.
"""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Iterator
from typing import Any

from .._base import NotExactError
from .vocabulary import LARGE_BYTES, NATIVE, find_codec

MAX_DEPTH = 100
_LISTS = frozenset({list, tuple, set, frozenset})
_CONTAINERS = _LISTS | {dict}
_STRINGS = frozenset({str, bytes})
_PLAIN = NATIVE | {list, dict}
_SMALL_BYTES, _LONG_BYTES = 24, 64
_MAX_REPEATED_BYTES = 4 * 1024 * 1024
_MAX_REPEATED_ITEMS = 100_000


def is_immutable(value: Any) -> bool:
    """Return whether `value` is in the vocabulary and no program can distinguish it from an equal one."""
    if type(value) in (tuple, frozenset):
        return all(map(is_immutable, value))
    codec = None if type(value) in NATIVE else find_codec(type(value))
    return type(value) in NATIVE or (codec is not None and not codec.has_identity)


class TreeChecker:
    """Check of one object, batch by batch, that each is a tree and that no mutable object is in two of them.

    With `check_strings`, large strings of the next batch are not native, and repeated ones are limited.
    """

    _count = 0

    def __init__(self, *, check_strings: bool = True) -> None:
        self.check_strings = check_strings
        self._containers: set[int] = set()
        self._strings: set[int] = set()
        self._repeated_bytes = self._repeated_items = 0

    def check(self, level: list[Any]) -> bool:
        """Return whether `level` is native: msgpack stores it without any conversion.

        `level` must be the only list besides their container that refers to the values. Raise `NotExactError` if
        a value is not in the vocabulary, occurs twice, or is nested too deeply.
        """
        native, self._count = True, 0
        for _ in range(MAX_DEPTH):
            self._count += len(level)
            kinds = frozenset(map(type, level))
            native = native and kinds <= _PLAIN
            if self.check_strings and not kinds.isdisjoint(_STRINGS):
                native = self._check_strings(level) and native
            others = kinds - _CONTAINERS - NATIVE
            inside = [child for kind in others for child in self._check_others(kind, level)]
            if not kinds.isdisjoint(_CONTAINERS):
                containers = (
                    list(level) if kinds <= _CONTAINERS else [part for part in level if type(part) in _CONTAINERS]
                )
                have_one_owner = self._note_containers(containers)
                children, native_keys = _children(containers, kinds, have_one_owner=have_one_owner)
                native = native and native_keys
                inside = children + inside if inside else children
                del containers, children
            if not inside:
                return native
            level = inside
            del inside
        raise NotExactError

    def note(self, part: Any) -> None:
        """Raise `NotExactError` if `part` occurred before."""
        if id(part) in self._containers:
            raise NotExactError
        self._containers.add(id(part))

    def note_size(self, size_bytes: int) -> None:
        """Decide from the size of the last batch whether strings of the next may be large: batches are alike."""
        self.check_strings = size_bytes > _SMALL_BYTES * self._count

    def _check_strings(self, level: list[Any]) -> bool:
        """Return whether no string is large. Refuse an object that repeats too many long ones."""
        strings = [part for part in level if type(part) in _STRINGS and len(part) > _LONG_BYTES]
        # Strings may occur twice, but each occurrence is stored.
        for part in _shared(strings):
            if id(part) in self._strings:
                self._repeated_bytes += len(part)
            self._strings.add(id(part))
        if self._repeated_bytes > _MAX_REPEATED_BYTES:
            raise NotExactError
        return max(map(len, strings), default=0) < LARGE_BYTES

    def _note_containers(self, containers: list[Any]) -> bool:
        """Return whether each of `containers` has one owner. Note the others, except flat tuples and frozensets."""
        have_one_owner = True
        for part in _shared(containers):
            have_one_owner = False
            if type(part) in (tuple, frozenset) and (not part or self._is_flat(part)):
                continue
            self.note(part)
        return have_one_owner

    def _is_flat(self, part: Any) -> bool:
        """Return whether a tuple or frozenset holds only native values, so that its identity does not matter."""
        self._repeated_items += len(part)
        return frozenset(map(type, part)) <= NATIVE and self._repeated_items <= _MAX_REPEATED_ITEMS

    def _check_others(self, kind: type, level: list[Any]) -> list[Any]:
        """Return the children of all objects of class `kind` in `level`."""
        codec = find_codec(kind)
        if codec is None:
            raise NotExactError
        if not codec.has_identity:
            return []
        objects = [part for part in level if type(part) is kind]
        for part in _shared(objects):
            self.note(part)
        if codec.children is None:
            return []
        return [child for part in objects for child in codec.children(part)]


def _children(containers: list[Any], kinds: frozenset[type], *, have_one_owner: bool) -> tuple[list[Any], bool]:
    """Return all items, values and keys that are not native; and whether all keys are native."""
    if have_one_owner:
        # CPython visits every item, every value, and the keys of a dict unless all are of exact class str. It visits
        # nothing in the dict of an instance that holds the values itself (3.13), but the instance also owns that dict.
        children = gc.get_referents(*containers)
        if len(children) == sum(map(len, containers)):
            return children, True
    dicts = containers if kinds.isdisjoint(_LISTS) else [part for part in containers if type(part) is dict]
    native_keys = set(map(type, itertools.chain.from_iterable(dicts))) <= NATIVE
    keys = () if native_keys else [key for part in dicts for key in part if type(key) not in NATIVE]
    others = () if len(dicts) == len(containers) else [part for part in containers if type(part) is not dict]
    return [
        *itertools.chain.from_iterable(map(dict.values, dicts)),
        *itertools.chain.from_iterable(others),
        *keys,
    ], native_keys


def _count_references(parts: list[Any]) -> list[int]:
    """Return the reference count of each of `parts`.

    Each part must be referenced by its container, by `parts` and by one more list, as in
    `TreeChecker.check`. Everything runs in C, which adds no further references.
    """
    return list(map(sys.getrefcount, parts))


def _refcount_of_one_owner() -> int:
    container: list[list[None]] = [[]]
    level = list(container)
    return _count_references(list(level))[0]


_ONE_OWNER = _refcount_of_one_owner()


def _shared(parts: list[Any]) -> Iterator[Any]:
    """Yield those of `parts` that have more than one owner."""
    counts = _count_references(parts)
    if max(counts, default=0) <= _ONE_OWNER:
        return iter(())
    return itertools.compress(parts, map(_ONE_OWNER.__lt__, counts))
