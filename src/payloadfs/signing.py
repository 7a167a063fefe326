"""Keys and signatures: HMAC-SHA256 over length-prefixed fields. Knows nothing of pointers.

The first key of a ring that is not retired signs; all of them verify, so that keys can be changed
without losing a pointer. Whoever holds a key can make others run code: treat a key file like a
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
    """Eight characters that name the key and tell nothing about its secret."""
    _derived: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) != _SECRET_BYTES:
            raise ConfigError(f"A key is {_SECRET_BYTES} random bytes, not {len(self.secret)}.", kind="key-format")
        # Once, not with every signature: both take as long as the MAC itself.
        object.__setattr__(self, "id", hashlib.sha256(_ID_LABEL + self.secret).hexdigest()[:8])
        object.__setattr__(self, "_derived", hmac.digest(self.secret, _MAC_LABEL, "sha256"))

    @classmethod
    def generate(cls) -> Key:
        """Return a new random key."""
        return cls(os.urandom(_SECRET_BYTES))

    def mac(self, fields: Sequence[bytes]) -> str:
        """Return the MAC of `fields`: 43 characters of URL-safe base64."""
        # Not `hmac.digest`: it lets go of the interpreter's lock, and many threads then queue for it.
        state = _keyed(self._derived).copy()
        state.update(_length_prefixed(fields))
        return _base64(state.digest())

    def to_line(self) -> str:
        """Return the key as one line of a key file. This is the secret."""
        return f"payloadfs-key-1 {_base64(self.secret)}{' retired' if self.retired else ''}"

    def __repr__(self) -> str:
        return f"Key(id={self.id!r}, retired={self.retired})"


class KeyRing:
    """Keys that are trusted here.

    Parameters
    ----------
    keys : iterable of Key
        The first that is not retired signs.

    Examples
    --------
    >>> ring = KeyRing([Key(b"k" * 32)])
    >>> key_id, mac = ring.sign([b"a", b"bc"])
    >>> ring.verify(key_id, mac, [b"a", b"bc"])
    >>> ring.verify(key_id, mac, [b"ab", b"c"])
    Traceback (most recent call last):
    payloadfs.errors.SignatureError: The signature by key '...' does not fit the pointer: it was changed after it was signed.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        self._by_id = {key.id: key for key in reversed(self.keys)}

    @classmethod
    def parse(cls, text: str, *, origin: str) -> KeyRing:
        """Return the ring that `text` spells, one key a line; ``#`` starts a comment.

        Raises
        ------
        ConfigError
            A line is not a key. The message names its number and `origin`, never its content.
        """
        keys = []
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise ConfigError(
                    f"Line {number} of the keys from {origin} is not a key; make one with 'payloadfs keys generate'.",
                    kind="key-format",
                )
            keys.append(Key(base64.urlsafe_b64decode(match[1] + "="), retired=match[2] is not None))
        return cls(keys)

    def sign(self, fields: Sequence[bytes]) -> tuple[str, str]:
        """Return the signing key's id and the MAC of `fields`.

        Raises
        ------
        ConfigError
            Every key is retired, or there is none.
        """
        for key in self.keys:
            if not key.retired:
                return key.id, key.mac(fields)
        raise ConfigError("No key here may sign; make one with 'payloadfs keys generate'.", kind="no-key")

    def verify(self, key_id: str, mac: str, fields: Sequence[bytes]) -> None:
        """Return if `mac` is that of `fields` under the key called `key_id`.

        Raises
        ------
        UnknownKeyError
            The ring has no such key.
        SignatureError
            The MAC is another.
        """
        key = self._by_id.get(key_id)
        if key is None:
            raise UnknownKeyError(
                f"The pointer was signed with key {key_id!r}, which is not here. Where it was made run "
                f"'payloadfs keys export {key_id}', here 'payloadfs keys add', or let PAYLOADFS_KEYS_FILE "
                "name that key file.",
                key_id=key_id,
            )
        if not hmac.compare_digest(key.mac(fields).encode("ascii"), mac.encode("utf-8", "replace")):
            raise SignatureError(
                f"The signature by key {key_id!r} does not fit the pointer: it was changed after it was signed."
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
        Must be a regular file of this user that nobody else can read.
    create : bool
        Make the file with one new key (mode 0600) if there is none. Two processes that do so at
        once end with the same key. False: without the file the ring is empty.

    Raises
    ------
    ConfigError
        The file is not ours, open to others, or not a key file.
    """
    try:
        # Not to wait for ever should the path be a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        if not create:
            return KeyRing([])
        write_keys(path, KeyRing([Key.generate()]), replace=False)
        return read_or_create_keys(path, create=False)
    except OSError as error:
        raise ConfigError(f"The key file {path} can't be read: {error.strerror}.", kind="key-file") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise ConfigError(
                f"The key file {path} must be a regular file that is yours alone: run 'chmod 600 {path}'.",
                kind="key-file-mode",
            )
        # What is not UTF-8 fails as a line that is no key: the decoder's own error would show it.
        with open(descriptor, encoding="utf-8", errors="replace", closefd=False) as file:
            return KeyRing.parse(file.read(), origin=str(path))
    finally:
        os.close(descriptor)


def write_keys(path: Path, ring: KeyRing, *, replace: bool) -> None:
    """Write `ring` to the key file `path`, whole or not at all, mode 0600.

    Parameters
    ----------
    path : Path
        Its folder is made (0700) if it is missing.
    ring : KeyRing
        What the file will hold.
    replace : bool
        False: if the file exists it stays as it is.
    """
    text = "# payloadfs signing keys: whoever holds one can make this user's programs run code.\n"
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
    """Pre-authentication encoding, after DSSE and PASETO: no two field lists give the same bytes."""
    parts = [b"PFSv1 %d " % len(fields)]
    for value in fields:
        parts += (b"%d " % len(value), value, b" ")
    return b"".join(parts)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
