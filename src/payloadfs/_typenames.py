"""Names of classes and serializers, as pointers, registries and messages spell them."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable
from typing import Any

from ._buffers import COMPRESSIONS
from .errors import ConfigError

SERIALIZER_ID = re.compile(r"[a-z][a-z0-9-]{0,39}/[1-9][0-9]{0,3}")
"""Pattern of a serializer id: name and version."""

_MAX_LABEL_CHARS = 80


def class_name(cls: type) -> str:
    """Return the module and name of `cls`, without ``builtins.``.

    Examples
    --------
    >>> import decimal
    >>> class_name(decimal.Decimal), class_name(int)
    ('decimal.Decimal', 'int')
    """
    return ".".join(filter(None, (_module_name(cls), cls.__qualname__))).removeprefix("builtins.")


def _module_name(cls: type) -> str:
    # Some packages set __module__ to None for classes that are created at run time (sympy does).
    return module if isinstance(module := getattr(cls, "__module__", None), str) else ""


def top_package(cls: type) -> str:
    """Return the first part of the module name of `cls`, or "" if `cls` has no module."""
    return _module_name(cls).partition(".")[0]


@functools.lru_cache(maxsize=1024)
def short_class_name(cls: type) -> str:
    """Return the top package and name of `cls`, such as ``pandas.DataFrame`` or ``builtins.int``.

    Packages move classes between their private modules; users know the top name.
    """
    return ".".join(filter(None, (top_package(cls), cls.__qualname__)))


@functools.lru_cache(maxsize=1024)
def type_label(cls: type) -> str:
    """Return the name of `cls` for a pointer: top package and class, ASCII, without ``builtins.``."""
    name = short_class_name(cls).removeprefix("builtins.")
    return re.sub(r"[^A-Za-z0-9_.<>-]", "_", name)[:_MAX_LABEL_CHARS]


def loaded_class(name: str) -> Any:
    """Return the class called `name` (``module.Class``) if its module is loaded, else a class without instances.

    Nothing is imported: if the module is not loaded, no object of the class exists.
    """
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, _NotLoaded)


class _NotLoaded:
    """Stand-in for a class whose module is not loaded. It has no instances."""


@functools.lru_cache(maxsize=1024)
def split_serializer(serializer_id: str) -> tuple[str, str]:
    """Return the compression in a serializer id ("" if there is none), and the id without it.

    Examples
    --------
    >>> split_serializer("zstd-pandas/1"), split_serializer("npy-readonly/1")
    (('zstd', 'pandas/1'), ('', 'npy-readonly/1'))
    """
    codec, _, inner = serializer_id.partition("-")
    return (codec, inner) if codec in COMPRESSIONS else ("", serializer_id)


def check_argument(name: str, value: Any, cls: Any) -> None:
    """Raise `ConfigError` if `value` is neither None nor an instance of `cls`."""
    if value is not None and not isinstance(value, cls):
        raise ConfigError(f"{name} must be an instance of {cls.__name__}, not {type(value).__name__}.", kind="argument")


def suggestion(name: str, known: Iterable[str], cutoff: float) -> str:
    """Return a question that suggests the closest name in `known`, or an empty string."""
    import difflib

    return "".join(f"; did you mean {match!r}?" for match in difflib.get_close_matches(name, known, 1, cutoff))
