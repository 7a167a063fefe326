"""A payload for the state of works in the real Lightning App framework (``lightning_app``).

A program needs only its import line changed: ``import payloadfs.integrations.lightning_app as lapp``
instead of ``import lightning_app as lapp``. ``lapp.storage.Payload`` is then the class below, and
every other name is the framework's.

The framework copies state by calling the class of each value, calls that class on old values to
detect changes, and reads every property of a value that is not a mapping, in every process and
many times a second. So the value in state is a mapping that does nothing by itself
(`StatePayload`), and programs create it through another class (`Payload`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from ..errors import PointerError
from ..payload import Payload as _BasePayload
from ..pointer import Pointer, content_fields, expected_fields
from ..repository import Repository

__all__ = ["Payload", "StatePayload", "storage"]

T = TypeVar("T")


class Payload(dict[str, Any], Generic[T]):
    """A payload: calling the class stores an object and returns the `StatePayload` that represents it in state.

    Use this class to create payloads, in annotations and in `isinstance`.

    Parameters
    ----------
    value : object
        The object to pass; it is saved immediately.
    repository : Repository, optional
        Where to store it. Default: the repository of the current settings.
    prefix : str, optional
        First part of the object's key, to find or delete the objects of a run together.

    Returns
    -------
    StatePayload

    Raises
    ------
    EncodeError
        The object cannot be stored exactly. Nothing was written.
    StoreError
        The store failed. No object is visible.

    Notes
    -----
    Cost: as for `Repository.save`. Reading `pointer` or the mapping does no I/O.

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
        """Store `value`, as the class describes."""
        return StatePayload(_BasePayload(value, repository=repository, prefix=prefix).to_dict())

    def __init__(self, *args: Any, **options: Any) -> None:
        # `__new__` has filled the dict; dict.__init__ would read the value as pairs.
        pass

    def __init_subclass__(cls, **options: Any) -> None:
        if cls.__module__ != __name__:
            raise TypeError(
                "Payload cannot be subclassed: to define how a class is stored, use payloadfs.register_serializer."
            )
        super().__init_subclass__(**options)

    @classmethod
    def from_pointer(cls, pointer: Pointer) -> StatePayload[Any]:
        """Return a payload for `pointer`. No I/O."""
        return StatePayload(pointer.to_dict())

    @property
    def pointer(self) -> Pointer:
        """The pointer. No I/O.

        Raises
        ------
        PointerError
            The mapping was changed and is not a pointer any more.
        """
        return Pointer.from_dict(self)

    @property
    def value(self) -> T:
        """An independent copy of the object, loaded on each access; its arrays are writable.

        Errors and cost are those of `Repository.load`, with the current settings.
        """
        value: T = _BasePayload.from_dict(self).value
        return value

    def view(self) -> T:
        """Return the object with read-only arrays, as `payloadfs.Payload.view` does."""
        value: T = _BasePayload.from_dict(self).view()
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that say what the content is, by which the framework compares the arguments of calls.

        A work with ``cache_calls=True`` therefore runs again for new content, but not for the same
        content stored again. ``dict(payload)`` is the whole pointer as JSON values.
        """
        return content_fields(self)


class StatePayload(Payload[T]):
    """A payload as it appears in state: a mapping with the fields of its pointer, as JSON values.

    `Payload` returns it, and the framework copies it. Creating, copying, comparing and pickling one
    does no I/O.

    Parameters
    ----------
    fields : mapping
        Must have exactly the names of a pointer's fields. The values are checked when they are
        used: the framework also creates copies in which each string is None.

    Raises
    ------
    PointerError
        `fields` is not such a mapping.
    """

    __slots__ = ()

    def __new__(cls, fields: Mapping[str, Any]) -> StatePayload[T]:
        """Copy the pointer in `fields`, as the class describes."""
        if not isinstance(fields, Mapping) or fields.keys() != expected_fields(fields).keys():
            raise PointerError(
                f"A {type(fields).__name__} is not a pointer: to store an object, call Payload(...), not StatePayload.",
                kind="pointer-format",
            )
        payload: StatePayload[T] = dict.__new__(cls)
        payload.update(fields)
        return payload

    def __reduce__(self) -> tuple[Any, ...]:
        return StatePayload, (dict(self),)


class _Storage:
    """``lightning_app.storage`` with another Payload."""

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
        # An AttributeError, because tools call hasattr() on any module.
        raise AttributeError(
            f"{name} is part of lightning_app, which is not installed: pip install 'payloadfs[lightning]'."
        ) from error
