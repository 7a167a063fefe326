"""``put``, ``get`` and ``ls``: files in, files out, and what is there."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from ..errors import ConfigError, EncodeError
from ._words import add_command, add_url, read_pointer, refuse_terminal, repository, size, when

__all__ = ["add_to"]


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands to the program's parser."""
    put = add_command(
        commands,
        common,
        "put",
        "store a file's content and print the pointer to it",
        "payloadfs put report.pdf > pointer.json",
    )
    put.add_argument("file", metavar="FILE", help="what to store; - is standard input")
    put.add_argument("--as", dest="kind", choices=["bytes", "text", "json"], default="bytes", help="what it holds")
    put.add_argument("--scope", help="first part of the key, such as the name of a run; default: the date")
    add_url(put)
    put.set_defaults(run=_put)

    get = add_command(
        commands, common, "get", "write out the object that a pointer names", "payloadfs get pointer.json -o report.pdf"
    )
    get.add_argument("pointer", metavar="POINTER", help="file with the pointer, - for standard input, or its JSON")
    get.add_argument("-o", "--output", metavar="FILE", help="where to write; default: standard output")
    get.add_argument("--raw", action="store_true", help="the stored bytes: checked, but not decoded")
    add_url(get)
    get.set_defaults(run=_get)

    ls = add_command(commands, common, "ls", "list stored objects", "payloadfs ls 2026-11-22")
    ls.add_argument("scope", metavar="SCOPE", nargs="?", default="", help="only objects of this scope")
    add_url(ls)
    ls.set_defaults(run=_ls)


def _put(arguments: argparse.Namespace) -> int:
    if arguments.file == "-":
        content = sys.stdin.buffer.read()
    else:
        with open(arguments.file, "rb") as file:
            content = file.read()
    pointer = repository(arguments).save(_parsed(content, arguments.kind), scope=arguments.scope)
    print(pointer.to_json())
    return 0


def _parsed(content: bytes, kind: str) -> Any:
    if kind == "bytes":
        return content
    try:
        text = content.decode("utf-8")
        return json.loads(text) if kind == "json" else text
    except (ValueError, RecursionError) as error:
        raise EncodeError(f"The content is not {'JSON' if kind == 'json' else 'text'} in UTF-8: {error}.") from error


def _get(arguments: argparse.Namespace) -> int:
    pointer = read_pointer(arguments.pointer)
    source = repository(arguments)
    if arguments.raw:
        content: bytes | memoryview = source.read(pointer)
    else:
        content = _spelled(source.load(pointer), pointer.type_name)
    is_text = pointer.serializer.partition("/")[0] not in ("bytes",) and not arguments.raw
    if arguments.output is None:
        if not is_text:
            refuse_terminal()
        sys.stdout.buffer.write(content)
        return 0
    with _aside(arguments.output) as file:
        file.write(content)
    return 0


def _spelled(value: Any, type_name: str) -> bytes:
    """Return `value` as a file would hold it: bytes and text as they are, tables as CSV, values as JSON."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8")
    package = type(value).__module__.partition(".")[0]
    if package == "pandas" and hasattr(value, "to_csv"):
        return str(value.to_csv()).encode("utf-8")
    if package == "polars" and hasattr(value, "to_frame" if not hasattr(value, "write_csv") else "write_csv"):
        return str((value if hasattr(value, "write_csv") else value.to_frame()).write_csv()).encode("utf-8")
    if package == "pyarrow" and hasattr(value, "schema"):
        import io

        from pyarrow import csv

        file = io.BytesIO()
        csv.write_csv(value, file)
        return file.getvalue()
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    except (TypeError, ValueError) as error:
        raise EncodeError(
            f"A {type_name} has no form as a file: load it in Python, or write the stored bytes with --raw."
        ) from error


@contextmanager
def _aside(path: str) -> Iterator[BinaryIO]:
    """Give a file that becomes `path` once it is whole; on an error nothing is left or changed."""
    folder, name = os.path.split(path)
    if os.path.isdir(path):
        raise ConfigError(f"{path} is a folder: name a file.", kind="output")
    aside = os.path.join(folder, f".{name}.{os.urandom(8).hex()}")
    try:
        with open(aside, "xb") as file:
            yield file
        os.replace(aside, path)
    finally:
        if os.path.exists(aside):
            os.unlink(aside)


def _ls(arguments: argparse.Namespace) -> int:
    count = total = 0
    for info in repository(arguments).list(arguments.scope):
        count, total = count + 1, total + info.size_bytes
        if arguments.json:
            print(json.dumps({"key": info.key, "size": info.size_bytes, "modified": info.modified_s}))
        else:
            print(f"{size(info.size_bytes):>10}  {when(info.modified_s)}  {info.key}")
    if not arguments.json:
        print(f"{size(total):>10}  in {count} {'object' if count == 1 else 'objects'}")
    return 0
