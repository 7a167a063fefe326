"""What a serializer is: one kind of object to bytes and back, exactly."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from .._seal import Encoded

__all__ = ["Encoded", "NotExactError", "Serializer"]


class NotExactError(Exception):
    """Raised by `Serializer.encode` for an object that it can't store exactly.

    It is no error of the user's: the registry goes on to the next serializer, and in the end to
    pickle. It never leaves this package.

    Parameters
    ----------
    instead : tuple of Serializer and Encoded, optional
        Another serializer, and what it makes of the object, where that is known already. The
        registry takes it without asking further.
    """

    def __init__(self, instead: tuple[Serializer, Encoded] | None = None) -> None:
        super().__init__()
        self.instead = instead


@runtime_checkable
class Serializer(Protocol):
    """Turns objects of some kind into bytes and back.

    Every serializer passes `payloadfs.testing.SerializerTests`.

    Attributes
    ----------
    id : str
        Name and version, for example ``"pandas/1"``. A version, once released, is read for ever.
    executable : bool
        Whether decoding can run code that the bytes choose.
    """

    @property
    def id(self) -> str: ...

    @property
    def executable(self) -> bool: ...

    def encode(self, obj: Any) -> Encoded:
        """Return `obj` as frames: views of its own memory wherever that is possible.

        Raises
        ------
        NotExactError
            This serializer would not give back exactly `obj`; another has to store it.
        EncodeError
            No serializer can.
        """
        ...

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:
        """Return the object in `buffer`.

        Parameters
        ----------
        buffer : memoryview
            The whole object, checked, in memory that nobody else reads afterwards. The result may
            keep views of it; they are writable if and only if it is.
        trusted : bool
            Whether a signature vouches for whoever wrote the bytes. If not, everything in them
            has to be validated before it is used.

        Raises
        ------
        Exception
            Of any kind; the repository turns it into `DecodeError`.
        """
        ...
