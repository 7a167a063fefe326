"""Exact picklers: the C pickler where it suffices, cloudpickle otherwise.

The C pickler takes half the time, because it calls Python once per class instead of once per
object. It stores functions and classes by name only. Objects that it refuses, or that refer to
``__main__``, are pickled again by cloudpickle as a whole, since it must decide in one pass what to
store by value.
"""

from __future__ import annotations

import operator
import pickle
import sys

# The C class explicitly: the pickler in Python would not call `_DispatchTable.__missing__`.
from _pickle import Pickler
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..._typenames import class_name
from .by_value import pickler_by_value, refuse_self
from .classes import is_python, registered_reducer, user_defines
from .reducers import reducer_for

PROTOCOL = 5

_FROZENSET = pickle.FROZENSET + pickle.MEMOIZE

_CLOUDPICKLE = (
    *("_weakrefset.WeakSet", "code", "getset_descriptor", "method"),
    *("dataclasses._FIELD_BASE", "logging.Logger", "logging.RootLogger", "typing.TypeVar"),
)
"""Classes that pickle accepts but cloudpickle stores differently."""

_default_reduce = operator.methodcaller("__reduce_ex__", PROTOCOL)


class Stream(NamedTuple):
    """Pickle stream in pieces, and whether it contains compiled code.

    If it `may_hash_early`, a frozenset in it may need the hash of an object that has no attributes yet.
    """

    pieces: list[bytes]
    has_code: bool
    may_hash_early: bool


def dump(obj: Any, buffer_callback: Callable[[pickle.PickleBuffer], bool], without: Any = None) -> Stream | None:
    """Return the pickle of `obj` by the C pickler, or None if `obj` needs cloudpickle.

    Any exception of the pickler propagates.
    """
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is not None and cloudpickle.list_registry_pickle_by_value():
        return None  # modules are registered for pickling by value
    pieces: list[bytes] = []
    pickler = Pickler(_PieceSink(pieces), PROTOCOL, buffer_callback=buffer_callback)
    pickler.dispatch_table = table = _DispatchTable(without)
    pickler.dump(obj)
    # The pickler writes whole operations, so a name is never split between pieces.
    if any(b"__main__" in piece for piece in pieces):
        return None
    return Stream(pieces, False, _may_hash_early(table, pieces))


def dump_by_value(obj: Any, buffer_callback: Callable[[pickle.PickleBuffer], bool], without: Any = None) -> Stream:
    """Return the pickle of `obj` by cloudpickle. Any exception of the pickler propagates."""
    pieces: list[bytes] = []
    pickler = pickler_by_value()(_PieceSink(pieces), PROTOCOL, buffer_callback=buffer_callback)
    pickler.without = without
    pickler.dump(obj)
    return Stream(pieces, pickler.has_code, _may_hash_early(pickler.classes, pieces))


def _may_hash_early(classes: Iterable[type], pieces: list[bytes]) -> bool:
    """Return whether a frozenset (or subclass of it) was pickled together with an object whose class defines a hash."""
    # Those of the standard library need no attributes that could lead back.
    return any(is_python(cls.__hash__) and user_defines(cls, "__hash__") for cls in classes) and (
        any(issubclass(cls, frozenset) for cls in classes) or any(_FROZENSET in piece for piece in pieces)
    )


class _PieceSink:
    """Write-only file that keeps the pieces written to it without a copy."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.write = pieces.append


class _DispatchTable(dict[type, Callable[[Any], Any]]):
    """Mapping of classes to reducers, filled when the first object of a class occurs."""

    def __init__(self, without: Any) -> None:
        super().__init__()
        self._without = without

    def __missing__(self, cls: type) -> Callable[[Any], Any]:
        known = registered_reducer(cls)
        if issubclass(cls, type) and known is None:
            raise KeyError(cls)  # the objects are classes, which are stored by name
        if cls.__module__ == "__main__" or class_name(cls) in _CLOUDPICKLE:
            raise pickle.PicklingError("cloudpickle stores this")
        reduce = _exact(cls, known or _default_reduce)
        self[cls] = reduce = refuse_self(reduce, self._without) if cls is type(self._without) else reduce
        return reduce


def _exact(cls: type, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    exact = reducer_for(cls)
    if exact is None:
        return plain

    def reduce(obj: Any) -> Any:
        reduced = exact(obj)
        return plain(obj) if reduced is NotImplemented else reduced

    return reduce
