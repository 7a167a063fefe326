"""Policy: which pointers may be loaded. Checked before any I/O.

There are two kinds of serializers. *Safe* ones hold only data. *Executable* ones (pickle) can run any
code when they load, so they need a pointer signed with a trusted key, unless the policy allows more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._typenames import split_serializer
from ._urls import SIGNED_ROOTS, is_under, is_wildcard, root_problem
from .errors import ConfigError, PolicyError
from .pointer import Pointer

__all__ = ["SIGNED_ROOTS", "PickleRule", "Policy", "UnsignedRule"]

PickleRule = Literal["signed", "always", "never"]
UnsignedRule = Literal["safe", "never"]


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
    unsigned : {"safe", "never"}
        What unsigned pointers may load: objects of safe serializers, or nothing. ``pickle="always"``
        needs ``"safe"`` here and extends it to every serializer.
    serializers : frozenset of str, optional
        Allowed ids, without version and compression; None allows all registered serializers.
    max_bytes : int, optional
        Largest object to fetch, and to decompress; None for no limit.
    """

    roots: tuple[str, ...]
    pickle: PickleRule = "signed"
    unsigned: UnsignedRule = "safe"
    serializers: frozenset[str] | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("pickle", self.pickle, ("signed", "always", "never")),
            ("unsigned", self.unsigned, ("safe", "never")),
        ):
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.", kind="policy")
        for position, root in enumerate(self.roots, start=1):
            problem = None if is_wildcard(root) else root_problem(root)
            if problem is not None:
                # Not the root itself: it may contain a password.
                raise ConfigError(f"Allowed root {position} is not a valid storage root: {problem}.", kind="policy")
        if self.max_bytes is not None and self.max_bytes < 0:
            raise ConfigError("max_bytes must not be negative.", kind="policy")

    def check(self, pointer: Pointer, *, executable: bool) -> None:
        """Raise PolicyError if `pointer` may not be loaded.

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
        problem = self._root_problem(pointer) or self._serializer_problem(pointer, executable)
        if problem is None and self.max_bytes is not None and pointer.size_bytes > self.max_bytes:
            problem = "policy-size", f"The object has {pointer.size_bytes} bytes, but max_bytes is {self.max_bytes}."
        if problem is not None:
            kind, message = problem
            raise PolicyError(f"{message} Nothing was fetched.", kind=kind, pointer=pointer)

    def _root_problem(self, pointer: Pointer) -> tuple[str, str] | None:
        if pointer.root in self.roots:
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
            return "policy-serializer", f"Serializer {name!r} is not allowed by the policy."
        if not pointer.is_signed and self.unsigned == "never":
            return "policy-unsigned", "The pointer is not signed, and unsigned='never' is set."
        if not executable:
            return None
        if self.pickle == "never":
            return "policy-pickle", f"Serializer {name!r} can run code, and pickle='never' is set."
        if self.pickle == "signed" and not pointer.is_signed:
            return (
                "policy-pickle",
                f"Serializer {name!r} can run code, so it needs a signed pointer; this one is not signed.",
            )
        return None
