"""Authorization of pointers: signature first, then the policy. No request is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ._urls import canonical_root, resolve_alias
from .errors import UnknownKeyError
from .pointer import Pointer
from .policy import Policy
from .signing import KeyRing, read_or_create_keys

__all__ = ["Authorizer"]


class Authorizer:
    """The keys and the policy of one repository.

    Parameters
    ----------
    keys : KeyRing or None
        The key ring, if the caller passed one.
    keys_file : Path
        The key file, which is read if `keys` is None.
    policy : Policy
        What may be resolved.
    root_aliases : mapping of str to str
        Old roots, and the roots at which their objects are now.
    """

    def __init__(self, keys: KeyRing | None, keys_file: Path, policy: Policy, root_aliases: Mapping[str, str]) -> None:
        self.policy = policy
        self._given, self._keys_file = keys, keys_file
        self._aliases = {canonical_root(old): canonical_root(new) for old, new in root_aliases.items()}
        self._ring = keys

    @property
    def signing_keys(self) -> KeyRing:
        """The key ring; the first use creates one if there is none."""
        return self._keys(create=True)

    def resolve(self, pointer: Pointer) -> Pointer:
        """Return `pointer` with the root at which its object is now.

        Raises
        ------
        SignatureError, PolicyError
            It may not be resolved. Nothing was fetched.
        """
        # The policy decides about unsigned pointers; a wrong signature is always refused.
        if pointer.is_signed:
            self.verify(pointer)
        root = resolve_alias(pointer.root, self._aliases) if self._aliases else pointer.root
        resolved = pointer if root == pointer.root else replace(pointer, root=root)
        self.policy.check(resolved, executable=False)
        return resolved

    def verify(self, pointer: Pointer) -> None:
        """Raise `SignatureError` if `pointer` has no signature or a wrong one."""
        try:
            pointer.verify(self._keys())
        except UnknownKeyError:
            # The key may have been added to the file since it was read.
            self._ring = self._given
            pointer.verify(self._keys())

    def _keys(self, *, create: bool = False) -> KeyRing:
        if self._ring is None or (create and not self._ring.keys):
            self._ring = read_or_create_keys(self._keys_file, create=create)
        return self._ring
