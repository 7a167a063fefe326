"""Keys, signatures over length-prefixed fields (HMAC-SHA256 and Ed25519), and the key file.

A ring signs with its first key that can sign and is not retired. All keys verify, so keys can be
rotated and old pointers stay valid. Anyone who can sign can run code where the key is trusted: protect a key
file like a private SSH key. The public half of an Ed25519 key only verifies.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ._atomic import NO_WAIT, OPEN, atomic_file, sync_folder
from ._secrets import StaysInProcess
from .errors import ConfigError, SignatureError, UnknownKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["Key", "KeyFile", "KeyKind", "KeyRing", "read_keys", "read_trusted_file", "write_keys"]

_MAX_BYTES = 1 << 20
_CLOCK_TICK_NS = 1_000_000_000
_Version = tuple[int, ...]

KeyKind = Literal["hmac", "ed25519", "ed25519-public"]

_SIZES = {"hmac": 32, "ed25519": 64, "ed25519-public": 32}
_PUBLIC_BYTES = 32
_HMAC_ID_LABEL, _ED25519_ID_LABEL = b"payloadfs key id v1:", b"payloadfs ed25519 key id v1:"
_LABEL = b"payloadfs pointer mac v1"
_LINE = re.compile(r"payloadfs-(key|ed25519|ed25519-public)-1 ([A-Za-z0-9_-]+)( retired)?")


@dataclass(frozen=True, slots=True, repr=False)
class Key(StaysInProcess):
    """One key that signs, verifies, or both. It cannot be pickled.

    Parameters
    ----------
    material : bytes
        ``"hmac"``: 32 random bytes. ``"ed25519"``: 32 bytes of the private half, then 32 of the
        public half. ``"ed25519-public"``: the 32 bytes of the public half.
    kind : {"hmac", "ed25519", "ed25519-public"}
        The Ed25519 kinds need the package ``cryptography`` when they sign or verify.
    retired : bool
        A retired key still verifies but no longer signs.

    Examples
    --------
    >>> key = Key(b"k" * 32)
    >>> key
    Key(id='de151a1c', kind='hmac', retired=False)
    >>> key.is_valid(key.sign([b"a"]), [b"a"])
    True
    """

    material: bytes
    kind: KeyKind = "hmac"
    retired: bool = False
    id: str = field(init=False, compare=False)
    """Eight characters that identify the key without revealing its secret; both halves of a pair share them."""
    _derived: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in _SIZES:
            raise ConfigError(f"kind must be one of {', '.join(_SIZES)}, not {self.kind!r:.40}.", kind="key-format")
        if len(self.material) != _SIZES[self.kind]:
            raise ConfigError(
                f"A key of kind {self.kind!r} has {_SIZES[self.kind]} bytes, not {len(self.material)}.",
                kind="key-format",
            )
        is_hmac = self.kind == "hmac"
        identity = _HMAC_ID_LABEL + self.material if is_hmac else _ED25519_ID_LABEL + self.material[-_PUBLIC_BYTES:]
        # Computed once, because each takes as long as a signature.
        object.__setattr__(self, "id", hashlib.sha256(identity).hexdigest()[:8])
        object.__setattr__(self, "_derived", hmac.digest(self.material, _LABEL, "sha256") if is_hmac else b"")

    @classmethod
    def generate(cls, kind: Literal["hmac", "ed25519"] = "hmac") -> Key:
        """Return a new random key.

        Raises
        ------
        ConfigError
            `kind` is ``"ed25519"``, and the package ``cryptography`` is not installed.
        """
        private = os.urandom(32)
        if kind == "hmac":
            return cls(private)
        public = _ed25519().Ed25519PrivateKey.from_private_bytes(private).public_key()
        return cls(private + public.public_bytes_raw(), "ed25519")

    @property
    def can_sign(self) -> bool:
        """Whether the key signs: it has a private half and is not retired."""
        return self.kind != "ed25519-public" and not self.retired

    @property
    def public(self) -> Key:
        """The public half of an Ed25519 key, for readers that must not sign.

        Raises
        ------
        ConfigError
            The key is an HMAC key, which has no public half.
        """
        if self.kind == "hmac":
            raise ConfigError(
                f"Key {self.id!r} is an HMAC key, which has no public half: generate a key with "
                "'payloadfs keys generate --kind ed25519'.",
                kind="no-public-half",
            )
        return Key(self.material[-_PUBLIC_BYTES:], "ed25519-public")

    def sign(self, fields: Sequence[bytes]) -> str:
        """Return the signature of `fields` in URL-safe base64: 43 characters (HMAC) or 86 (Ed25519).

        Raises
        ------
        ConfigError
            The key cannot sign, or ``cryptography`` is not installed.
        """
        if self.kind == "hmac":
            # Not `hmac.digest`: it releases the GIL, and then many threads wait to get it back.
            state = _keyed(self._derived).copy()
            state.update(_length_prefixed(fields))
            return _base64(state.digest())
        if self.kind != "ed25519":
            raise ConfigError(f"Key {self.id!r} is a public key, which cannot sign.", kind="no-key")
        return _base64(_private_key(self.material).sign(_LABEL + _length_prefixed(fields)))

    def is_valid(self, signature: str, fields: Sequence[bytes]) -> bool:
        """Return whether `signature` is the signature of `fields` by this key.

        Raises
        ------
        ConfigError
            The key is an Ed25519 key, and ``cryptography`` is not installed.
        """
        if self.kind == "hmac":
            return hmac.compare_digest(self.sign(fields).encode("ascii"), signature.encode("utf-8", "replace"))
        raw = _from_base64(signature)
        if raw is None:
            return False
        public_key = _public_key(self.material[-_PUBLIC_BYTES:])
        from cryptography.exceptions import InvalidSignature

        try:
            public_key.verify(raw, _LABEL + _length_prefixed(fields))
        except InvalidSignature:
            return False
        return True

    def to_line(self) -> str:
        """Return the key as one line of a key file. The line contains the secret, unless it is a public key."""
        name = "key" if self.kind == "hmac" else self.kind
        return f"payloadfs-{name}-1 {_base64(self.material)}{' retired' if self.retired else ''}"

    def __repr__(self) -> str:
        return f"Key(id={self.id!r}, kind={self.kind!r}, retired={self.retired})"


class KeyRing(StaysInProcess):
    """The trusted keys. A key ring cannot be pickled.

    Parameters
    ----------
    keys : iterable of Key
        The first key that can sign is used to sign. If two keys have the same id, the first one verifies.

    Examples
    --------
    >>> ring = KeyRing([Key(b"k" * 32)])
    >>> key_id, signature = ring.sign([b"a", b"bc"])
    >>> ring.verify(key_id, signature, [b"a", b"bc"])
    >>> ring.verify(key_id, signature, [b"ab", b"c"])
    Traceback (most recent call last):
    payloadfs.SignatureError: The signature of key '...' does not match: the pointer was changed after it was signed.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        self._by_id = {key.id: key for key in reversed(self.keys)}

    @classmethod
    def parse(cls, text: str, *, origin: str) -> KeyRing:
        """Return a ring of the keys in `text`, one key per line; ``#`` starts a comment.

        Raises
        ------
        ConfigError
            A line is not a key. The message contains the line's number and `origin`, never its content.
        """
        keys = []
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line.strip())
            material = _from_base64(match[2]) if match else None
            kind: Any = match[1].replace("key", "hmac") if match else ""
            if match is None or material is None or len(material) != _SIZES[kind]:
                raise ConfigError(
                    f"Line {number} of the keys from {origin} is not a key: generate one with 'payloadfs keys generate'.",
                    kind="key-format",
                )
            keys.append(Key(material, kind, retired=match[3] is not None))
        return cls(keys)

    def to_text(self) -> str:
        """Return these keys as the lines of a key file, which `parse` reads. The lines contain the secrets."""
        return "".join(f"{key.to_line()}\n" for key in self.keys)

    @property
    def signing_key(self) -> Key | None:
        """The key that signs, or None if no key can."""
        return next((key for key in self.keys if key.can_sign), None)

    def require_signing_key(self) -> Key:
        """Return the key that signs, or raise `ConfigError` if no key can: all are retired or public."""
        key = self.signing_key
        if key is None:
            problem = "can sign, because all are retired or public" if self.keys else "exists here"
            raise ConfigError(f"No key {problem}: generate one with 'payloadfs keys generate'.", kind="no-key")
        return key

    def sign(self, fields: Sequence[bytes]) -> tuple[str, str]:
        """Return the signing key's id and the signature of `fields`, or raise `ConfigError` if no key can sign."""
        key = self.require_signing_key()
        return key.id, key.sign(fields)

    def verify(self, key_id: str, signature: str, fields: Sequence[bytes]) -> None:
        """Raise SignatureError if `signature` is not the signature of `fields` by the key with id `key_id`.

        Raises
        ------
        UnknownKeyError
            The ring has no such key.
        SignatureError
            The signature does not match.
        """
        key = self._by_id.get(key_id)
        if key is None:
            raise UnknownKeyError(
                f"The pointer was signed with key {key_id!r}, which is not in the key ring. Run 'payloadfs keys export "
                f"{key_id}' where the pointer was created and 'payloadfs keys add' here, or set PAYLOADFS_KEYS_FILE "
                "to the key file.",
                key_id=key_id,
            )
        if not key.is_valid(signature, fields):
            raise SignatureError(
                f"The signature of key {key_id!r} does not match: the pointer was changed after it was signed."
            )

    def __repr__(self) -> str:
        return f"KeyRing({list(self.keys)!r})"


class KeyFile:
    """The key ring in a key file, which must satisfy `read_trusted_file`. It is read again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[_Version, KeyRing] | None = None

    def ring(self, *, create: bool = False) -> KeyRing:
        """Return the key ring; an empty one if the file does not exist.

        Parameters
        ----------
        create : bool
            Create the file with a new key (mode 0600) if it does not exist or has no key. Two processes
            that do so at the same time get the same key.

        Raises
        ------
        ConfigError
            The file is not trusted, or it is not a key file.

        Notes
        -----
        Cost: one ``stat`` with each call, so running processes notice immediately that a key was removed or retired.
        """
        version = self._version()
        if version is None or self._read is None or self._read[0] != version:
            ring = read_keys(self.path)
            # A file that was written a moment ago can change again within the same tick of the file system's clock.
            settled = version is not None and time.time_ns() - max(version[:2]) > _CLOCK_TICK_NS
            self._read = (version, ring) if version is not None and settled else None
        else:
            ring = self._read[1]
        if create and not ring.keys:
            write_keys(self.path, KeyRing([Key.generate()]), replace=False)
            return read_keys(self.path)
        return ring

    def _version(self) -> _Version | None:
        """Return metadata that changes with the content of the file, or None if it cannot be read."""
        try:
            st = os.stat(self.path)
        except OSError:
            return None  # reading it raises the error
        return st.st_mtime_ns, st.st_ctime_ns, st.st_size, st.st_ino, st.st_dev, st.st_mode, st.st_uid


def read_keys(path: Path) -> KeyRing:
    """Return the ring in the key file `path`; an empty one if the file does not exist.

    Raise `ConfigError` if the file is not trusted, or not a key file.
    """
    try:
        content = read_trusted_file(path, "key file", secret=True)
    except (FileNotFoundError, NotADirectoryError):
        return KeyRing([])
    # Bytes that are not UTF-8 are refused as an invalid line: the decoder's own error would show them.
    return KeyRing.parse(content.decode("utf-8", "replace"), origin=str(path))


def read_trusted_file(path: Path, name: str, *, secret: bool) -> bytes:
    """Return the content of `path`, a regular file of this user or root that no other user can write to.

    The user's own `secret` must not be readable by others either. Root's file may be, if it is read-only: secrets that
    Docker and Kubernetes mount have the mode 0440 or 0444, or are on a read-only file system. `name` says in messages
    what the file is.

    On Windows the mode does not say who can read and write a file, so only its kind is checked: the access
    rights of the user's profile folder protect it.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        The file does not exist.
    ConfigError
        The file is not trusted, too large, or cannot be read; the message says what to do.
    """
    try:
        # NO_WAIT, because opening a FIFO would wait forever.
        descriptor = os.open(path, os.O_RDONLY | OPEN | NO_WAIT)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise ConfigError(f"Cannot read the {name} {path}: {error.strerror}.", kind="file-access") from error
    try:
        problem = _problem(descriptor, secret=secret)
        if problem is not None:
            raise ConfigError(f"The {name} {path} {problem}", kind="file-mode")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(_MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"The {name} {path} must not be larger than 1 MiB.", kind="file-size")
    return content


def _problem(descriptor: int, *, secret: bool) -> str | None:
    """Return why an open file is not trusted, and what to do, or None."""
    st = os.fstat(descriptor)
    if not stat.S_ISREG(st.st_mode):
        return "must be a regular file."
    if sys.platform != "win32":
        is_root = st.st_uid == 0
        if st.st_uid != os.geteuid() and not is_root:
            return f"belongs to another user (id {st.st_uid}): it must belong to you or to root."
        if st.st_mode & 0o022:
            return "can be written by other users: run 'chmod go-w' on it."
        if secret and st.st_mode & 0o077:
            read_only = not st.st_mode & 0o222 or os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
            if not (is_root and read_only):
                return (
                    "can be read by other users: run 'chmod 600' on it. Only a read-only file that belongs to root "
                    "(mode 0440 or 0444, or on a read-only mount) may be readable by others."
                )
    return None


def write_keys(path: Path, ring: KeyRing, *, replace: bool) -> None:
    """Write `ring` to the key file `path`, whole or not at all, with mode 0600; create its folder (0700).

    Unless `replace` is true, an existing file is not changed.

    Raises
    ------
    ConfigError
        The file cannot be written; an existing file is unchanged.
    """
    text = "# payloadfs keys: anyone who has a key that is not public can run code in this user's programs.\n"
    text += ring.to_text()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # Synced, because a power cut must not lose the key and keep pointers signed with it.
            with atomic_file(str(path), replace=replace) as file:
                file.write(text.encode("ascii"))
        except FileExistsError:
            # Another process created the file first: use its key, once it is durable.
            sync_folder(str(path.parent))
    except OSError as error:
        raise ConfigError(
            f"Cannot write the key file {path}: {error.strerror}. Set PAYLOADFS_KEYS_FILE to another path.",
            kind="key-file",
        ) from error


@functools.lru_cache(maxsize=64)
def _keyed(secret: bytes) -> hmac.HMAC:
    return hmac.new(secret, digestmod="sha256")


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConfigError(
            "Ed25519 keys need the package cryptography: pip install 'payloadfs[crypto]'.", kind="missing-package"
        ) from error
    return ed25519


@functools.lru_cache(maxsize=64)
def _private_key(material: bytes) -> Ed25519PrivateKey:
    key: Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(material[:-_PUBLIC_BYTES])
    if key.public_key().public_bytes_raw() != material[-_PUBLIC_BYTES:]:
        # Signing with the wrong public half can reveal the private one.
        raise ConfigError("The two halves of the Ed25519 key do not match.", kind="key-format")
    return key


@functools.lru_cache(maxsize=64)
def _public_key(material: bytes) -> Ed25519PublicKey:
    key: Ed25519PublicKey = _ed25519().Ed25519PublicKey.from_public_bytes(material)
    return key


def _length_prefixed(fields: Sequence[bytes]) -> bytes:
    """Encode `fields` as DSSE and PASETO do: different lists of fields never have the same encoding."""
    parts = [b"PFSv1 %d " % len(fields)]
    for value in fields:
        parts += (b"%d " % len(value), value, b" ")
    return b"".join(parts)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _from_base64(text: str) -> bytes | None:
    """Return the bytes that `text` encodes, or None if `text` is not exactly what `_base64` returns for them."""
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        return None
    # Otherwise one signature would have several encodings.
    return raw if _base64(raw) == text else None
