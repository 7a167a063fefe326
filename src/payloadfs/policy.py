"""Policy: which pointers may be resolved here. Decided before any I/O.

Two kinds of serializer exist. *Safe* ones hold data only. *Executable* ones (pickle) may run any
code when they load, so a pointer reaches one only with a signature of a trusted key, unless the
policy says otherwise in one word.
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
    """What may be resolved.

    Parameters
    ----------
    roots : tuple of str
        Canonical roots; a pointer's root must be one of them or lie below one. ``"s3://*"``
        (scheme and star) allows every root of the scheme, for signed pointers only.
    pickle : {"signed", "always", "never"}
        When executable serializers may load: behind a valid signature; for every pointer (the
        place where pointers are kept is trusted as much as code); or not at all.
    unsigned : {"safe", "never"}
        What an unsigned pointer may reach: safe serializers, or nothing. ``pickle="always"``
        needs ``"safe"`` here and extends it to every serializer.
    serializers : frozenset of str, optional
        Ids (without version and compression) that may be used; None allows every one that is registered.
    max_bytes : int, optional
        Largest object to fetch, and to unpack if it is compressed; None sets no limit.
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
        for number, root in enumerate(self.roots, start=1):
            problem = None if is_wildcard(root) else root_problem(root)
            if problem is not None:
                # Not the root itself: it may hold a password.
                raise ConfigError(f"Allowed root {number} is not a storage root: {problem}.", kind="policy")
        if self.max_bytes is not None and self.max_bytes < 0:
            raise ConfigError("max_bytes must not be negative.", kind="policy")

    def check(self, pointer: Pointer, *, executable: bool) -> None:
        """Return if `pointer` may be resolved.

        Parameters
        ----------
        pointer : Pointer
            Its signature, if it has one, was already verified.
        executable : bool
            Whether its serializer can run code.

        Raises
        ------
        PolicyError
            It may not; the message names the rule and the setting. Nothing was fetched.
        """
        problem = self._root_problem(pointer) or self._serializer_problem(pointer, executable)
        if problem is None and self.max_bytes is not None and pointer.size_bytes > self.max_bytes:
            problem = "policy-size", f"The object has {pointer.size_bytes} bytes, max_bytes is {self.max_bytes}."
        if problem is not None:
            kind, sentence = problem
            raise PolicyError(f"{sentence} Nothing was fetched.", kind=kind, pointer=pointer)

    def _root_problem(self, pointer: Pointer) -> tuple[str, str] | None:
        if pointer.root in self.roots:
            return None
        for allowed in self.roots:
            if is_under(pointer.root, allowed) and (pointer.is_signed or not is_wildcard(allowed)):
                return None
        return (
            "policy-root",
            f"The pointer's root {pointer.root} is not allowed here: add it to allowed_roots "
            "(PAYLOADFS_ALLOWED_ROOTS) or make it the storage URL (PAYLOADFS_URL).",
        )

    def _serializer_problem(self, pointer: Pointer, executable: bool) -> tuple[str, str] | None:
        name = split_serializer(pointer.serializer)[1].partition("/")[0]
        if self.serializers is not None and name not in self.serializers:
            return "policy-serializer", f"Objects of serializer {name!r} are not allowed here."
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
