"""Digests: BLAKE3-256 by default, SHA-256 where it is asked for (FIPS).

Both resist collisions at 128 bits. A digest also says *what* was hashed: all bytes of the object,
or the seal at its end (see `payloadfs.seal`), so that one can never be taken for the other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from .errors import PointerError

__all__ = ["ALGORITHMS", "DIGEST_BYTES", "Algorithm", "Digest", "Hasher", "digest_of", "hasher"]

Algorithm = Literal["b3", "s256"]
ALGORITHMS: tuple[Algorithm, ...] = ("b3", "s256")
DIGEST_BYTES = 32

_PATTERN = re.compile(r"(b3|s256)(-seal)?:([0-9a-f]{64})")
_PARALLEL_FROM_BYTES = 1024 * 1024

_lost_threads: list[bool] = []
"""Not empty in a forked child, where BLAKE3's own threads are gone and would be waited for, for ever."""

os.register_at_fork(after_in_child=lambda: _lost_threads.append(True))


class Hasher(Protocol):
    """What `hasher` returns: bytes in, 32 bytes out."""

    def update(self, data: memoryview, /) -> object:
        """Hash `data` after all that came before."""
        ...

    def digest(self) -> bytes:
        """Return the digest of all that was hashed."""
        ...


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest as it stands in a pointer.

    Parameters
    ----------
    algorithm : {"b3", "s256"}
        BLAKE3-256 or SHA-256.
    value : bytes
        32 bytes.
    sealed : bool
        False: hash of all the object's bytes. True: hash of the tail that holds its seal.

    Examples
    --------
    >>> str(Digest("s256", digest_of([b"abc"], "s256")))[:13]
    's256:ba7816bf'
    """

    algorithm: Algorithm
    value: bytes
    sealed: bool = False

    def __str__(self) -> str:
        return f"{self.algorithm}{'-seal' if self.sealed else ''}:{self.value.hex()}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest that `text` spells, or raise `PointerError`."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise PointerError(f"The pointer's digest is not a known digest: {text[:80]!r}.", kind="digest-format")
        algorithm: Algorithm = "b3" if match[1] == "b3" else "s256"
        return cls(algorithm, bytes.fromhex(match[3]), match[2] is not None)


def hasher(algorithm: Algorithm, *, all_cores: bool = False) -> Hasher:
    """Return a new hasher; `all_cores` lets BLAKE3 use them for large pieces."""
    if algorithm == "s256":
        return hashlib.sha256()
    # Not at the top: `import payloadfs` stays free of compiled modules.
    from blake3 import blake3

    many = os.cpu_count() or 1 if _lost_threads else blake3.AUTO
    return blake3(max_threads=many if all_cores else 1)


def digest_of(parts: Iterable[bytes | memoryview], algorithm: Algorithm) -> bytes:
    """Return the digest of `parts` one after the other: 32 bytes.

    Notes
    -----
    Cost: one pass, no copy. BLAKE3 uses all cores for parts of 1 MiB and more.
    """
    views = [memoryview(part) for part in parts]
    state = hasher(algorithm, all_cores=any(v.nbytes >= _PARALLEL_FROM_BYTES for v in views))
    for part in views:
        state.update(part)
    return state.digest()
