"""``runs``: lists the runs in a store, and shows the state of one with previews of its payloads. Loads no pickle."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from .. import config
from ..errors import (
    ConfigError,
    IntegrityError,
    NotFoundError,
    PayloadError,
    SignatureError,
    StoreError,
    UnknownKeyError,
)
from ..pointer import Pointer
from ..repository import Repository
from ..stores import ObjectInfo
from ..works._journal import Journal, newest_entries, read_entry
from ..works._history import current_state, current_statuses
from ..works._state import pointers_in
from ._common import add_command, add_group, age, plural, printable, size, utc_time
from ._report import duration, failure

__all__ = ["configure_runs"]

_MAX_PREVIEW_BYTES = 64_000
_MAX_PREVIEW_LINES, _MAX_PREVIEW_CHARS = 4, 100

_UNREADABLE: tuple[tuple[type[PayloadError], str], ...] = (
    (UnknownKeyError, "unknown-key"),
    (SignatureError, "changed"),
    (IntegrityError, "changed"),
    (ConfigError, "newer-version"),
    (PayloadError, "unreadable"),
)


def configure_runs(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Add the options and the subcommand of ``runs``."""
    with_store = argparse.ArgumentParser(add_help=False, parents=[common])
    for target, default in ((parser, None), (with_store, argparse.SUPPRESS)):
        target.add_argument(
            "--store", metavar="URL", default=default, help="folder or URL of the runs (default: as configured)"
        )
    parser.set_defaults(run=_list)
    show = add_command(
        add_group(parser, required=False),
        with_store,
        "show",
        "show the state of a run, with previews of its payloads",
        "payloadfs runs show 20261122-101500-k3x9a",
    )
    show.add_argument("name", metavar="RUN", help="name of the run")
    show.set_defaults(run=_show)


def _list(arguments: argparse.Namespace) -> int:
    count = total_bytes = 0
    with config.using(arguments.store):
        repository = Repository()
        for name, info, size_bytes in newest_checkpoints(repository.store.list("runs/")):
            run = {"run": name, **_summary(repository, info), "size_bytes": size_bytes}
            count, total_bytes = count + 1, total_bytes + size_bytes
            print(json.dumps(run) if arguments.json else _row(run))
    if not arguments.json:
        print(f"{size(total_bytes):>10}  in {plural(count, 'run', 'runs')}")
    return 0


def _summary(repository: Repository, info: ObjectInfo) -> dict[str, Any]:
    """Return a summary of a run's checkpoint, or why it cannot be trusted."""
    saved = {"saved_s": info.modified_s}
    try:
        _, checkpoint = read_checkpoint(repository, info)
    except NotFoundError:
        # It was deleted after the listing, so the run is active.
        return {"stage": "running", "message": "", **saved}
    except PayloadError as error:
        if isinstance(error, StoreError) and error.transient:
            # It may concern all runs, and a server that is silent costs a time limit for each.
            raise
        stage = next(name for cls, name in _UNREADABLE if isinstance(error, cls))
        return {"stage": stage, "message": error.message, **saved}
    stages = [status["stage"] for status in current_statuses(checkpoint).values()]
    return {
        "stage": checkpoint["stage"],
        "message": checkpoint["message"],
        "created_s": checkpoint["created_s"],
        **saved,
        "works": len(stages),
        "failed": stages.count("failed"),
    }


def _row(run: dict[str, Any]) -> str:
    works = plural(run["works"], "work", "works") if "works" in run else printable(run["message"])
    works += f", {run['failed']} failed" if run.get("failed") else ""
    return (
        f"{size(run['size_bytes']):>10}  {run['run']:<21}  {run['stage']:<13}  {age(run['saved_s']):<15}  {works}"
    ).rstrip()


def _show(arguments: argparse.Namespace) -> int:
    with config.using(arguments.store):
        repository = Repository()
        checkpoint = Checkpoints(repository, arguments.name).load()
        infos = list(repository.list(f"runs/{arguments.name}"))
        run = {
            "run": arguments.name,
            **{name: checkpoint[name] for name in ("stage", "message", "created_s")},
            "saved_s": max(info.modified_s for info in infos),
            "objects": len(infos),
            "size_bytes": sum(info.size_bytes for info in infos),
            "components": dict(_components(repository, checkpoint)),
        }
    print(json.dumps(run) if arguments.json else "\n".join(_lines(run)))
    return 0


def _components(repository: Repository, checkpoint: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each flow and work with its state and status, and metadata and preview of each payload.

    Cost: one GET for each payload of up to 64 kB whose serializer cannot run code; others are not loaded.
    """
    statuses = current_statuses(checkpoint)
    for name, state in current_state(checkpoint).items():
        component: dict[str, Any] = {"status": statuses[name]} if name in statuses else {}
        payloads = {path: _describe_payload(repository, pointer) for path, pointer in pointers_in(state)}
        yield name, {**component, "state": state, "payloads": payloads}


def _describe_payload(repository: Repository, pointer: Pointer) -> dict[str, Any]:
    payload: dict[str, Any] = {"type": pointer.type_name, "size": pointer.size_bytes, "serializer": pointer.serializer}
    try:
        payload["executable"] = repository.serializers.by_id(pointer.serializer).executable
        if not payload["executable"] and pointer.size_bytes <= _MAX_PREVIEW_BYTES:
            payload["preview"] = _truncate_lines(repr(repository.load(pointer)))
    except PayloadError as error:
        payload["problem"] = error.message
    return payload


def _truncate_lines(text: str) -> str:
    lines = text.split("\n")
    shown = [_truncate(line.rstrip()) for line in lines[:_MAX_PREVIEW_LINES]]
    return "\n".join([*shown, *(["..."] if len(lines) > _MAX_PREVIEW_LINES else [])])


def _truncate(line: str) -> str:
    return line if len(line) <= _MAX_PREVIEW_CHARS else f"{line[:_MAX_PREVIEW_CHARS]}..."


def _lines(run: dict[str, Any]) -> Iterator[str]:
    yield f"run      {run['run']}"
    yield f"stage    {run['stage']}{': ' if run['message'] else ''}{printable(run['message'])}"
    yield f"started  {utc_time(run['created_s'])}, last saved {age(run['saved_s'])}"
    yield f"size     {size(run['size_bytes'])} in {plural(run['objects'], 'object', 'objects')}"
    for name, component in run["components"].items():
        yield ""
        yield f"{name}  {_status(component['status'])}" if "status" in component else name
        yield from _indent(failure(component.get("status", {}).get("message", "")), 6)
        state, payloads = component["state"], component["payloads"]
        width = max(map(len, state), default=0)
        for attribute, value in state.items():
            payload = payloads.get(attribute)
            yield f"  {attribute:<{width}}  {_value(value) if payload is None else _payload(payload)}"
            yield from _indent(payload.get("preview", "") if payload else "", width + 4)
        for path, payload in payloads.items():
            if path not in state:
                yield f"  {printable(path)}  {_payload(payload)}"
                yield from _indent(payload.get("preview", ""), width + 4)


def _status(status: dict[str, Any]) -> str:
    started_s, ended_s = status["started_s"], status["ended_s"]
    took = f" in {duration(ended_s - started_s)}" if started_s and ended_s else ""
    calls = f", {plural(status['count'], 'call', 'calls')}" if status["count"] > 1 else ""
    return f"{status['stage']}{took}{calls}"


def _payload(payload: dict[str, Any]) -> str:
    note = payload.get("problem") or ("not loaded: loading it can run code" if payload.get("executable") else "")
    return printable(f"{payload['type']}, {size(payload['size'])}, {payload['serializer']}{note and '; '}{note}")


def _value(value: Any) -> str:
    return printable(_truncate(json.dumps(_without_pointers(value), ensure_ascii=False)))


def _without_pointers(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_pointers(item) for item in value]
    if not isinstance(value, dict):
        return value
    return "(payload)" if "$payload" in value else {name: _without_pointers(item) for name, item in value.items()}


def _indent(text: str, width: int) -> Iterator[str]:
    return (" " * width + printable(line) for line in text.rstrip().split("\n") if text)
