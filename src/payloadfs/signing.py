"""Keys and signatures: HMAC-SHA256 of length-prefixed fields. This module does not know pointers.

The first key of a ring that is not retired signs. All keys verify, so keys can be changed and old
pointers stay valid. Anyone with a key can run code where it is trusted: protect a key file like a
private SSH key.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ._atomic import atomic_file, sync_folder
from .errors import ConfigError, SignatureError, UnknownKeyError

__all__ = ["MAC_CHARS", "Key", "KeyRing", "read_or_create_keys", "write_keys"]

MAC_CHARS = 43
_SECRET_BYTES = 32
_ID_LABEL = b"payloadfs key id v1:"
_MAC_LABEL = b"payloadfs pointer mac v1"
_LINE = re.compile(r"payloadfs-key-1 ([A-Za-z0-9_-]{43})( retired)?")


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """One signing key.

    Parameters
    ----------
    secret : bytes
        32 random bytes.
    retired : bool
        A retired key still verifies but no longer signs.
    """

    secret: bytes
    retired: bool = False
    id: str = field(init=False, compare=False)
    """Eight characters that identify the key without revealing its secret."""
    _derived: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) != _SECRET_BYTES:
            raise ConfigError(f"A key is {_SECRET_BYTES} random bytes, not {len(self.secret)}.", kind="key-format")
        # Computed once, because each takes as long as a signature.
        object.__setattr__(self, "id", hashlib.sha256(_ID_LABEL + self.secret).hexdigest()[:8])
        object.__setattr__(self, "_derived", hmac.digest(self.secret, _MAC_LABEL, "sha256"))

    @classmethod
    def generate(cls) -> Key:
        """Return a new random key."""
        return cls(os.urandom(_SECRET_BYTES))

    def mac(self, fields: Sequence[bytes]) -> str:
        """Return the MAC of `fields`: 43 characters of URL-safe base64."""
        # Not `hmac.digest`: it releases the GIL, and then many threads wait to get it back.
        state = _keyed(self._derived).copy()
        state.update(_length_prefixed(fields))
        return _base64(state.digest())

    def to_line(self) -> str:
        """Return the key as one line of a key file. The line contains the secret."""
        return f"payloadfs-key-1 {_base64(self.secret)}{' retired' if self.retired else ''}"

    def __repr__(self) -> str:
        return f"Key(id={self.id!r}, retired={self.retired})"


class KeyRing:
    """The trusted keys.

    Parameters
    ----------
    keys : iterable of Key
        The first key that is not retired signs.

    Examples
    --------
    >>> ring = KeyRing([Key(b"k" * 32)])
    >>> key_id, mac = ring.sign([b"a", b"bc"])
    >>> ring.verify(key_id, mac, [b"a", b"bc"])
    >>> ring.verify(key_id, mac, [b"ab", b"c"])
    Traceback (most recent call last):
    payloadfs.SignatureError: The signature of key '...' does not match: the pointer was changed after it was signed.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        self._by_id = {key.id: key for key in reversed(self.keys)}

    @classmethod
    def parse(cls, text: str, *, origin: str) -> KeyRing:
        """Return the ring of the keys in `text`, one key per line; ``#`` starts a comment.

        Raises
        ------
        ConfigError
            A line is not a key. The message contains its number and `origin`, never its content.
        """
        keys = []
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise ConfigError(
                    f"Line {number} of the keys from {origin} is not a key: generate one with 'payloadfs keys generate'.",
                    kind="key-format",
                )
            keys.append(Key(base64.urlsafe_b64decode(match[1] + "="), retired=match[2] is not None))
        return cls(keys)

    def sign(self, fields: Sequence[bytes]) -> tuple[str, str]:
        """Return the signing key's id and the MAC of `fields`.

        Raises
        ------
        ConfigError
            There is no key that is not retired.
        """
        for key in self.keys:
            if not key.retired:
                return key.id, key.mac(fields)
        raise ConfigError("There is no signing key: generate one with 'payloadfs keys generate'.", kind="no-key")

    def verify(self, key_id: str, mac: str, fields: Sequence[bytes]) -> None:
        """Raise SignatureError if `mac` is not the MAC of `fields` under the key with id `key_id`.

        Raises
        ------
        UnknownKeyError
            The ring has no such key.
        SignatureError
            The MAC does not match.
        """
        key = self._by_id.get(key_id)
        if key is None:
            raise UnknownKeyError(
                f"The pointer was signed with key {key_id!r}, which is not in the key ring. Run 'payloadfs keys export "
                f"{key_id}' where the pointer was created and 'payloadfs keys add' here, or set PAYLOADFS_KEYS_FILE "
                "to the key file.",
                key_id=key_id,
            )
        if not hmac.compare_digest(key.mac(fields).encode("ascii"), mac.encode("utf-8", "replace")):
            raise SignatureError(
                f"The signature of key {key_id!r} does not match: the pointer was changed after it was signed."
            )

    def __repr__(self) -> str:
        return f"KeyRing({list(self.keys)!r})"


@functools.lru_cache(maxsize=64)
def _keyed(secret: bytes) -> hmac.HMAC:
    return hmac.new(secret, digestmod="sha256")


def read_or_create_keys(path: Path, *, create: bool) -> KeyRing:
    """Return the ring in the key file `path`.

    Parameters
    ----------
    path : Path
        Must be a regular file that only this user can read or write.
    create : bool
        Create the file with a new key (mode 0600) if it does not exist. Two processes that do so at
        the same time get the same key. False: the ring is empty if there is no file.

    Raises
    ------
    ConfigError
        The file belongs to another user, other users can access it, or it is not a key file.
    """
    try:
        # O_NONBLOCK, because opening a FIFO would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        if not create:
            return KeyRing([])
        write_keys(path, KeyRing([Key.generate()]), replace=False)
        return read_or_create_keys(path, create=False)
    except OSError as error:
        raise ConfigError(f"Cannot read the key file {path}: {error.strerror}.", kind="key-file") from error
    try:
        st = os.fstat(descriptor)
        if not stat.S_ISREG(st.st_mode) or st.st_uid != os.geteuid() or st.st_mode & 0o077:
            raise ConfigError(
                f"The key file {path} must be a regular file that only you can read or write: run 'chmod 600 {path}'.",
                kind="key-file-mode",
            )
        # Bytes that are not UTF-8 are refused as an invalid line: the decoder's own error would show them.
        with open(descriptor, encoding="utf-8", errors="replace", closefd=False) as file:
            return KeyRing.parse(file.read(), origin=str(path))
    finally:
        os.close(descriptor)


def write_keys(path: Path, ring: KeyRing, *, replace: bool) -> None:
    """Write `ring` to the key file `path`, whole or not at all, with mode 0600.

    Parameters
    ----------
    path : Path
        Its folder is created (0700) if it does not exist.
    ring : KeyRing
        The keys to write.
    replace : bool
        False: an existing file is not changed.

    Raises
    ------
    ConfigError
        The file cannot be written; an existing file is unchanged.
    """
    text = "# payloadfs signing keys: anyone with one of them can run code in this user's programs.\n"
    text += "".join(key.to_line() + "\n" for key in ring.keys)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # It is synced: a power cut must not take the key and leave pointers signed with it.
            with atomic_file(str(path), replace=replace) as file:
                file.write(text.encode("ascii"))
        except FileExistsError:
            # Another process created the file first: use its key, once it is as durable.
            sync_folder(str(path.parent))
    except OSError as error:
        raise ConfigError(
            f"Cannot write the key file {path}: {error.strerror}. Set PAYLOADFS_KEYS_FILE to another path.",
            kind="key-file",
        ) from error


def _length_prefixed(fields: Sequence[bytes]) -> bytes:
    """Encode `fields` as DSSE and PASETO do: different lists of fields never have the same bytes."""
    parts = [b"PFSv1 %d " % len(fields)]
    for value in fields:
        parts += (b"%d " % len(value), value, b" ")
    return b"".join(parts)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
