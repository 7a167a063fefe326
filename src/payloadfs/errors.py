"""Every error that payloadfs raises.

::

    PayloadError                      base class; .kind is stable, .pointer when known
    ├── PointerError (ValueError)     malformed, or of an unknown version
    │   └── SignatureError            missing or wrong signature
    │       └── UnknownKeyError       the signing key is not in the key ring
    ├── PolicyError (PermissionError) root, scheme, serializer or size is not allowed
    │   └── ExpiredError              the object has reached the end of its lifetime
    ├── NotFoundError (FileNotFoundError)
    ├── IntegrityError (ValueError)   size or digest does not match
    ├── SerializerError
    │   ├── EncodeError (TypeError)   the object cannot be stored exactly
    │   └── DecodeError               the bytes are intact, but decoding failed
    ├── StoreError (OSError)          .transient: whether a retry may help
    ├── ConfigError (ValueError)
    ├── BatchError (ExceptionGroup)    part of a batch failed; see .done and .failed
    └── WorkError                     a work failed in another process

There is a separate class only where a caller would act differently. The exact cause is in ``kind``, a
short string that does not change once released. Every error can be pickled with all its attributes.
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
    "ExpiredError",
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
    """Base class of all errors of payloadfs.

    Parameters
    ----------
    message : str
        One sentence: what happened, to which key, what to do next.
    kind : str, optional
        A stable identifier of the exact cause, for programs.
    pointer : object, optional
        The `Pointer` concerned, if there is one.

    Examples
    --------
    >>> error = NotFoundError("Object 'run/1.bin' not found.", kind="not-found")
    >>> error.kind, isinstance(error, FileNotFoundError)
    ('not-found', True)
    """

    default_kind = "payload"

    def __init__(self, message: str, *, kind: str | None = None, pointer: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.pointer = pointer

    def _render_traceback_(self) -> list[str]:
        """Return the traceback for IPython and Jupyter, without the frames of payloadfs itself."""
        import re
        import traceback

        folder = __file__.removesuffix("errors.py")
        hidden = re.compile(rf"{re.escape(folder)}|.*[/\\]IPython[/\\]core[/\\]")
        shown = [frame for frame in traceback.extract_tb(self.__traceback__) if not hidden.match(frame.filename)]
        lines = "".join(traceback.format_list(shown)).splitlines()
        return ["Traceback (most recent call last):", *lines, f"{type(self).__module__}.{type(self).__name__}: {self}"]

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
        Names the key id and how to add the key.
    key_id : str
        Id of the missing key.
    """

    default_kind = "unknown-key"

    def __init__(self, message: str, *, key_id: str = "", kind: str | None = None, pointer: Any = None) -> None:
        super().__init__(message, kind=kind, pointer=pointer)
        self.key_id = key_id


class PolicyError(PayloadError, PermissionError):
    """The policy does not allow the operation. Nothing was decoded, and usually nothing was fetched."""

    default_kind = "policy"


class ExpiredError(PolicyError):
    """The object has reached the end of its lifetime. Nothing was fetched; it may exist until the next clean-up."""

    default_kind = "expired"


class NotFoundError(PayloadError, FileNotFoundError):
    """The store has no object with the pointer's key."""

    default_kind = "not-found"


class IntegrityError(PayloadError, ValueError):
    """The stored bytes changed after they were saved. Nothing was decoded."""

    default_kind = "integrity"


class SerializerError(PayloadError):
    """A serializer failed."""

    default_kind = "serializer"


class EncodeError(SerializerError, TypeError):
    """The object cannot be stored exactly. Nothing was written.

    Parameters
    ----------
    message : str
        Names the cause and what to do.
    path : str
        The part of the object that cannot be stored, for example ``obj.model._lock``.
    """

    default_kind = "encode"

    def __init__(self, message: str, *, path: str = "obj", kind: str | None = None, pointer: Any = None) -> None:
        super().__init__(message, kind=kind, pointer=pointer)
        self.path = path


class DecodeError(SerializerError):
    """The stored bytes are intact, but they could not be decoded."""

    default_kind = "decode"


class StoreError(PayloadError, OSError):
    """The store failed.

    Parameters
    ----------
    message : str
        Names the operation, the key and the store's own message.
    transient : bool
        Whether the same call may succeed later.
    """

    default_kind = "store"

    def __init__(self, message: str, *, transient: bool = False, kind: str | None = None, pointer: Any = None) -> None:
        super().__init__(message, kind=kind, pointer=pointer)
        self.transient = transient


class ConfigError(PayloadError, ValueError):
    """A setting is not valid; the message names it and its source."""

    default_kind = "config"


class BatchError(PayloadError, ExceptionGroup[Exception]):
    """Some objects of a batch could not be saved or loaded. Every object was tried.

    Parameters
    ----------
    message : str
        States how many failed.
    exceptions : sequence of Exception
        The errors of those that failed, in the order of the call's arguments.
    done : mapping of int to object
        The results of the others (their pointers, if they were saved), by position from 0.
    failed : mapping of int to Exception
        `exceptions` by position.

    Notes
    -----
    It is an exception group, so ``except*`` selects its errors by class.
    """

    default_kind = "batch"
    message = ""  # pyright: ignore[reportIncompatibleMethodOverride]  # read-only in ExceptionGroup

    def __new__(cls, message: str, exceptions: Sequence[Exception], **_: Any) -> Self:
        """Pass only the arguments that ExceptionGroup accepts."""
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
        # Pickling calls the class with these.
        self.args = (message, exceptions)
        self.done = dict(done or {})
        self.failed = dict(failed or {})

    def derive(self, exceptions: Sequence[Exception], /) -> BatchError:  # type: ignore[override]
        """Return the same error with only `exceptions`; `done` stays the same."""
        failed = {index: error for index, error in self.failed.items() if error in exceptions}
        return BatchError(self.message, exceptions, done=self.done, failed=failed, kind=self.kind)


class WorkError(PayloadError):
    """A work failed in another process. Its traceback is attached as a note.

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


_CANCELLATIONS = frozenset({"CancelledError", "Cancelled", "GreenletExit", "Timeout"})
"""Exceptions of asyncio, trio and gevent that stop the code that is running."""


def is_interrupt(error: BaseException) -> bool:
    """Return whether `error` asks a program, a generator or a task to stop. Such errors pass through payloadfs unchanged.

    All others are failures, even those that are not of class `Exception`, such as a panic in a Rust library.
    """
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        return True
    # By name, so that no event loop is imported.
    names = {cls.__name__ for cls in type(error).__mro__}
    return not isinstance(error, Exception) and not names.isdisjoint(_CANCELLATIONS)


@contextmanager
def contained() -> Iterator[None]:
    """Raise `PayloadError` (``kind="panic"``) for a failure in the block that is not an `Exception`; see `is_interrupt`."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise PayloadError(f"A library failed unexpectedly: {type(error).__name__}: {error}", kind="panic") from error
