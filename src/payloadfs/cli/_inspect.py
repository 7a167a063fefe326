"""``inspect``: shows a pointer, whether its signature is valid, and how its object is structured. Runs no code."""

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
from ._common import add_pointer, age, open_repository, printable, read_pointer, size, utc_time

_READ_UP_TO_BYTES = 64_000_000
"""For larger objects, only the size is checked, unless they can be mapped and reading their structure is cheap."""


def configure_inspect(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``inspect``."""
    add_pointer(parser)
    parser.add_argument("--verify", action="store_true", help="check every byte of the object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    pointer, repository = read_pointer(arguments.pointer), open_repository(arguments.url)
    report: dict[str, Any] = dict(pointer.to_dict()) | {"allowed": False}
    problem: PayloadError | None
    try:
        # An object that must not be decoded can still be inspected if its root is allowed.
        problem = _check_trust(pointer, repository, report)
        _check_object(pointer, repository, report, full=arguments.verify)
    except PayloadError as error:
        problem = error
    if problem is not None and not report["allowed"]:
        report.setdefault("why_not", problem.message)
    if arguments.json:
        print(json.dumps(report))
    else:
        for name, value in _lines(pointer, report).items():
            print(f"{name:>12}  {printable(value)}")
    if problem is not None:
        raise problem
    return 0


def _check_trust(pointer: Pointer, repository: Repository, report: dict[str, Any]) -> PayloadError | None:
    """Report on signature and policy. Raise an error that forbids reading, return one that only forbids decoding."""
    report["signature"] = "unchecked" if pointer.is_signed else "missing"
    if pointer.is_signed:
        try:
            repository.verify(pointer)
        except SignatureError as error:
            report["signature"] = "unknown-key" if isinstance(error, UnknownKeyError) else "invalid"
            raise
        report["signature"] = "valid"
    refusal: PayloadError | None = None
    try:
        # The context that the pointer itself names: nothing is done with the object.
        repository.check(pointer, context=pointer.context or None)
        report["allowed"] = True
    except (PolicyError, DecodeError, ConfigError) as error:
        # The root is checked first. These errors, and those of a plug-in, are raised after that check.
        if isinstance(error, PolicyError) and error.kind != "policy-pickle":
            raise
        refusal, report["why_not"] = error, error.message
    if refusal is None or isinstance(refusal, PolicyError):
        report["executable"] = repository.serializers.by_id(pointer.serializer).executable
    return refusal


def _check_object(pointer: Pointer, repository: Repository, report: dict[str, Any], *, full: bool) -> None:
    """Report on the stored object, and raise an error if it is missing or damaged."""
    try:
        stored_bytes = repository.info(pointer).size_bytes
        if stored_bytes != pointer.size_bytes:
            raise IntegrityError(
                f"{pointer.key} has {stored_bytes} bytes, but {pointer.size_bytes} were saved.", kind="size"
            )
        can_map = pointer.digest.sealed and scheme_of(pointer.root) == "file"
        if not full and not can_map and stored_bytes > _READ_UP_TO_BYTES:
            report |= {"object": "present", "checked": "size"}
            return
        buffer = repository.read(pointer, full=full, context=pointer.context or None)
    except PayloadError as error:
        states = {NotFoundError: "missing", IntegrityError: "changed"}
        report["object"] = next((state for cls, state in states.items() if isinstance(error, cls)), "unreadable")
        raise
    seal = read_seal(buffer) if pointer.digest.sealed else None
    report |= {"object": "present", "checked": "every byte" if full or seal is None else "structure"}
    if seal is not None:
        data = [length for length, is_data, _ in seal.spans if is_data]
        structure = [length for length, is_data, _ in seal.spans if not is_data]
        report["spans"] = {
            "structure": len(structure),
            "structure_bytes": sum(structure),
            "data": len(data),
            "data_bytes": sum(data),
        }
    try:
        report |= read_metadata(pointer.serializer, buffer)
    except Exception as error:  # an unsigned object can contain anything
        raise DecodeError(f"The object is not valid for serializer {pointer.serializer!r}: {error}.") from error


_CHECKED = {
    "size": "present, and its size is correct; --verify reads and checks all bytes",
    "structure": "present, and its structure is verified; --verify checks the data too",
    "every byte": "present, and all its bytes are verified",
}
_OBJECT = {
    "missing": "missing",
    "changed": "changed or damaged",
    "unreadable": "cannot be read",
}
_SIGNATURE = {"unknown-key": "signed with a key that is not trusted here", "unchecked": "not checked"}
_EXECUTABLE = {True: "yes: loading it can run code", False: "no: it contains only data"}


def _lines(pointer: Pointer, report: dict[str, Any]) -> dict[str, str]:
    lines = {name: str(value) for name, value in pointer.to_dict().items()}
    lines["size"] = f"{pointer.size_bytes} ({size(pointer.size_bytes)})"
    lines["created"] = f"{utc_time(pointer.created_s)} ({age(pointer.created_s)})"
    lines["signature"] = _SIGNATURE.get(str(report["signature"]), str(report["signature"]))
    if "executable" in report:
        lines["executable"] = _EXECUTABLE[report["executable"]]
    lines["allowed here"] = "yes" if report["allowed"] else f"no: {report.get('why_not')}"
    lines["object"] = _OBJECT.get(report.get("object", ""), _CHECKED.get(report.get("checked", ""), "not checked"))
    if "spans" in report:
        spans = report["spans"]
        lines["spans"] = (
            f"{spans['structure']} structure ({size(spans['structure_bytes'])}), "
            f"{spans['data']} data ({size(spans['data_bytes'])})"
        )
    for name in ("versions", "columns", "pickle"):
        if name in report:
            lines[name] = _join(report[name])
    return lines


def _join(value: Any) -> str:
    return ", ".join(f"{name} {inner}" for name, inner in value.items()) if isinstance(value, dict) else str(value)
