"""Checkpoints: the whole state of a run as one JSON object in the store, a new object after each change.

::

    runs/<run>/state/<number>.json    {"payloadfs-run": 1, "run", "number", "document", "kid", "sig"}
    runs/<run>/payloads/...           what the run stored

Checkpoints are numbered and never overwritten. The highest number is valid; older ones are deleted.
A driver that is killed therefore leaves its last complete checkpoint, and of two drivers of the
same run only one can write the next number: the other stops. One driver may be so far
ahead that it has already deleted the number that the other wants to write. Then it has also deleted
the other's last checkpoint, and the other detects that. Some servers ignore conditions and overwrite; so on a
remote store a driver reads its last checkpoint back before it saves the next, and stops if it is another driver's. The MAC covers run, number and document, byte for byte,
and is checked before the document is parsed: anyone who could change them could choose the arguments of works.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from .._keys import ALPHABET, check_key
from .._log import warn_once
from .._urls import scheme_of
from ..errors import ConfigError, EncodeError, IntegrityError, NotFoundError, StoreError, UnknownKeyError
from ..repository import Repository
from ..stores import ObjectInfo
from ._state import canonical

__all__ = ["Checkpoints", "new_run_name", "newest_checkpoints", "parse_key", "payload_prefix", "read_checkpoint"]

VERSION = 1
_LABEL = b"payloadfs run document"
_KEPT = 2
_MAX_ATTEMPTS = 10
_DIGITS = 9
_MAX_BYTES = 64_000_000
_MAX_HEADER_BYTES = 1000
_DOCUMENT = b',"document":'
_KEY = re.compile(r"runs/([A-Za-z0-9_=-][A-Za-z0-9._=-]*)/state/([0-9]{9})\.json")


def new_run_name() -> str:
    """Return a unique name for a run: the current time (UTC) and five random characters."""
    suffix = "".join(ALPHABET[byte & 31] for byte in os.urandom(5))
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{suffix}"


def payload_prefix(run: str) -> str:
    """Return the prefix under which the payloads of `run` are saved."""
    return f"runs/{run}/payloads"


def parse_key(key: str) -> tuple[str, int] | None:
    """Return run and number if `key` is the key of a checkpoint, else None."""
    match = _KEY.fullmatch(key)
    return (match[1], int(match[2])) if match else None


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    repository : Repository
        Where they are stored; its keys sign them.
    run : str
        Name of the run.

    Raises
    ------
    PointerError
        `run` cannot be part of a key.
    """

    def __init__(self, repository: Repository, run: str) -> None:
        check_key(run)
        self.run, self.repository = run, repository
        self._number = 0
        self._last_body = ""
        self._last_signature = ""
        self._saved: tuple[str, int] | None = None

    def load(self) -> dict[str, Any]:
        """Return the newest checkpoint, and delete all but the last two.

        Raises
        ------
        NotFoundError
            The run was not found.
        IntegrityError
            The newest checkpoint was changed. An older one is never used instead.
        """
        infos, self._number, checkpoint = self._load_newest()
        for info in infos[:-_KEPT]:
            self._delete_old(info.key)
        self._last_body = canonical(checkpoint)
        return checkpoint

    def _load_newest(self) -> tuple[list[ObjectInfo], int, dict[str, Any]]:
        """Return all checkpoints in order, and number and content of the newest."""
        prefix = f"runs/{self.run}/state/"
        for attempts_left in reversed(range(_MAX_ATTEMPTS)):
            infos = [info for info in self.repository.store.list(prefix) if parse_key(info.key)]
            if not infos:
                raise NotFoundError(
                    f"Run {self.run!r} not found in {self.repository.root}; 'payloadfs runs' lists the runs."
                )
            try:
                return infos, *read_checkpoint(self.repository, infos[-1])
            except NotFoundError:
                # Its driver is running, and has deleted it since it was listed.
                if not attempts_left:
                    raise
        raise AssertionError

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Store `checkpoint` if it differs from the last one. Cost: one PUT, HEAD and DELETE, and on a remote store one GET.

        Raises
        ------
        EncodeError
            It is larger than 64 MB. The last checkpoint is intact.
        StoreError
            It could not be stored; the last checkpoint is intact. ``kind="concurrent-driver"``:
            another process has resumed this run.
        """
        body = canonical(checkpoint)
        if body == self._last_body:
            return
        if len(body) > _MAX_BYTES - _MAX_HEADER_BYTES:
            raise EncodeError(
                f"The state of run {self.run!r} takes {len(body)} bytes as JSON, and at most {_MAX_BYTES} are allowed: "
                "wrap large values in Payload(...) to store them as objects.",
                kind="state",
            )
        if not self._is_last_ours():
            raise self._concurrent_driver()
        number, size_bytes = self._put_next(body)
        if number > 1 and not self._exists(number - 1):
            self.repository.store.delete(self._key(number))
            raise self._concurrent_driver()
        self._number, self._last_body, self._saved = number, body, (self._last_signature, size_bytes)
        if number > _KEPT:
            self._delete_old(self._key(number - _KEPT))

    def _delete_old(self, key: str) -> None:
        try:
            self.repository.store.delete(key)
        except StoreError as error:
            warn_once(f"Old checkpoints of run {self.run!r} are kept, because they cannot be deleted. {error}")

    def _put_next(self, body: str) -> tuple[int, int]:
        """Store the next checkpoint, and return its number and size in bytes."""
        for number in (self._number + 1, self._number + 2):
            key_id, signature = self.repository.keys.sign(_signed_parts(self.run, number, body.encode("ascii")))
            header = {"payloadfs-run": VERSION, "run": self.run, "number": number, "kid": key_id, "sig": signature}
            previous_signature, self._last_signature = self._last_signature, signature
            content = b"".join([json.dumps(header)[:-1].encode("ascii"), _DOCUMENT, body.encode("ascii"), b"}"])
            try:
                self.repository.store.put(self._key(number), _Body(content))
            except StoreError as error:
                if error.kind != "exists":
                    raise
                stored_signature = self._stored_signature(number)
                if stored_signature == signature:
                    return number, len(content)
                if stored_signature is None or stored_signature != previous_signature:
                    raise self._concurrent_driver() from error
                # Our previous one was stored, although the store reported an error or Ctrl-C interrupted us.
            else:
                return number, len(content)
        raise AssertionError

    def _is_last_ours(self) -> bool:
        """Return whether our last checkpoint is still there and ours, where a server may have overwritten it."""
        if self._saved is None or scheme_of(self.repository.root) in ("file", "memory"):
            return True
        signature, size_bytes = self._saved
        return self._stored_signature(self._number, size_bytes) == signature

    def _stored_signature(self, number: int, size_bytes: int | None = None) -> str | None:
        """Return the MAC of a stored checkpoint, or None if there is none or it is not a checkpoint of that size."""
        store, key = self.repository.store, self._key(number)
        try:
            info = store.info(key) if size_bytes is None else ObjectInfo(key, size_bytes, 0.0)
            header, _ = _read(self.repository, info)
            signature = header["sig"]
        except (NotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return signature if isinstance(signature, str) else None

    def _exists(self, number: int) -> bool:
        try:
            self.repository.store.info(self._key(number))
        except NotFoundError:
            return False
        except StoreError as error:
            # Without permission to look, another driver is noticed when the next number exists.
            if error.kind != "denied":
                raise
        return True

    def _concurrent_driver(self) -> StoreError:
        return StoreError(
            f"Another process has resumed run {self.run!r}; this process stops.", kind="concurrent-driver"
        )

    def _key(self, number: int) -> str:
        return f"runs/{self.run}/state/{number:0{_DIGITS}}.json"


def read_checkpoint(repository: Repository, info: ObjectInfo) -> tuple[int, dict[str, Any]]:
    """Return number and content of the checkpoint at `info`, after checking its signature. One GET.

    Raises
    ------
    NotFoundError
        It has been deleted.
    IntegrityError, SignatureError
        It was changed, or it was signed with a key that is not trusted here.
    ConfigError
        It was written by a newer version of payloadfs.
    """
    run, number = parse_key(info.key) or ("", 0)
    try:
        header, body = _read(repository, info)
        version = header["payloadfs-run"]
        if version != VERSION:
            raise ConfigError(
                f"Run {run!r} uses checkpoint version {version}, which this payloadfs cannot read: update payloadfs.",
                kind="run-version",
            )
        repository.keys.verify(header["kid"], header["sig"], _signed_parts(run, number, body))
        return number, json.loads(body)
    except (ConfigError, NotFoundError, UnknownKeyError):
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            f"The checkpoint of run {run!r} was changed after it was saved: {str(error).rstrip('.')}.", kind="run"
        ) from error


def _read(repository: Repository, info: ObjectInfo) -> tuple[Any, bytes]:
    """Return the header and the document, which is not parsed, of the checkpoint at `info`. One GET.

    Raises
    ------
    ValueError, RecursionError
        It is not a checkpoint. If it is larger than any checkpoint, nothing was fetched.
    """
    if info.size_bytes > _MAX_BYTES:
        raise ValueError(f"it has {info.size_bytes} bytes, and no checkpoint has more than {_MAX_BYTES}")
    content = bytes(repository.store.get(info.key, info.size_bytes).buffer)
    header, separator, body = content.partition(_DOCUMENT)
    if not separator or len(header) > _MAX_HEADER_BYTES or body[-1:] != b"}":
        raise ValueError("it is not a checkpoint")
    return json.loads(header + b"}"), body[:-1]


def newest_checkpoints(infos: Iterable[ObjectInfo]) -> Iterator[tuple[str, ObjectInfo, int]]:
    """Yield name, newest checkpoint and total size in bytes of each run in a listing that is ordered by key."""
    run, newest, size_bytes = "", None, 0
    for info in infos:
        name = info.key.split("/")[1]
        if name != run:
            if newest is not None:
                yield run, newest, size_bytes
            run, newest, size_bytes = name, None, 0
        size_bytes += info.size_bytes
        newest = info if parse_key(info.key) else newest
    if newest is not None:
        yield run, newest, size_bytes


def _signed_parts(run: str, number: int, body: bytes) -> list[bytes]:
    return [_LABEL, run.encode(), str(number).encode(), body]


class _Body:
    """A bytes object as the body of an upload."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[memoryview]:
        yield memoryview(self._content)
