"""The payload: what users hold. A value on its way into the store, or a pointer to one."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from .default import default_repository
from .pointer import Pointer
from .repository import Repository

__all__ = ["Payload", "json_default"]

T = TypeVar("T")
_NOTHING: Any = object()
_after_fork = threading.Lock()


def _forked() -> None:
    global _after_fork
    _after_fork = threading.Lock()


os.register_at_fork(after_in_child=_forked)


class Payload(Generic[T]):
    """A Python object that travels as a small JSON pointer.

    Parameters
    ----------
    value : object
        What to pass on. It is stored once, at the first border it crosses (`save`, `pointer`,
        `to_json`, `to_dict`, pickling, copying, `value`), as it is at that moment; from then on
        the payload holds the pointer only.
    repository : Repository, optional
        Where to store it. Default: the repository of the settings in force at the first border.
    prefix : str, optional
        First part of the object's key, to find or drop a run's objects together.
    compression : {"none", "zstd", "lz4"}, optional
        Default: the repository's.

    Notes
    -----
    A payload may be used by many threads, and in a forked child. Two uses of one payload store
    one object.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     text = Payload({"answer": 42}).to_json()
    ...     Payload.from_json(text).value
    {'answer': 42}
    """

    __slots__ = ("__weakref__", "_compression", "_held", "_lock", "_pointer", "_prefix", "_repository")

    def __init__(
        self,
        value: T,
        *,
        repository: Repository | None = None,
        prefix: str | None = None,
        compression: str | None = None,
    ) -> None:
        self._held: T = value
        self._pointer: Pointer | None = None
        self._repository = repository
        self._prefix = prefix
        self._compression = compression
        self._lock = (os.getpid(), threading.Lock())

    @classmethod
    def from_pointer(cls, pointer: Pointer, *, repository: Repository | None = None) -> Payload[T]:
        """Return the payload that `pointer` stands for. No I/O."""
        # Not by the constructor of a subclass: it may take other arguments.
        payload = cls.__new__(cls)
        Payload.__init__(payload, _NOTHING, repository=repository)
        payload._pointer = pointer
        return payload

    @classmethod
    def from_json(cls, text: str | bytes, *, repository: Repository | None = None) -> Payload[Any]:
        """Return the payload that the JSON `text` stands for. No I/O; nothing is resolved.

        Parameters
        ----------
        text : str or bytes
            From `to_json`, or the same JSON object in another spelling.
        repository : Repository, optional
            With whose keys and policy it will be resolved. Default: the one in force then.

        Raises
        ------
        PointerError
            The text is not exactly one pointer.
        """
        return cls.from_pointer(Pointer.from_json(text), repository=repository)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], *, repository: Repository | None = None) -> Payload[Any]:
        """Return the payload that the JSON object `value` stands for. No I/O; nothing is resolved.

        Raises
        ------
        PointerError
            The object is not exactly one pointer.
        """
        return cls.from_pointer(Pointer.from_dict(value), repository=repository)

    @property
    def value(self) -> T:
        """An independent copy of the object, new with each use; its arrays can be written to.

        Raises and costs as `Repository.load` says; on first use also as `save`.
        """
        value: T = self._from_stored(self._in_force().load(self.pointer))
        return value

    def view(self) -> T:
        """Return the object with read-only arrays, for readers that must not write by mistake.

        What knows no such lock stays as it is: lists and dicts, text columns of pandas, torch
        tensors. Changing these changes nothing but this one copy.
        """
        value: T = self._from_stored(self._in_force().load(self.pointer, view=True))
        return value

    @property
    def pointer(self) -> Pointer:
        """The pointer; saves first, once, if that was not done."""
        return Payload.save(self)

    @property
    def is_saved(self) -> bool:
        """Whether the object is in the store already."""
        return self._pointer is not None

    def save(self, *, prefix: str | None = None) -> Pointer:
        """Store the object if that was not done, and return the pointer.

        Parameters
        ----------
        prefix : str, optional
            First part of the object's key, where the payload was not given one.

        Raises
        ------
        EncodeError
            The object can't be stored exactly. Nothing was written; the payload keeps the object.
        StoreError
            The store failed. Nothing is visible; the payload keeps the object, so try again.
        """
        if self._pointer is None:
            with self._saving():
                if self._pointer is None:
                    repository = self._in_force()
                    self._pointer = repository.save(
                        self._stored_form(), prefix=self._prefix or prefix, compression=self._compression
                    )
                    self._repository, self._held = repository, _NOTHING
        return self._pointer

    def to_json(self) -> str:
        """Return the pointer as compact JSON, ASCII, under 400 bytes for roots of usual length."""
        return self.pointer.to_json()

    def to_dict(self) -> dict[str, str | int]:
        """Return the pointer as a dict of plain JSON values."""
        return self.pointer.to_dict()

    def _stored_form(self) -> Any:
        """Return what is stored for the value; a subclass with a form of its own overrides both of these."""
        return self._held

    def _from_stored(self, stored: Any) -> Any:
        return stored

    def _in_force(self) -> Repository:
        return self._repository or default_repository()

    def _saving(self) -> threading.Lock:
        with _after_fork:
            pid, lock = self._lock
            if pid != os.getpid():
                # A fork copies locks as they are: one held by another thread would never be freed.
                lock = threading.Lock()
                self._lock = (os.getpid(), lock)
        return lock

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)

    def __copy__(self) -> Payload[T]:
        return type(self).from_pointer(self.pointer, repository=self._repository)

    def __deepcopy__(self, memo: dict[int, Any]) -> Payload[T]:
        return self.__copy__()

    def __repr__(self) -> str:
        pointer = self._pointer
        if pointer is None:
            return f"Payload({type(self._held).__name__}, not saved)"
        signed = "signed" if pointer.is_signed else "not signed"
        return f"Payload({pointer.type_name}, {pointer.size_bytes:,} bytes, {pointer.root}/{pointer.key}, {signed})"


def json_default(obj: Any) -> dict[str, str | int]:
    """Return a payload's pointer, for ``json.dumps(state, default=json_default)``. Saves first, once.

    Raises
    ------
    TypeError
        `obj` is no payload, just as `json` says it.

    Examples
    --------
    >>> import json, payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     state = json.dumps({"frame": Payload([1, 2])}, default=json_default)
    >>> Pointer.from_dict(json.loads(state)["frame"]).type_name
    'list'
    """
    if isinstance(obj, Payload):
        return obj.to_dict()
    raise TypeError(f"Object of type {type(obj).__name__} is not JSON serializable; wrap it in Payload(...).")
