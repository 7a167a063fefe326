"""``inspect``: what a pointer says, whether it holds, and what its object is made of. Runs no code."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .._seal import read_seal
from .._urls import scheme_of
from ..errors import (
    ConfigError,
    DecodeError,
    IntegrityError,
    NotFoundError,
    PayloadError,
    PolicyError,
    SignatureError,
    UnknownKeyError,
)
from ..pointer import Pointer
from ..repository import Repository
from ..serializers import read_metadata
from ._common import add_command, add_pointer, age, printable, read_pointer, repository, size, when

__all__ = ["add_to"]

_READ_UP_TO_BYTES = 64_000_000
"""Larger objects are only asked for their size, unless a mapping makes reading their structure cheap."""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the program's parser."""
    inspect = add_command(
        commands,
        common,
        "inspect",
        "tell what a pointer and its object are, without decoding anything",
        "payloadfs inspect pointer.json --verify",
    )
    add_pointer(inspect)
    inspect.add_argument("--verify", action="store_true", help="check every byte of the object")
    inspect.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    pointer, source = read_pointer(arguments.pointer), repository(arguments.url)
    facts: dict[str, Any] = dict(pointer.to_dict()) | {"allowed": False}
    problem: PayloadError | None
    try:
        # What may not be decoded may still be looked at, if its place is allowed.
        problem = _trust(pointer, source, facts)
        _object(pointer, source, facts, full=arguments.verify)
    except PayloadError as error:
        problem = error
    if problem is not None and not facts["allowed"]:
        facts.setdefault("why_not", problem.message)
    if arguments.json:
        print(json.dumps(facts))
    else:
        for name, value in _for_people(pointer, facts).items():
            print(f"{name:>12}  {printable(value)}")
    if problem is not None:
        raise problem
    return 0


def _trust(pointer: Pointer, source: Repository, facts: dict[str, Any]) -> PayloadError | None:
    """Note signature and policy; raise what forbids to fetch, return what forbids only to decode."""
    facts["signature"] = "unchecked" if pointer.is_signed else "missing"
    if pointer.is_signed:
        try:
            source.verify(pointer)
        except SignatureError as error:
            facts["signature"] = "unknown-key" if isinstance(error, UnknownKeyError) else "wrong"
            raise
        facts["signature"] = "right"
    refusal: PayloadError | None = None
    try:
        source.check(pointer)
        facts["allowed"] = True
    except (PolicyError, DecodeError, ConfigError) as error:
        # The place is judged first; these two, and a plug-in that is wrong, come behind it.
        if isinstance(error, PolicyError) and error.kind != "policy-pickle":
            raise
        refusal, facts["why_not"] = error, error.message
    if refusal is None or isinstance(refusal, PolicyError):
        facts["executable"] = source.serializers.by_id(pointer.serializer).executable
    return refusal


def _object(pointer: Pointer, source: Repository, facts: dict[str, Any], *, full: bool) -> None:
    """Note what is in the store; raise what is wrong with it."""
    try:
        found = source.info(pointer).size_bytes
        if found != pointer.size_bytes:
            raise IntegrityError(f"{pointer.key} has {found} bytes, {pointer.size_bytes} were saved.", kind="size")
        mapped = pointer.digest.sealed and scheme_of(pointer.root) == "file"
        if not full and not mapped and found > _READ_UP_TO_BYTES:
            facts |= {"object": "there", "checked": "size"}
            return
        buffer = source.read(pointer, full=full)
    except PayloadError as error:
        words = {NotFoundError: "missing", IntegrityError: "changed"}
        facts["object"] = next((word for kind, word in words.items() if isinstance(error, kind)), "unreadable")
        raise
    seal = read_seal(buffer) if pointer.digest.sealed else None
    facts |= {"object": "there", "checked": "every byte" if full or seal is None else "structure"}
    if seal is not None:
        data = [length for length, is_data, _ in seal.spans if is_data]
        structure = [length for length, is_data, _ in seal.spans if not is_data]
        facts["spans"] = {
            "structure": len(structure),
            "structure_bytes": sum(structure),
            "data": len(data),
            "data_bytes": sum(data),
        }
    try:
        facts |= read_metadata(pointer.serializer, buffer)
    except Exception as error:  # whoever wrote an unsigned object may have put anything there
        raise DecodeError(f"The object is not what serializer {pointer.serializer!r} writes: {error}.") from error


_CHECKED = {
    "size": "there, of the right size; too large to read it all, which --verify does",
    "structure": "there; its structure is as it was saved, and --verify checks its data too",
    "every byte": "there; every byte is as it was saved",
}
_OBJECT = {
    "missing": "missing",
    "changed": "not as it was saved",
    "unreadable": "can't be read",
}
_SIGNATURE = {"unknown-key": "by a key that is not here", "unchecked": "not checked"}
_EXECUTABLE = {True: "yes: loading it can run code", False: "no: data only"}


def _for_people(pointer: Pointer, facts: dict[str, Any]) -> dict[str, str]:
    lines = {name: str(value) for name, value in pointer.to_dict().items()}
    lines["size"] = f"{pointer.size_bytes} ({size(pointer.size_bytes)})"
    lines["created"] = f"{when(pointer.created_s)} ({age(pointer.created_s)})"
    lines["signature"] = _SIGNATURE.get(str(facts["signature"]), str(facts["signature"]))
    if "executable" in facts:
        lines["executable"] = _EXECUTABLE[facts["executable"]]
    lines["allowed here"] = "yes" if facts["allowed"] else f"no: {facts.get('why_not')}"
    lines["object"] = _CHECKED.get(facts.get("checked", ""), "not looked for")
    if facts.get("object") in _OBJECT:
        lines["object"] = _OBJECT[facts["object"]]
    if "spans" in facts:
        spans = facts["spans"]
        lines["spans"] = (
            f"{spans['structure']} structure ({size(spans['structure_bytes'])}), "
            f"{spans['data']} data ({size(spans['data_bytes'])})"
        )
    for name in ("versions", "columns", "pickle"):
        if name in facts:
            lines[name] = _line(facts[name])
    return lines


def _line(value: Any) -> str:
    return ", ".join(f"{name} {inner}" for name, inner in value.items()) if isinstance(value, dict) else str(value)
