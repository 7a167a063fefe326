"""``doctor``: looks at settings, keys, packages, the way to the store, the store and the cache; says what to mend."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from .. import __version__
from .._keys import new_key
from .._seal import Encoded, Outgoing, check
from .._urls import local_path, scheme_of
from ..config import Settings
from ..errors import PayloadError, StoreError
from ..repository import Repository
from ..signing import read_or_create_keys
from ..stores import Store, chosen_transport
from ..stores._cache import Cache
from ..stores._cache_quota import existing
from ._common import add_command, add_url, printable, size

__all__ = ["add_to"]

_PACKAGES = ("blake3", "cloudpickle", "fsspec", "s3fs", "obstore", "numpy", "pandas", "pyarrow", "polars")
_FLOOR = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")
_LITTLE_BYTES = 100_000_000
_PROBE = b"payloadfs doctor"
_MENDS = {
    "denied": "give these credentials permission to list, get, put and delete there, or use others",
    "unreachable": "check the endpoint in AWS_ENDPOINT_URL or storage_options, and the network",
    "timeout": "check the endpoint in AWS_ENDPOINT_URL or storage_options, and the network",
}


class _Finding(NamedTuple):
    check: str
    state: Literal["ok", "warn", "fail"]
    found: str
    fix: str | None = None


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the program's parser."""
    doctor = add_command(
        commands,
        common,
        "doctor",
        "check settings, keys, packages, store and cache, and tell what to mend",
        "payloadfs doctor --write",
    )
    doctor.add_argument("--write", action="store_true", help="put, get and delete a small object too")
    add_url(doctor)
    doctor.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    findings = []
    for finding in _findings(arguments.url, write=arguments.write):
        findings.append(finding)
        if not arguments.json:
            print(f"{finding.state:<5} {finding.check:<10} {printable(finding.found)}")
            if finding.fix:
                print(f"{'':<16} fix: {printable(finding.fix)}")
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in findings]))
    return int(any(finding.state == "fail" for finding in findings))


def _findings(url: str | None, *, write: bool) -> Iterator[_Finding]:
    yield from _packages()
    try:
        repository = Repository(url)
    except PayloadError as error:
        yield _Finding("settings", "fail", error.message, "correct it where the message says")
        return
    settings = repository.settings
    named = [f"{name} ({origin})" for name, origin in settings.origins.items() if origin != "default"]
    yield _Finding("settings", "ok", ", ".join(named) or "nothing is set; all are defaults")
    yield _keys(settings)
    try:
        yield _transport(settings)
        store = repository.store
    except PayloadError as error:
        yield _failed("store", error)
    else:
        yield _listed(store)
        if write:
            yield _written(store)
    yield _cache(settings)


def _packages() -> Iterator[_Finding]:
    found = {"python": platform.python_version(), "payloadfs": __version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    yield _Finding("packages", "ok", ", ".join(f"{name} {version}" for name, version in found.items()))
    try:
        floors = importlib.metadata.requires("payloadfs") or []
    except importlib.metadata.PackageNotFoundError:
        floors = []
    for match in filter(None, map(_FLOOR.match, floors)):
        name, floor = match.groups()
        if name in _PACKAGES and found[name][0].isdigit() and _numbers(found[name]) < _numbers(floor):
            known = f"{name} {found[name]} is older than {floor}, the oldest that is supported"
            yield _Finding("packages", "warn", known, f"pip install '{name}>={floor}'")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", version)]


def _keys(settings: Settings) -> _Finding:
    origin = str(settings.keys_file) if settings.keys is None else settings.origins["keys"]
    try:
        ring = settings.keys or read_or_create_keys(settings.keys_file, create=False)
    except PayloadError as error:
        return _failed("keys", error)
    signing = [key.id for key in ring.keys if not key.retired]
    if not signing:
        return _Finding(
            "keys",
            "warn",
            f"no key that signs in {origin}",
            "the first save makes one if there is none at all, and so does 'payloadfs keys generate'; 'payloadfs keys add' "
            "takes over those of another machine",
        )
    return _Finding("keys", "ok", f"{signing[0]} signs, {len(ring.keys)} verify, from {origin}")


def _transport(settings: Settings) -> _Finding:
    name, reason = chosen_transport(settings.url, settings.storage_options, settings.transport)
    return _Finding("transport", "ok", f"{name}: {reason}")


def _listed(store: Store) -> _Finding:
    if scheme_of(store.root) == "file" and not os.path.isdir(path := local_path(store.root)):
        above = existing(path)
        if os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK):
            return _Finding("store", "ok", f"{store.root} is not there yet; the first save makes it")
        return _Finding("store", "fail", f"{store.root} can't be made in {above}", "let PAYLOADFS_URL name another one")
    started_s = time.perf_counter()
    try:
        some = next(iter(store.list()), None)
    except StoreError as error:
        # Who may get and put need not be allowed to list.
        state: Literal["warn", "fail"] = "warn" if error.kind == "denied" else "fail"
        return _failed("store", error, state)
    except PayloadError as error:
        return _failed("store", error)
    what = "is empty" if some is None else "holds objects"
    return _Finding("store", "ok", f"{store.root} answers in {_ms(started_s)} and {what}")


def _written(store: Store) -> _Finding:
    body = Outgoing(Encoded([memoryview(_PROBE)], "bin"), "b3")
    key, started_s = new_key("doctor", "bin"), time.perf_counter()
    try:
        store.put(key, body)
        try:
            check(store.get(key, body.size_bytes).buffer, body.digest, data=True)
        finally:
            store.delete(key)
    except PayloadError as error:
        return _failed("write", error)
    return _Finding("write", "ok", f"an object was put, read back and deleted in {_ms(started_s)}")


def _cache(settings: Settings) -> _Finding:
    if settings.cache is None or settings.cache_bytes == 0:
        return _Finding(
            "cache", "ok", f"off ({settings.origins['cache' if settings.cache is None else 'cache_bytes']})"
        )
    elsewhere = "let PAYLOADFS_CACHE name another folder, or say off"
    try:
        cache = Cache(settings.cache, settings.cache_bytes)
        cache.refuse_shared_folder()
        used = sum(copy.size_bytes for copy in cache.quota.copies())
        limit = cache.quota.limit_bytes(used)
    except PayloadError as error:
        return _failed("cache", error)
    except OSError as error:
        return _Finding("cache", "warn", f"{settings.cache} can't be used: {error.strerror}", elsewhere)
    above, found = existing(cache.path), f"{cache.path} holds {size(used)} of {size(limit)}"
    if not os.path.isdir(above) or not os.access(above, os.W_OK | os.X_OK):
        return _Finding("cache", "warn", f"{above} can't be written: objects come straight from the store", elsewhere)
    if not cache.is_local:
        return _Finding(
            "cache", "warn", f"{found}, on a disk that others may share: copies are read in full", elsewhere
        )
    if limit < _LITTLE_BYTES and settings.cache_bytes is None:
        return _Finding("cache", "warn", f"{found}: the disk is nearly full", elsewhere)
    return _Finding("cache", "ok", found)


def _failed(name: str, error: PayloadError, state: Literal["warn", "fail"] = "fail") -> _Finding:
    return _Finding(name, state, error.message, _MENDS.get(error.kind))


def _ms(started_s: float) -> str:
    return f"{(time.perf_counter() - started_s) * 1000:.0f} ms"
