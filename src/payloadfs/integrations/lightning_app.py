"""A payload for the state of works of the real Lightning App framework (``lightning_app``).

A program needs only its import line changed: ``import payloadfs.integrations.lightning_app as lapp``
instead of ``import lightning_app as lapp``. ``lapp.storage.Payload`` is then the one below, and
every other name is the framework's own.

The framework copies state by calling the class of what it finds there, tries that class on old
values when it looks for changes, and reads each property of what is no mapping, in every process
and many times a second. So what lies in state is a mapping that does nothing by itself
(`StatePayload`), and an object is stored by another name (`Payload`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from ..errors import PointerError
from ..payload import Payload as _Payload
from ..pointer import REQUIRED_FIELDS, SIGNATURE_FIELDS, Pointer
from ..repository import Repository

__all__ = ["Payload", "StatePayload", "storage"]

T = TypeVar("T")


class Payload(dict[str, Any], Generic[T]):
    """Store an object and return the payload that stands for it in state, a `StatePayload`.

    Name this class to make payloads, in annotations and in `isinstance`.

    Parameters
    ----------
    value : object
        What to pass on, stored at once, as it is now.
    repository : Repository, optional
        Where to store it. Default: that of the settings in force.
    prefix : str, optional
        First part of the object's key, to find or drop a run's objects together.

    Returns
    -------
    StatePayload

    Raises
    ------
    EncodeError
        The object can't be stored exactly. Nothing was written.
    StoreError
        The store failed. Nothing is visible.

    Notes
    -----
    Cost: that of `Repository.save`. Reading `pointer` or the mapping does no I/O.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     payload = Payload({"answer": 42})
    ...     payload.value, isinstance(payload, Payload), payload["size"]
    ({'answer': 42}, True, 13)
    """

    __slots__ = ()

    def __new__(cls, value: T, *, repository: Repository | None = None, prefix: str | None = None) -> StatePayload[T]:
        """Store `value`; see the class."""
        return StatePayload(_Payload(value, repository=repository, prefix=prefix).to_dict())

    def __init__(self, *args: Any, **options: Any) -> None:
        # `__new__` has filled it. The dict's own would take the value for pairs.
        pass

    def __init_subclass__(cls, **options: Any) -> None:
        if cls.__module__ != __name__:
            raise TypeError(
                "Payload can't be subclassed: to store a class your way, use payloadfs.register_serializer."
            )
        super().__init_subclass__(**options)

    @classmethod
    def from_pointer(cls, pointer: Pointer) -> StatePayload[Any]:
        """Return the payload that `pointer` stands for. No I/O."""
        return StatePayload(pointer.to_dict())

    @property
    def pointer(self) -> Pointer:
        """The pointer. No I/O.

        Raises
        ------
        PointerError
            The mapping holds no pointer, since somebody changed it.
        """
        return Pointer.from_dict(self)

    @property
    def value(self) -> T:
        """An independent copy of the object, new with each use; its arrays can be written to.

        Raises and costs as `Repository.load` of the settings in force says.
        """
        value: T = _Payload.from_dict(self).value
        return value

    def view(self) -> T:
        """Return the object with read-only arrays, as `payloadfs.Payload.view` does."""
        value: T = _Payload.from_dict(self).view()
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return what tells contents apart, by which the framework knows calls: serializer and digest.

        A work with ``cache_calls=True`` so runs again for new content, and not for the same content
        stored again. The pointer as plain JSON values is ``dict(payload)``.
        """
        return {name: self[name] for name in ("serializer", "size", "digest")}


class StatePayload(Payload[T]):
    """A payload as it lies in state: a mapping that is the pointer, in plain JSON values.

    `Payload` returns it; the framework makes its copies. Making, copying, comparing and pickling
    one does no I/O.

    Parameters
    ----------
    fields : mapping
        With the names of a pointer's fields, all of them and no other. What they hold is checked
        when it is used: the framework also makes copies in which each text is None.

    Raises
    ------
    PointerError
        It is anything else.
    """

    __slots__ = ()

    def __new__(cls, fields: Mapping[str, Any]) -> StatePayload[T]:
        """Take over the pointer in `fields`; see the class."""
        if not isinstance(fields, Mapping) or fields.keys() - SIGNATURE_FIELDS != REQUIRED_FIELDS:
            raise PointerError(
                f"A {type(fields).__name__} is no pointer: to store an object, call Payload(...), not its class.",
                kind="pointer-format",
            )
        payload: StatePayload[T] = dict.__new__(cls)
        payload.update(fields)
        return payload

    def __reduce__(self) -> tuple[Any, ...]:
        return StatePayload, (dict(self),)


class _Storage:
    """``lightning_app.storage``, but for its payload."""

    Payload = Payload

    def __getattr__(self, name: str) -> Any:
        return getattr(_framework(f"storage.{name}").storage, name)


storage = _Storage()


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_framework(name), name)


def _framework(name: str) -> Any:
    try:
        return import_module("lightning_app")
    except ModuleNotFoundError as error:
        if error.name != "lightning_app":
            raise
        # So that hasattr(), which tools ask of any module, is no surprise.
        raise AttributeError(
            f"{name} is lightning_app's own, which is not installed: pip install 'payloadfs[lightning]'."
        ) from error
