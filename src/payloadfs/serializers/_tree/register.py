"""The user's classes in the vocabulary: registered by a stable name, restored from their fields."""

from __future__ import annotations

import dataclasses
import enum
import functools
import operator
import re
from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..._typenames import class_name, loaded_class
from ...errors import ConfigError, DecodeError
from .._base import NotExactError
from .._pickle.classes import HEAP_TYPE, list_slots, read_slots
from .._restore import set_attributes
from .vocabulary import Codec, add_class, class_codec, expect, flatten

_T = TypeVar("_T", bound=type)
_NAME = re.compile(r"[A-Za-z_][\w.<>-]{0,199}")
_PYDANTIC_STATE = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


@overload
def register_class(cls: _T, *, name: str | None = None) -> _T: ...
@overload
def register_class(cls: None = None, *, name: str | None = None) -> Callable[[_T], _T]: ...
def register_class(cls: _T | None = None, *, name: str | None = None) -> _T | Callable[[_T], _T]:
    """Store objects of `cls` by their fields instead of pickling them. Also a decorator.

    Dataclasses, named tuples, attrs classes, msgspec Structs, pydantic models and enums can be
    registered. Their objects, even inside containers, then load under ``pickle="never"``, in every
    process that registered a class under the same name. Loading sets the fields without calling
    ``__init__`` or ``__post_init__``, and validates nothing.

    Parameters
    ----------
    cls : type
        The class. Subclasses are not registered with it.
    name : str, optional
        The name in stored objects, which must stay the same: ``"acme.Order"``. Default: module and
        class, which change if the class moves. A class of ``__main__`` needs a name.

    Returns
    -------
    type
        `cls`, or without `cls` a decorator.

    Raises
    ------
    ConfigError
        The class is of an unsupported kind, or the name is taken by another class. Nothing was registered.

    Notes
    -----
    An object with state beyond its fields (other attributes, a missing one) is pickled. Enum members
    are stored by name.

    Examples
    --------
    >>> import dataclasses, payloadfs
    >>> @payloadfs.register_class(name="acme.Order")
    ... @dataclasses.dataclass
    ... class Order:
    ...     number: int
    ...     price: float
    >>> with payloadfs.using("memory://demo"):
    ...     pointer = payloadfs.save([Order(1, 9.5)])
    ...     pointer.serializer, payloadfs.load(pointer)
    ('tree/1', [Order(number=1, price=9.5)])
    """
    if cls is None:
        return functools.partial(register_class, name=name)
    if not isinstance(cls, type):
        raise ConfigError(f"register_class takes a class, not {cls!r:.80}.", kind="class-kind")
    if name is None and cls.__module__ == "__main__":
        raise ConfigError(
            f"{cls.__qualname__} is in __main__, which is a different module in each program: give it a name, "
            f"register_class({cls.__qualname__}, name='...').",
            kind="class-name",
        )
    name = class_name(cls) if name is None else name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a valid class name; use for example 'acme.Order'.", kind="class-name")
    known = class_codec(name)
    # A class with the same module and name is this one, defined again: in a notebook, or in a reloaded module.
    if known is not None and (known[0].__module__, known[0].__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            f"The name {name!r} is already taken by {class_name(known[0])}; give {class_name(cls)} another one.",
            kind="class-name",
        )
    add_class(cls, _codec(cls, name))
    return cls


def find_class(name: Any) -> Callable[..., Any]:
    """Return the function that makes an object of the registered class `name` from its fields.

    Raise `DecodeError` if no class was registered under this name. Nothing was imported.
    """
    known = class_codec(expect(name, str))
    if known is None:
        raise DecodeError(
            f"The object contains {name!r}, but no class is registered under this name: import the module that "
            f"registers it, or call payloadfs.register_class(..., name={name!r}).",
            kind="unknown-class",
        )
    return known[1].make


def _codec(cls: Any, name: str) -> Codec:
    bases = cls.__mro__[:-1]
    if issubclass(cls, enum.Enum):
        fields, make = _enum_fields, functools.partial(_make_member, cls)
        return Codec(name, fields, make, is_class=True)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        others = [base for base in bases if base is not tuple]
        fields, make = _tuple_fields, functools.partial(_make_tuple, cls)
    elif issubclass(cls, loaded_class("msgspec.Struct")):
        others = []
        fields, make = _struct_fields, functools.partial(_make_struct, cls)
        if hasattr(cls, "__post_init__"):
            raise ConfigError(
                f"{class_name(cls)} has a __post_init__, and msgspec cannot create its objects without calling it.",
                kind="class-kind",
            )
    elif issubclass(cls, loaded_class("pydantic.BaseModel")):
        others = list(bases)
        fields, make = _model_fields, functools.partial(_make_model, cls)
    else:
        others = list(bases)
        names, slots = _field_names(cls), list_slots(cls.__mro__)
        fields, make = functools.partial(_fields, names, slots), functools.partial(_make_object, cls, names, slots)
    if not all(base.__flags__ & HEAP_TYPE for base in others):
        raise ConfigError(
            f"{class_name(cls)} inherits from a class that holds data other than fields, such as dict or Exception; "
            "its objects can only be pickled.",
            kind="class-kind",
        )
    return Codec(name, fields, make, has_identity=True, children=fields, is_class=True)


def _field_names(cls: Any) -> frozenset[str]:
    if dataclasses.is_dataclass(cls):
        return frozenset(field.name for field in dataclasses.fields(cls))
    if "__attrs_attrs__" in vars(cls):
        return frozenset(field.name for field in cls.__attrs_attrs__)
    raise ConfigError(
        f"{class_name(cls)} is not a dataclass, named tuple, attrs class, msgspec Struct, pydantic model or enum.",
        kind="class-kind",
    )


def _fields(names: frozenset[str], slots: tuple[str, ...], obj: Any) -> list[Any]:
    state = {**getattr(obj, "__dict__", {}), **read_slots(obj, slots)}
    if state.keys() != names:
        raise NotExactError
    return flatten(state)


def _state(names: frozenset[str], flat: tuple[Any, ...]) -> dict[str, Any]:
    state = dict(zip(flat[::2], flat[1::2], strict=True))
    if state.keys() != names or len(state) * 2 != len(flat):
        raise DecodeError(
            f"Its fields are {', '.join(map(str, state))}, but those of the registered class are "
            f"{', '.join(sorted(names))}.",
            kind="class-fields",
        )
    return state


def _make_object(cls: Any, names: frozenset[str], slots: tuple[str, ...], *flat: Any) -> Any:
    obj, state = object.__new__(cls), _state(names, flat)
    own_slots = {name: state.pop(name) for name in slots if name in state}
    # Not by assignment: a descriptor of the class might change the value again.
    set_attributes(obj, (None, state or None, own_slots))
    return obj


def _tuple_fields(obj: Any) -> list[Any]:
    if getattr(obj, "__dict__", None) or tuple.__len__(obj) != len(obj._fields):
        raise NotExactError
    return flatten(dict(zip(obj._fields, tuple.__iter__(obj), strict=True)))


def _make_tuple(cls: Any, *flat: Any) -> Any:
    state = _state(frozenset(cls._fields), flat)
    return tuple.__new__(cls, [state[name] for name in cls._fields])


def _struct_fields(obj: Any) -> list[Any]:
    names = type(obj).__struct_fields__
    if getattr(obj, "__dict__", None):
        raise NotExactError
    try:
        return flatten({name: getattr(obj, name) for name in names})
    except AttributeError as error:
        raise NotExactError from error


def _make_struct(cls: Any, *flat: Any) -> Any:
    from msgspec.structs import force_setattr

    state = _state(frozenset(cls.__struct_fields__), flat)
    obj = cls(**state)
    for name, value in state.items():
        if getattr(obj, name) is not value:
            force_setattr(obj, name, value)
    return obj


def _model_fields(obj: Any) -> list[Any]:
    state = [getattr(obj, name) for name in _PYDANTIC_STATE]
    attributes, fields_set, extra, private = state
    names = type(obj).__pydantic_fields__.keys()
    if attributes.keys() != names or type(fields_set) is not set or not fields_set <= {*names, *(extra or ())}:
        raise NotExactError
    if read_slots(obj, list_slots(type(obj).__mro__)).keys() - _PYDANTIC_STATE:
        raise NotExactError
    private = None if private is None else flatten(private)
    return [flatten(attributes), sorted(fields_set), None if extra is None else flatten(extra), private]


def _make_model(cls: Any, attributes: Any, fields_set: Any, extra: Any, private: Any) -> Any:
    names = frozenset(cls.__pydantic_fields__)
    state = _state(names, tuple(expect(attributes, list)))
    others = [None if flat is None else dict(zip(flat[::2], flat[1::2], strict=True)) for flat in (extra, private)]
    obj = cls.__new__(cls)
    values = [state, {expect(name, str) for name in expect(fields_set, list)}, *others]
    for name, value in zip(_PYDANTIC_STATE, values, strict=True):
        if getattr(obj, name, obj) is not value:  # some may be attributes of the class (RootModel)
            object.__setattr__(obj, name, value)
    return obj


def _enum_fields(obj: Any) -> list[Any]:
    cls = type(obj)
    if cls.__members__.get(obj._name_) is obj:
        return [obj._name_]
    names = [member._name_ for member in obj] if isinstance(obj, enum.Flag) else []
    if not names or _make_member(cls, *names) is not obj:
        raise NotExactError
    return names


def _make_member(cls: Any, *names: Any) -> Any:
    try:
        return functools.reduce(operator.or_, (cls.__members__[name] for name in names))
    except KeyError as error:
        raise DecodeError(f"{class_name(cls)} has no member {error}.", kind="class-fields") from error
