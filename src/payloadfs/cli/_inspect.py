"""``inspect``: what a pointer says, whether it holds, and what its object is made of. Runs no code."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import DecodeError, NotFoundError, PayloadError, PolicyError, SignatureError
from ..pointer import Pointer
from ..repository import Repository
from ..seal import read_seal
from ..serializers import facts_of
from ._words import add_command, add_url, age, read_pointer, repository, size, when

__all__ = ["add_to"]


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the program's parser."""
    inspect = add_command(
        commands,
        common,
        "inspect",
        "tell what a pointer and its object are, without decoding anything",
        "payloadfs inspect pointer.json --verify",
    )
    inspect.add_argument("pointer", metavar="POINTER", help="file with the pointer, - for standard input, or its JSON")
    inspect.add_argument("--verify", action="store_true", help="check every byte of the object")
    add_url(inspect)
    inspect.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    pointer, source = read_pointer(arguments.pointer), repository(arguments)
    facts: dict[str, Any] = dict(pointer.to_dict())
    problem = _trust(pointer, source, facts) or _object(pointer, source, facts, full=arguments.verify)
    if arguments.json:
        print(json.dumps(facts))
    else:
        facts["size"] = f"{pointer.size_bytes} ({size(pointer.size_bytes)})"
        facts["created"] = f"{when(pointer.created_s)} ({age(pointer.created_s)})"
        for name, value in facts.items():
            print(f"{name:>10}  {_line(value)}")
    if problem is not None:
        raise problem
    return 0


def _trust(pointer: Pointer, source: Repository, facts: dict[str, Any]) -> PayloadError | None:
    """Note signature and policy; return what forbids to fetch anything."""
    facts["signature"] = "none"
    if pointer.is_signed:
        try:
            source.verify(pointer)
        except SignatureError as error:
            facts["signature"] = "by an unknown key" if error.kind == "unknown-key" else "wrong"
            return error
        facts["signature"] = "right"
    try:
        source.check(pointer)
        facts["loads here"] = "yes"
    except PolicyError as error:
        facts["loads here"] = f"no: {error.message}"
        # What may not be decoded may still be looked at, if its place is allowed.
        return error if error.kind != "policy-pickle" else None
    return None


def _object(pointer: Pointer, source: Repository, facts: dict[str, Any], *, full: bool) -> PayloadError | None:
    try:
        buffer = source.read(pointer, full=full)
    except NotFoundError as error:
        facts["object"] = "missing"
        return error
    except PayloadError as error:
        facts["object"] = "not as it was saved" if error.kind in ("size", "digest") else "can't be read"
        return error
    seal = read_seal(buffer) if pointer.digest.sealed else None
    facts["object"] = "every byte is as it was saved" if full or seal is None else "as it was saved"
    if seal is not None:
        data = [length for length, is_data, _ in seal.spans if is_data]
        facts["spans"] = {"data": len(data), "data bytes": sum(data), "structure": len(seal.spans) - len(data)}
    try:
        facts |= facts_of(pointer.serializer, buffer)
    except Exception as error:  # noqa: BLE001  whoever wrote an unsigned object may have put anything there
        return DecodeError(f"The object is not what serializer {pointer.serializer!r} writes: {error}.")
    return None


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return str(value)
