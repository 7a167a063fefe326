"""The payload of Lightning App, under the name that its programs import: ``from payloadfs.lightning.storage import Payload``."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from ..errors import ConfigError
from ..payload import Payload as _BasePayload
from ..pointer import Pointer
from ..repository import Repository
from ..works._state import register_payload_class

__all__ = ["Payload"]

T = TypeVar("T")


class Payload(_BasePayload[T]):
    """An object that is passed from one work to another.

    It is saved when it is assigned to an attribute of a work, in its state at that moment.
    ``value`` returns a copy of it, in other works and in flows.

    A subclass may override `save` and `load` to store the object in another format. Its `load` is
    code that runs on stored bytes, so the policy treats it like a pickle: it needs a signed pointer
    unless the policy says otherwise.

    Parameters
    ----------
    value : object
        The object to pass.

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
        register_payload_class(cls)

    @property
    def name(self) -> str | None:
        """The attribute that it was first assigned to; None if it has not been assigned."""
        return self._name

    @property
    def origin_name(self) -> str | None:
        """The work that created it; None if it has not been assigned."""
        return self._origin

    @property
    def consumer_name(self) -> str | None:
        """The work that it was last passed to; None if it has not been assigned."""
        return self._consumer

    def get(self) -> T:
        """Return ``value``."""
        return self.value

    def exists_remote(self) -> bool:
        """Return whether the object is in the store. One request."""
        return self.is_saved and self._in_force().exists(self.pointer)

    def save(self, obj: Any, path: str) -> None:  # type: ignore[override]
        """Write `obj` to the file `path`. A subclass overrides this and `load` to use its own format."""
        with open(path, "wb") as file:
            pickle.dump(obj, file)

    def load(self, path: str) -> Any:
        """Return the object in the file `path`, which `save` wrote. A subclass that overrides `save` overrides this too."""
        with open(path, "rb") as file:
            return pickle.load(file)

    def _stored_form(self) -> Any:
        if not self._has_custom_format():
            return self._held
        with tempfile.TemporaryDirectory(prefix="payloadfs-") as folder:
            path = os.path.join(folder, "value")
            self.save(self._held, path)
            with open(path, "rb") as file:
                return file.read()

    def _from_stored(self, stored: Any) -> Any:
        if not self._has_custom_format():
            return stored
        self._in_force().policy.check(self.pointer, executable=True)
        with tempfile.TemporaryDirectory(prefix="payloadfs-") as folder:
            path = os.path.join(folder, "value")
            with open(path, "wb") as file:
                file.write(stored)
            return self.load(path)

    def _has_custom_format(self) -> bool:
        overridden = [getattr(type(self), name) is not getattr(Payload, name) for name in ("save", "load")]
        if any(overridden) and not all(overridden):
            raise ConfigError(
                f"{type(self).__name__} overrides only one of save and load: override both.", kind="payload-class"
            )
        return all(overridden)

    def to_metadata(self) -> dict[str, str]:
        """Return `name`, `origin_name` and `consumer_name` as JSON, for the state."""
        metadata = {"name": self._name, "origin": self._origin, "consumer": self._consumer}
        return {name: value for name, value in metadata.items() if value is not None}

    @classmethod
    def from_metadata(cls, pointer: Pointer, metadata: Mapping[str, str], repository: Repository | None) -> Payload[T]:
        """Return a payload for `pointer`, with the names that `to_metadata` returned. No I/O."""
        payload = cls.from_pointer(pointer, repository=repository)
        assert isinstance(payload, Payload)
        payload._name, payload._origin = metadata.get("name"), metadata.get("origin")
        payload._consumer = metadata.get("consumer")
        return payload

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.to_dict(), self.to_metadata())

    def __copy__(self) -> Payload[T]:
        return type(self).from_metadata(self.pointer, self.to_metadata(), self._repository)


def _rebuild(cls: type[Payload[Any]], pointer: dict[str, Any], metadata: dict[str, str]) -> Payload[Any]:
    return cls.from_metadata(Pointer.from_dict(pointer), metadata, None)


register_payload_class(Payload)


def __getattr__(name: str) -> NoReturn:
    if name in ("Drive", "Mount", "Path"):
        raise ImportError(
            f"payloadfs.lightning.storage has no {name}: pass the bytes of the file in a Payload, or a path that all "
            "machines share as a string. See docs/how-to/run-lightning-programs.md.",
            name=f"{__name__}.{name}",
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
