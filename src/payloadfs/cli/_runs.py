"""``runs``: lists the runs in a store, and shows the state of one with previews of its payloads. Loads no pickle."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import cached_property
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
from ..retention._clock import store_now_s
from ..stores import ObjectInfo
from ..works._history import current_state, current_statuses
from ..works._journal import Journal, State, newest_entries, read_entry
from ..works._state import pointers_in
from ..works._submit import HEARTBEAT_S
from ._common import add_command, add_group, age, plural, printable, size, utc_time
from ._report import duration, failure, last_state

_DEAD_AFTER_S = 4 * HEARTBEAT_S
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
    commands = add_group(parser, required=False)
    show = add_command(
        commands,
        with_store,
        "show",
        "show the state of a run, with previews of its payloads",
        "payloadfs runs show 20261122-101500-k3x9a",
    )
    show.add_argument("name", metavar="RUN", help="name of the run")
    show.set_defaults(run=_show)
    remove = add_command(
        commands,
        with_store,
        "rm",
        "delete runs and everything that they stored",
        "payloadfs runs rm --keep 10",
    )
    remove.add_argument("names", metavar="RUN", nargs="*", help="names of the runs")
    remove.add_argument("--keep", metavar="N", type=int, help="delete all runs that have ended, except the N newest")
    remove.set_defaults(run=_remove)


def _remove(arguments: argparse.Namespace) -> int:
    """Delete runs: their state first, so that a run that is half deleted cannot be resumed."""
    if bool(arguments.names) == (arguments.keep is not None) or (arguments.keep or 0) < 0:
        raise ConfigError("Specify the runs to delete, or use --keep N, where N is 0 or more.", kind="runs")
    with config.using(arguments.store):
        repository = Repository()
        runs = {name: info for name, info, _ in newest_entries(repository.store.list("runs/"))}
        clock = _Clock(repository)
        stages = {name: _summary(clock, runs[name])["stage"] for name in arguments.names or runs if name in runs}
        for name in arguments.names:
            if name not in runs:
                raise NotFoundError(f"Run {name!r} not found in {repository.root}. Nothing was deleted.")
            if stages[name] == "running":
                raise ConfigError(f"Run {name!r} is running. Nothing was deleted.", kind="runs")
        ended = [name for name in runs if stages.get(name, "running") != "running"]
        for name in arguments.names or ended[: max(len(ended) - arguments.keep, 0)]:
            count = size_bytes = 0
            for part in ("state/", ""):
                for info in repository.store.list(f"runs/{name}/{part}"):
                    repository.store.delete(info.key)
                    count, size_bytes = count + 1, size_bytes + info.size_bytes
            deleted = {"run": name, "objects": count, "size_bytes": size_bytes}
            print(json.dumps(deleted) if arguments.json else f"{size(size_bytes):>10}  {name}  deleted")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    count = total_bytes = 0
    with config.using(arguments.store):
        repository = Repository()
        clock = _Clock(repository)
        for name, info, size_bytes in newest_entries(repository.store.list("runs/")):
            run = {"run": name, **_summary(clock, info), "size_bytes": size_bytes}
            count, total_bytes = count + 1, total_bytes + size_bytes
            print(json.dumps(run) if arguments.json else _row(run))
    if not arguments.json:
        print(f"{size(total_bytes):>10}  in {plural(count, 'run', 'runs')}")
    return 0


class _Clock:
    """The clock of a store, read once, when it is first needed.

    A driver is dead if the store has received nothing from it for longer than drivers are silent. Only the clock
    of the store can say that: the clock of this machine may be wrong by hours.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    @cached_property
    def _now_s(self) -> float:
        """The time of the store; that of this machine if the store does not report it or cannot be written to."""
        try:
            return store_now_s(self.repository)
        except (ConfigError, StoreError):
            return time.time()

    def stage(self, stage: str, saved_s: float) -> str:
        """Return `stage`, or ``"dead"`` if it is ``"running"`` and its driver no longer saves."""
        return "dead" if stage == "running" and self._now_s - saved_s > _DEAD_AFTER_S else stage


def _summary(clock: _Clock, info: ObjectInfo) -> dict[str, Any]:
    """Return a summary of a run's state, or why it cannot be trusted."""
    saved = {"saved_s": info.modified_s}
    try:
        run = read_entry(clock.repository, info)["run"]
    except NotFoundError:
        # It was replaced after the listing, so the run is active.
        return {"stage": "running", "message": "", **saved}
    except PayloadError as error:
        if isinstance(error, StoreError) and error.transient:
            # The error may affect all runs, and a silent server costs one time limit for each of them.
            raise
        stage = next(name for cls, name in _UNREADABLE if isinstance(error, cls))
        return {"stage": stage, "message": error.message, **saved}
    return {
        "stage": clock.stage(run["stage"], info.modified_s),
        "message": run["message"],
        "created_s": run["created_s"],
        **saved,
        "works": run["works"],
        "failed": run["failed"],
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
        state = Journal(repository, arguments.name).read()
        infos = list(repository.list(f"runs/{arguments.name}"))
        run = {
            "run": arguments.name,
            **{name: state["run"][""][name] for name in ("stage", "message", "created_s")},
            "saved_s": max(info.modified_s for info in infos),
            "objects": len(infos),
            "size_bytes": sum(info.size_bytes for info in infos),
            "components": dict(_components(repository, state)),
            "calls": [state["log"][serial] for serial in sorted(state.get("log", {}), key=int)],
        }
        run["stage"] = _Clock(repository).stage(run["stage"], run["saved_s"])
    print(json.dumps(run) if arguments.json else "\n".join(_lines(run)))
    return 0


def _components(repository: Repository, state: State) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each flow and work with its state and status, and metadata and preview of each payload.

    Cost: one GET for each payload of up to 64 kB whose serializer cannot run code; others are not loaded.
    """
    statuses = current_statuses(state)
    for name, attributes in current_state(state).items():
        component: dict[str, Any] = {"status": statuses[name]} if name in statuses else {}
        payloads = {path: _describe_payload(repository, pointer) for path, pointer in pointers_in(attributes)}
        yield name, {**component, "state": attributes, "payloads": payloads}


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
    if run["calls"]:
        yield ""
        yield f"calls, oldest first ({len(run['calls'])} kept)"
    for call in run["calls"]:
        yield from _call_lines(call)


def _call_lines(call: dict[str, Any]) -> Iterator[str]:
    attempts = call["attempts"]
    last = attempts[-1]
    started = utc_time(last["started_s"]) if last["started_s"] else "not started"
    stored = f", stored {size(call['stored_bytes'])}" if call["stored_bytes"] else ""
    yield f"  {started}  {call['work']}  {call['stage']}{_took(last)}{stored}"
    for number, attempt in enumerate(attempts, 1):
        if attempt["message"]:
            yield f"      attempt {number} failed{_took(attempt)}: {printable(attempt['message'])}"
    yield from _indent("\n".join(map(last_state, call["output"].rstrip().split("\n"))), 6)


def _took(times: dict[str, Any]) -> str:
    return f" in {duration(times['ended_s'] - times['started_s'])}" if times["started_s"] and times["ended_s"] else ""


def _status(status: dict[str, Any]) -> str:
    calls = f", {plural(status['count'], 'call', 'calls')}" if status["count"] > 1 else ""
    calls += f", {status['attempts']} attempts" if status.get("attempts", 0) > 1 else ""
    return f"{status['stage']}{_took(status)}{calls}"


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
