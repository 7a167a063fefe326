"""``doctor``: checks settings, keys, packages, transport, store and cache, and suggests fixes."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

from .. import __version__
from .._keys import new_key
from .._seal import Encoded, Outgoing, check
from .._urls import local_path, scheme_of
from ..config import Settings
from ..errors import PayloadError, StoreError
from ..repository import Repository
from ..signing import read_keys
from ..stores import Store, chosen_transport
from ..stores._cache import Cache
from ..stores._cache_quota import existing
from ._common import add_url, plural, printable, size

_PACKAGES = ("blake3", "cloudpickle", "fsspec", "s3fs", "obstore", "numpy", "pandas", "pyarrow", "polars")
_FLOOR = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")
_SMALL_CACHE_BYTES = 100_000_000
_PROBE = b"payloadfs doctor"
_FIXES = {
    "denied": "allow these credentials to list, get, put and delete objects there, or use other credentials",
    "unreachable": "check the network, and the endpoint in AWS_ENDPOINT_URL or storage_options",
    "timeout": "check the network, and the endpoint in AWS_ENDPOINT_URL or storage_options",
}


_HOSTS = {
    "airflow": "set AIRFLOW__CORE__XCOM_BACKEND=payloadfs.integrations.airflow.PayloadXComBackend",
    "celery": "call payloadfs.integrations.celery.register() where the app is defined",
    "dagster": "use payloadfs.integrations.dagster.PayloadIOManager as io_manager",
    "dbos": "pass serializer=payloadfs.integrations.dbos.PayloadSerializer() in the configuration",
    "django": "use payloadfs.integrations.django.PayloadField in models",
    "dramatiq": "call dramatiq.set_encoder(payloadfs.integrations.dramatiq.PayloadEncoder())",
    "fastapi": "call payloadfs.integrations.fastapi.add_exception_handlers(app)",
    "flytekit": "import payloadfs.integrations.flyte where tasks are defined",
    "kedro": "use the dataset type payloadfs.integrations.kedro.PayloadDataset",
    "langgraph": "pass serde=payloadfs.integrations.langgraph.PayloadSerializer() to the checkpointer",
    "prefect": "run 'prefect config set PREFECT_RESULTS_DEFAULT_SERIALIZER=payloadfs'",
    "sqlalchemy": "use payloadfs.integrations.sqlalchemy.PayloadType in columns",
    "temporalio": "pass data_converter=payloadfs.integrations.temporal.data_converter() to clients and workers",
}
"""Packages of hosts, and what connects payloadfs with each."""


class _Finding(NamedTuple):
    """The result of one check."""

    check: str
    state: Literal["ok", "warn", "fail"]
    found: str
    fix: str | None = None


def configure_doctor(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``doctor``."""
    parser.add_argument("--write", action="store_true", help="also put, get and delete a small object")
    add_url(parser)
    parser.set_defaults(run=_run)


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
    yield from _hosts()
    try:
        repository = Repository(url)
    except PayloadError as error:
        yield _Finding("settings", "fail", error.message, "correct the setting that the message names")
        return
    settings = repository.settings
    changed = [f"{name} ({origin})" for name, origin in settings.origins.items() if origin != "default"]
    yield _Finding("settings", "ok", ", ".join(changed) or "all settings have their defaults")
    yield _keys(settings)
    try:
        yield _transport(settings)
        store = repository.store
    except PayloadError as error:
        yield _failed("store", error)
    else:
        yield _list_objects(store)
        if write:
            yield _write_object(store)
    yield _cache(settings)


def _packages() -> Iterator[_Finding]:
    versions = {"python": platform.python_version(), "payloadfs": __version__}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    yield _Finding("packages", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))
    try:
        floors = importlib.metadata.requires("payloadfs") or []
    except importlib.metadata.PackageNotFoundError:
        floors = []
    for match in filter(None, map(_FLOOR.match, floors)):
        name, floor = match.groups()
        if name in _PACKAGES and versions[name][0].isdigit() and _numbers(versions[name]) < _numbers(floor):
            problem = f"{name} {versions[name]} is not supported: {floor} is the oldest supported version"
            yield _Finding("packages", "warn", problem, f"pip install '{name}>={floor}'")


def _hosts() -> Iterator[_Finding]:
    for name, advice in _HOSTS.items():
        # Only looked up, not imported.
        if importlib.util.find_spec(name) is not None:
            yield _Finding("host", "ok", f"{name} is installed: {advice}")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", version)]


def _keys(settings: Settings) -> _Finding:
    origin = str(settings.keys_file) if settings.keys is None else settings.origins["keys"]
    try:
        ring = settings.keys or read_keys(settings.keys_file)
    except PayloadError as error:
        return _failed("keys", error)
    signing_key = ring.signing_key
    if signing_key is None:
        return _Finding(
            "keys",
            "warn",
            f"no signing key in {origin}",
            "run 'payloadfs keys generate', or 'payloadfs keys add' to use the keys of another machine; "
            "without any key, the first save generates one",
        )
    trusted = plural(len(ring.keys), "trusted key", "trusted keys")
    return _Finding("keys", "ok", f"signing key {signing_key.id} ({signing_key.kind}); {trusted}; from {origin}")


def _transport(settings: Settings) -> _Finding:
    name, reason = chosen_transport(settings.url, settings.storage_options, settings.transport)
    return _Finding("transport", "ok", f"{name}: {reason}")


def _list_objects(store: Store) -> _Finding:
    if scheme_of(store.root) == "file" and not os.path.isdir(path := local_path(store.root)):
        parent = existing(path)
        if os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK):
            return _Finding("store", "ok", f"{store.root} does not exist yet; the first save creates it")
        return _Finding(
            "store", "fail", f"cannot create {store.root} in {parent}", "set PAYLOADFS_URL to another folder"
        )
    started_s = time.perf_counter()
    try:
        first = next(iter(store.list()), None)
    except StoreError as error:
        # Credentials that can get and put are not always allowed to list.
        state: Literal["warn", "fail"] = "warn" if error.kind == "denied" else "fail"
        return _failed("store", error, state)
    except PayloadError as error:
        return _failed("store", error)
    content = "is empty" if first is None else "contains objects"
    return _Finding("store", "ok", f"{store.root} responded in {_elapsed_ms(started_s)} and {content}")


def _write_object(store: Store) -> _Finding:
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
    return _Finding("write", "ok", f"put, read and deleted an object in {_elapsed_ms(started_s)}")


def _cache(settings: Settings) -> _Finding:
    if settings.cache is None or settings.cache_bytes == 0:
        return _Finding(
            "cache", "ok", f"off ({settings.origins['cache' if settings.cache is None else 'cache_bytes']})"
        )
    fix = "set PAYLOADFS_CACHE to another folder or to 'off'"
    try:
        cache = Cache(settings.cache, settings.cache_bytes)
        cache.refuse_shared_folder()
        used = sum(copy.size_bytes for copy in cache.quota.copies())
        limit = cache.quota.limit_bytes(used)
    except PayloadError as error:
        return _failed("cache", error)
    except OSError as error:
        return _Finding("cache", "warn", f"cannot use {settings.cache}: {error.strerror}", fix)
    parent, usage = existing(cache.path), f"{cache.path} uses {size(used)} of {size(limit)}"
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
        return _Finding("cache", "warn", f"cannot write to {parent}: objects are not cached", fix)
    if not cache.is_local:
        return _Finding(
            "cache", "warn", f"{usage}, on a file system that may be shared: every load reads the whole object", fix
        )
    if limit < _SMALL_CACHE_BYTES and settings.cache_bytes is None:
        return _Finding("cache", "warn", f"{usage}: the disk is nearly full", fix)
    return _Finding("cache", "ok", usage)


def _failed(name: str, error: PayloadError, state: Literal["warn", "fail"] = "fail") -> _Finding:
    return _Finding(name, state, error.message, _FIXES.get(error.kind))


def _elapsed_ms(started_s: float) -> str:
    return f"{(time.perf_counter() - started_s) * 1000:.0f} ms"
