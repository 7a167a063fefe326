"""The pointer: a small, signed JSON object that identifies a stored object, or holds a small one itself.

A pointer is one flat JSON object, tagged with ``"payloadfs": 1``, in ASCII, at most 2,048 bytes without inline
data. The signature covers the validated values, not the JSON text, so that a database may reorder or reformat it.
"""

from __future__ import annotations

import binascii
import datetime
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from ._digest import Algorithm, Digest, digest_of
from ._html import table
from ._keys import EXPIRING, check_key, created_s, lifetime_s
from ._pydantic import PydanticField
from ._typenames import SERIALIZER_ID
from ._urls import root_problem
from .errors import PayloadError, PointerError, SignatureError
from .signing import KeyRing

__all__ = [
    "INLINE_ALGORITHM",
    "MAX_INLINE_BYTES",
    "MAX_POINTER_BYTES",
    "Pointer",
    "about",
    "as_pointer",
    "check_context",
    "content_fields",
    "expected_fields",
]

MAX_POINTER_BYTES = 2048
"""Without inline data."""

MAX_INLINE_BYTES = 16 * 1024
INLINE_ALGORITHM: Algorithm = "s256"
"""For the digests of inline objects, which readers compute. SHA-256 is faster for this few bytes."""

VERSION = 1
_MAX_INT = 2**53 - 1
_MAX_SHOWN_S = 253_402_300_799  # the end of the year 9999
_MAX_CONTEXT_BYTES = 64  # the longest pointer still has at most MAX_POINTER_BYTES

_TYPE = re.compile(r"[A-Za-z0-9_.<>-]{1,80}")
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{86}")

_ALWAYS = {"payloadfs": int, "serializer": str, "size": int, "created": int, "type": str}
_STORED = {"root": str, "key": str, "digest": str}
_INLINE = {"data": str}  # in place of the fields of a stored object
_OPTIONAL = {"context": str}
_SIGNED = {"kid": str, "sig": str}


class Pointer(PydanticField):
    """Location, type, size and digest of a stored object, or a small object itself; usually signed.

    Two pointers are equal if their roots, keys, serializers and digests are equal.

    Parameters
    ----------
    root : str
        Canonical URL of the store; empty if the object is inline.
    key : str
        Key of the object under `root`; empty if the object is inline.
    serializer : str
        Id and version of the serializer that wrote it, for example ``"pandas/1"``.
    size_bytes : int
        Size of the object in bytes.
    digest : Digest
        Digest of the object's bytes, or of the tail that holds its seal. For an inline object it is computed.
    created_s : int
        Time of the save, in whole seconds since 1970 (UTC).
    type_name : str
        Class of the value, for display; no code depends on it.
    context : str
        What the object was saved for: a reader must pass the same context. Empty if it was saved without one.
    key_id, signature : str
        The signing key's id and the signature; both empty in an unsigned pointer.
    data : bytes or None
        The encoded object, if it is inline: in the pointer and not in a store.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     text = payloadfs.save("hello", prefix="run").to_json()
    >>> Pointer.from_json(text)
    Pointer(str, 5 bytes, inline, signed)
    """

    # Not a dataclass: JSON libraries dump those field by field, without using the pointer's own form.
    root: str
    key: str
    serializer: str
    size_bytes: int
    digest: Digest
    created_s: int
    type_name: str
    context: str
    key_id: str
    signature: str
    data: bytes | None
    __slots__ = tuple(__annotations__)

    def __init__(
        self,
        root: str,
        key: str,
        serializer: str,
        size_bytes: int,
        digest: Digest,
        created_s: int,
        type_name: str,
        context: str = "",
        key_id: str = "",
        signature: str = "",
        data: bytes | None = None,
    ) -> None:
        values = locals()
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"A Pointer is immutable: {name!r} cannot be set.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A Pointer is immutable: {name!r} cannot be deleted.")

    def __reduce__(self) -> tuple[Any, ...]:
        return Pointer.from_dict, (self.to_dict(),)

    def __eq__(self, other: object) -> bool:
        return self._identity == other._identity if isinstance(other, Pointer) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        signed = "signed" if self.is_signed else "not signed"
        return f"Pointer({self.type_name}, {self.size_bytes:,} bytes, {self.location}, {signed})"

    @property
    def is_inline(self) -> bool:
        """Whether the pointer holds the object itself, so that loading needs no store."""
        return self.data is not None

    @property
    def location(self) -> str:
        """Where the object is, for display: its URL, or ``"inline"``."""
        return "inline" if self.is_inline else f"{self.root}/{self.key}"

    def _repr_html_(self) -> str:
        return table("Pointer", self.facts())

    def facts(self) -> dict[str, str]:
        """Return the properties of the object by name, for display. No request."""
        created = datetime.datetime.fromtimestamp(min(self.created_s, _MAX_SHOWN_S), datetime.UTC)
        facts = {
            "type": self.type_name,
            "size": f"{self.size_bytes:,} bytes",
            "location": self.location,
            "serializer": self.serializer,
            "created": f"{created:%Y-%m-%d %H:%M:%S} UTC",
        }
        if self.context:
            facts["context"] = self.context
        if self.expires:
            facts["expires"] = f"{self.expires:%Y-%m-%d %H:%M:%S} UTC"
        return facts | {"signed": f"by key {self.key_id}" if self.is_signed else "no"}

    @property
    def content_key(self) -> str:
        """Serializer and digest: equal for objects with the same content, wherever they are stored. For caches."""
        return f"{self.serializer}:{self.digest}"

    @property
    def _identity(self) -> tuple[str, str, str]:
        return self.root, self.key, self.content_key

    def to_dict(self) -> dict[str, str | int]:
        """Return the pointer as a dict of plain JSON values."""
        fields: dict[str, str | int] = {"payloadfs": VERSION}
        if self.data is None:
            fields |= {"root": self.root, "key": self.key}
        else:
            fields["data"] = binascii.b2a_base64(self.data, newline=False).decode()
        fields |= {"serializer": self.serializer, "size": self.size_bytes}
        if self.data is None:
            fields["digest"] = str(self.digest)
        fields |= {"created": self.created_s, "type": self.type_name}
        if self.context:
            fields["context"] = self.context
        if self.signature:
            fields |= {"kid": self.key_id, "sig": self.signature}
        return fields

    def to_json(self) -> str:
        """Return the pointer as compact JSON, ASCII."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Pointer:
        """Return the pointer in the JSON `text`. No I/O; the signature is not checked.

        Raises
        ------
        PointerError
            `text` is not exactly one pointer of a known version.
        """
        if not isinstance(text, (str, bytes)):
            raise PointerError(
                f"A pointer must be JSON in a str or bytes, not {type(text).__name__}.", kind="pointer-format"
            )
        if len(text) > MAX_POINTER_BYTES + _MAX_INLINE_CHARS:
            raise _too_long()
        try:
            text = text if isinstance(text, str) else text.decode("ascii")
            value = json.loads(text, object_pairs_hook=_no_duplicates, parse_float=_refuse, parse_constant=_refuse)
        except PointerError:
            raise
        except (ValueError, RecursionError) as error:
            raise PointerError(
                "Not a pointer: it is not JSON in ASCII, as to_json() returns it.", kind="pointer-format"
            ) from error
        pointer = cls.from_dict(value)
        if len(text) > MAX_POINTER_BYTES + (_base64_chars(pointer.size_bytes) if pointer.is_inline else 0):
            raise _too_long()
        return pointer

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Pointer:
        """Return the pointer in `value`, a mapping of plain JSON values. No I/O; the signature is not checked.

        Raises
        ------
        PointerError
            A field is missing, unknown or malformed; the message names it.
        """
        if not isinstance(value, Mapping):
            raise PointerError(f"A pointer must be a JSON object, not {type(value).__name__}.", kind="pointer-format")
        fields = dict(value)
        if "payloadfs" not in fields:
            raise PointerError("Not a pointer: it has no field 'payloadfs'.", kind="pointer-format")
        _check_version(fields["payloadfs"])
        _check_fields(fields, expected_fields(fields))
        data = _inline_data(fields) if "data" in fields else None
        return cls(
            root=fields.get("root", ""),
            key=fields.get("key", ""),
            serializer=fields["serializer"],
            size_bytes=fields["size"],
            digest=Digest.parse(fields["digest"])
            if data is None
            else Digest(INLINE_ALGORITHM, digest_of([data], INLINE_ALGORITHM)),
            created_s=fields["created"],
            type_name=fields["type"],
            context=fields.get("context", ""),
            key_id=fields.get("kid", ""),
            signature=fields.get("sig", ""),
            data=data,
        )

    @property
    def expires(self) -> datetime.datetime | None:
        """When the object expires (UTC); None if it does not. Derived from the object's key, which is signed."""
        if not self.key.startswith(EXPIRING):
            return None
        lifetime, created = lifetime_s(self.key), created_s(self.key)
        if lifetime is None or created is None:
            return None
        try:
            return datetime.datetime.fromtimestamp(created + lifetime, datetime.UTC)
        except (OverflowError, ValueError, OSError):
            return None  # later than any clock can show

    @property
    def is_signed(self) -> bool:
        """Whether the pointer has a signature; `verify` checks it."""
        return bool(self.signature)

    def signed(self, ring: KeyRing) -> Pointer:
        """Return this pointer, signed with the signing key of `ring`."""
        key_id, signature = ring.sign(self._fields())
        return self.replaced(key_id=key_id, signature=signature)

    def replaced(self, **changes: Any) -> Pointer:
        """Return a pointer with some attributes changed. Its signature is not valid any more."""
        return Pointer(**({name: getattr(self, name) for name in self.__slots__} | changes))

    def verify(self, ring: KeyRing) -> None:
        """Raise SignatureError if the signature is not valid for the keys of `ring`. No I/O.

        Raises
        ------
        SignatureError
            The signature is missing or does not match; `UnknownKeyError` if its key is not in the ring.
        """
        try:
            if not self.signature:
                raise SignatureError("The pointer is not signed.", kind="unsigned")
            ring.verify(self.key_id, self.signature, self._fields())
        except SignatureError as error:
            error.pointer = self
            raise

    def _fields(self) -> list[bytes]:
        # In a fixed order, from the validated values, so that the JSON text does not matter.
        values = (
            VERSION,
            self.root,
            self.key,
            self.serializer,
            self.size_bytes,
            # Only inline objects have an empty root and key, so the two kinds cannot be confused.
            self.digest if self.data is None else self.data,
            self.created_s,
            self.type_name,
            *([self.context] if self.context else []),
        )
        return [value if isinstance(value, bytes) else str(value).encode() for value in values]


def expected_fields(fields: Mapping[str, Any]) -> dict[str, type]:
    """Return the names and classes of the fields that a pointer with some of `fields` must have."""
    kinds = _ALWAYS | (_INLINE if "data" in fields else _STORED)
    kinds |= {name: kind for name, kind in _OPTIONAL.items() if name in fields}
    return kinds | _SIGNED if fields.keys() & _SIGNED.keys() else kinds


def _check_version(version: Any) -> None:
    if type(version) is not int or not 1 <= version <= _MAX_INT:
        raise PointerError("Not a pointer: its field 'payloadfs' is not a version.", kind="pointer-format")
    if version != VERSION:
        raise PointerError(
            f"The pointer has version {version}, but this payloadfs reads version {VERSION}: update payloadfs.",
            kind="pointer-version",
        )


def _check_fields(fields: dict[str, Any], kinds: dict[str, type]) -> None:
    for name in fields.keys() - kinds.keys():
        # Only a string can be shown: str() of a huge int raises.
        shown = repr(name[:40]) if type(name) is str else f"of class {type(name).__name__}"
        raise PointerError(f"The pointer has an unknown field {shown}.", kind="pointer-format")
    for name, kind in kinds.items():
        if type(fields.get(name)) is not kind:
            raise PointerError(
                f"The pointer's field {name!r} is missing or not {kind.__name__}.", kind="pointer-format"
            )
    if "key" in kinds:
        _check_location(fields["root"], fields["key"])
    for name in ("size", "created"):
        if not 0 <= fields[name] <= _MAX_INT:
            raise PointerError(f"The pointer's field {name!r} is out of range.", kind="pointer-format")
    if "context" in fields:
        check_context(fields["context"])
    patterns = {"serializer": SERIALIZER_ID, "type": _TYPE, "kid": _KEY_ID, "sig": _SIGNATURE}
    for name in patterns.keys() & kinds.keys():
        if not patterns[name].fullmatch(fields[name]):
            raise PointerError(f"The pointer's field {name!r} is malformed.", kind="pointer-format")


def content_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a pointer's `fields` that depend only on the content of the object, not on where it is stored."""
    return {name: fields[name] for name in ("serializer", "size", "digest", "data") if name in fields}


def _inline_data(fields: dict[str, Any]) -> bytes:
    text: str = fields["data"]
    if fields["size"] > MAX_INLINE_BYTES or len(text) != _base64_chars(fields["size"]):
        raise PointerError("The pointer's fields 'data' and 'size' do not match.", kind="pointer-format")
    try:
        data = binascii.a2b_base64(text)
    except ValueError as error:
        raise PointerError("The pointer's field 'data' is not base64.", kind="pointer-format") from error
    # The decoder accepts other spellings of the same bytes, which no writer produces.
    if len(data) != fields["size"] or binascii.b2a_base64(data, newline=False).decode() != text:
        raise PointerError("The pointer's field 'data' is not base64.", kind="pointer-format")
    return data


def _base64_chars(size_bytes: int) -> int:
    return 4 * (-(-size_bytes // 3))


_MAX_INLINE_CHARS = _base64_chars(MAX_INLINE_BYTES)


def _too_long() -> PointerError:
    return PointerError(
        f"A pointer must not be longer than {MAX_POINTER_BYTES} bytes, not counting inline data of up to "
        f"{MAX_INLINE_BYTES:,} bytes.",
        kind="pointer-size",
    )


def _check_location(root: str, key: str) -> None:
    check_key(key)
    if problem := root_problem(root):
        raise PointerError(f"The pointer's root is not valid: {problem}.", kind="pointer-root")


def check_context(context: str) -> None:
    """Raise PointerError if `context` is not a printable string that takes 1 to 64 bytes as escaped JSON."""
    if (
        not isinstance(context, str)
        or not context.isprintable()
        or not 1 <= len(json.dumps(context)) - 2 <= _MAX_CONTEXT_BYTES
    ):
        raise PointerError(
            f"A context must be a printable string of 1 to {_MAX_CONTEXT_BYTES} characters (fewer if they are not ASCII).",
            kind="pointer-context",
        )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise PointerError("The pointer has a duplicate field.", kind="pointer-format")
    return fields


def _refuse(text: str) -> NoReturn:
    raise PointerError(f"Numbers in a pointer must be integers, not {text[:40]!r}.", kind="pointer-format")


def as_pointer(obj: Any) -> Pointer:
    """Return the pointer that `obj` is, contains, or represents as JSON. An unsaved payload is saved first.

    Raises
    ------
    PointerError
        `obj` is something else.
    """
    if isinstance(obj, Pointer):
        return obj
    if isinstance(obj, str | bytes):
        return Pointer.from_json(obj)
    if isinstance(obj, Mapping):
        return Pointer.from_dict(obj)
    pointer = getattr(obj, "pointer", None)
    if isinstance(pointer, Pointer):
        return pointer
    raise PointerError(
        f"Expected a Pointer, a Payload, or its JSON as a str, bytes or dict, not {type(obj).__name__}.",
        kind="pointer-type",
    )


@contextmanager
def about(obj: Any) -> Iterator[Pointer]:
    """Yield the pointer of `obj`, and add it to the errors that leave the block, unless they name one already."""
    pointer = as_pointer(obj)
    try:
        yield pointer
    except PayloadError as error:
        if error.pointer is None:
            error.pointer = pointer
        raise
