"""The names of the framework that Payload comes from, over `payloadfs.works`.

A program for ``lightning_app`` that passes objects between works runs with its import line changed::

    import payloadfs.lightning as lapp

Start it with ``payloadfs run app.py``. What differs is written down in ``docs/how-to/leave-lightning.md``.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

from .errors import ConfigError
from .payload import Payload as _Stored
from .pointer import Pointer
from .repository import Repository
from .works import App, Flow, Work
from .works._state import known_as

__all__ = ["LightningApp", "LightningFlow", "LightningWork", "storage"]

T = TypeVar("T")


class Payload(_Stored[T]):
    """An object on its way from one work to another.

    It is stored when it is assigned to an attribute of a work, as it is at that moment, and
    ``value`` gives a copy of it wherever it arrives, in flows too.

    A subclass may override `save` and `load` to store the object in a form of its own. Its `load`
    is code that acts on stored bytes, so it needs what pickles need: a signed pointer, unless the
    policy says otherwise.

    Parameters
    ----------
    value : object
        What to pass on.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     Payload([1, 2]).value
    [1, 2]
    """

    _name: str | None = None
    _origin: str | None = None
    _consumer: str | None = None

    def __init__(self, value: T) -> None:
        super().__init__(value)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        known_as(cls)

    @property
    def name(self) -> str | None:
        """The attribute to which it was first assigned; None before that."""
        return self._name

    @property
    def origin_name(self) -> str | None:
        """The work that made it; None before it was assigned."""
        return self._origin

    @property
    def consumer_name(self) -> str | None:
        """The work that it was last given to; None before it was assigned."""
        return self._consumer

    def get(self) -> T:
        """Return the value: one name more for ``value``."""
        return self.value

    def exists_remote(self) -> bool:
        """Return whether the object is in the store. One request."""
        return self.is_saved and self._in_force().exists(self.pointer)

    def save(self, obj: Any, path: str) -> None:  # type: ignore[override]
        """Write `obj` to the file `path`; a subclass that has a form of its own overrides it, and `load`."""
        with open(path, "wb") as file:
            pickle.dump(obj, file)

    def load(self, path: str) -> Any:
        """Return the object in the file `path`, which `save` wrote."""
        with open(path, "rb") as file:
            return pickle.load(file)

    def _stored_form(self) -> Any:
        if not self._has_own_form():
            return self._held
        with tempfile.TemporaryDirectory(prefix="payloadfs-") as folder:
            path = os.path.join(folder, "value")
            self.save(self._held, path)
            with open(path, "rb") as file:
                return file.read()

    def _from_stored(self, stored: Any) -> Any:
        if not self._has_own_form():
            return stored
        self._in_force().policy.check(self.pointer, executable=True)
        with tempfile.TemporaryDirectory(prefix="payloadfs-") as folder:
            path = os.path.join(folder, "value")
            with open(path, "wb") as file:
                file.write(stored)
            return self.load(path)

    def _has_own_form(self) -> bool:
        own = [getattr(type(self), name) is not getattr(Payload, name) for name in ("save", "load")]
        if own == [True, False] or own == [False, True]:
            raise ConfigError(f"{type(self).__name__} overrides only one of save and load.", kind="payload-class")
        return all(own)

    def to_facts(self) -> dict[str, str]:
        """Return who made it and who has it, for the state."""
        facts = {"name": self._name, "origin": self._origin, "consumer": self._consumer}
        return {name: value for name, value in facts.items() if value is not None}

    @classmethod
    def from_facts(cls, pointer: Pointer, facts: Mapping[str, str], repository: Repository | None) -> Payload[T]:
        """Return the payload that `pointer` stands for, with what `to_facts` said of it. No I/O."""
        made = cls.from_pointer(pointer, repository=repository)
        assert isinstance(made, Payload)
        made._name, made._origin, made._consumer = facts.get("name"), facts.get("origin"), facts.get("consumer")
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _revived, (type(self), self.to_dict(), self.to_facts())

    def __copy__(self) -> Payload[T]:
        return type(self).from_facts(self.pointer, self.to_facts(), self._repository)


def _revived(cls: type[Payload[Any]], pointer: dict[str, Any], facts: dict[str, str]) -> Payload[Any]:
    return cls.from_facts(Pointer.from_dict(pointer), facts, None)


known_as(Payload)


class LightningWork(Work):
    """A `payloadfs.works.Work` that treats payloads as its namesake does.

    Parameters
    ----------
    parallel, cache_calls, raise_exception : bool
        As for `payloadfs.works.Work`.
    """

    def __init__(self, parallel: bool = False, cache_calls: bool = True, raise_exception: bool = True) -> None:
        super().__init__(parallel=parallel, cache_calls=cache_calls, raise_exception=raise_exception)

    def _attached(self, name: str, payload: _Stored[Any]) -> None:
        if not self._is_declared:
            raise AttributeError(
                f"{name!r} gets its Payload in run(): declare it in __init__ with {name} = None, and assign "
                "Payload(...) where the object is made."
            )
        if isinstance(payload, Payload):
            if payload._origin is None:
                payload._name, payload._origin = name, self.name
            payload._consumer = self.name

    def _received(self, payload: _Stored[Any]) -> None:
        if isinstance(payload, Payload):
            payload._consumer = self.name


class LightningFlow(Flow):
    """A `payloadfs.works.Flow` under its namesake's name."""


class LightningApp(App):
    """A `payloadfs.works.App` under its namesake's name; ``payloadfs run`` finds and runs it."""


_Payload = Payload


class storage:
    """Where a program looks for ``Payload``."""

    Payload: TypeAlias = _Payload
