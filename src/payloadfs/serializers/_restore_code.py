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


def new_class(
    meta: Any, name: str, bases: tuple[type, ...], namespace: dict[str, Any], tracker_id: str, members: Any = ()
) -> Any:
    """Return the class that is known under `tracker_id`, or a new one without attributes.

    `namespace` has what must be known when a class is created, such as ``__slots__``. Neither
    ``__init_subclass__`` of its bases nor ``__new__`` of its metaclass is called: both ran when the class was
    defined. Each of the `members` of an enum has a name, the class that creates it, and its arguments.
    """
    from cloudpickle import cloudpickle

    known = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    if known is not None:
        return known
    cls = _create(meta, name, bases, namespace)
    if members:
        created = {member: base.__new__(cls, *args) for member, base, args in members}
        for member, obj in created.items():  # its hash may be needed before its other attributes are set
            object.__getattribute__(obj, "__dict__")["_name_"] = member
        type.__setattr__(cls, "_member_map_", created)
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
    # Bases in C before it that are not notified stay first, because Python compares how they free their objects.
    index = next(index for index, base in enumerate(bases) if _is_notified(base))
    # Python compares the layout of the shield with that of the base after it, or of a parent of that.
    parent: Any = bases[index]
    while _is_notified(parent):
        parent = parent.__base__
    contents: list[dict[str, Any]] = [{"__slots__": ()}, {}]
    for base, content in itertools.product((object, parent), contents):
        shield = type("_Shield", (base,), {**content, "__init_subclass__": _Shield.__init_subclass__})
        try:
            cls: Any = type.__new__(type, name, (*bases[:index], shield, *bases[index:]), dict(namespace))
            cls.__bases__ = bases
        except TypeError:  # the layout of its objects would change
            continue
        return cls
    return type.__new__(type, name, bases, namespace)


def new_type_var(
    name: str, constraints: tuple[Any, ...], options: dict[str, Any], module: str | None, tracker_id: str
) -> Any:
    """Return the `typing.TypeVar` that is known under `tracker_id`, or a new one."""
    from cloudpickle import cloudpickle

    variable: Any = typing.TypeVar(name, *constraints, **options)  # type: ignore[misc]
    variable.__module__ = module
    return cloudpickle._lookup_class_or_track(tracker_id, variable)


def set_attribute(cls: Any, name: str, value: Any) -> None:
    """Set an attribute of a class. One that the running program defined stays as it is."""
    if cls not in _LOADED:
        return
    meta: Any = type(cls)
    # A descriptor would get the value in place of the class.
    has_descriptor = any(hasattr(vars(base).get(name), "__set__") for base in meta.__mro__[:-2])
    if has_descriptor:
        type.__setattr__(cls, "__class__", type("_Plain", (type,), {}))
    type.__setattr__(cls, name, value)
    if has_descriptor:
        type.__setattr__(cls, "__class__", meta)


def set_members(cls: Any, members: dict[str, Any]) -> None:
    """Set the attributes of the members of an enum. One that the running program defined stays as it is."""
    for name, attributes in members.items() if cls in _LOADED else ():
        set_attributes(cls._member_map_[name], attributes)


def set_class(cls: Any, state: tuple[list[None], list[type], list[Any]]) -> None:
    """Register other classes with an abstract class, and a class with abstract ones, after `set_attribute`."""
    _, registered, abstract = state if cls in _LOADED else ((), (), ())
    for other in registered:
        cls.register(other)
    for other in abstract:
        other.register(cls)
