"""The serializer protocol: one kind of object to bytes and back, exactly."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from .._seal import Encoded as Encoded


class NotExactError(Exception):
    """Signal from `Serializer.encode` that it cannot store an object exactly.

    This is not a user error: the registry continues with the next serializer and finally with
    pickle. The exception never leaves this package.

    Parameters
    ----------
    instead : tuple of Serializer and Encoded, optional
        Another serializer and the object as it encodes it, if already known. The registry uses
        them without trying further serializers.
    """

    def __init__(self, instead: tuple[Serializer, Encoded] | None = None) -> None:
        super().__init__()
        self.instead = instead


@runtime_checkable
class Serializer(Protocol):
    """Converter of one kind of object to bytes and back.

    Every serializer must pass `payloadfs.testing.SerializerTests`.

    Attributes
    ----------
    id : str
        Name and version, for example ``"pandas/1"``. A released version must stay readable forever.
    executable : bool
        Whether decoding can run code chosen by the bytes.
    """

    @property
    def id(self) -> str: ...

    @property
    def executable(self) -> bool: ...

    def encode(self, obj: Any) -> Encoded:
        """Return `obj` as frames: views of its memory where possible.

        Raises
        ------
        NotExactError
            This serializer cannot restore `obj` exactly; the registry tries the next one.
        EncodeError
            No serializer can store `obj`.
        """
        ...

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:
        """Return the object in `buffer`.

        Parameters
        ----------
        buffer : memoryview
            The whole object, checked, in memory that belongs to the result. The result may keep
            views of it; they are writable if and only if `buffer` is.
        trusted : bool
            Whether the policy lets the signer of the bytes run code. If not, refuse everything that
            `encode` would not have written, before a library sees it.

        Raises
        ------
        Exception
            Any kind; the repository turns it into `DecodeError`.
        """
        ...
