"""Vocabulary of trees: for each class, by exact class, its fields and how they become the object again.

`standard` has the classes of the standard library, `libraries` those of numpy, pandas, pyarrow and
polars, `register` those of the user. Names and fields are part of the format.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..._buffers import Frame
from ..._typenames import class_name, loaded_class
from .._base import NotExactError

NATIVE = frozenset({type(None), bool, int, float, str, bytes})
"""Classes that msgpack has itself. They may be keys of dicts."""

LARGE_BYTES = 4096
"""Strings, bytes and arrays of this size are stored out of band; smaller ones in msgpack."""

_LIBRARIES = frozenset({"numpy", "pandas", "pyarrow", "polars"})


@dataclass(frozen=True, slots=True)
class Codec:
    """Name, fields and constructor of one class.

    Parameters
    ----------
    name : str
        Name in the format.
    fields : callable
        Returns the fields of an object: values of the vocabulary. Raises `NotExactError` if they
        would not restore the object exactly.
    make : callable
        Takes the decoded fields and returns the object. It checks their classes where a wrong one
        would not raise.
    has_identity : bool
        Whether a program can tell one object from two equal ones.
    children : callable, optional
        Returns the user's values that an object refers to.
    leaf : str
        Id of the serializer that stores the objects out of band, in place of fields.
    is_class : bool
        Whether it is one of the user's classes, which have their own names.
    """

    name: str
    fields: Callable[[Any], Iterable[Any]]
    make: Callable[..., Any]
    has_identity: bool = False
    children: Callable[[Any], Iterable[Any]] | None = None
    leaf: str = ""
    is_class: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """A field that is stored out of band and arrives as a memoryview of the object's memory."""

    frame: Frame


_by_class: dict[type, Codec] = {}
_added: list[Codec] = []
_classes: dict[str, tuple[type, Codec]] = {}


def add_codec(cls: type, codec: Codec) -> None:
    """Add a class of payloadfs itself to the vocabulary."""
    _by_class[cls] = codec
    _added.append(codec)
    makers.cache_clear()


def add_class(cls: type, codec: Codec) -> None:
    """Add a user's class under the name in `codec`."""
    _by_class[cls] = codec
    _classes[codec.name] = cls, codec


def class_codec(name: str) -> tuple[type, Codec] | None:
    """Return the class that is registered under `name`, with its codec, or None."""
    return _classes.get(name)


def find_codec(cls: type) -> Codec | None:
    """Return the codec of objects of exact class `cls`, or None. Imports no library."""
    codec = _by_class.get(cls) or _find_codec(cls)
    if codec is not None:
        _by_class[cls] = codec
    return codec


def _find_codec(cls: type) -> Codec | None:
    from . import standard

    name = class_name(cls)
    full_name = f"{cls.__module__}.{cls.__qualname__}"
    # A name can be claimed by any class.
    if name in standard.CODECS and (loaded_class(full_name) is cls or cls in standard.UNNAMED):
        return standard.CODECS[name]
    package = full_name.partition(".")[0]
    if package == "pytz":
        return standard.ZONE
    if package in _LIBRARIES:
        from .libraries import library_codec

        return library_codec(cls)
    return None


@functools.cache
def makers() -> Mapping[str, Callable[..., Any]]:
    """Return the function that makes an object from the fields of a value, for each name of the vocabulary."""
    from . import libraries, standard

    return {codec.name: codec.make for codec in [*standard.CODECS.values(), *libraries.CODECS, *_added]}


def without_attributes(obj: Any) -> Any:
    """Return `obj`. Raise `NotExactError` if attributes were set on it."""
    if getattr(obj, "__dict__", None):
        raise NotExactError
    return obj


def expect(value: Any, *classes: type) -> Any:
    """Return `value`. Raise `TypeError` if its class is not one of `classes`."""
    if type(value) not in classes:
        raise TypeError(f"unexpected {type(value).__name__}")
    return value


def flatten(mapping: Any) -> list[Any]:
    """Return the keys and values of a dict, one after the other."""
    return [part for pair in mapping.items() for part in pair]
