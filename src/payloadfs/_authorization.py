"""Authorization of pointers: signature first, then the policy. No request is sent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from ._urls import canonical_root, resolve_alias
from .errors import ExpiredError, PolicyError
from .pointer import Pointer
from .policy import Policy
from .signing import KeyFile, KeyRing


class Authorizer:
    """The keys and the policy of one repository. The key file is read only if `keys` is None."""

    def __init__(self, keys: KeyRing | None, keys_file: Path, policy: Policy, root_aliases: Mapping[str, str]) -> None:
        self.policy = policy
        self._given, self._file = keys, KeyFile(keys_file)
        self._aliases = {canonical_root(old): canonical_root(new) for old, new in root_aliases.items()}

    @property
    def keys(self) -> KeyRing:
        """The key ring as it is now; creates a key file if there is none."""
        return self._given or self._file.ring(create=True)

    def resolve(self, pointer: Pointer, *, context: str | None = None, decoding: bool = False) -> Pointer:
        """Return `pointer` with the root at which its object is now.

        Its signature is checked if it has one; the policy decides about unsigned pointers. Its context must match, and
        it must not have expired, only if the object will be decoded.

        Raises
        ------
        SignatureError, PolicyError
            The pointer must not be resolved. Nothing was fetched.
        """
        if pointer.is_signed:
            self.verify(pointer)
        if decoding:
            _check_context(pointer, context)
            _check_expiry(pointer)
        can_move = self._aliases and not pointer.is_inline
        root = resolve_alias(pointer.root, self._aliases) if can_move else pointer.root
        resolved = pointer if root == pointer.root else pointer.replaced(root=root)
        self.policy.check(resolved, executable=False)
        return resolved

    def verify(self, pointer: Pointer) -> None:
        """Raise `SignatureError` if `pointer` has no signature or a wrong one."""
        pointer.verify(self._given or self._file.ring())


def _check_expiry(pointer: Pointer) -> None:
    expires = pointer.expires
    if expires is not None and expires.timestamp() <= time.time():
        raise ExpiredError(
            f"The object expired at {expires:%Y-%m-%d %H:%M:%S} UTC: create it again. Nothing was fetched.",
            pointer=pointer,
        )


def _check_context(pointer: Pointer, context: str | None) -> None:
    """Raise `PolicyError` unless `pointer` was saved for `context`, or without one if `context` is None."""
    if pointer.context == (context or "") and (pointer.is_signed or not context):
        return
    if not context:
        problem = f"The pointer was saved for the context {pointer.context!r}: pass the same context= to load it."
    elif not pointer.is_signed:
        problem = f"The context {context!r} needs a signed pointer, and this one is not signed."
    else:
        saved = f"for the context {pointer.context!r}" if pointer.context else "without a context"
        problem = f"The pointer was saved {saved}, not for {context!r}."
    raise PolicyError(f"{problem} Nothing was fetched.", kind="policy-context", pointer=pointer)
