"""Reductions for classes whose inherited reduction does not fit them.

Pickle trusts what a class inherits. The reduction of a built-in class knows nothing of the attributes, constructor and
methods that a subclass adds: attributes are lost, a constructor is called with arguments that it does not take or
interprets differently, items go through an ``append`` that changes them. Here such objects are rebuilt by their
built-in base and then get their attributes, or are refused. Classes that define their own ``__reduce__`` or
``__getstate__`` decide for themselves, as does a package whose classes share one.

Each class is analyzed once per pickle. Objects of ordinary classes cost nothing.
"""

from __future__ import annotations

import contextlib
import copyreg
import datetime as dt
import functools
import inspect
import itertools
import pickle
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

from ..._typenames import class_name, top_package
from .. import _restore
from .._restore import DESCRIPTORS, descriptor
from .classes import (
    HEAP_TYPE,
    Reduction,
    find_reduction,
    is_python,
    is_standard,
    list_own_slots,
    list_slots,
    native_base,
    owner_of,
    read_slots,
    registered_reducer,
    standard_base,
    user_defines,
)

Reducer = Callable[[Any], Any]

_CONTAINERS: tuple[Any, ...] = (defaultdict, OrderedDict, dict, list, set, frozenset, deque, bytearray)
_CONTAINER_METHODS = (
    *("__new__", "__iter__", "__setitem__", "__setattr__", "__getattr__", "__getattribute__"),
    *("items", "keys", "append", "extend", "update", "add", "__ior__", "__reversed__", "__len__", "__buffer__"),
)
_VALUES = frozenset({int, float, complex, str, bytes, tuple})
_NEW_OBJECT = copyreg.__newobj__  # type: ignore[attr-defined]
_NEW_OBJECT_EX = copyreg.__newobj_ex__  # type: ignore[attr-defined]
_NOT_MEMBERS = (
    *("__dict__", "__traceback__", "__context__", "__cause__", "__suppress_context__", "message", "exceptions"),
)
"""Members of exceptions that are stored elsewhere, or not at all."""
_ADVICE = "add a __reduce__ or __getnewargs__ to its class"


def checker_for(cls: Any) -> Reducer | None:
    """Return a reducer for objects of `cls` that are not exact with plain pickle, or None if all are exact."""
    if issubclass(cls, type) or registered_reducer(cls) or (is_standard(cls) and cls is not Counter):
        return None
    if getattr(cls, "__setstate__", True) is None:
        return _refuse_state
    reduction = find_reduction(cls)
    if not reduction.standard:
        return _foreign(cls, reduction)
    native = native_base(cls)
    if native in _CONTAINERS:
        return _container(cls, reduction)
    if reduction.owner is not object:
        return _standard(cls, reduction)
    if native in _VALUES and user_defines(cls, "__new__"):
        own_args = user_defines(cls, "__getnewargs__", "__getnewargs_ex__")
        return _Checked() if own_args else functools.partial(_reduce_value, native)
    if is_python(cls.__new__) and user_defines(cls, "__new__"):
        return _Checked()
    if owner_of(cls, "__getstate__") is not object and not user_defines(cls, "__getstate__"):
        fields = getattr(cls, "__dataclass_fields__", ())  # what the __getstate__ of dataclasses hands over
        slots = tuple(name for name in list_own_slots(cls) if name not in fields)
        return functools.partial(_reduce_and_keep, slots=slots) if slots or cls.__dictoffset__ else None
    owner = owner_of(cls, "__getstate__")
    if owner is not object and (slots := list_slots(_find_others(cls, owner))):
        return functools.partial(_reduce_and_keep, slots=slots, keep=False)
    return reduce_directly if _is_set_directly(cls, native) else None


def _refuse_state(obj: Any) -> Any:
    """Return the reduction of `obj`. Raise `pickle.PicklingError` if it has a state, which its class does not accept."""
    reduced = obj.__reduce_ex__(5)
    if len(reduced) > 2 and reduced[2] is not None:
        raise pickle.PicklingError("its __setstate__ is None, so its state could not be restored")
    return reduced


def _container(cls: Any, reduction: Reduction) -> Reducer | None:
    base = next(base for base in _CONTAINERS if issubclass(cls, base))
    # The reductions of Counter and set hand all items to the constructor, where those without a hash yet cannot wait.
    forgets = base in (defaultdict, set) or issubclass(cls, Counter)
    calls_init = reduction.owner is not object and _has_constructor(cls)
    slots = list_own_slots(cls)
    keeps = slots and (reduction.owner is not object or _hides_slots(cls))
    if forgets or calls_init or keeps or user_defines(cls, *_CONTAINER_METHODS):
        return functools.partial(_reduce_container, base, slots)
    if issubclass(base, dict) and cls.__dictoffset__ and user_defines(cls, "__init__"):
        return functools.partial(_reduce_dict, base)
    return None


def _standard(cls: Any, reduction: Reduction) -> Reducer:
    """Return the reducer for a class that inherits a reduction of the standard library, in C or in Python."""
    if user_defines(cls, "__getinitargs__"):  # of tzinfo
        return _Checked()
    base = standard_base(cls, reduction.owner) if _has_constructor(cls) or user_defines(cls, "__str__") else None
    slots = () if user_defines(cls, "__getstate__") else list_own_slots(cls)
    return functools.partial(
        _reduce_and_keep, slots=slots, base=base, keep=not user_defines(cls, "__getstate__"), check_class=True
    )


def _has_constructor(cls: Any) -> bool:
    """Return whether a call of `cls` runs code of a user."""
    return user_defines(cls, "__init__", "__new__") or user_defines(type(cls), "__call__")


def _foreign(cls: Any, reduction: Reduction) -> Reducer | None:
    """Return the reducer for a class whose reduction is defined outside of the standard library."""
    owner, others = reduction.owner, _find_others(cls, reduction.owner)
    below = cls.__mro__[: cls.__mro__.index(owner)]
    reducers: list[Reducer] = []
    if any(owner_of(cls, name) in below for name in ("__init__", "__new__")):
        reducers.append(_Checked())
    decides = [owner, *others] if reduction.python else others
    if others and not any("__getstate__" in vars(base) for base in decides):
        has_own = not reduction.python or not owner.__dictoffset__
        adds = has_own and cls.__dictoffset__ and not any(b.__dictoffset__ for b in below if b not in others)
        slots = tuple(name for name in list_own_slots(cls) if owner_of(cls, name) in others)
        if adds or slots or not reduction.python:
            keep = functools.partial(_reduce_and_keep, slots=slots, keep=bool(adds), check_class=not reduction.python)
            reducers.append(keep)
    elif not others and not reduction.python and cls.__dictoffset__ and not user_defines(cls, "__getstate__"):
        reducers.append(functools.partial(_reduce_and_keep, slots=()))
    if reduction.python and issubclass(cls, (dt.datetime, dt.time)):
        reducers.append(_reduce_fold)
    return _chain(reducers) if reducers else None


def _find_others(cls: Any, owner: type) -> list[type]:
    """Return the bases of `cls` below `owner`, and `cls`, that are of another package and not of the standard library."""
    below, package = cls.__mro__[: cls.__mro__.index(owner)], top_package(owner)
    return [base for base in below if top_package(base) != package and not is_standard(base)]


def _chain(reducers: Sequence[Reducer]) -> Reducer:
    def reduce(obj: Any) -> Any:
        result: Any = NotImplemented
        for reducer in reducers:
            reduced = reducer(obj)
            result = result if reduced is NotImplemented else reduced
        return result

    return reduce


class _Checked:
    """Reducer that checks that the constructor of a class accepts what its reduction stores."""

    def __init__(self) -> None:
        self._signatures: dict[Any, inspect.Signature | None] = {}

    def __call__(self, obj: Any) -> Any:
        return self.check(obj.__reduce_ex__(5))

    def check(self, reduced: Any) -> Any:
        """Return `reduced`. Raise `pickle.PicklingError` if the constructor does not accept its arguments."""
        if isinstance(reduced, str):
            return reduced
        constructor, args, kwargs = reduced[0], reduced[1], {}
        if constructor is _NEW_OBJECT:
            constructor = args[0].__new__
        elif constructor is _NEW_OBJECT_EX:
            cls, args, kwargs = args
            constructor, args = cls.__new__, (cls, *args)
        elif not isinstance(constructor, type):
            return reduced
        try:
            signature = self._find_signature(constructor)
            if signature is not None:
                signature.bind(*args, **kwargs)
        except TypeError as error:
            raise pickle.PicklingError(f"it cannot be reconstructed ({error}); {_ADVICE}") from error
        return reduced

    def _find_signature(self, constructor: Any) -> inspect.Signature | None:
        if constructor not in self._signatures:
            try:
                # A decorator may take other arguments than the function that it wraps.
                self._signatures[constructor] = inspect.signature(constructor, follow_wrapped=False)
            except ValueError:  # a built-in without a signature
                self._signatures[constructor] = None
        return self._signatures[constructor]


def _reduce_value(native: Any, obj: Any) -> Any:
    """Return a reduction that creates a number, string or tuple without the ``__new__`` of its class."""
    reduced = obj.__reduce_ex__(5)
    args, cls = native.__getnewargs__(obj), type(obj)
    # A class that keeps one object for each value must find that object again.
    with contextlib.suppress(Exception):  # it takes other arguments, and is not called on loading
        if cls.__new__(cls, *args) is obj:
            return reduced
    return (_restore.by_base, (native, cls, *args), *reduced[2:])


def _reduce_and_keep(
    obj: Any, *, slots: Sequence[str], base: Any = None, keep: bool = True, check_class: bool = False
) -> Any:
    """Return the reduction of `obj` with the attributes that it omits, created by `base` if that is a class.

    Raise `pickle.PicklingError` if the reduction would create an object of another class.
    """
    reduced = obj.__reduce_ex__(5)
    if isinstance(reduced, str):
        return reduced
    cls, args = type(obj), reduced[1]
    if base is not None:
        if reduced[0] is _NEW_OBJECT:
            args = args[1:]
        if reduced[0] in (cls, _NEW_OBJECT):
            if user_defines(cls, "__str__") and args == (str(obj),):  # Fraction, addresses
                args = (base.__str__(obj),)
            reduced = (_restore.by_base, (base, cls, *args), *reduced[2:])
    if check_class and not _mentions(cls, reduced):
        name = class_name(cls)
        raise pickle.PicklingError(f"{name} inherits a __reduce__ that creates another class; define a __reduce__")
    return keep_attributes(obj, reduced, slots, keep=keep) if keep or slots else reduced


def _mentions(cls: type, reduced: Any) -> bool:
    found, parts = [reduced[0], getattr(reduced[0], "__self__", None)], [reduced[1], *reduced[2:3]]
    for _ in range(3):
        parts = [item for part in parts if type(part) in (tuple, list) for item in part]
        found += parts
    return any(part is cls for part in found)


def keep_attributes(obj: Any, reduced: Any, slots: Sequence[str] = (), *, keep: bool = True) -> Any:
    """Return `reduced` with those of `slots` and, with `keep`, attributes of `obj` that its state omits.

    Raise `pickle.PicklingError` if an attribute would be lost, and cannot be added.
    """
    namespace, own_slots = _attributes(obj) if keep else None, read_slots(obj, slots)
    if not namespace and not own_slots:
        return reduced
    state = reduced[2] if len(reduced) > 2 else None
    handed = _handed_over(state)
    missing = object()
    own = {**own_slots, **(namespace or {})}
    lost = [name for name in own if handed.get(name, missing) is not own[name]]
    if not lost:
        return reduced
    if len(reduced) > 5 and reduced[5] is not None:
        raise pickle.PicklingError(f"it would lose its attribute {lost[0]!r}; give it a __reduce__")
    if isinstance(state, dict) and not hasattr(obj, "__setstate__"):
        state, namespace = None, namespace if keep else state  # the attributes contain it
    items = (*reduced[3:5], None, None)[:2]
    return (*reduced[:2], (state, namespace, own_slots), *items, _restore.set_attributes)


def _attributes(obj: Any) -> dict[str, Any] | None:
    try:
        namespace = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        return None
    return namespace if isinstance(namespace, dict) else None


def _handed_over(state: Any) -> dict[str, Any]:
    parts = [state, *state] if isinstance(state, tuple) else [state]
    return dict(itertools.chain.from_iterable(part.items() for part in parts if type(part) is dict))


def _reduce_container(base: Any, slots: Sequence[str], obj: Any) -> Any:
    """Return a reduction that creates and fills a container by the methods of its built-in base."""
    cls = type(obj)
    plain, namespace, own_slots = _split_state(obj, slots)
    if base in (frozenset, bytearray):
        content = list(frozenset.__iter__(obj)) if base is frozenset else bytes(memoryview(obj))
        state = (plain, namespace, own_slots)
        return _restore.by_base, (base, cls, content), state, None, None, _restore.set_attributes
    args: tuple[Any, ...] = ()
    if base is deque:
        args = ((), deque.maxlen.__get__(obj))
    elif base is defaultdict:
        args = (vars(base)["default_factory"].__get__(obj),)
    if issubclass(base, dict):
        items_of = OrderedDict.items if base is OrderedDict else dict.items
        items = list(itertools.chain.from_iterable(items_of(obj)))
    else:
        items = list(base.__iter__(obj))
    # Whatever refers to the container finds it in the memo, because the items are part of its state.
    return _restore.by_base, (base, cls, *args), (plain, namespace, own_slots, items), None, None, _restore.fill


def _reduce_dict(base: Any, obj: Any) -> Any:
    """Return the reduction of a dict, which may be its own ``__dict__``."""
    return _reduce_container(base, (), obj) if _attributes(obj) is obj else obj.__reduce_ex__(5)


def _split_state(obj: Any, slots: Sequence[str]) -> tuple[Any, dict[str, Any] | None, dict[str, Any]]:
    """Return the state for ``__setstate__``, the ``__dict__``, and the slots of `obj`."""
    if hasattr(type(obj), "__setstate__"):
        return obj.__getstate__(), None, {}
    if not user_defines(type(obj), "__getstate__"):
        return None, _attributes(obj), read_slots(obj, slots)
    return (None, *_split(obj.__getstate__()))


def _split(state: Any) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the ``__dict__`` and the slots in a state of the form that pickle itself applies."""
    namespace, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if not isinstance(namespace, (dict, type(None))) or not isinstance(slots, (dict, type(None))):
        raise pickle.PicklingError("its __getstate__ returns a state that only a __setstate__ can set; define one")
    return namespace, slots or {}


def _is_set_directly(cls: Any, native: Any) -> bool:
    """Return whether pickle would fail to set the attributes of an object of `cls` that has none yet."""
    if hasattr(cls, "__setstate__"):
        return False
    if (user_defines(cls, "__setattr__") and list_own_slots(cls)) or _hides_slots(cls):
        return True
    if not (is_python(getattr(cls, "__getattr__", None)) or user_defines(cls, "__getattribute__")):
        return False
    with contextlib.suppress(Exception):  # pickle creates it with arguments
        empty = native.__new__(cls)
        try:
            getattr(empty, "__setstate__", None)
        except Exception:  # noqa: BLE001  any failure is the answer
            return True
    return False


def _hides_slots(cls: Any) -> bool:
    """Return whether an attribute of a class hides a slot of its base."""
    slots = list_own_slots(cls)
    return any(not isinstance(vars(owner_of(cls, name))[name], types.MemberDescriptorType) for name in slots)


def reduce_directly(obj: Any) -> Any:
    """Return a reduction whose state is set without calling ``__getattr__`` or ``__setattr__``."""
    reduced = obj.__reduce_ex__(5)
    if len(reduced) < 3 or reduced[2] is None:
        return reduced
    items = (*reduced[3:5], None, None)[:2]
    state = (None, _attributes(obj), read_slots(obj, list_slots(type(obj).__mro__)))
    return (*reduced[:2], state, *items, _restore.set_attributes)


def _reduce_fold(obj: Any) -> Any:
    """Return a reduction that keeps ``fold``, which packages forget (pendulum does)."""
    if not obj.fold:
        return NotImplemented
    base: Any = dt.datetime if isinstance(obj, dt.datetime) else dt.time
    reduced = (_restore.by_base, (base, type(obj), *base.__reduce_ex__(obj, 5)[1]))
    return keep_attributes(obj, reduced, list_own_slots(type(obj)))


def reduce_error(obj: BaseException) -> Any:
    """Return a reduction of an exception that keeps its cause, and that calls no constructor of its class.

    An ``__init__`` of exceptions often takes arguments other than those in `args`.
    """
    cls: Any = type(obj)
    reduced: Any = obj.__reduce_ex__(5)
    if isinstance(reduced, str) or not find_reduction(cls).standard or len(reduced) > 3:
        return _Checked().check(reduced) if cls.__init__ or cls.__new__ else reduced
    state = reduced[2] if len(reduced) > 2 else None
    has_cause = obj.__cause__ is not None or obj.__suppress_context__
    if reduced[0] is not cls or user_defines(cls, "__getstate__", "__setstate__"):
        if not has_cause:
            return reduced
        return (*reduced[:2], (state, obj.__cause__, obj.__suppress_context__), None, None, _restore.set_cause)
    base, args, members = _find_creator(obj, reduced[1])
    namespace = _attributes(obj) or {}
    members |= {name: value for name, value in (state or {}).items() if name not in namespace}
    merged = (namespace, {**members, **read_slots(obj, list_own_slots(cls))}, obj.__cause__, obj.__suppress_context__)
    return _restore.by_base, (base, cls, *args), merged, None, None, _restore.set_error


def _find_creator(obj: Any, args: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Return the class that creates an exception like `obj`, its arguments, and the members that it would not set.

    Members are attributes that are stored in C. Most can be set later, and few of them are in the reduction.
    """
    base = standard_base(type(obj), BaseException)
    if isinstance(obj, BaseExceptionGroup):
        args = [descriptor(BaseExceptionGroup, name).__get__(obj) for name in ("message", "exceptions")]
    for creator, arguments in ((base, args), (native_base(base), ()), (BaseException, ())):
        with contextlib.suppress(Exception):  # its `args` were replaced
            again = _read_members(_restore.by_base(creator, base, *arguments))
            own = _read_members(obj).items()
            return creator, arguments, {name: value for name, value in own if value is not again.get(name)}
    raise pickle.PicklingError(f"it cannot be reconstructed from its args; {_ADVICE}")


def _read_members(error: BaseException) -> dict[str, Any]:
    bases = [base for base in type(error).__mro__[:-1] if not base.__flags__ & HEAP_TYPE]
    names = {name for base in bases for name, value in vars(base).items() if isinstance(value, DESCRIPTORS)}
    # The object that has no such attribute may be anything.
    return read_slots(error, names.difference(_NOT_MEMBERS, ["obj"] if isinstance(error, AttributeError) else []))


def reduce_enum(obj: Any) -> Any:
    """Return a reduction of a member of an enum by its name, which works whatever its ``__new__`` takes."""
    cls = type(obj)
    if not find_reduction(cls).standard:
        return NotImplemented
    if cls._member_map_.get(obj._name_) is obj:
        return _restore.enum_member, (cls, obj._name_)
    return cls, (obj._value_,)  # several flags
