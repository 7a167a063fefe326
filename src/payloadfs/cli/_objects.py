"""``put``, ``get`` and ``ls``: files in, files out, and what is there."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import EncodeError
from ._common import add_command, add_pointer, add_url, printable, read_pointer, read_stdin, repository, size, when
from ._files import check_output, spelled, write_stdout, written

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
    put.add_argument(
        "--as",
        dest="kind",
        choices=["bytes", "text", "json"],
        default="bytes",
        help="what loading it in Python gives; default: bytes",
    )
    put.add_argument(
        "--prefix", metavar="PREFIX", help="first part of the key, such as the name of a run; default: the date"
    )
    add_url(put)
    put.set_defaults(run=_put)

    get = add_command(
        commands,
        common,
        "get",
        "write out the object that a pointer names: bytes and text as they are, tables as CSV, other values as JSON",
        "payloadfs get pointer.json -o report.pdf",
    )
    add_pointer(get)
    get.add_argument("-o", "--output", metavar="FILE", help="where to write; default: standard output")
    get.add_argument("--raw", action="store_true", help="the stored bytes: checked, but not decoded")
    get.set_defaults(run=_get)

    ls = add_command(commands, common, "ls", "list stored objects", "payloadfs ls 2026-11-22")
    ls.add_argument("prefix", metavar="PREFIX", nargs="?", default="", help="only objects of this prefix")
    add_url(ls)
    ls.set_defaults(run=_ls)


def _put(arguments: argparse.Namespace) -> int:
    if arguments.file == "-":
        content = read_stdin()
    else:
        with open(arguments.file, "rb") as file:
            content = file.read()
    pointer = repository(arguments.url).save(_parsed(content, arguments.kind), prefix=arguments.prefix)
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
    pointer, source = read_pointer(arguments.pointer), repository(arguments.url)
    check_output(arguments.output, is_bytes=arguments.raw or pointer.serializer.startswith("bytes/"))
    content: bytes | bytearray | memoryview
    if arguments.raw:
        content = source.read(pointer)
    else:
        value = source.load(pointer)
        is_bytes = isinstance(value, bytes | bytearray)
        check_output(arguments.output, is_bytes=is_bytes)
        content = value if is_bytes else spelled(value, pointer.type_name)
    if arguments.output is None:
        write_stdout(content)
        return 0
    with written(arguments.output) as file:
        file.write(content)
    return 0


def _ls(arguments: argparse.Namespace) -> int:
    count = total = 0
    for info in repository(arguments.url).list(arguments.prefix):
        count, total = count + 1, total + info.size_bytes
        if arguments.json:
            print(json.dumps({"key": info.key, "size": info.size_bytes, "modified": info.modified_s}))
        else:
            print(f"{size(info.size_bytes):>10}  {when(info.modified_s)}  {printable(info.key)}")
    if not arguments.json:
        print(f"{size(total):>10}  in {count} {'object' if count == 1 else 'objects'}")
    return 0
