"""The run's document: the whole state as one JSON object in the store, a new one after each change.

::

    runs/<run>/state/<number>.json    {"payloadfs-run": 1, "run", "number", "document", "kid", "mac"}
    runs/<run>/payloads/...           what the run stored

Documents are numbered and never overwritten: the highest number counts, older ones are deleted.
So a driver that is killed leaves the last whole document, and of two drivers of one run only one
can write the next: the other stops. If the first has gone on so far that the next of the other is
deleted again, then so is the other's last one, by which it knows. The MAC covers run, number and
document, since whoever could change them would choose what works are called with.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from .._keys import ALPHABET, check_key
from ..errors import ConfigError, IntegrityError, NotFoundError, StoreError, UnknownKeyError
from ..repository import Repository
from ..stores import ObjectInfo
from ._state import canonical

__all__ = ["Journal", "new_run", "newest", "payload_scope", "read_document", "run_of"]

VERSION = 1
_LABEL = b"payloadfs run document"
_KEPT = 2
_TRIES = 10
_DIGITS = 9
_NAME = re.compile(r"runs/([A-Za-z0-9_=-][A-Za-z0-9._=-]*)/state/([0-9]{9})\.json")


def new_run() -> str:
    """Return a name for a run: its time (UTC), and letters that make it unique."""
    ending = "".join(ALPHABET[byte & 31] for byte in os.urandom(5))
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{ending}"


def payload_scope(run: str) -> str:
    """Return the prefix under which the payloads of `run` are saved."""
    return f"runs/{run}/payloads"


def run_of(key: str) -> tuple[str, int] | None:
    """Return run and number if `key` is that of a run's document, else None."""
    found = _NAME.fullmatch(key)
    return (found[1], int(found[2])) if found else None


class Journal:
    """The documents of one run.

    Parameters
    ----------
    repository : Repository
        Where they lie, and whose keys sign them.
    run : str
        Name of the run.
    """

    def __init__(self, repository: Repository, run: str) -> None:
        check_key(run)
        self.run, self.repository = run, repository
        self._number = 0
        self._last = ""
        self._tried = ""

    def load(self) -> dict[str, Any]:
        """Return the newest document, and delete what is older than those that are kept.

        Raises
        ------
        NotFoundError
            There is no such run.
        IntegrityError
            The document was changed. It is not gone back to an older one.
        """
        found, self._number, document = self._newest()
        for info in found[:-_KEPT]:
            self.repository.store.delete(info.key)
        self._last = canonical(document)
        return document

    def _newest(self) -> tuple[list[ObjectInfo], int, dict[str, Any]]:
        """Return what there is, in order, and number and content of the newest."""
        prefix = f"runs/{self.run}/state/"
        for tries_left in reversed(range(_TRIES)):
            found = [info for info in self.repository.store.list(prefix) if run_of(info.key)]
            if not found:
                raise NotFoundError(f"There is no run {self.run!r} in {self.repository.root}; see 'payloadfs runs'.")
            try:
                return found, *read_document(self.repository, found[-1])
            except NotFoundError:
                # Its driver goes on meanwhile, and has deleted it.
                if not tries_left:
                    raise
        raise AssertionError

    def save(self, document: dict[str, Any]) -> None:
        """Store `document`, if it is another than the last. Cost: one PUT, one HEAD and one DELETE.

        Raises
        ------
        StoreError
            It could not be stored; the last one stands. ``kind="concurrent-driver"``: another process
            goes on with this run.
        """
        body = canonical(document)
        if body == self._last:
            return
        number = self._put(body)
        if number > 1 and not self._exists(number - 1):
            self.repository.store.delete(self._key(number))
            raise self._other_driver()
        self._number, self._last = number, body
        if number > _KEPT:
            self.repository.store.delete(self._key(number - _KEPT))

    def _put(self, body: str) -> int:
        """Store the next document, and return its number."""
        for number in (self._number + 1, self._number + 2):
            key_id, mac = self.repository.keys.sign(_signed(self.run, number, body))
            facts = {"payloadfs-run": VERSION, "run": self.run, "number": number, "kid": key_id, "mac": mac}
            tried, self._tried = self._tried, mac
            try:
                self.repository.store.put(self._key(number), _Text(f'{json.dumps(facts)[:-1]},"document":{body}}}'))
            except StoreError as error:
                if error.kind != "exists":
                    raise
                found = self._mac_of(number)
                if found == mac:
                    return number
                if found is None or found != tried:
                    raise self._other_driver() from error
                # The one before was stored, though the store said that it failed, or Ctrl-C came between.
            else:
                return number
        raise AssertionError

    def _mac_of(self, number: int) -> str | None:
        """Return the signature of a document that is there, or None if it is none."""
        try:
            info = self.repository.store.info(self._key(number))
            envelope = json.loads(bytes(self.repository.store.get(info.key, info.size_bytes).buffer))
            mac = envelope["mac"]
        except (NotFoundError, ValueError, KeyError, TypeError):
            return None
        return mac if isinstance(mac, str) else None

    def _exists(self, number: int) -> bool:
        try:
            self.repository.store.info(self._key(number))
        except NotFoundError:
            return False
        return True

    def _other_driver(self) -> StoreError:
        return StoreError(f"Another process goes on with run {self.run!r}; this one stops.", kind="concurrent-driver")

    def _key(self, number: int) -> str:
        return f"runs/{self.run}/state/{number:0{_DIGITS}}.json"


def read_document(repository: Repository, info: ObjectInfo) -> tuple[int, dict[str, Any]]:
    """Return number and content of the document that a listing names, its signature checked."""
    run, number = run_of(info.key) or ("", 0)
    buffer = repository.store.get(info.key, info.size_bytes).buffer
    try:
        envelope = json.loads(bytes(buffer))
        version, document = envelope["payloadfs-run"], envelope["document"]
        if version != VERSION:
            raise ConfigError(f"Run {run!r} was saved in version {version}: update payloadfs.", kind="run-version")
        repository.keys.verify(envelope["kid"], envelope["mac"], _signed(run, number, canonical(document)))
    except (ConfigError, UnknownKeyError):
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"The document of run {run!r} is not as it was saved: {error}.", kind="run") from error
    return number, document


def _signed(run: str, number: int, body: str) -> list[bytes]:
    return [_LABEL, run.encode(), str(number).encode(), body.encode()]


class _Text:
    """A text in ASCII as the body of an object."""

    def __init__(self, text: str) -> None:
        self._content = text.encode("ascii")

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[memoryview]:
        yield memoryview(self._content)


def newest(infos: Iterable[ObjectInfo]) -> Iterator[tuple[str, ObjectInfo, int]]:
    """Yield, of a listing in order of keys, each run with its newest document and all its bytes."""
    run, best, size_bytes = "", None, 0
    for info in infos:
        name = info.key.split("/")[1]
        if name != run:
            if best is not None:
                yield run, best, size_bytes
            run, best, size_bytes = name, None, 0
        size_bytes += info.size_bytes
        best = info if run_of(info.key) else best
    if best is not None:
        yield run, best, size_bytes
