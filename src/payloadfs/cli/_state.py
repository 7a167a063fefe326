"""What a run's document says of its works and flows, and what their payloads hold, as far as that is safe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import PayloadError
from ..pointer import Pointer
from ..repository import Repository
from ..works._state import pointers_in

__all__ = ["PREVIEW_CHARS", "components", "statuses"]

_PREVIEWED_BYTES = 64_000
_PREVIEW_LINES, PREVIEW_CHARS = 4, 100


def statuses(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return how each work stands, with what became known since the pass began."""
    statuses = {work: dict(status) for work, status in document["status"].items()}
    for call in document["calls"]:
        before = statuses.get(call["work"], {"count": 0})
        told = {name: call[name] for name in ("stage", "message", "started_s", "ended_s")}
        statuses[call["work"]] = {**told, "count": before["count"] + (call["stage"] != "running")}
    return statuses


def components(repository: Repository, document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each flow and work with its state and status, and of each payload its facts and a preview.

    Cost: one GET for each payload of up to 64 kB whose serializer can't run code; others stay there.
    """
    known, changed = statuses(document), document["components"]
    for call in document["calls"]:
        changed = {**changed, call["work"]: {**changed[call["work"]], **(call["state"] or {})}}
    for name, state in changed.items():
        facts: dict[str, Any] = {"status": known[name]} if name in known else {}
        payloads = {path: _payload(repository, pointer) for path, pointer in pointers_in(state)}
        yield name, {**facts, "state": state, "payloads": payloads}


def _payload(repository: Repository, pointer: Pointer) -> dict[str, Any]:
    facts: dict[str, Any] = {"type": pointer.type_name, "size": pointer.size_bytes, "serializer": pointer.serializer}
    try:
        facts["executable"] = repository.serializers.by_id(pointer.serializer).executable
        if not facts["executable"] and pointer.size_bytes <= _PREVIEWED_BYTES:
            facts["preview"] = _cut(repr(repository.load(pointer)))
    except PayloadError as error:
        facts["problem"] = error.message
    return facts


def _cut(text: str) -> str:
    lines = [line.rstrip() for line in text.split("\n")]
    shown = [line if len(line) <= PREVIEW_CHARS else f"{line[:PREVIEW_CHARS]}..." for line in lines[:_PREVIEW_LINES]]
    return "\n".join([*shown, *(["..."] if len(lines) > _PREVIEW_LINES else [])])
