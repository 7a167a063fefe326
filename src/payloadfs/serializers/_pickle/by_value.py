"""Pickler of functions and classes by value: cloudpickle's, with its inexact reductions replaced.

cloudpickle decides what is stored by value and stores functions. Classes, enums, cells and cached functions are
stored here: cloudpickle runs constructors of enums again, forgets slots and attributes that equal those of a base,
separates closures that share a variable, and overwrites classes of the running program on loading.
"""

from __future__ import annotations

import abc
import dis
import enum
import functools
import inspect
import itertools
import pickle
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

from ..._typenames import class_name
from .. import _restore_code
from .._restore import DESCRIPTORS
from .classes import find_reduction, is_standard, list_own_slots, native_base, owner_of, read_slots, user_defines
from .reconstructible import reduce_directly
from .reducers import reducer_for

_ADVICE = "move it to a module that can be imported"
_REBUILT = frozenset({"_abc_impl", "__annotate_func__", "__slotnames__"})
_ASSIGNED = ("__doc__", "__module__", "__abstractmethods__", "__annotations__", "__annotate__", "__type_params__")
_SET_FIRST = ("__new__", "__setstate__", "__eq__", "__hash__")
"""What objects of a class need while they are loaded; they may be in globals and attributes that its methods use."""
_ATOMS = (bool, int, float, str, bytes, types.NoneType)
_NAMESPACE_OF = type.__dict__["__dict__"].__get__
_SET_IN_TYPE = {name for name in dir(type) if hasattr(inspect.getattr_static(type, name), "__set__")} - {*_ASSIGNED}
"""Names whose assignment would change the class in another way, such as ``__name__`` and ``__class__``."""


class _Step(tuple[Any, ...]):  # a function and its arguments, which loading calls at this point
    __slots__ = ()


def refuse_self(reduce: Callable[[Any], Any], without: Any) -> Callable[[Any], Any]:
    """Return `reduce`, which then refuses the object `without`."""

    def guarded(obj: Any) -> Any:
        if obj is without and obj is not None:
            raise pickle.PicklingError("it contains itself")
        return reduce(obj)

    return guarded


@functools.cache
def pickler_by_value() -> Any:
    """Return cloudpickle's pickler class, extended by our reducers and by detection of compiled code."""
    # cloudpickle is only needed to save code and to load it.
    import cloudpickle

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        has_code = False
        without: Any = None

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._reducers: dict[type, Any] = {}
            self.classes: frozenset[type] = frozenset()

        def dump(self, obj: Any) -> Any:
            try:
                return super().dump(obj)
            finally:
                self.classes = frozenset(self._reducers)
                # They refer to this pickler, whose memo would keep all objects alive.
                self._reducers.clear()

        def reducer_override(self, obj: Any) -> Any:
            try:
                reduce = self._reducers[type(obj)]
            except KeyError:
                reduce = self._reducers[type(obj)] = self._find_reducer(type(obj))
            return reduce(obj)

        def _find_reducer(self, cls: type) -> Any:
            if issubclass(cls, (type, types.FunctionType)):
                return self._reduce_class if issubclass(cls, type) else self._reduce_function
            self.has_code |= cls is types.CodeType
            reduce = _reducer_for(cls, is_known=cls in self.dispatch_table)
            return refuse_self(reduce, self.without) if cls is type(self.without) else reduce

        def _reduce_class(self, cls: Any) -> Any:
            return _reduce_class(cls, super().reducer_override(cls))

        def _reduce_function(self, obj: Any) -> Any:
            return _reduce_function(obj, super().reducer_override(obj))

    return ByValue


def _reducer_for(cls: type, *, is_known: bool) -> Callable[[Any], Any]:
    reduce = _REDUCERS.get(cls) or reducer_for(cls)
    if reduce is None and not is_known:
        if find_reduction(cls).owner is not object:
            return _reduce_named  # its own reduction may be a name
        is_slotted = hasattr(cls, "__dataclass_fields__") and hasattr(cls, "__setstate__")
        if is_slotted and not user_defines(cls, "__getstate__", "__setstate__"):
            return reduce_directly  # defaults of fields, which its __setstate__ needs, may contain the object
    return reduce or (lambda _: NotImplemented)


def _reduce_function(obj: types.FunctionType, reduced: Any) -> Any:
    """Return `reduced`, cloudpickle's reduction of a function, with the cells themselves and the type parameters.

    Functions that share a variable still do after loading.
    """
    if not isinstance(reduced, tuple):
        return reduced
    create, args, (state, slots), *rest = reduced
    if obj.__closure__ is not None:
        args, slots = (*args[:-1], obj.__closure__), {**slots, "__closure__": None}
    if parameters := getattr(obj, "__type_params__", ()):  # since Python 3.12
        slots = {**slots, "__type_params__": parameters}
    if names := _list_class_globals(obj.__code__):
        found = {name: obj.__globals__[name] for name in names if name in obj.__globals__}
        slots = {**slots, "__globals__": {**slots["__globals__"], **found}}
    return create, args, (state, slots), *rest


def _list_class_globals(code: types.CodeType) -> list[str]:
    """Return the names of globals that the bodies of classes in `code` use, which cloudpickle does not search."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    own = () if code.co_flags & inspect.CO_OPTIMIZED else dis.get_instructions(code)
    names = [str(step.argval) for step in own if step.opname in ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")]
    return [*names, *itertools.chain.from_iterable(map(_list_class_globals, inner))]


def _reduce_class(cls: Any, reduced: Any) -> Any:
    """Return the reduction of a class that is stored by value; `reduced` is that of cloudpickle.

    Raise `pickle.PicklingError` if its metaclass keeps data outside the class, as metaclasses in C do.
    """
    if not isinstance(reduced, tuple) or len(reduced) < 3:
        return reduced  # by name
    from cloudpickle import cloudpickle

    meta: Any = type(cls)
    if meta.__basicsize__ != type.__basicsize__ or meta.__itemsize__ != type.__itemsize__:
        raise pickle.PicklingError(f"{class_name(meta)} keeps data outside the class {cls.__name__!r}; {_ADVICE}")
    tracker_id = next(arg for arg in reversed(reduced[1]) if isinstance(arg, str))
    if cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id) is not cls:
        raise pickle.PicklingError(f"another class compares equal to {cls.__name__!r}; {_ADVICE}")
    namespace = {
        name: value
        for name, value in vars(cls).items()
        if name not in _REBUILT and not (isinstance(value, DESCRIPTORS) and value.__objclass__ is cls)
    }
    at_creation = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    at_creation |= {name: namespace.pop(name) for name in _SET_IN_TYPE if name in namespace}
    if "_value2member_map_" in namespace:
        # Combinations of flags are created again when they are needed.
        known = cls._value2member_map_.items()
        namespace["_value2member_map_"] = {v: m for v, m in known if cls._member_map_.get(m._name_) is m}
    if "__slots__" in namespace:
        slots = namespace.pop("__slots__")
        if not isinstance(slots, (str, dict, tuple, list)):  # an iterator: the class has what it yielded
            slots = tuple(name for name, value in vars(cls).items() if isinstance(value, types.MemberDescriptorType))
        at_creation["__slots__"] = slots
    references = _registered(cls) if "_abc_impl" in vars(cls) else ()
    registered = [other for ref in references if (other := ref()) is not None]
    args = (meta, cls.__name__, cls.__bases__, at_creation, tracker_id)
    names = sorted(namespace, key=lambda name: _rank(name, namespace[name], meta))
    steps = [_Step((_restore_code.set_attribute, (cls, name, namespace[name]))) for name in names]
    state = (steps, registered, _find_abstract(cls))
    if not issubclass(cls, enum.Enum):
        return _restore_code.new_class, args, state, None, None, _restore_code.set_class
    members = {name: member for name, member in cls._member_map_.items() if member._name_ == name}
    created = [(name, native_base(cls), _native_args(cls, member)) for name, member in members.items()]
    slots = list_own_slots(cls)
    # The inverse of a flag is a cache, and may be a combination, which the class cannot create yet.
    attributes = {
        name: (None, {n: None if n == "_inverted_" else v for n, v in vars(member).items()}, read_slots(member, slots))
        for name, member in members.items()
    }
    steps.insert(sum(name in _SET_FIRST for name in names), _Step((_restore_code.set_members, (cls, attributes))))
    return _restore_code.new_class, (*args, created), state, None, None, _restore_code.set_class


def _find_abstract(cls: type) -> list[Any]:
    """Return the abstract classes of packages with which `cls` is registered."""
    abstract = (ref() for ref in _list_abstract(abc.get_cache_token()))
    found = [other for other in abstract if other is not None and weakref.ref(cls) in _registered(other)]
    return sorted(filter(_is_importable, found), key=class_name)


@functools.lru_cache(maxsize=1)
def _list_abstract(token: object) -> list[weakref.ref[Any]]:  # noqa: ARG001
    """Return the abstract classes with which classes are registered. `token` changes with each registration.

    All classes of the process are visited, so nothing here calls code of theirs or of their modules.
    """
    known: dict[int, Any] = {id(object): object}
    pending: list[Any] = [object]
    while pending:
        found = {id(cls): cls for cls in type.__subclasses__(pending.pop()) if id(cls) not in known}
        known |= found
        pending += found.values()
    return [weakref.ref(cls) for cls in known.values() if "_abc_impl" in _NAMESPACE_OF(cls) and _registered(cls)]


def _registered(cls: Any) -> Any:
    """Return weak references to the classes that are registered with an abstract class."""
    return abc._get_dump(cls)[0]  # type: ignore[attr-defined]


def _rank(name: str, value: Any, meta: type) -> int:
    """Return the rank of an attribute of a class in the order in which loading sets them.

    Objects of the class may be in attributes of it and in globals of its methods, and need methods to be loaded.
    """
    is_enum = issubclass(meta, enum.EnumMeta)
    if name == "__firstlineno__":  # Python deletes it when another attribute is set
        return 9
    if name == "__new__" and not is_enum:  # it may look for the object in an attribute that is not set yet
        return 8
    if name in _SET_FIRST:
        return _SET_FIRST.index(name)
    if isinstance(value, (types.FunctionType, staticmethod, classmethod, property)):
        return 5 if name.startswith("__") else 6
    is_internal = name.startswith("__") or (is_enum and name.startswith("_"))
    return 4 if is_internal or type(value) in _ATOMS else 7


def _native_args(cls: Any, member: Any) -> tuple[Any, ...]:
    native = native_base(cls)
    if native is object:
        return ()
    if hasattr(native, "__getnewargs__"):
        return tuple(native.__getnewargs__(member))
    reduced = native.__reduce_ex__(member, 5) if "__reduce_ex__" in vars(native) else native.__reduce__(member)
    return tuple(reduced[1])


def _reduce_named(obj: Any) -> Any:
    """Return the reduction of an object. Raise `pickle.PicklingError` if it is a name of ``__main__``."""
    reduced = obj.__reduce_ex__(5)
    if isinstance(reduced, str):
        module = pickle.whichmodule(obj, reduced)  # type: ignore[attr-defined]
        if module == "__main__":
            raise pickle.PicklingError(f"it would be stored as the name __main__.{reduced}; {_ADVICE}")
    return reduced


def _is_importable(obj: Any) -> bool:
    found = sys.modules.get(obj.__module__)
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj and obj.__module__ != "__main__"


def _reduce_cached_function(obj: Any) -> Any:
    if _is_importable(obj):
        return NotImplemented
    settings = obj.cache_parameters()
    return (
        _restore_code.cached_function,
        (obj.__wrapped__, settings["maxsize"], settings["typed"]),
        {name: value for name, value in vars(obj).items() if name not in ("__wrapped__", "cache_parameters")} or None,
    )


def _reduce_module(obj: types.ModuleType) -> Any:
    if obj.__name__ == "__main__":
        raise pickle.PicklingError(f"it would be stored as the name __main__; {_ADVICE}")
    return NotImplemented


def _reduce_new_type(obj: Any) -> Any:
    if _is_importable(obj):
        return NotImplemented
    return typing.NewType, (obj.__name__, obj.__supertype__), dict(vars(obj))


def _reduce_type_var(obj: Any) -> Any:
    from cloudpickle import cloudpickle

    create, args = cloudpickle._typevar_reduce(obj)
    if create is getattr:
        return create, args  # by name
    options = {
        name: getattr(obj, f"__{name}__")
        for name in ("bound", "covariant", "contravariant", "infer_variance", "default")
        if hasattr(obj, f"__{name}__")
    }
    args = (obj.__name__, obj.__constraints__, options, obj.__module__, args[-1])
    return _restore_code.new_type_var, args


def _reduce_cached_property(obj: Any) -> Any:
    # Its lock (before Python 3.12) is created again.
    state = {name: value for name, value in vars(obj).items() if name not in ("lock", "func")}
    return type(obj), (obj.func,), state


def _reduce_method(obj: types.MethodType) -> Any:
    """Return a reference to a class method that a class inherits from the standard library."""
    cls, name = obj.__self__, obj.__func__.__name__
    if isinstance(cls, type) and is_standard(owner_of(cls, name)) and getattr(cls, name, None) == obj:
        return getattr, (cls, name)
    return NotImplemented


def _reduce_cell(obj: types.CellType) -> Any:
    try:
        content = obj.cell_contents
    except ValueError:
        return _restore_code.empty_cell, ()
    # One tuple more, because pickle treats the state None as no state.
    return _restore_code.empty_cell, (), (content,), None, None, _restore_code.set_cell


_REDUCERS: dict[type, Callable[[Any], Any]] = {
    _Step: tuple,
    types.CellType: _reduce_cell,
    types.MethodType: _reduce_method,
    types.ModuleType: _reduce_module,
    functools.cached_property: _reduce_cached_property,
    typing.NewType: _reduce_new_type,
    typing.TypeVar: _reduce_type_var,
    functools._lru_cache_wrapper: _reduce_cached_function,
}
