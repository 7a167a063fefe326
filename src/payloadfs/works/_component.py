"""What works and flows share: attributes that are state, declared in ``__init__`` and checked when assigned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..config import suggestion
from ..errors import ConfigError
from ..payload import Payload
from ..repository import Repository
from ._state import check, decode, encode, payloads_in

__all__ = ["Component", "reserve"]

_RESERVED = "{!r} has a meaning of its own in works and flows: choose another name."


class _Declaring(type):
    """After ``__init__`` no attribute may be added: a mistyped name must not become state."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        made = super().__call__(*arguments, **named)
        made._put(_is_declared=True)
        return made


class Component(metaclass=_Declaring):
    """Base of `Work` and `Flow`.

    Public attributes assigned in ``__init__`` are its state: JSON values, payloads, and lists and
    dicts of them. Names that begin with an underscore are private: neither saved nor passed back.
    In an app a payload is saved when it is assigned; outside of one, as any other, when it is needed.
    """

    _is_declared = False
    _name = "root"
    _prefix: str | None = None
    _kinds: tuple[type, ...] = ()
    _reserved: frozenset[str] = frozenset()
    _own: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Where it stands in its app: ``"root.src"``, or ``"root"`` outside of one."""
        return self._name

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        taken = cls._reserved.difference(("run", "stop")).union(cls._own)
        for name in taken.intersection(vars(cls)) if not cls.__module__.startswith("payloadfs.") else ():
            raise ConfigError(f"{cls.__qualname__}.{name}: {_RESERVED.format(name)}", kind="app")

    def _put(self, **facts: Any) -> None:
        """Set attributes of ours, past all checks."""
        vars(self).update(facts)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._own:
            raise AttributeError(_RESERVED.format(name))
        if name.startswith("_") or (
            isinstance(getattr(type(self), name, None), property) and name not in self._reserved
        ):
            object.__setattr__(self, name, value)
            return
        self._check_name(name)
        if _components(value):
            if self._is_declared:
                raise AttributeError(f"Works and flows are declared in __init__; {self.name}.{name} came later.")
            self._check_children(name, value)
        else:
            check(value, name)
            for payload in payloads_in(value):
                self._attached(name, payload)
                if self._prefix is not None:
                    Payload.save(payload, prefix=self._prefix)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"{name!r} is part of the state of {self.name} and can't be deleted; assign None.")
        object.__delattr__(self, name)

    def _check_name(self, name: str) -> None:
        if name in self._reserved:
            raise AttributeError(_RESERVED.format(name))
        if self._is_declared and name not in vars(self):
            known = [declared for declared in vars(self) if not declared.startswith("_")]
            raise AttributeError(
                f"{self.name} has no attribute {name!r}{suggestion(name, known, 0.6)}; "
                "declare it in __init__, for example with None, or begin its name with an underscore."
            )

    def _check_children(self, name: str, value: Any) -> None:
        found = _components(value)
        for child in found:
            if not isinstance(child, self._kinds):
                raise ConfigError(f"A {type(self).__name__} can't hold the {type(child).__name__} {name!r}.")
        if isinstance(value, (list, dict)) and len(found) != len(value):
            raise ConfigError(f"{name!r} holds works or flows and other things too; use two attributes.")

    def _attached(self, name: str, payload: Payload[Any]) -> None:
        """Told of each payload that is assigned to the attribute `name`, before it is saved."""

    def _received(self, payload: Payload[Any]) -> None:
        """Told of each payload that is about to be passed to this one."""

    def _values(self) -> dict[str, Any]:
        """Return the attributes that are state."""
        return {n: v for n, v in vars(self).items() if not n.startswith("_") and n != "run" and not _components(v)}

    def _encoded(self) -> dict[str, Any]:
        """Return the state as JSON; payloads put into lists and dicts meanwhile are saved now."""
        return {
            name: encode(value, f"{self.name}.{name}", prefix=self._prefix) for name, value in self._values().items()
        }

    def _restore(self, state: Mapping[str, Any], repository: Repository | None) -> None:
        """Take over `state`, as JSON. No I/O.

        Raises
        ------
        ConfigError
            The class declares no such attribute: the program is not the one that was saved.
        """
        declared = self._values()
        for name, value in state.items():
            if name not in declared:
                raise ConfigError(
                    f"The saved state of {self.name} has {name!r}, which {type(self).__name__} does not declare: "
                    "this is not the program that was saved.",
                    kind="other-program",
                )
            self._put(**{name: decode(value, repository)})

    def _children(self) -> Iterator[tuple[str, Component]]:
        """Yield the components right below this one and their names."""
        for name, value in vars(self).items():
            if name.startswith("_"):
                continue
            if isinstance(value, Component):
                yield f"{self.name}.{name}", value
            elif _components(value):
                self._check_children(name, value)
                pairs = value.items() if isinstance(value, dict) else enumerate(value)
                yield from ((f"{self.name}.{name}.{key}", child) for key, child in pairs)

    def _tree(self) -> Iterator[Component]:
        """Yield this component and all below it."""
        yield self
        for _, child in self._children() if self._kinds else ():
            yield from child._tree()


def _components(value: Any) -> list[Component]:
    """Return the components that `value` is or directly holds."""
    if isinstance(value, Component):
        return [value]
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in held if isinstance(item, Component)]


def reserve(cls: type[Component]) -> None:
    """Keep the names that `cls` has now, public and private, from its users' subclasses."""
    names = {name for name in dir(cls) if not name.startswith("__")}
    cls._own = frozenset(name for name in names if name.startswith("_"))
    cls._reserved = frozenset(names - cls._own)
