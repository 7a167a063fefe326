"""Policy: which pointers may be loaded. Checked before any I/O.

There are two kinds of serializers. *Safe* ones hold only data. *Executable* ones (pickle) can run any
code when they load, so they need a pointer signed with a trusted key, unless the policy allows more.
"""

from __future__ import annotations

import datetime
import math
import time
from dataclasses import dataclass, field
from typing import Literal, get_args

from ._durations import seconds
from ._typenames import split_serializer
from ._urls import SIGNED_ROOTS, is_under, is_wildcard, root_problem
from .errors import ConfigError, PolicyError
from .pointer import Pointer

__all__ = ["SIGNED_ROOTS", "PickleRule", "Policy", "UnsignedRule"]

PickleRule = Literal["signed", "always", "never"]
UnsignedRule = Literal["never", "safe"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules for the pointers that may be loaded.

    Parameters
    ----------
    roots : tuple of str
        Canonical roots; a pointer's root must be one of them or below one. ``"s3://*"``
        (scheme and star) allows every root of the scheme, for signed pointers only.
    pickle : {"signed", "always", "never"}
        When executable serializers may load: with a valid signature; always (pointers must then be
        trusted as much as code); or never.
    unsigned : {"never", "safe"}
        What unsigned pointers may load: nothing, or objects of safe serializers. ``"safe"`` exposes
        their decoders to anyone who can write to the state and the store. ``pickle="always"`` needs
        ``"safe"`` here and extends it to every serializer.
    serializers : frozenset of str, optional
        Allowed ids, without version and compression; None allows all registered serializers.
    max_bytes : int, optional
        Largest object to fetch, and to decompress; None for no limit.
    max_age : int, str or datetime.timedelta, optional
        Oldest object to load, by the creation time in its pointer, which must be signed: seconds, or
        a string such as ``"7d"``. None for no limit.
    """

    roots: tuple[str, ...]
    pickle: PickleRule = "signed"
    unsigned: UnsignedRule = "never"
    serializers: frozenset[str] | None = None
    max_bytes: int | None = None
    max_age: int | str | datetime.timedelta | None = None
    _max_age_s: float = field(init=False, repr=False, compare=False, default=math.inf)

    def __post_init__(self) -> None:
        for name, value, rule in ("pickle", self.pickle, PickleRule), ("unsigned", self.unsigned, UnsignedRule):
            if value not in (allowed := get_args(rule)):
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.", kind="policy")
        for position, root in enumerate(self.roots, start=1):
            problem = None if is_wildcard(root) else root_problem(root)
            if problem is not None:
                # Not the root itself: it may contain a password.
                raise ConfigError(f"Allowed root {position} is not a valid storage root: {problem}.", kind="policy")
        if self.max_bytes is not None and (type(self.max_bytes) is not int or self.max_bytes < 0):
            raise ConfigError(f"max_bytes must be None or an int of 0 or more, not {self.max_bytes!r}.", kind="policy")
        if self.pickle == "always" and self.unsigned == "never":
            raise ConfigError(
                "pickle='always' loads pickles from unsigned pointers, so it needs unsigned='safe' as well.",
                kind="policy",
            )
        if self.max_age is not None:
            try:
                object.__setattr__(self, "_max_age_s", seconds(self.max_age))
            except ValueError as error:
                raise ConfigError(f"max_age is not valid: {error}.", kind="policy") from None

    def check(self, pointer: Pointer, *, executable: bool) -> None:
        """Raise PolicyError if `pointer` must not be loaded.

        Parameters
        ----------
        pointer : Pointer
            If it has a signature, the signature must be verified already.
        executable : bool
            Whether its serializer can run code.

        Raises
        ------
        PolicyError
            A rule does not allow it; the message names the rule and the setting. Nothing was fetched.
        """
        problem = (
            self._root_problem(pointer) or self._serializer_problem(pointer, executable) or self._age_problem(pointer)
        )
        if problem is None and self.max_bytes is not None and pointer.size_bytes > self.max_bytes:
            problem = (
                "policy-size",
                f"The object has {pointer.size_bytes} bytes, but max_bytes is {self.max_bytes}: raise it to load the object.",
            )
        if problem is not None:
            kind, message = problem
            raise PolicyError(f"{message} Nothing was fetched.", kind=kind, pointer=pointer)

    def allows_code(self, pointer: Pointer) -> bool:
        """Return whether `pointer` may also load executable serializers, so that its bytes need no validation."""
        return self.pickle == "always" or (pointer.is_signed and self.pickle == "signed")

    def _age_problem(self, pointer: Pointer) -> tuple[str, str] | None:
        if self.max_age is None:
            return None
        if not pointer.is_signed:
            return "policy-age", "max_age is set, and the age of an unsigned pointer is not known."
        age_s = time.time() - pointer.created_s
        if age_s <= self._max_age_s:
            return None
        age = datetime.timedelta(seconds=round(age_s))
        return (
            "policy-age",
            f"The object was saved {age} ago, but max_age is {self.max_age}: save it again, or set a longer max_age.",
        )

    def _root_problem(self, pointer: Pointer) -> tuple[str, str] | None:
        if pointer.is_inline or pointer.root in self.roots:
            return None
        for allowed in self.roots:
            if is_under(pointer.root, allowed) and (pointer.is_signed or not is_wildcard(allowed)):
                return None
        return (
            "policy-root",
            f"The pointer's root {pointer.root} is not allowed: add it to allowed_roots "
            "(PAYLOADFS_ALLOWED_ROOTS) or use it as the storage URL (PAYLOADFS_URL).",
        )

    def _serializer_problem(self, pointer: Pointer, executable: bool) -> tuple[str, str] | None:
        name = split_serializer(pointer.serializer)[1].partition("/")[0]
        if self.serializers is not None and name not in self.serializers:
            return "policy-serializer", f"The policy does not allow the serializer {name!r}: add it to its serializers."
        if not pointer.is_signed and self.unsigned == "never":
            return (
                "policy-unsigned",
                "The pointer is not signed, and unsigned='never' is in force: save the object with a key, or set "
                "unsigned='safe' if you trust everyone who can write to the state and the store.",
            )
        if not executable:
            return None
        if self.pickle == "never":
            return (
                "policy-pickle",
                f"Serializer {name!r} can run code, and pickle='never' is set: set pickle='signed' if you trust its signer.",
            )
        if self.pickle == "signed" and not pointer.is_signed:
            return (
                "policy-pickle",
                f"Serializer {name!r} can run code, so it needs a signed pointer; this one is not signed.",
            )
        return None
