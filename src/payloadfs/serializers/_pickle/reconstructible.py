"""Checks that objects can be reconstructed: objects that pickle would store but fail to load are refused.

Pickle does not check whether ``__new__`` or ``__init__`` accepts the stored arguments, and it calls
``__getattr__`` on objects without attributes. Both failures would appear only on loading.
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
"""Exceptions whose ``__init__`` sets more than `args`."""


def checker_for(cls: Any) -> Callable[[Any], Any] | None:
    """Return a reducer that checks objects of `cls`, or None if loading them cannot fail."""
    reduces: tuple[Any, Any] = (cls.__reduce__, cls.__reduce_ex__)
    if issubclass(cls, type) or cls in copyreg.dispatch_table or any(map(_is_python, reduces)):
        return None
    if _is_python(cls.__new__) and not _is_named_tuple(cls):
        return _reduce_checked
    if reduces != (object.__reduce__, object.__reduce_ex__):
        return _reduce_checked if _is_python(cls.__init__) else None
    return None if _has_safe_getattr(cls) else _refuse_getattr


def check_constructor_args(reduced: Any) -> Any:
    """Return `reduced` after checking its constructor arguments.

    Raises
    ------
    pickle.PicklingError
        The constructor does not accept the stored arguments.
    """
    if isinstance(reduced, str):
        return reduced
    constructor, args, kwargs = reduced[0], reduced[1], {}
    if constructor is copyreg.__newobj__:  # type: ignore[attr-defined]
        constructor = args[0].__new__
    elif constructor is copyreg.__newobj_ex__:  # type: ignore[attr-defined]
        cls, args, kwargs = args
        constructor, args = cls.__new__, (cls, *args)
    elif not isinstance(constructor, type):
        return reduced
    signature = _signature(constructor)
    try:
        if signature is not None:
            signature.bind(*args, **kwargs)
    except TypeError as error:
        raise pickle.PicklingError(
            f"it cannot be reconstructed ({error}); add a __reduce__ or __getnewargs__ to its class"
        ) from error
    return reduced


def skip_init(error: BaseException, reduced: Any) -> Any:
    """Return a reduction of an exception that skips ``__init__``, which often takes other arguments.

    The reduction contains `args` and attributes anyway.
    """
    cls = type(error)
    if reduced[0] is not cls or not _is_python(cls.__init__) or isinstance(error, _FILLED_BY_INIT):
        return reduced
    return (copyreg.__newobj__, (cls, *reduced[1]), *reduced[2:])  # type: ignore[attr-defined]


def _reduce_checked(obj: Any) -> Any:
    return check_constructor_args(obj.__reduce_ex__(5))


def _refuse_getattr(_: Any) -> Any:
    raise pickle.PicklingError(
        "its __getattr__ fails for an object without attributes, which pickle creates first; "
        "raise AttributeError there for names that start with '__'"
    )


def _has_safe_getattr(cls: Any) -> bool:
    """Return whether looking up ``__setstate__`` works on an object without attributes."""
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
def _signature(constructor: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(constructor)
    except ValueError:  # a built-in without a signature
        return None
