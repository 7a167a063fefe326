"""``put``, ``get`` and ``ls``: store a file, write an object to a file, and list stored objects."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import EncodeError
from ._common import add_pointer, add_url, open_repository, plural, printable, read_pointer, read_stdin, size, utc_time
from ._files import atomic_output, check_output, to_file_bytes, write_stdout


def configure_put(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``put``."""
    parser.add_argument("file", metavar="FILE", help="file to store; - for standard input")
    parser.add_argument(
        "--as",
        dest="kind",
        choices=["bytes", "text", "json"],
        default="bytes",
        help="what Python loads: bytes, a string, or the JSON value (default: bytes)",
    )
    parser.add_argument(
        "--prefix", metavar="PREFIX", help="first part of the key, such as the name of a run (default: the date)"
    )
    parser.add_argument("--context", metavar="TEXT", help="what the object is for; a reader must pass it again")
    add_url(parser)
    parser.set_defaults(run=_put)


def configure_get(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``get``."""
    add_pointer(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="file to write (default: standard output)")
    parser.add_argument("--context", metavar="TEXT", help="the context with which the object was saved")
    parser.add_argument("--raw", action="store_true", help="write the stored bytes: verified, but not decoded")
    parser.set_defaults(run=_get)


def configure_ls(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``ls``."""
    parser.add_argument("prefix", metavar="PREFIX", nargs="?", default="", help="list only objects under this prefix")
    add_url(parser)
    parser.set_defaults(run=_ls)


def _put(arguments: argparse.Namespace) -> int:
    if arguments.file == "-":
        content = read_stdin()
    else:
        with open(arguments.file, "rb") as file:
            content = file.read()
    pointer = open_repository(arguments.url).save(
        _parse(content, arguments.kind), prefix=arguments.prefix, context=arguments.context
    )
    print(pointer.to_json())
    return 0


def _parse(content: bytes, kind: str) -> Any:
    if kind == "bytes":
        return content
    try:
        text = content.decode("utf-8")
        return json.loads(text) if kind == "json" else text
    except (ValueError, RecursionError) as error:
        raise EncodeError(f"The content is not {'JSON' if kind == 'json' else 'text'} in UTF-8: {error}.") from error


def _get(arguments: argparse.Namespace) -> int:
    pointer, repository = read_pointer(arguments.pointer), open_repository(arguments.url)
    check_output(arguments.output, is_bytes=arguments.raw or pointer.serializer.startswith("bytes/"))
    content: bytes | bytearray | memoryview
    if arguments.raw:
        content = repository.read(pointer, context=arguments.context)
    else:
        value = repository.load(pointer, context=arguments.context)
        is_bytes = isinstance(value, bytes | bytearray)
        check_output(arguments.output, is_bytes=is_bytes)
        content = value if is_bytes else to_file_bytes(value, pointer.type_name)
    if arguments.output is None:
        write_stdout(content)
        return 0
    with atomic_output(arguments.output) as file:
        file.write(content)
    return 0


def _ls(arguments: argparse.Namespace) -> int:
    count = total_bytes = 0
    for info in open_repository(arguments.url).list(arguments.prefix):
        count, total_bytes = count + 1, total_bytes + info.size_bytes
        if arguments.json:
            modified_s = None if info.modified_s == float("inf") else info.modified_s
            print(json.dumps({"key": info.key, "size": info.size_bytes, "modified": modified_s}))
        else:
            print(f"{size(info.size_bytes):>10}  {utc_time(info.modified_s)}  {printable(info.key)}")
    if not arguments.json:
        print(f"{size(total_bytes):>10}  in {plural(count, 'object', 'objects')}")
    return 0
