"""Functions that stored pickles call to rebuild classes and functions that are stored by value.

As in `_restore`, their names and arguments are part of the format.
"""

from __future__ import annotations

import abc
import functools
import itertools
import types
import typing
import weakref
from typing import Any

from ._restore import set_attributes

_LOADED: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes that were created here. All others belong to the running program and are never changed."""


def empty_cell() -> types.CellType:
    """Return an empty cell. The functions that share it get the same one."""
    return types.CellType()


def set_cell(cell: types.CellType, content: tuple[Any]) -> None:
    """Set the content of a cell, which comes in a tuple."""
    cell.cell_contents = content[0]


def cached_function(function: Any, maxsize: int | None, typed: bool) -> Any:
    """Return `function` with an empty `functools.lru_cache`."""
    return functools.lru_cache(maxsize, typed)(function)


def new_class(meta: Any, name: str, bases: tuple[type, ...], namespace: dict[str, Any], tracker_id: str) -> Any:
    """Return the class that is known under `tracker_id`, or a new one without attributes.

    `namespace` has what must be known when a class is created, such as ``__slots__``. Neither
    ``__init_subclass__`` of its bases nor ``__new__`` of its metaclass is called: both ran when the
    class was defined, and the attributes that they set are part of its state.
    """
    from cloudpickle import cloudpickle

    known = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    if known is not None:
        return known
    cls = _create(meta, name, bases, namespace)
    _LOADED.add(cls)
    return cloudpickle._lookup_class_or_track(tracker_id, cls)


class _Shield:
    """Base that keeps ``__init_subclass__`` of later bases from being called."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass


def _create(meta: Any, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
    if not any(map(_is_notified, bases)):
        cls = type.__new__(meta, name, bases, namespace)
    elif meta is type:
        cls = _create_behind_shield(name, bases, namespace)
    else:
        # The class of `type` itself cannot be changed, but that of a class with another metaclass can.
        quiet: Any = type.__new__(type, "_Quiet", (meta,), {"mro": lambda cls: [cls, _Shield, *type.mro(cls)[1:]]})
        cls = type.__new__(quiet, name, bases, namespace)
        type.__setattr__(cls, "__class__", meta)
        type.__setattr__(cls, "__bases__", bases)  # computes the MRO again
    if issubclass(meta, abc.ABCMeta):
        abc._abc_init(cls)  # type: ignore[attr-defined]
    return cls


def _is_notified(cls: type) -> bool:
    return any("__init_subclass__" in vars(base) for base in cls.__mro__[:-1])


def _create_behind_shield(name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
    # Python compares the layout of the shield with that of the first base, or of a parent of that.
    parent: Any = bases[0]
    while _is_notified(parent):
        parent = parent.__base__
    contents: list[dict[str, Any]] = [{"__slots__": ()}, {}]
    for base, content in itertools.product((object, parent), contents):
        shield = type("_Shield", (base,), {**content, "__init_subclass__": _Shield.__init_subclass__})
        try:
            cls: Any = type.__new__(type, name, (shield, *bases), dict(namespace))
            cls.__bases__ = bases
        except TypeError:  # the layout of its objects would change
            continue
        return cls
    return type.__new__(type, name, bases, namespace)


def new_enum(
    meta: Any,
    name: str,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    tracker_id: str,
    members: list[tuple[str, Any, tuple[Any, ...]]],
) -> Any:
    """Return an enum as `new_class` does, with members without attributes.

    Each member has a name, the class that creates it, and its arguments. No ``__new__`` or
    ``__init__`` of the enum is called.
    """
    from cloudpickle import cloudpickle

    known = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    if known is not None:
        return known
    cls = _create(meta, name, bases, namespace)
    created = {member: base.__new__(cls, *args) for member, base, args in members}
    type.__setattr__(cls, "_member_map_", created)
    _LOADED.add(cls)
    return cloudpickle._lookup_class_or_track(tracker_id, cls)


def new_type_var(
    name: str, constraints: tuple[Any, ...], options: dict[str, Any], module: str | None, tracker_id: str
) -> Any:
    """Return the `typing.TypeVar` that is known under `tracker_id`, or a new one."""
    from cloudpickle import cloudpickle

    variable: Any = typing.TypeVar(name, *constraints, **options)  # type: ignore[misc]
    variable.__module__ = module
    return cloudpickle._lookup_class_or_track(tracker_id, variable)


def set_class(cls: Any, state: tuple[dict[str, Any], list[type], dict[str, Any]]) -> None:
    """Set the attributes of a class, the classes registered with an abstract one, and the attributes of members.

    A class that the running program defined stays as it is.
    """
    if cls not in _LOADED:
        return
    namespace, registered, members = state
    for name, attributes in members.items():
        set_attributes(cls._member_map_[name], attributes)
    meta: Any = type(cls)
    descriptors = (vars(base).get(name) for base in meta.__mro__[:-2] for name in namespace)
    has_descriptors = any(hasattr(value, "__set__") for value in descriptors)
    if has_descriptors:  # they would get the values in place of the class
        type.__setattr__(cls, "__class__", type("_Plain", (type,), {}))
    for name, value in namespace.items():
        type.__setattr__(cls, name, value)
    if has_descriptors:
        type.__setattr__(cls, "__class__", meta)
    if "__firstlineno__" in namespace:  # Python deletes it when an attribute is set
        type.__setattr__(cls, "__firstlineno__", namespace["__firstlineno__"])
    for other in registered:
        cls.register(other)
