"""Whether objects of a class can be made again: what pickle stores, and then fails to load, is refused.

Pickle never looks whether ``__new__`` or ``__init__`` will take the arguments that it stored for
them, and it asks objects without attributes for attributes. Both show only when the object is loaded.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
import pickle
import types
from collections.abc import Callable
from typing import Any

__all__ = ["check_constructor_args", "checker_for", "skip_init"]

_FILLED_BY_INIT = (
    AttributeError,
    BaseExceptionGroup,
    ImportError,
    NameError,
    OSError,
    StopIteration,
    SyntaxError,
    SystemExit,
    UnicodeError,
)
"""Exceptions that have more than `args`, and get it from their own ``__init__``."""


def checker_for(cls: Any) -> Callable[[Any], Any] | None:
    """Return a reducer that checks what pickle would do with objects of `cls`, or None if nothing can fail."""
    reduces: tuple[Any, Any] = (cls.__reduce__, cls.__reduce_ex__)
    if issubclass(cls, type) or cls in copyreg.dispatch_table or any(map(_is_python, reduces)):
        return None
    if _is_python(cls.__new__) and not _is_named_tuple(cls):
        return _checked
    if reduces != (object.__reduce__, object.__reduce_ex__):
        return _checked if _is_python(cls.__init__) else None
    return None if _can_be_asked(cls) else _refuse_unasked


def check_constructor_args(reduced: Any) -> Any:
    """Return the reduction `reduced`, or raise `pickle.PicklingError` if its arguments do not fit.

    Raises
    ------
    pickle.PicklingError
        What it calls takes other arguments.
    """
    if isinstance(reduced, str):
        return reduced
    make, arguments, named = reduced[0], reduced[1], {}
    if make is copyreg.__newobj__:  # type: ignore[attr-defined]
        make = arguments[0].__new__
    elif make is copyreg.__newobj_ex__:  # type: ignore[attr-defined]
        cls, arguments, named = arguments
        make, arguments = cls.__new__, (cls, *arguments)
    elif not isinstance(make, type):
        return reduced
    signature = _signature(make)
    try:
        if signature is not None:
            signature.bind(*arguments, **named)
    except TypeError as error:
        raise pickle.PicklingError(
            f"it could not be made again ({error}); give its class a __reduce__ or __getnewargs__"
        ) from error
    return reduced


def skip_init(error: BaseException, reduced: Any) -> Any:
    """Return a reduction of an exception that leaves out ``__init__``, which often takes other arguments.

    Its `args` and attributes are in the reduction anyway.
    """
    cls = type(error)
    if reduced[0] is not cls or not _is_python(cls.__init__) or isinstance(error, _FILLED_BY_INIT):
        return reduced
    return (copyreg.__newobj__, (cls, *reduced[1]), *reduced[2:])  # type: ignore[attr-defined]


def _checked(obj: Any) -> Any:
    return check_constructor_args(obj.__reduce_ex__(5))


def _refuse_unasked(_: Any) -> Any:
    raise pickle.PicklingError(
        "its __getattr__ fails for an object without attributes, as pickle makes it at first; "
        "let it raise AttributeError for names that begin with '__'"
    )


def _can_be_asked(cls: Any) -> bool:
    """Return whether an empty object answers whether it has a ``__setstate__``."""
    if not _is_python(getattr(cls, "__getattr__", None)) or hasattr(cls, "__setstate__"):
        return True
    try:
        getattr(cls.__new__(cls), "__setstate__", None)
    except Exception:  # noqa: BLE001  any failure is the answer
        return False
    return True


def _is_named_tuple(cls: type) -> bool:
    owner = next(base for base in cls.__mro__ if "__new__" in vars(base))
    return "_fields" in vars(owner) and issubclass(owner, tuple)


def _is_python(function: Any) -> bool:
    return isinstance(function, types.FunctionType)


@functools.lru_cache(maxsize=1024)
def _signature(make: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(make)
    except ValueError:  # it is built in, and does not tell
        return None
