"""The journal of a run: its state as a signed, append-only series of small objects in the store.

::

    runs/<run>/state/<number>.json    {"payloadfs-run": 1, "run", "number", "kid", "sig", "document"}
    runs/<run>/payloads/...           what the run stored
    runs/<run>/attempts/...           on other executors: which attempts have begun; see `Task`

State is a mapping from (kind, name) to a JSON value. An entry contains the number of the entry that it
follows (``after``; 0 if it has the whole state), the section ``run`` in full, and what changed: values that were
``set``, items that were ``append``-ed to lists, and names that were ``drop``-ped. Each entry whose number is
a multiple of 16 (256, 4096, ...) replaces the 16 (256, ...) entries up to it, or the whole journal if that is
not much longer. So n saves write about n (1 + log16 n) changes, and at most 15 entries of each size exist.

Entries are numbered and never overwritten; the highest number is valid. A driver that is killed leaves a
complete journal, and of two drivers of the same run only one can write the next number: the other stops. One
driver may be so far ahead that it has replaced the number that the other wants to write; so after each save a
driver lists the entries, and if newer ones exist, it removes its own and stops. Some servers ignore
conditions and overwrite; so on a remote store a driver reads its last entry back before it saves the next,
and stops if it is another driver's. The signature covers run, number and document, byte for byte, and is checked before
the document is parsed: anyone who could change them could choose the arguments of works.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .._keys import ALPHABET, check_key
from .._log import warn_once
from .._urls import scheme_of
from ..errors import ConfigError, EncodeError, IntegrityError, NotFoundError, StoreError, UnknownKeyError
from ..repository import Repository
from ..stores import ObjectInfo
from ._state import canonical

VERSION = 1
_LABEL = b"payloadfs run document"
_SPAN = 16
_MAX_ATTEMPTS = 10
_DIGITS = 9
_MAX_BYTES = 64_000_000
_MAX_HEADER_BYTES = 1000
_DOCUMENT = b',"document":'
_KEY = re.compile(r"runs/([A-Za-z0-9_=-][A-Za-z0-9._=-]*)/state/([0-9]{9})\.json")

State = dict[str, dict[str, Any]]
"""Values by kind and name."""

_Key = tuple[str, str]
_Text = str | list[str]


class _Change(NamedTuple):
    """A value that was set (`start` is None; no `text` if it was dropped), or the items of a list from `start` on."""

    text: _Text | None
    start: int | None = None


_Changes = dict[_Key, _Change]


class _Saved(NamedTuple):
    """What is stored: the number of the newest entry, and the valid entries, oldest first."""

    number: int
    entries: tuple[tuple[int, _Changes], ...]
    pending: _Changes


def new_run_name() -> str:
    """Return a unique name for a run: the current time (UTC) and five random characters."""
    suffix = "".join(ALPHABET[byte & 31] for byte in os.urandom(5))
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{suffix}"


def payload_prefix(run: str) -> str:
    """Return the prefix under which the payloads of `run` are saved."""
    return f"runs/{run}/payloads"


def parse_key(key: str) -> tuple[str, int] | None:
    """Return run and number if `key` is the key of an entry, else None."""
    match = _KEY.fullmatch(key)
    return (match[1], int(match[2])) if match else None


class Journal:
    """The journal of one run.

    Parameters
    ----------
    repository : Repository
        Where it is stored; its keys sign the entries.
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
        self._encoded: dict[_Key, _Text] = {}
        self._size_chars = 0
        # One attribute, so that an interrupt cannot separate what is stored from what is pending.
        self._saved = _Saved(0, (), {})
        self._last_signature = ""
        self._last_stored: tuple[int, str, int] | None = None
        self._can_delete = True
        self._lock = threading.Lock()

    def set(self, kind: str, name: str, value: Any) -> None:
        """Set a value. No I/O; the next `save` stores it."""
        text = _text(value)
        if self._encoded.get((kind, name)) != text:
            self._change((kind, name), text)

    def append(self, kind: str, name: str, start: int, items: list[Any]) -> None:
        """Replace the items from `start` on in a list that was set. No I/O."""
        encoded = [canonical(item) for item in items]
        # Pending changes first, then known values: after an interrupt, repeating the call has the same effect.
        _merge(self._saved.pending, (kind, name), _Change(encoded, start))
        known = self._encoded[kind, name]
        assert isinstance(known, list)
        self._size_chars += _chars(encoded) - _chars(known[start:])
        known[start:] = encoded

    def drop(self, kind: str, name: str) -> None:
        """Remove a value if it exists. No I/O."""
        if (kind, name) in self._encoded:
            self._change((kind, name), None)

    def _change(self, key: _Key, text: _Text | None) -> None:
        _merge(self._saved.pending, key, _Change(list(text) if isinstance(text, list) else text))
        self._size_chars -= _chars(self._encoded.pop(key, ""))
        if text is not None:
            self._encoded[key] = text
            self._size_chars += _chars(text)

    def read(self) -> State:
        """Return the state without changing anything.

        Cost: one LIST, and one GET for each valid entry, usually fewer than 30.

        Raises
        ------
        NotFoundError
            The run was not found.
        IntegrityError
            An entry was changed or is missing. Older state is never used instead.
        """
        return self._read()[0]

    def load(self) -> State:
        """Return the state to continue it, as `read` does, and delete entries that are no longer part of it."""
        state, infos, documents = self._read()
        self._restore(state, documents)
        numbers = {number for number, _ in documents}
        self._delete_old(info.key for info in infos if (parse_key(info.key) or ("", 0))[1] not in numbers)
        return state

    def _read(self) -> tuple[State, list[ObjectInfo], list[tuple[int, dict[str, Any]]]]:
        for attempts_left in reversed(range(_MAX_ATTEMPTS)):
            infos = self._list()
            if not infos:
                raise NotFoundError(
                    f"Run {self.run!r} not found in {self.repository.root}; 'payloadfs runs' lists the runs."
                )
            try:
                documents = list(self._read_chain(infos))
            except NotFoundError:
                # Its driver is running, and has replaced it since it was listed.
                if not attempts_left:
                    raise
            else:
                state: State = {}
                for _, document in reversed(documents):
                    _apply(state, document)
                return state, infos, documents
        raise AssertionError("The last attempt returns or raises.")

    def _read_chain(self, infos: list[ObjectInfo]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield number and document of each valid entry, newest first."""
        by_number = {(parse_key(info.key) or ("", 0))[1]: info for info in infos}
        number = max(by_number)
        while number:
            if number not in by_number:
                # It was replaced since the listing, or it was deleted: a new listing shows which.
                if self._list()[-1].key != infos[-1].key:
                    raise NotFoundError(f"The journal of run {self.run!r} changes faster than it can be read.")
                raise IntegrityError(f"Entry {number} of the journal of run {self.run!r} is missing.", kind="run")
            document = read_entry(self.repository, by_number[number])
            yield number, document
            number = document["after"]

    def _restore(self, state: State, documents: list[tuple[int, dict[str, Any]]]) -> None:
        self._encoded = {(kind, name): _text(value) for kind, values in state.items() for name, value in values.items()}
        self._size_chars = sum(map(_chars, self._encoded.values()))
        entries = tuple((number, _changes_in(document)) for number, document in reversed(documents))
        self._saved = _Saved(documents[0][0], entries, {})

    def save(self) -> None:
        """Store what changed. Cost: one PUT, LIST and (on average) DELETE, and on a remote store one GET.

        Raises
        ------
        EncodeError
            The state is larger than 64 MB. The last entry is intact.
        StoreError
            The entry could not be stored; the last one is intact. ``kind="concurrent-driver"``:
            another process has resumed this run.
        """
        with self._lock:
            if self._saved.pending:
                self._put_entry(self._saved.pending, {})

    def renew(self) -> None:
        """Store an entry without changes, whose time shows that the driver is alive."""
        with self._lock:
            self._put_entry({}, self._saved.pending)

    def _put_entry(self, changes: _Changes, still_pending: _Changes) -> None:
        if self._size_chars > _MAX_BYTES - 100_000:
            raise EncodeError(
                f"The state of run {self.run!r} takes {self._size_chars} bytes as JSON, and at most {_MAX_BYTES} are "
                "allowed: wrap large values in Payload(...) to store them as objects.",
                kind="state",
            )
        if not self._is_last_ours():
            raise self._concurrent_driver()
        for number in (self._saved.number + 1, self._saved.number + 2):
            kept, merged = self._merged(number, changes, bool(still_pending))
            if self._try_put(number, kept[-1][0] if kept else 0, merged):
                break
        self._check_newest(number)
        replaced = [old for old, _ in self._saved.entries[len(kept) :]]
        self._saved = _Saved(number, (*kept, (number, merged)), still_pending)
        self._delete_old(map(self._key, replaced))

    def _merged(
        self, number: int, changes: _Changes, has_pending: bool
    ) -> tuple[tuple[tuple[int, _Changes], ...], _Changes]:
        """Return the entries that entry `number` leaves valid, and what it must contain."""
        entries, first, span = self._saved.entries, number, _SPAN
        while number % span == 0:
            first, span = number - span + 1, span * _SPAN
        kept = tuple(entry for entry in entries if entry[0] < first)
        merged: _Changes = {}
        for _, older in (*entries[len(kept) :], (number, changes)):
            for key, change in older.items():
                _merge(merged, key, change)
        if not has_pending and (not kept or 2 * sum(map(_change_chars, merged.values())) > self._size_chars):
            return (), {key: _Change(list(t) if isinstance(t, list) else t) for key, t in self._encoded.items()}
        return kept, merged

    def _try_put(self, number: int, after: int, changes: _Changes) -> bool:
        """Store an entry. Return False if the number has our own entry, stored before an interrupt."""
        body = _document(after, self._encoded, changes).encode("ascii")
        key_id, signature = self.repository.keys.sign(_signed_parts(self.run, number, body))
        header = {"payloadfs-run": VERSION, "run": self.run, "number": number, "kid": key_id, "sig": signature}
        previous_signature, self._last_signature = self._last_signature, signature
        content = b"".join([json.dumps(header)[:-1].encode("ascii"), _DOCUMENT, body, b"}"])
        try:
            self.repository.store.put(self._key(number), Content(content))
        except StoreError as error:
            if error.kind != "exists":
                raise
            stored_signature = self._stored_signature(number)
            if stored_signature != signature:
                if stored_signature is None or stored_signature != previous_signature:
                    raise self._concurrent_driver() from error
                return False
        self._last_stored = number, signature, len(content)
        return True

    def _check_newest(self, number: int) -> None:
        """Remove entry `number` and raise `StoreError` if another driver is already ahead of it."""
        if not self._can_delete:
            return  # nothing was ever replaced, so a number that we could create was free
        try:
            infos = self._list()
        except StoreError as error:
            # Without permission to list, another driver is noticed when the next number exists.
            if error.kind != "denied":
                raise
            return
        if infos and infos[-1].key != self._key(number):
            self.repository.store.delete(self._key(number))
            raise self._concurrent_driver()

    def _list(self) -> list[ObjectInfo]:
        return [info for info in self.repository.store.list(f"runs/{self.run}/state/") if parse_key(info.key)]

    def _delete_old(self, keys: Iterable[str]) -> None:
        try:
            for key in keys if self._can_delete else ():
                self.repository.store.delete(key)
        except StoreError as error:
            self._can_delete = error.kind != "denied"
            warn_once(f"Old entries of run {self.run!r} are kept, because they cannot be deleted. {error}")

    def _is_last_ours(self) -> bool:
        """Return whether our last entry is still stored, on servers that may overwrite it."""
        if self._last_stored is None or scheme_of(self.repository.root) in ("file", "memory"):
            return True
        number, signature, size_bytes = self._last_stored
        return self._stored_signature(number, size_bytes) == signature

    def _stored_signature(self, number: int, size_bytes: int | None = None) -> str | None:
        """Return the signature of a stored entry, or None if there is none or it is not an entry of that size."""
        store, key = self.repository.store, self._key(number)
        try:
            info = store.info(key) if size_bytes is None else ObjectInfo(key, size_bytes, 0.0)
            header, _ = _read(self.repository, info)
            signature = header["sig"]
        except (NotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return signature if isinstance(signature, str) else None

    def _concurrent_driver(self) -> StoreError:
        return StoreError(
            f"Another process has resumed run {self.run!r}; this process stops.", kind="concurrent-driver"
        )

    def _key(self, number: int) -> str:
        return f"runs/{self.run}/state/{number:0{_DIGITS}}.json"


def _text(value: Any) -> _Text:
    return [canonical(item) for item in value] if type(value) is list else canonical(value)


def _chars(text: _Text) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text)) + len(text) + 1


def _change_chars(change: _Change) -> int:
    return 0 if change.text is None else _chars(change.text)


def _merge(changes: _Changes, key: _Key, change: _Change) -> None:
    """Add `change` to `changes`, which it follows."""
    before = changes.get(key)
    if change.start is not None and before is not None and change.start >= (before.start or 0):
        assert isinstance(before.text, list)
        assert isinstance(change.text, list)
        before.text[change.start - (before.start or 0) :] = change.text
    else:
        changes[key] = _Change(list(change.text) if isinstance(change.text, list) else change.text, change.start)


def _document(after: int, encoded: Mapping[_Key, _Text], changes: _Changes) -> str:
    """Return the document of an entry as JSON."""
    sections: dict[str, dict[str, list[str]]] = {"set": {}, "append": {}, "drop": {}}
    for (kind, name), change in changes.items():
        section, text = ("drop", "null") if change.text is None else ("set", _joined(change.text))
        if change.start is not None:
            section, text = "append", f"[{change.start},{text}]"
        sections[section].setdefault(kind, []).append(f"{json.dumps(name)}:{text}")
    parts = [f'"after":{after}', f'"run":{encoded.get(("run", ""), "{}")}']
    for section, kinds in sections.items():
        if kinds:
            content = ",".join(f"{json.dumps(kind)}:{{{','.join(items)}}}" for kind, items in kinds.items())
            parts.append(f'"{section}":{{{content}}}')
    return f"{{{','.join(parts)}}}"


def _joined(text: _Text) -> str:
    return text if isinstance(text, str) else f"[{','.join(text)}]"


def _changes_in(document: dict[str, Any]) -> _Changes:
    changes: _Changes = {}
    for section in ("set", "append", "drop"):
        for kind, values in document.get(section, {}).items():
            for name, value in values.items():
                if section == "append":
                    changes[kind, name] = _Change([canonical(item) for item in value[1]], value[0])
                else:
                    changes[kind, name] = _Change(_text(value) if section == "set" else None)
    return changes


def _apply(state: State, document: dict[str, Any]) -> None:
    for kind, values in document.get("set", {}).items():
        state.setdefault(kind, {}).update(values)
    for kind, values in document.get("append", {}).items():
        for name, (start, items) in values.items():
            state[kind][name][start:] = items
    for kind, names in document.get("drop", {}).items():
        for name in names:
            state.get(kind, {}).pop(name, None)


def read_entry(repository: Repository, info: ObjectInfo) -> dict[str, Any]:
    """Return the document of the entry at `info`, after checking its signature. One GET.

    Raises
    ------
    NotFoundError
        The entry has been deleted.
    IntegrityError, SignatureError
        The entry was changed, or was signed with a key that is not trusted here.
    ConfigError
        The entry was written by a newer version of payloadfs.
    """
    run, number = parse_key(info.key) or ("", 0)
    try:
        header, body = _read(repository, info)
        version = header["payloadfs-run"]
        if version != VERSION:
            raise ConfigError(
                f"Run {run!r} uses journal version {version}, which this payloadfs cannot read: update payloadfs.",
                kind="run-version",
            )
        repository.keys.verify(header["kid"], header["sig"], _signed_parts(run, number, body))
        document: dict[str, Any] = json.loads(body)
    except (ConfigError, NotFoundError, UnknownKeyError):
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            f"The journal of run {run!r} was changed after it was saved: {str(error).rstrip('.')}.", kind="run"
        ) from error
    return document


def _read(repository: Repository, info: ObjectInfo) -> tuple[Any, bytes]:
    """Return the header and the unparsed document of the entry at `info`. One GET.

    Raises
    ------
    ValueError, RecursionError
        The object is not an entry. If it is larger than any entry, nothing was fetched.
    """
    if info.size_bytes > _MAX_BYTES:
        raise ValueError(f"it has {info.size_bytes} bytes, and no entry has more than {_MAX_BYTES}")
    content = bytes(repository.store.get(info.key, info.size_bytes).buffer)
    header, separator, body = content.partition(_DOCUMENT)
    if not separator or len(header) > _MAX_HEADER_BYTES or body[-1:] != b"}":
        raise ValueError("it is not an entry")
    return json.loads(header + b"}"), body[:-1]


def newest_entries(infos: Iterable[ObjectInfo]) -> Iterator[tuple[str, ObjectInfo, int]]:
    """Yield the name, newest entry and total size in bytes of each run in a listing ordered by key."""
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


class Content:
    """A bytes object as the body of an upload."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[memoryview]:
        yield memoryview(self._content)
