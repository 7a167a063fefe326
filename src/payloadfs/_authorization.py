"""Admission: which pointers get past the door. Signature first, then the policy; no request is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ._urls import canonical_root, resolve_alias
from .errors import UnknownKeyError
from .pointer import Pointer
from .policy import Policy
from .settings import Settings
from .signing import KeyRing, read_or_create_keys

__all__ = ["Admission"]


class Admission:
    """The keys and the policy of one repository.

    Parameters
    ----------
    settings : Settings
        Say where the keys are.
    policy : Policy
        What may be resolved.
    root_aliases : mapping of str to str
        Old roots and where their objects lie now.
    """

    def __init__(self, settings: Settings, policy: Policy, root_aliases: Mapping[str, str]) -> None:
        self.policy = policy
        self._settings = settings
        self._moved = {canonical_root(old): canonical_root(new) for old, new in root_aliases.items()}
        self._ring = settings.keys

    @property
    def signing(self) -> KeyRing:
        """The keys; the first use makes one if there is none."""
        return self._keys(create=True)

    def placed(self, pointer: Pointer) -> Pointer:
        """Return `pointer` with the root at which its object lies now.

        Raises
        ------
        SignatureError, PolicyError
            It is not admitted. Nothing was fetched.
        """
        # An unsigned pointer is the policy's matter; a wrong signature never is.
        if pointer.is_signed:
            self.verify(pointer)
        root = resolve_alias(pointer.root, self._moved)
        place = pointer if root == pointer.root else replace(pointer, root=root)
        self.policy.check(place, executable=False)
        return place

    def verify(self, pointer: Pointer) -> None:
        """Return if `pointer` has a signature and it is right, or raise `SignatureError`."""
        try:
            pointer.verify(self._keys())
        except UnknownKeyError:
            # The key may have been added to the file since it was read.
            self._ring = self._settings.keys
            pointer.verify(self._keys())

    def _keys(self, *, create: bool = False) -> KeyRing:
        if self._ring is None or (create and not self._ring.keys):
            self._ring = read_or_create_keys(self._settings.keys_file, create=create)
        return self._ring
