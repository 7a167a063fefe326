"""Picklers that are exact: the C one for all that it can do, cloudpickle's for the rest.

The C pickler takes half the time, because it asks Python once per class instead of once per object.
It stores functions and classes by name only. So whatever it refuses, and whatever names
``__main__``, goes through cloudpickle again, as a whole: what goes by value there has to be found
out in one pass.
"""

from __future__ import annotations

import copyreg
import functools
import operator
import pickle
import sys
import types

# By its name: the pickler in Python would not ask `_DispatchTable` about unknown classes.
from _pickle import Pickler
from collections.abc import Callable
from typing import Any, NamedTuple

from ..._typenames import class_name
from .reducers import reducer_for

__all__ = ["Stream", "dump", "dump_by_value"]

PROTOCOL = 5

_CLOUDPICKLE = frozenset(
    {
        "_weakrefset.WeakSet",
        "code",
        "getset_descriptor",
        "method",
        "dataclasses._FIELD_BASE",
        "logging.Logger",
        "logging.RootLogger",
        "typing.TypeVar",
    }
)
"""Classes of which cloudpickle makes something else than pickle, which would take them too."""

_plain = operator.methodcaller("__reduce_ex__", PROTOCOL)


class Stream(NamedTuple):
    """A pickle stream in pieces, and whether compiled code is in it."""

    pieces: list[bytes]
    has_code: bool


def dump(obj: Any, buffer_callback: Callable[[pickle.PickleBuffer], bool], without: Any = None) -> Stream | None:
    """Return the pickle of `obj` by the C pickler, or None where that would not do.

    Raises whatever it takes.
    """
    if _any_by_value():
        return None
    pieces: list[bytes] = []
    pickler = Pickler(_PieceSink(pieces), PROTOCOL, buffer_callback=buffer_callback)
    pickler.dispatch_table = _DispatchTable(without)
    pickler.dump(obj)
    # A name is never cut in two: the pickler writes whole operations.
    return None if any(b"__main__" in piece for piece in pieces) else Stream(pieces, has_code=False)


def dump_by_value(obj: Any, buffer_callback: Callable[[pickle.PickleBuffer], bool], without: Any = None) -> Stream:
    """Return the pickle of `obj` by cloudpickle, whatever error that takes."""
    pieces: list[bytes] = []
    pickler = _pickler_by_value()(_PieceSink(pieces), PROTOCOL, buffer_callback=buffer_callback)
    pickler.without = without
    pickler.dump(obj)
    return Stream(pieces, pickler.has_code)


class _PieceSink:
    """A file that keeps what is written to it as it is, so that no second copy of it is made."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.write = pieces.append


def _any_by_value() -> bool:
    """Return whether modules are registered with cloudpickle to be stored by value."""
    cloudpickle = sys.modules.get("cloudpickle")
    return cloudpickle is not None and bool(cloudpickle.list_registry_pickle_by_value())


class _DispatchTable(dict[type, Callable[[Any], Any]]):
    """What reduces objects of a class, found when the first one comes by."""

    def __init__(self, without: Any) -> None:
        super().__init__()
        self._without = without

    def __missing__(self, cls: type) -> Callable[[Any], Any]:
        known = copyreg.dispatch_table.get(cls)
        if issubclass(cls, type) and known is None:
            raise KeyError(cls)  # the objects are classes, which go by name
        if cls.__module__ == "__main__" or class_name(cls) in _CLOUDPICKLE:
            raise pickle.PicklingError("cloudpickle does this")
        reduce = _exact(cls, known or _plain)
        self[cls] = reduce = _guarded(reduce, self._without) if cls is type(self._without) else reduce
        return reduce


def _exact(cls: type, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    exact = reducer_for(cls)
    if exact is None:
        return plain

    def reduce(obj: Any) -> Any:
        reduced = exact(obj)
        return plain(obj) if reduced is NotImplemented else reduced

    return reduce


def _guarded(reduce: Callable[[Any], Any], without: Any) -> Callable[[Any], Any]:
    def guarded(obj: Any) -> Any:
        if obj is without and obj is not None:
            raise pickle.PicklingError("it holds itself")
        return reduce(obj)

    return guarded


@functools.cache
def _pickler_by_value() -> Any:
    """Return the class of picklers: cloudpickle's, but exact, and it notes compiled code."""
    # cloudpickle is only ever needed to save; readers of data never pay for it.
    import cloudpickle

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        has_code = False
        without: Any = None

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._reducers: dict[type, Any] = {}

        def reducer_override(self, obj: Any) -> Any:
            try:
                reduce = self._reducers[type(obj)]
            except KeyError:
                reduce = self._reducers[type(obj)] = self._found(type(obj))
            return reduce if reduce is NotImplemented else reduce(obj)

        def _found(self, cls: type) -> Any:
            if issubclass(cls, (type, types.FunctionType)):
                return self._by_value
            if cls is types.CodeType:
                self.has_code = True
            exact = reducer_for(cls)
            if cls is type(self.without):
                return _guarded(exact or (lambda _: NotImplemented), self.without)
            return exact or NotImplemented

        def _by_value(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) > 2:
                # A class by value: cloudpickle gives its state, and forgets where it was defined.
                reduced[2][0].setdefault("__qualname__", obj.__qualname__)
            return reduced

    return ByValue
