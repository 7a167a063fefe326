"""The payload: a value that is not stored yet, or a pointer to a stored one."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack

from ._batch import DEFAULT_CONCURRENCY
from ._html import table
from ._pydantic import PydanticField
from ._settings import Compression, SaveOptions
from ._typenames import check_argument
from .errors import EncodeError
from .pointer import Pointer, as_pointer
from .repository import Repository, default_repository
from .serializers import Codec, add_codec

__all__ = ["Payload", "json_default", "load", "load_many", "save", "save_many"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")
_NOTHING: Any = object()


class Payload(PydanticField, Generic[T]):
    """A Python object that travels as a small JSON pointer.

    Parameters
    ----------
    value : object
        The object to pass on. It is stored once, on the first use of `save`, `pointer`, `to_json`,
        `to_dict`, `value`, `view`, `preview`, `hash`, pickling or copying, as it is at that moment.
        From then on the payload holds only the pointer.
    repository : Repository, optional
        Where to store it. Default: the repository of the settings then in force.
    prefix : str, optional
        First part of the object's key; see `Repository.save`.
    compression : {"none", "zstd", "lz4"}, optional
        Default: the repository's.
    context : str, optional
        What the object is for; a reader must pass it again. See `Repository.save`.
    expires : int, str or datetime.timedelta, optional
        For how long the object can be loaded, such as ``"7d"``. Default: the repository's setting.

    Raises
    ------
    EncodeError
        `value` is already a payload or a pointer.

    Notes
    -----
    Many threads and forked children may use the same payload; it stores one object. Two payloads are
    equal if their pointers have the same root, key, serializer and digest. A payload that is not saved
    equals only itself.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     text = Payload({"answer": 42}).to_json()
    ...     Payload.from_json(text).value
    {'answer': 42}
    """

    __slots__ = ("__weakref__", "_held", "_locks", "_options", "_pointer", "_repository")

    def __init__(
        self,
        value: T,
        *,
        repository: Repository | None = None,
        prefix: str | None = None,
        compression: Compression | None = None,
        context: str | None = None,
        expires: int | str | datetime.timedelta | None = None,
    ) -> None:
        if isinstance(value, Payload | Pointer):
            use = "use it as it is" if isinstance(value, Payload) else "use Payload.from_pointer(pointer)"
            raise EncodeError(f"Payload() takes an object, not a {type(value).__name__}: {use}.", kind="nested")
        check_argument("repository", repository, Repository)
        self._held: T = value
        self._pointer: Pointer | None = None
        self._repository = repository
        self._options = SaveOptions(prefix=prefix, compression=compression, context=context, expires=expires)
        # One for each process: a fork copies locks as they are, and nothing in the child would release a held one.
        self._locks: dict[int, threading.Lock] = {}

    @classmethod
    def from_pointer(
        cls, pointer: Pointer, *, repository: Repository | None = None, context: str | None = None
    ) -> Self:
        """Return the payload of `pointer`, or raise `PointerError` if it is not one. No I/O; nothing is resolved."""
        # Without the constructor of a subclass, which may take other arguments.
        payload = cls.__new__(cls)
        Payload.__init__(payload, _NOTHING, repository=repository, context=context)
        payload._pointer = as_pointer(pointer)
        return payload

    @classmethod
    def from_json(cls, text: str | bytes, *, repository: Repository | None = None, context: str | None = None) -> Self:
        """Return the payload of the pointer in the JSON `text`. No I/O; nothing is resolved.

        Parameters
        ----------
        text : str or bytes
            From `to_json`, or the same JSON object formatted differently.
        repository : Repository, optional
            Resolves it, with its keys and policy. Default: the one then in force.
        context : str, optional
            What the object must have been saved for.

        Raises
        ------
        PointerError
            `text` is not exactly one pointer.
        """
        return cls.from_pointer(Pointer.from_json(text), repository=repository, context=context)

    @classmethod
    def from_dict(
        cls, value: Mapping[str, Any], *, repository: Repository | None = None, context: str | None = None
    ) -> Self:
        """Return the payload of the pointer in the JSON object `value`, as `from_json` does.

        Raises
        ------
        PointerError
            `value` is not exactly one pointer.
        """
        return cls.from_pointer(Pointer.from_dict(value), repository=repository, context=context)

    @property
    def value(self) -> T:
        """An independent copy of the object, a new one with each use; its arrays are writable.

        Errors and cost are those of `Repository.load`, and on first use also those of `save`.
        """
        return self._load(view=False)

    def view(self) -> T:
        """Return a copy of the object with read-only arrays, for readers that must not write by mistake.

        What cannot be locked stays writable: lists and dicts, string columns of pandas, torch
        tensors. Changes to them affect only this copy.
        """
        return self._load(view=True)

    def _load(self, *, view: bool) -> T:
        stored = self._in_force().load(self.pointer, view=view, context=self._options.get("context"))
        value: T = self._from_stored(stored)
        return value

    @property
    def pointer(self) -> Pointer:
        """The pointer. The first use saves the object."""
        return Payload.save(self)

    @property
    def is_saved(self) -> bool:
        """Whether the object was saved."""
        return self._pointer is not None

    def save(self, *, prefix: str | None = None) -> Pointer:
        """Store the object, unless it was saved already, and return the pointer.

        Parameters
        ----------
        prefix : str, optional
            First part of the object's key, if the payload has no prefix.

        Raises
        ------
        EncodeError
            The object cannot be stored exactly. Nothing was written; the payload keeps the object.
        StoreError
            The store failed. Nothing is visible; the payload keeps the object, so saving can be tried again.
        """
        if self._pointer is None:
            with self._locks.setdefault(os.getpid(), threading.Lock()):
                if self._pointer is None:
                    repository = self._in_force()
                    options = self._options.copy()
                    if options.get("prefix") is None:
                        options["prefix"] = prefix
                    self._pointer = repository.save(self._stored_form(), **options)
                    self._repository, self._held = repository, _NOTHING
        return self._pointer

    def preview(self, rows: int = 5) -> Any:
        """Return the first rows or items of the object, for display. Cost: that of `view`.

        An object without rows or items is returned as a whole.
        """
        value: Any = self.view()
        if hasattr(value, "head"):
            return value.head(rows)
        return value[:rows] if isinstance(value, str | bytes | list | tuple) or hasattr(value, "shape") else value

    def to_json(self) -> str:
        """Return the pointer as compact JSON, ASCII, under 400 bytes for roots of usual length."""
        return self.pointer.to_json()

    def to_dict(self) -> dict[str, str | int]:
        """Return the pointer as a dict of plain JSON values."""
        return self.pointer.to_dict()

    def _stored_form(self) -> Any:
        """Return what is stored for the value. A subclass that stores another form overrides this and `_from_stored`."""
        return self._held

    def _from_stored(self, stored: Any) -> Any:
        return stored

    def _in_force(self) -> Repository:
        return self._repository or default_repository()

    def serialize(self) -> dict[str, str | int]:
        """Return the pointer, for Airflow, whose XComs call it."""
        return self.to_dict()

    @staticmethod
    def deserialize(data: dict[str, Any], version: int) -> Payload[Any]:  # noqa: ARG004
        """Return the payload of the pointer `data`, for Airflow. Nothing is resolved."""
        return Payload.from_dict(data)

    def __dask_tokenize__(self) -> tuple[str, str]:
        # Equal content is one cache key, wherever it is stored.
        return "payloadfs", self.pointer.content_key

    def _repr_html_(self) -> str:
        if self._pointer is None:
            return table("Payload", {"type": type(self._held).__name__, "saved": "no"})
        return table("Payload", self._pointer.facts())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Payload):
            return NotImplemented
        return self is other or (self._pointer is not None and self._pointer == other._pointer)

    def __hash__(self) -> int:
        return hash(self.pointer)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)

    def __copy__(self) -> Self:
        return type(self).from_pointer(self.pointer, repository=self._repository, context=self._options.get("context"))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __repr__(self) -> str:
        pointer = self._pointer
        if pointer is None:
            return f"Payload({type(self._held).__name__}, not saved)"
        return repr(pointer).replace("Pointer", "Payload", 1)


# A payload inside another object is stored as its pointer; it is saved first.
add_codec(Payload, Codec("Payload", lambda obj: [obj.to_dict()], Payload.from_dict, has_identity=True))


def json_default(obj: Any) -> dict[str, str | int]:
    """Return the pointer of a payload, for ``json.dumps(state, default=json_default)``. A payload is saved first.

    Raises
    ------
    TypeError
        `obj` is neither a payload nor a pointer; the message is that of `json`.

    Examples
    --------
    >>> import json, payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     state = json.dumps({"frame": Payload([1, 2])}, default=json_default)
    >>> Pointer.from_dict(json.loads(state)["frame"]).type_name
    'list'
    """
    if isinstance(obj, Payload | Pointer):
        return obj.to_dict()
    raise TypeError(f"Object of type {type(obj).__name__} is not JSON serializable; wrap it in Payload(...).")


def save(obj: Any, **options: Unpack[SaveOptions]) -> Pointer:
    """Store `obj` in the repository of the settings in force and return its pointer; see `Repository.save`."""
    return default_repository().save(obj, **options)


def load(pointer: Pointer | Payload[Any] | Any, *, view: bool = False, context: str | None = None) -> Any:
    """Return a copy of the object that `pointer` names, with the settings in force; see `Repository.load`."""
    return default_repository().load(pointer, view=view, context=context)


def save_many(
    objects: Iterable[Any], *, max_concurrency: int = DEFAULT_CONCURRENCY, **options: Unpack[SaveOptions]
) -> list[Pointer]:
    """Store each of `objects` in the repository of the settings in force; see `Repository.save_many`."""
    return default_repository().save_many(objects, max_concurrency=max_concurrency, **options)


def load_many(
    pointers: Iterable[Pointer | Payload[Any] | Any],
    *,
    view: bool = False,
    context: str | None = None,
    max_concurrency: int = DEFAULT_CONCURRENCY,
) -> list[Any]:
    """Return copies of the objects that `pointers` name, with the settings in force; see `Repository.load_many`."""
    return default_repository().load_many(pointers, view=view, context=context, max_concurrency=max_concurrency)
