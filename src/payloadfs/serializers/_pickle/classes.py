"""What pickling needs to know about a class: who defines its reduction, what it is built on, which slots it has."""

from __future__ import annotations

import copyreg
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..._typenames import top_package
from .._restore import descriptor

HEAP_TYPE = 1 << 9
_STANDARD = sys.stdlib_module_names


def registered_reducer(cls: type) -> Callable[[Any], Any] | None:
    """Return the reducer that was registered in `copyreg` for objects of `cls`, or None.

    tblib registers one for every exception class as soon as Dask is imported. It stores tracebacks and
    loses slots, and the user has not asked for it, so it does not count.
    """
    reducer = copyreg.dispatch_table.get(cls)
    is_tblib = issubclass(cls, BaseException) and getattr(reducer, "__module__", "") == "tblib.pickling_support"
    return None if is_tblib else reducer


class Reduction(NamedTuple):
    """How objects of a class are reduced.

    The class `owner` defines ``__reduce_ex__`` or ``__reduce__`` (`object` for the default). A `standard` reduction,
    that of the standard library or the interpreter, knows nothing of subclasses. It may be written in `python`.
    """

    owner: type
    standard: bool
    python: bool


def is_python(function: Any) -> bool:
    """Return whether `function` is written in Python."""
    return isinstance(function, types.FunctionType)


def is_standard(cls: type) -> bool:
    """Return whether `cls` belongs to the interpreter or the standard library."""
    return top_package(cls) in _STANDARD


def owner_of(cls: type, name: str) -> type:
    """Return the class in the MRO of `cls` that defines `name`."""
    return next((base for base in cls.__mro__ if name in vars(base)), object)


def _is_standard_function(owner: type, name: str) -> bool:
    function = vars(owner).get(name)
    if is_python(function):
        # The standard library also puts functions into classes of users (dataclasses, enum, namedtuple).
        module = str(function.__module__)
        return module.partition(".")[0] in _STANDARD or module.startswith("namedtuple_")
    return is_standard(owner)


def find_reduction(cls: type) -> Reduction:
    """Return how pickle reduces objects of `cls`."""
    special, plain = owner_of(cls, "__reduce_ex__"), owner_of(cls, "__reduce__")
    # That of numpy's arrays calls the __reduce__ of a subclass.
    calls_plain = not is_standard(special) and not is_python(vars(special)["__reduce_ex__"])
    is_plain = special is object or (calls_plain and plain is not special and issubclass(plain, special))
    for name, owner in (("__reduce__", plain),) if is_plain else (("__reduce_ex__", special),):
        if owner is not object:
            return Reduction(owner, _is_standard_function(owner, name), is_python(vars(owner)[name]))
    return Reduction(object, standard=True, python=False)


def user_defines(cls: type, *names: str) -> bool:
    """Return whether one of `names` is defined by a class or function outside of the standard library."""
    owners = ((owner_of(cls, name), name) for name in names)
    return any(name in vars(owner) and not _is_standard_function(owner, name) for owner, name in owners)


def native_base(cls: type) -> Any:
    """Return the base of `cls` that creates its objects in C, such as `dict`, or `object`."""
    for base in cls.__mro__:
        new = base.__new__
        is_own = isinstance(new, types.BuiltinFunctionType) and new.__self__ is base
        if is_own or not base.__flags__ & HEAP_TYPE:
            return base
    return object


def standard_base(cls: type, owner: type) -> Any:
    """Return the first base of `cls` in the standard library that is `owner` or derived from it."""
    return next(base for base in cls.__mro__ if is_standard(base) and issubclass(base, owner))


def list_slots(bases: Iterable[type]) -> tuple[str, ...]:
    """Return the names of the slots that the classes `bases` define in Python."""
    found: dict[str, None] = {}
    for base in bases:
        if "__slots__" in vars(base):
            found |= {name: None for name, value in vars(base).items() if isinstance(value, types.MemberDescriptorType)}
    return tuple(found)


def list_own_slots(cls: type) -> tuple[str, ...]:
    """Return the names of the slots of `cls` that classes outside of the standard library define."""
    return list_slots(base for base in cls.__mro__ if not is_standard(base))


def read_slots(obj: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of those of the slots `names` of `obj` that are set."""
    cls, found = type(obj), {}
    for name in names:
        try:
            found[name] = descriptor(cls, name).__get__(obj, cls)
        except AttributeError:  # not set
            continue
    return found
