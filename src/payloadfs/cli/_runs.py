"""``runs``: the runs of a store, and the state of one with what its payloads hold. Loads no pickle."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from .. import config
from ..errors import ConfigError, IntegrityError, NotFoundError, PayloadError, SignatureError, UnknownKeyError
from ..repository import Repository
from ..stores import ObjectInfo
from ..works._checkpoints import Journal, newest, read_document
from ._common import add_command, age, printable, size, when
from ._report import duration, failure
from ._state import PREVIEW_CHARS, components, statuses

__all__ = ["add_to"]

_UNREADABLE: tuple[tuple[type[PayloadError], str], ...] = (
    (UnknownKeyError, "unknown-key"),
    (SignatureError, "changed"),
    (IntegrityError, "changed"),
    (ConfigError, "newer-version"),
)


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands to the program's parser."""
    store = argparse.ArgumentParser(add_help=False, parents=[common])
    store.add_argument(
        "--store", metavar="URL", default=argparse.SUPPRESS, help="folder or URL of the runs; default: as configured"
    )
    runs = add_command(commands, store, "runs", "list the runs in the store, oldest first", "payloadfs runs")
    runs.set_defaults(run=_list, store=None)
    steps = runs.add_subparsers(title="commands")
    show = add_command(
        steps,
        store,
        "show",
        "print a run's state and what its payloads hold",
        "payloadfs runs show 20261122-101500-k3x9a",
    )
    show.add_argument("name", metavar="RUN", help="name of the run")
    show.set_defaults(run=_show)


def _list(arguments: argparse.Namespace) -> int:
    count = total = 0
    with config.using(arguments.store):
        repository = Repository()
        for run, info, size_bytes in newest(repository.store.list("runs/")):
            facts = {"run": run, **_summary(repository, info), "size_bytes": size_bytes}
            count, total = count + 1, total + size_bytes
            print(json.dumps(facts) if arguments.json else _row(facts))
    if not arguments.json:
        print(f"{size(total):>10}  in {count} {'run' if count == 1 else 'runs'}")
    return 0


def _summary(repository: Repository, info: ObjectInfo) -> dict[str, Any]:
    """Return what a run's document says in short; if it can't be trusted, in which way."""
    saved = {"saved_s": info.modified_s}
    try:
        _, document = read_document(repository, info)
    except tuple(kind for kind, _ in _UNREADABLE) as error:
        stage = next(word for kind, word in _UNREADABLE if isinstance(error, kind))
        return {"stage": stage, "message": error.message, **saved}
    except NotFoundError:
        # It was listed, and its run has moved on since.
        return {"stage": "running", "message": "", **saved}
    stages = [status["stage"] for status in statuses(document).values()]
    return {
        "stage": document["stage"],
        "message": document["message"],
        "created_s": document["created_s"],
        **saved,
        "works": len(stages),
        "failed": stages.count("failed"),
    }


def _row(facts: dict[str, Any]) -> str:
    works = "" if "works" not in facts else f"{facts['works']} work{'' if facts['works'] == 1 else 's'}"
    works += f", {facts['failed']} failed" if facts.get("failed") else ""
    return (
        f"{size(facts['size_bytes']):>10}  {facts['run']:<21}  {facts['stage']:<13}  {age(facts['saved_s']):<15}  {works}"
    ).rstrip()


def _show(arguments: argparse.Namespace) -> int:
    with config.using(arguments.store):
        repository = Repository()
        document = Journal(repository, arguments.name).load()
        infos = list(repository.list(f"runs/{arguments.name}"))
        facts = {
            "run": arguments.name,
            **{name: document[name] for name in ("stage", "message", "created_s")},
            "saved_s": max(info.modified_s for info in infos),
            "objects": len(infos),
            "size_bytes": sum(info.size_bytes for info in infos),
            "components": dict(components(repository, document)),
        }
    print(json.dumps(facts) if arguments.json else "\n".join(_for_people(facts)))
    return 0


def _for_people(facts: dict[str, Any]) -> Iterator[str]:
    yield f"run    {facts['run']}"
    yield f"state  {facts['stage']}{': ' if facts['message'] else ''}{printable(facts['message'])}"
    yield f"began  {when(facts['created_s'])}, last saved {age(facts['saved_s'])}"
    yield f"size   {size(facts['size_bytes'])} in {facts['objects']} objects"
    for name, part in facts["components"].items():
        yield ""
        yield f"{name}  {_status(part['status'])}" if "status" in part else name
        yield from _set_in(failure(part.get("status", {}).get("message", "")), 6)
        width = max(map(len, part["state"]), default=0)
        for attribute, value in part["state"].items():
            payload = part["payloads"].get(attribute)
            yield f"  {attribute:<{width}}  {_value(value) if payload is None else _payload(payload)}"
            yield from _set_in(payload.get("preview", "") if payload else "", width + 4)
        for path, payload in part["payloads"].items():
            if path not in part["state"]:
                yield f"  {printable(path)}  {_payload(payload)}"
                yield from _set_in(payload.get("preview", ""), width + 4)


def _status(status: dict[str, Any]) -> str:
    began, ended = status["started_s"], status["ended_s"]
    took = f" in {duration(ended - began)}" if began and ended else ""
    calls = f", {status['count']} calls" if status["count"] > 1 else ""
    return f"{status['stage']}{took}{calls}"


def _payload(facts: dict[str, Any]) -> str:
    why_not = facts.get("problem") or ("not loaded, since that can run code" if facts.get("executable") else "")
    return printable(f"{facts['type']}, {size(facts['size'])}, {facts['serializer']}{why_not and '; '}{why_not}")


def _value(value: Any) -> str:
    text = json.dumps(_without_pointers(value), ensure_ascii=False)
    return printable(text if len(text) <= PREVIEW_CHARS else f"{text[:PREVIEW_CHARS]}...")


def _without_pointers(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_pointers(item) for item in value]
    if not isinstance(value, dict):
        return value
    return "(payload)" if "$payload" in value else {name: _without_pointers(item) for name, item in value.items()}


def _set_in(text: str, width: int) -> Iterator[str]:
    return (" " * width + printable(line) for line in text.rstrip().split("\n") if text)
