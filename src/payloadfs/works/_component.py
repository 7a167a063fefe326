"""The common base of works and flows: attributes that are state, declared in ``__init__`` and checked when assigned."""

from __future__ import annotations

import functools
import importlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from .._typenames import suggestion
from ..errors import ConfigError
from ..payload import Payload
from ..repository import Repository
from ._state import check_state_value, decode, encode, payloads_in

_RESERVED = "{!r} is reserved in works and flows: choose another name."
_MAX_DEPTH = 10


class ActiveDriver(Protocol):
    """What components need from the driver whose pass is running."""

    now_s: float

    def call_new(self, component: Component, run: Callable[..., None], args: Any, kwargs: Any) -> None: ...

    def has_elapsed(self, timer: str, seconds: float) -> bool: ...

    def timer(self, timer: str) -> float: ...

    def wake_at(self, time_s: float) -> None: ...

    def restart_timer(self, timer: str) -> None: ...


active_driver: ContextVar[ActiveDriver | None] = ContextVar("payloadfs_driver", default=None)
"""The driver, while it runs the flow; None everywhere else."""

_classes: weakref.WeakValueDictionary[str, type[Component]] = weakref.WeakValueDictionary()


class _DeclaringMeta(type):
    """A metaclass that fixes the set of attributes after ``__init__``: a mistyped name must not become state."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        component = super().__call__(*args, **kwargs)
        component._set_internal(_is_declared=True, _created_with=(args, kwargs))
        return component


def _guarded(run: Callable[..., None]) -> Callable[..., None]:
    """Wrap `run` so that a flow cannot execute it in the driver by accident."""

    @functools.wraps(run)
    def guarded(self: Component, /, *args: Any, **kwargs: Any) -> None:
        return _run_or_call(run, self, args, kwargs)

    return guarded


def _run_or_call(run: Callable[..., None], component: Component, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    # Not part of `guarded`, which is pickled by value with its class.
    driver = active_driver.get()
    if driver is None or component._runs_in_driver:
        return run(component, *args, **kwargs)
    return driver.call_new(component, run, args, kwargs)


def find_class(name: str) -> type[Component]:
    """Return the class of works or flows named ``"module:qualified name"``.

    Raises
    ------
    ConfigError
        The program no longer defines it.
    """
    module, _, qualified_name = name.partition(":")
    try:
        found: Any = functools.reduce(getattr, qualified_name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        found = _classes.get(name)  # defined in a function
        if found is None:
            raise ConfigError(
                f"The run has works or flows of class {name}, which does not exist: the run was saved by a different "
                "program.",
                kind="other-program",
            ) from error
    return found  # type: ignore[no-any-return]


class Component(metaclass=_DeclaringMeta):
    """Base class of `Work` and `Flow`.

    Public attributes assigned in ``__init__`` are its state: JSON values, payloads, and lists and
    dicts of them. Attributes whose names begin with an underscore are private: they are not saved,
    and changes to them in another process are not sent back. In an app, a payload is saved when it
    is assigned to an attribute; outside an app, when its pointer is first needed.
    """

    _is_declared = False
    _name = "root"
    _prefix: str | None = None
    _created_with: tuple[tuple[Any, ...], dict[str, Any]] = (), {}
    _encoded_state: Mapping[str, tuple[Any, Any]] = {}
    _runs_in_driver = False
    _child_types: tuple[type, ...] = ()
    _reserved: frozenset[str] = frozenset()
    _internal: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The component's name in the app, such as ``"root.src"``; ``"root"`` outside an app."""
        return self._name

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        taken = cls._reserved.difference(("run", "stop")).union(cls._internal)
        for name in taken.intersection(vars(cls)) if not cls.__module__.startswith("payloadfs.") else ():
            raise ConfigError(f"{cls.__qualname__}.{name}: {_RESERVED.format(name)}", kind="app")
        if "run" in vars(cls):
            cls.run = _guarded(cls.run)  # type: ignore[attr-defined]
            _classes[f"{cls.__module__}:{cls.__qualname__}"] = cls

    def _set_internal(self, **attributes: Any) -> None:
        """Set internal attributes without checks."""
        vars(self).update(attributes)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._internal:
            raise AttributeError(_RESERVED.format(name))
        if name.startswith("_") or (
            isinstance(getattr(type(self), name, None), property) and name not in self._reserved
        ):
            if _contains_component(value, _MAX_DEPTH):
                raise ConfigError(
                    f"{type(self).__name__}.{name} contains a work or flow, which the app would not find: use an "
                    "attribute whose name does not begin with an underscore, or a list or dict in one.",
                    kind="app",
                )
            object.__setattr__(self, name, value)
            return
        self._check_name(name)
        if _components_in(value):
            if self._is_declared and active_driver.get() is None:
                raise AttributeError(
                    f"Cannot assign {self.name}.{name}: works and flows are created in __init__, or in the run of a flow."
                )
            self._check_children(name, value)
        else:
            check_state_value(value, name)
            has_payload = False
            for payload in payloads_in(value):
                has_payload = True
                self._on_assign(name, payload)
                if self._prefix is not None:
                    Payload.save(payload, prefix=self._prefix)
            object.__setattr__(self, name, value)
            if has_payload:
                self._on_saved()
            return
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"{name!r} is part of the state of {self.name} and cannot be deleted; assign None.")
        object.__delattr__(self, name)

    def _check_name(self, name: str) -> None:
        if name in self._reserved:
            raise AttributeError(_RESERVED.format(name))
        if self._is_declared and name not in vars(self):
            declared = [known for known in vars(self) if not known.startswith("_")]
            raise AttributeError(
                f"{self.name} has no attribute {name!r}{suggestion(name, declared, 0.6)}; "
                "declare it in __init__, for example with None, or begin its name with an underscore."
            )

    def _check_children(self, name: str, value: Any) -> None:
        children = _components_in(value)
        for child in children:
            if not isinstance(child, self._child_types):
                raise ConfigError(
                    f"A {type(self).__name__} cannot contain a {type(child).__name__} (attribute {name!r})."
                )
        if isinstance(value, (list, dict)) and len(children) != len(value):
            raise ConfigError(f"{name!r} mixes works or flows with other values; use two attributes.")

    def _constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with which a resumed run creates the component again."""
        return self._created_with

    def _on_assign(self, name: str, payload: Payload[Any]) -> None:
        """Do nothing; a subclass may act before `payload` is saved and assigned to the attribute `name`."""

    def _on_saved(self) -> None:
        """Do nothing; a subclass may act after a payload was assigned to an attribute."""

    def _on_receive(self, payload: Payload[Any]) -> None:
        """Do nothing; a subclass may act before `payload` is passed to it as an argument."""

    def _encode_state(self) -> dict[str, Any]:
        """Return the state as JSON. Saves payloads that were added to lists and dicts after assignment."""
        known, encoded = self._encoded_state, {}
        for name, value in state_attributes(self).items():
            before = known.get(name)
            # The encoding of an object that cannot change, or of a saved payload, is still valid.
            if before is not None and before[0] is value and type(value) not in (list, dict):
                encoded[name] = before
            else:
                encoded[name] = value, encode(value, f"{self.name}.{name}", prefix=self._prefix)
        self._set_internal(_encoded_state=encoded)
        return {name: value for name, (_, value) in encoded.items()}

    def _restore_state(self, state: Mapping[str, Any], repository: Repository | None) -> None:
        """Set the attributes to `state`, which is JSON. No I/O.

        Raises
        ------
        ConfigError
            The class does not declare an attribute: this is not the program that was saved.
        """
        declared = state_attributes(self)
        for name, value in state.items():
            if name not in declared:
                raise ConfigError(
                    f"The saved state of {self.name} has {name!r}, which {type(self).__name__} does not declare: "
                    "the run was saved by a different program.",
                    kind="other-program",
                )
            self._set_internal(**{name: decode(value, repository)})

    def _children(self) -> Iterator[tuple[str, Component]]:
        """Yield the name and component of each direct child."""
        return ((f"{self.name}.{name}", child) for name, child, _, _ in self._children_in_place())

    def _children_in_place(self) -> Iterator[tuple[str, Component, str, Any]]:
        """Yield the relative name, component, attribute and key (None if there is none) of each direct child."""
        for name, value in vars(self).items():
            if name[0] == "_" or type(value) in _PLAIN:
                continue
            if isinstance(value, Component):
                yield name, value, name, None
            elif _components_in(value):
                self._check_children(name, value)
                pairs = value.items() if isinstance(value, dict) else enumerate(value)
                yield from ((f"{name}.{key}", child, name, key) for key, child in pairs)


def walk(component: Component) -> Iterator[Component]:
    """Yield `component` and all components below it."""
    yield component
    for _, child in component._children() if component._child_types else ():
        yield from walk(child)


def tree(
    component: Component, name: str, place: tuple[Component, str, Any] | None
) -> Iterator[tuple[str, Component, tuple[Component, str, Any] | None]]:
    """Yield `component` and all components below it, each with its name and its parent, attribute and key."""
    yield name, component, place
    for child_name, child, attribute, key in component._children_in_place() if component._child_types else ():
        yield from tree(child, f"{name}.{child_name}", (component, attribute, key))


def state_attributes(component: Component) -> dict[str, Any]:
    """Return the names and values of the attributes of `component` that are state."""
    return {
        name: value
        for name, value in vars(component).items()
        if name[0] != "_" and name != "run" and (type(value) in _PLAIN or not _components_in(value))
    }


def reserve_names(cls: type[Component]) -> None:
    """Reserve the names that `cls` has now, public and private: users' subclasses must not define them."""
    names = {name for name in dir(cls) if not name.startswith("__")}
    cls._internal = frozenset(name for name in names if name.startswith("_"))
    cls._reserved = frozenset(names - cls._internal)


_PLAIN = (type(None), bool, int, float, str, Payload)


def _contains_component(value: Any, max_depth: int) -> bool:
    """Return whether `value` is or contains a component, including in containers and attributes of objects."""
    if isinstance(value, Component):
        return True
    if max_depth == 0 or type(value) in _PLAIN:
        return False
    if isinstance(value, (list, tuple, set, frozenset)):
        items: Any = value
    elif isinstance(value, dict):
        items = value.values()
    elif isinstance(value, functools.partial):
        items = (value.func, *value.args, *value.keywords.values(), getattr(value.func, "__self__", None))
    else:
        return isinstance(getattr(value, "__self__", None), Component)
    return any(_contains_component(item, max_depth - 1) for item in items)


def _components_in(value: Any) -> list[Component]:
    """Return the components that `value` is or directly contains."""
    if isinstance(value, Component):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, Component)]
