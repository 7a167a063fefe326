"""Strict comparison: equality in every respect that a program could observe.

Stricter than ``==`` and than ``pandas.testing``: class, dtype, labels and their classes, kind of each
missing value, float bits, freq, levels, attrs, flags, memory order, writability, shared references.

It is based on `describe`, which describes an object in plain strings. Descriptions do not depend on
the process, so an object can be loaded and described in another process and compared here, without
a second serializer for the way back.
"""

from __future__ import annotations

import collections
import copyreg
import datetime as dt
import decimal
import dis
import enum
import fractions
import functools
import ipaddress
import itertools
import logging
import pathlib
import re
import struct
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .._typenames import class_name, loaded_class, top_package
from ..pointer import Pointer
from . import _describe_libraries

__all__ = ["Line", "assert_exact", "describe", "first_difference"]

Line = tuple[str, str]
_SHOWN_BY_REPR = (type(None), bool, str, bytes, range, type(Ellipsis), type(NotImplemented))
_MEMBERS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_NOT_STORED = {"__cause__", "__suppress_context__", "__context__", "__traceback__", "__dict__", "obj"}
_DIGITS = 10**1000  # Python converts at most 4300 digits
_VALUES = (int, float, complex, str, bytes)
_TIMES = (dt.date, dt.time, dt.datetime, dt.timedelta)
_NUMBERS = (decimal.Decimal, fractions.Fraction, uuid.UUID)
_ADDRESSES = (ipaddress._BaseAddress, ipaddress._BaseNetwork)
_NO_IDENTITY = (enum.Enum, type, dt.tzinfo, *_NUMBERS, *_ADDRESSES, Pointer, *_TIMES)


def describe(obj: Any, *, path: str = "obj") -> Iterator[Line]:
    """Yield pairs of path and description, in a fixed order, that cover all observable state of `obj`.

    Parameters
    ----------
    obj : object
        Any object. A repeated reference is described by the path of the first one.
    path : str
        Name of the object in the paths.

    Examples
    --------
    >>> for path, description in describe({"a": [1]}):
    ...     print(path, "is", description)
    obj is dict
    len(obj) is 1
    obj.keys()[0] is 'a'
    obj['a'] is list
    len(obj['a']) is 1
    obj['a'][0] is int
    obj['a'][0] is 1
    """
    return Walk()(obj, path)


def assert_exact(expected: Any, actual: Any, *, path: str = "obj") -> None:
    """Raise `AssertionError` if `actual` differs from `expected`; the message names the first difference.

    Parameters
    ----------
    expected, actual : object
        The object that was saved and the one that was loaded.
    path : str
        Name of the object in the message.

    Examples
    --------
    >>> assert_exact({"a": [1]}, {"a": [True]})
    Traceback (most recent call last):
    AssertionError: obj['a'][0]: bool instead of int
    """
    difference = first_difference(describe(expected, path=path), describe(actual, path=path))
    if difference:
        raise AssertionError(difference)


def first_difference(expected: Iterator[Line], actual: Iterator[Line]) -> str | None:
    """Return a message about the first difference of two descriptions, or None if they are equal."""
    for left, right in itertools.zip_longest(expected, actual, fillvalue=("the end", "nothing more")):
        if left != right:
            if left[0] == right[0]:
                return f"{left[0]}: {right[1]:.200} instead of {left[1]:.200}"
            return f"{right[0]} ({right[1]:.200}) instead of {left[0]} ({left[1]:.200})"
    return None


class Walk:
    """Traversal of one object that remembers the objects visited."""

    def __init__(self) -> None:
        # Objects are kept alive, or the id of a temporary object could be reused.
        self._visited = collections.ChainMap[int, tuple[Any, str]]()

    def __call__(self, obj: Any, path: str) -> Iterator[Line]:
        """Yield the description of `obj`."""
        if (kind := type(obj)) in _PLAIN:  # most objects: no identity, and nothing else to describe
            name, describe_plain = _PLAIN[kind]
            yield path, name
            yield path, describe_plain(obj)
            return
        if id(obj) in self._visited:
            yield path, f"the same as {self._visited[id(obj)][1]}"
            return
        scalar = _scalar(obj)
        if scalar is None and not _has_no_identity(obj):
            self._visited[id(obj)] = obj, path
        yield path, class_name(_describe_libraries.class_of(obj))
        if scalar is not None:
            yield path, scalar
            if _can_have_more(obj):
                yield from self.parts(_added(obj), path)
            return
        yield from _describer(obj)(obj, path, self)
        if isinstance(obj, loaded_class("numpy.ndarray")):
            for base in type(obj).__mro__:
                yield from self.parts(_slots(obj, base), path)

    def describe_unvisited(self, obj: Any, path: str) -> list[Line]:
        """Return the description of `obj` without marking it as visited."""
        other = Walk()
        other._visited = self._visited.new_child()
        return list(other(obj, path))

    def parts(self, named: Mapping[str, Any], path: str) -> Iterator[Line]:
        """Yield the descriptions of attributes of an object."""
        for name, value in named.items():
            yield from self(value, f"{path}.{name}")


Describer = Callable[[Any, str, Walk], Iterator[Line]]


def _scalar(obj: Any) -> str | None:
    """Return the description of a scalar value, or None for any other object."""
    kind = type(obj)
    if kind in _SHOWN_BY_REPR:
        return repr(obj)
    if kind is int:
        return _int(obj)
    for cls, describe_scalar in _SCALARS:
        if isinstance(obj, cls) and (kind is cls or cls not in _VALUES):
            return describe_scalar(obj)
    if kind in _TIMES and getattr(obj, "tzinfo", None) is None:
        return repr(obj)
    return _describe_libraries.scalar(obj)


def _has_no_identity(obj: Any) -> bool:
    if isinstance(obj, (tuple, frozenset)):
        return not hasattr(obj, "__dict__")
    return isinstance(obj, _NO_IDENTITY) or _describe_libraries.has_no_identity(obj)


def _can_have_more(obj: Any) -> bool:
    """Return whether `obj` is a scalar of a class that may add attributes."""
    is_full = isinstance(obj, (type, loaded_class("pandas.tseries.offsets.BaseOffset")))
    return not is_full and top_package(type(obj)) not in sys.stdlib_module_names


def _added(obj: Any) -> dict[str, Any]:
    """Return the attributes that were added to a scalar: its ``__dict__``, and slots of classes of users."""
    # Other names that begin with an underscore are caches of packages.
    hidden = isinstance(obj, enum.Enum) or _describe_libraries.scalar(obj) is not None
    attributes = getattr(obj, "__dict__", {})
    found = {name: value for name, value in attributes.items() if not (hidden and name[0] == "_")}
    if not isinstance(obj, enum.Enum):
        for base in type(obj).__mro__:
            if top_package(base) not in sys.stdlib_module_names:
                found |= _slots(obj, base)
    return found


def _slots(obj: Any, base: type) -> dict[str, Any]:
    """Return the slots of `obj` that `base` defines and that are set, by their written names."""
    found, slots = {}, vars(base).get("__slots__", ())
    for name in (slots,) if isinstance(slots, str) else slots:
        private = name.startswith("__") and not name.endswith("__")
        mangled = f"_{base.__name__.lstrip('_')}{name}" if private else name
        if name in ("__dict__", "__weakref__"):
            continue
        try:
            # By the descriptor: a __getattr__ could answer for a slot that is not set.
            found[name] = vars(base)[mangled].__get__(obj, type(obj))
        except (AttributeError, KeyError):
            continue
    return found


def _int(value: int) -> str:
    return int.__repr__(value) if abs(value) < _DIGITS else hex(value)


def _float(value: float) -> str:
    return f"{float.__repr__(value)} {struct.pack('>d', value).hex()}"


_PLAIN: dict[type, tuple[str, Callable[[Any], str]]] = {
    int: ("int", _int),
    float: ("float", _float),
    **{kind: (class_name(kind), repr) for kind in (str, bytes, bool, type(None))},
}


def _complex(value: complex) -> str:
    return f"{_float(value.real)} {_float(value.imag)}j"


_SCALARS: list[tuple[type, Callable[[Any], str]]] = [
    (enum.Enum, lambda obj: str(obj.name)),
    (float, _float),
    (complex, _complex),
    (decimal.Decimal, lambda obj: str(obj.as_tuple())),
    (type, class_name),
    (zoneinfo.ZoneInfo, lambda obj: str(obj.key)),
    (dt.timezone, repr),
    (re.Pattern, lambda obj: f"{obj.pattern!r} {obj.flags}"),
    (pathlib.PurePath, str),  # its other attributes are caches
    (logging.Logger, lambda obj: str(obj.name)),
]


def _describer(obj: Any) -> Describer:
    describer = _describe_libraries.find_describer(obj)
    if describer is not None:
        return describer
    table: list[tuple[Any, Describer]] = [
        ((dict, types.MappingProxyType), _dicts),
        ((list, tuple, collections.deque), _sequences),
        ((set, frozenset), _sets),
        (bytearray, _bytes),
        (slice, _slices),
        ((dt.datetime, dt.time), _zoned),
        (types.FunctionType, _functions),
        ((types.BuiltinFunctionType, types.ModuleType), _named),
        ((types.MethodDescriptorType, types.ClassMethodDescriptorType, types.WrapperDescriptorType), _named),
        (types.CodeType, _codes),
        (types.MethodType, _methods),
        (functools.partial, _partials),
        (BaseException, _exceptions),
        (_VALUES, _subclassed),
    ]
    return next((describer for cls, describer in table if isinstance(obj, cls)), _others)


def _slices(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    yield from walk.parts({name: getattr(obj, name) for name in ("start", "stop", "step")}, path)


def _native(obj: Any, *bases: Any) -> Any:
    """Return the first of `bases` that `obj` is an instance of: methods of a subclass may hide items.

    A class that defines its own ``__reduce__`` decides what its items are.
    """
    decides = isinstance(type(obj).__reduce__, types.FunctionType)
    return type(obj) if decides else next(base for base in bases if isinstance(obj, base))


def _dicts(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    items = list(_native(obj, collections.OrderedDict, dict, types.MappingProxyType).items(obj))
    yield f"len({path})", str(len(items))
    for number, (key, value) in enumerate(items):
        if type(key) is str:
            yield f"{path}.keys()[{number}]", repr(key)
        else:
            yield from walk(key, f"{path}.keys()[{number}]")
        yield from walk(value, f"{path}[{key!r:.60}]" if type(key) is str else f"{path}.values()[{number}]")
    if isinstance(obj, collections.defaultdict):
        yield from walk(obj.default_factory, f"{path}.default_factory")
    yield from _state(obj, path, walk)


def _sequences(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    items = list(_native(obj, list, tuple, collections.deque).__iter__(obj))
    yield f"len({path})", str(len(items))
    if isinstance(obj, collections.deque):
        yield f"{path}.maxlen", str(collections.deque.maxlen.__get__(obj))
    for number, value in enumerate(items):
        yield from walk(value, f"{path}[{number}]")
    yield from _state(obj, path, walk)


def _sets(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    elements, first = list(_native(obj, set, frozenset).__iter__(obj)), 0
    yield f"len({path})", str(len(elements))
    # Sorted by description, because the order of a set depends on the process.
    ordered = sorted((walk.describe_unvisited(value, "element"), number) for number, value in enumerate(elements))
    for number, (lines, pos) in enumerate(ordered):
        # Elements with equal descriptions have no order either.
        first = first if number and lines == ordered[number - 1][0] else number
        yield from walk(elements[pos], f"{path}.element[{first}]")
    yield from _state(obj, path, walk)


def _bytes(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    yield path, repr(bytes(memoryview(obj)))
    yield from _state(obj, path, walk)


def _zoned(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    names = ("year", "month", "day") if isinstance(obj, dt.datetime) else ()
    # Not by repr or isoformat, which subclasses override and which omit `fold`.
    yield path, repr([getattr(obj, name) for name in (*names, "hour", "minute", "second", "microsecond", "fold")])
    yield from walk(obj.tzinfo, f"{path}.tzinfo")
    yield from _state(obj, path, walk)


def _named(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    owner = getattr(obj, "__self__", None)
    yield path, f"{getattr(obj, '__module__', None)}.{getattr(obj, '__qualname__', obj.__name__)}"
    if owner is not None and not isinstance(owner, types.ModuleType):
        yield from walk(owner, f"{path}.__self__")


def _functions(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    yield path, f"{obj.__module__}.{obj.__qualname__}"
    if getattr(sys.modules.get(obj.__module__), obj.__qualname__, None) is obj and obj.__module__ != "__main__":
        return
    yield from walk(obj.__code__, f"{path}.__code__")
    cells = [_content(cell) for cell in obj.__closure__ or ()]
    yield from walk.parts({"__closure__": cells, "__defaults__": obj.__defaults__}, path)
    yield from walk.parts({"__kwdefaults__": obj.__kwdefaults__, "__dict__": obj.__dict__}, path)
    used = {name: obj.__globals__[name] for name in sorted(_globals(obj.__code__)) if name in obj.__globals__}
    yield from walk.parts({"__annotations__": obj.__annotations__, "__globals__": used, "__doc__": obj.__doc__}, path)


def _globals(code: types.CodeType) -> set[str]:
    """Return the names of globals that `code` and its inner functions use."""
    inner = [_globals(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}.union(*inner)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "an empty cell"


def _codes(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    names = ("name", "code", "names", "varnames", "freevars", "cellvars", "flags", "exceptiontable")
    counts = ("argcount", "posonlyargcount", "kwonlyargcount")
    for name in (f"co_{name}" for name in names + counts):
        yield f"{path}.{name}", repr(getattr(obj, name))
    yield from walk(obj.co_consts, f"{path}.co_consts")


def _methods(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    yield f"{path}.__func__", f"{obj.__func__.__module__}.{obj.__func__.__qualname__}"
    yield from walk(obj.__self__, f"{path}.__self__")


def _partials(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    yield from walk.parts({"func": obj.func, "args": obj.args, "keywords": obj.keywords}, path)
    yield from _state(obj, path, walk)


def _exceptions(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    bases = [base for base in type(obj).__mro__ if base.__module__ == "builtins" and base is not object]
    names = {name for base in bases for name, value in vars(base).items() if isinstance(value, _MEMBERS)}
    for name in sorted(names - _NOT_STORED):
        yield from walk(getattr(obj, name, None), f"{path}.{name}")
    yield from walk(obj.__cause__, f"{path}.__cause__")
    yield f"{path}.__suppress_context__", str(obj.__suppress_context__)
    yield from _state(obj, path, walk)
    yield from _reduced(obj, path, walk)  # the filename of an OSError is not in its __dict__


def _subclassed(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    base: Any = next(cls for cls in _VALUES if isinstance(obj, cls))
    yield path, {int: _int, float: _float, complex: _complex}.get(base, base.__repr__)(obj)
    yield from _state(obj, path, walk)


def _others(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    yield from _state(obj, path, walk)
    cls: Any = type(obj)
    has_own = (
        (cls in copyreg.dispatch_table and not isinstance(obj, BaseException))
        or cls.__reduce__ is not object.__reduce__
        or cls.__reduce_ex__ is not object.__reduce_ex__
    )
    if not has_own and (hasattr(obj, "__dict__") or any("__slots__" in vars(base) for base in cls.__mro__[:-1])):
        return
    yield from _reduced(obj, path, walk)


def _reduced(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    """Yield what pickle would store of an object, or its repr if pickle refuses it."""
    # Reducers that packages register for all exceptions (tblib does) say nothing about this one.
    reduce = None if isinstance(obj, BaseException) else copyreg.dispatch_table.get(type(obj))
    try:
        reduced: Any = obj.__reduce_ex__(4) if reduce is None else reduce(obj)
    except TypeError:
        reduced = _describe_libraries.without_address(repr(obj))
    if isinstance(reduced, str):
        yield path, reduced
        return
    for number, part in enumerate(reduced):
        # Items of lists and dicts come as iterators.
        yield from walk(list(part) if isinstance(part, Iterator) else part, f"{path}.__reduce__()[{number}]")


def _state(obj: Any, path: str, walk: Walk) -> Iterator[Line]:
    """Yield the attributes of an object, in its ``__dict__`` and in slots."""
    attributes = getattr(obj, "__dict__", {})
    if isinstance(obj, loaded_class("numpy.ufunc")):
        # numpy caches the signature there when it is first read.
        attributes = {name: value for name, value in attributes.items() if name != "__signature__"}
    if attributes is obj:
        yield f"{path}.__dict__", f"the same as {path}"
    yield from walk.parts(attributes, path)
    for base in type(obj).__mro__:
        yield from walk.parts(_slots(obj, base), path)
