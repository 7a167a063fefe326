"""Every error that payloadfs raises.

::

    PayloadError                      root; .kind is stable, .pointer when known
    ├── PointerError (ValueError)     malformed, or a version this release does not know
    │   └── SignatureError            missing or wrong MAC
    │       └── UnknownKeyError       the key that signed is not in the key ring
    ├── PolicyError (PermissionError) root, scheme, serializer or size is not allowed
    ├── NotFoundError (FileNotFoundError)
    ├── IntegrityError (ValueError)   size or digest differs
    ├── SerializerError
    │   ├── EncodeError (TypeError)   the object can't be stored exactly
    │   └── DecodeError               good bytes, decode failed
    ├── StoreError (OSError)          .transient says whether a retry may help
    ├── ConfigError (ValueError)
    ├── BatchError (ExceptionGroup)    some of many failed; .done and .failed say which
    └── WorkError                     a work failed elsewhere

A class exists only where a caller would act differently; finer facts are in ``kind``, a short
string that is never changed once released. Every error survives pickling with all its facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

__all__ = [
    "BatchError",
    "ConfigError",
    "DecodeError",
    "EncodeError",
    "IntegrityError",
    "NotFoundError",
    "PayloadError",
    "PointerError",
    "PolicyError",
    "SerializerError",
    "SignatureError",
    "StoreError",
    "UnknownKeyError",
    "WorkError",
]


class PayloadError(Exception):
    """Root of all errors of payloadfs.

    Parameters
    ----------
    message : str
        One sentence: what happened, to which key, what to do next.
    kind : str, optional
        A stable name for the exact cause, for programs.
    pointer : object, optional
        The `Pointer` concerned, where there is one.

    Examples
    --------
    >>> error = NotFoundError("No object under 'run/1.bin'.", kind="not-found")
    >>> error.kind, isinstance(error, FileNotFoundError)
    ('not-found', True)
    """

    default_kind = "payload"

    def __init__(self, message: str, *, kind: str | None = None, pointer: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.pointer = pointer

    def __str__(self) -> str:
        # OSError subclasses would otherwise print in the "[Errno None]" style.
        return self.message


class PointerError(PayloadError, ValueError):
    """The pointer is malformed or of an unknown version. No I/O was done."""

    default_kind = "pointer"


class SignatureError(PointerError):
    """The pointer's signature is missing or wrong. No I/O was done."""

    default_kind = "signature"


class UnknownKeyError(SignatureError):
    """The pointer was signed with a key that is not in the key ring. No I/O was done.

    Parameters
    ----------
    message : str
        Names the key id and how to get the key here.
    key_id : str
        Id of the missing key.
    """

    default_kind = "unknown-key"

    def __init__(self, message: str, *, key_id: str = "", kind: str | None = None, pointer: Any = None) -> None:
        super().__init__(message, kind=kind, pointer=pointer)
        self.key_id = key_id


class PolicyError(PayloadError, PermissionError):
    """The policy does not allow this pointer here. Nothing was fetched."""

    default_kind = "policy"


class NotFoundError(PayloadError, FileNotFoundError):
    """The store holds no object under the pointer's key."""

    default_kind = "not-found"


class IntegrityError(PayloadError, ValueError):
    """The stored bytes are not those that were saved. Nothing was decoded."""

    default_kind = "integrity"


class SerializerError(PayloadError):
    """A serializer failed."""

    default_kind = "serializer"


class EncodeError(SerializerError, TypeError):
    """The object can't be stored exactly. Not a byte was written.

    Parameters
    ----------
    message : str
        Says what stands in the way and what to do.
    path : str
        Where inside the object, for example ``obj.model._lock``.
    """

    default_kind = "encode"

    def __init__(self, message: str, *, path: str = "obj", kind: str | None = None, pointer: Any = None) -> None:
        super().__init__(message, kind=kind, pointer=pointer)
        self.path = path


class DecodeError(SerializerError):
    """The bytes are those that were saved, but they could not be decoded here."""

    default_kind = "decode"


class StoreError(PayloadError, OSError):
    """The store failed.

    Parameters
    ----------
    message : str
        Names the operation, the key and the store's own words.
    transient : bool
        Whether the same call may succeed later.
    """

    default_kind = "store"

    def __init__(self, message: str, *, transient: bool = False, kind: str | None = None, pointer: Any = None) -> None:
        super().__init__(message, kind=kind, pointer=pointer)
        self.transient = transient


class ConfigError(PayloadError, ValueError):
    """A setting is wrong; the message names it and where it came from."""

    default_kind = "config"


class BatchError(PayloadError, ExceptionGroup[Exception]):
    """Some of many objects could not be saved or loaded; every one of them was tried.

    Parameters
    ----------
    message : str
        Says how many failed.
    exceptions : sequence of Exception
        What happened to each of those, in the order in which they were given.
    done : mapping of int to object
        What was given back for the others (when saving: their pointers), by position from 0.
    failed : mapping of int to Exception
        `exceptions` by position.

    Notes
    -----
    It is an exception group, so ``except*`` picks the errors of one class out of it.
    """

    default_kind = "batch"
    message = ""  # pyright: ignore[reportIncompatibleMethodOverride]  # the group's own is read-only

    def __new__(cls, message: str, exceptions: Sequence[Exception], **_: Any) -> Self:
        """Keep what only `__init__` takes from the group's own."""
        return super().__new__(cls, message, exceptions)

    def __init__(
        self,
        message: str,
        exceptions: Sequence[Exception],
        *,
        done: Mapping[int, Any] | None = None,
        failed: Mapping[int, Exception] | None = None,
        kind: str | None = None,
        pointer: Any = None,
    ) -> None:
        super().__init__(message, kind=kind, pointer=pointer)
        # For pickling, which calls the class with them.
        self.args = (message, exceptions)
        self.done = dict(done or {})
        self.failed = dict(failed or {})

    def derive(self, exceptions: Sequence[Exception], /) -> BatchError:  # type: ignore[override]
        """Return the same error about `exceptions` only; what was done stays with it."""
        kept = {number: error for number, error in self.failed.items() if error in exceptions}
        return BatchError(self.message, exceptions, done=self.done, failed=kept, kind=self.kind)


class WorkError(PayloadError):
    """A work failed in another process; its own traceback comes along as a note.

    Parameters
    ----------
    message : str
        Names the work and the error in it.
    work : str
        Name of the work, for example ``"root.src"``.
    """

    default_kind = "work"

    def __init__(self, message: str, *, work: str = "", kind: str | None = None, pointer: Any = None) -> None:
        super().__init__(message, kind=kind, pointer=pointer)
        self.work = work


@contextmanager
def about(pointer: Any) -> Iterator[None]:
    """Let errors that leave the block carry `pointer`, if they have none yet."""
    try:
        yield
    except PayloadError as error:
        if error.pointer is None:
            error.pointer = pointer
        raise
