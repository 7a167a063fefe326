"""What the commands share: their options, pointers as words, sizes and times for people."""

from __future__ import annotations

import argparse
import errno
import sys
import time
from typing import Any

from .. import config
from ..pointer import MAX_POINTER_BYTES, Pointer
from ..repository import Repository

__all__ = [
    "add_command",
    "add_group",
    "add_pointer",
    "add_url",
    "age",
    "printable",
    "read_pointer",
    "read_stdin",
    "repository",
    "size",
    "when",
]


def add_command(commands: Any, common: argparse.ArgumentParser, name: str, what: str, example: str) -> Any:
    """Add and return the parser of one command; `example` stands at the end of its help."""
    return commands.add_parser(
        name,
        parents=[common],
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_group(commands: Any, common: argparse.ArgumentParser, name: str, what: str, example: str) -> Any:
    """Add a command that has commands of its own, and return what takes them."""
    return add_command(commands, common, name, what, example).add_subparsers(title="commands", required=True)


def add_pointer(parser: argparse.ArgumentParser) -> None:
    """Add the pointer, and the places where its object may lie."""
    parser.add_argument("pointer", metavar="POINTER", help="file with the pointer, - for standard input, or its JSON")
    parser.add_argument(
        "--url",
        metavar="URL",
        action="append",
        help="folder or URL that may be read from, any number of times; default: as configured",
    )


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add the option for the place of the objects."""
    parser.add_argument("--url", metavar="URL", help="folder or URL of the objects; default: as configured")


def repository(url: str | list[str] | None) -> Repository:
    """Return the repository at `url`; further URLs are allowed roots. Nothing is opened yet."""
    if not isinstance(url, list):
        return Repository(url)
    first, *others = url
    return Repository(first, allowed_roots=[*config.current().allowed_roots, *others])


def read_pointer(word: str) -> Pointer:
    """Return the pointer that `word` stands for: JSON itself, ``-`` for standard input, or a file."""
    if word.lstrip().startswith("{"):
        return Pointer.from_json(word.strip())
    # Twice a pointer's size: room for white space, but not for a file that was named by mistake.
    if word == "-":
        text = read_stdin(MAX_POINTER_BYTES * 2)
    else:
        with open(word, "rb") as file:
            text = file.read(MAX_POINTER_BYTES * 2)
    return Pointer.from_json(text.strip())


def read_stdin(max_bytes: int = -1) -> bytes:
    """Return what standard input holds."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, "closed", "standard input")
    return sys.stdin.buffer.read(max_bytes)


def printable(text: str) -> str:
    """Return `text` as one line that can't command a terminal, whoever wrote it."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)


def size(size_bytes: int) -> str:
    """Return a size for people."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def when(time_s: float) -> str:
    """Return a time for people, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_s)) + " UTC"


def age(time_s: float) -> str:
    """Return how long ago a time is, roughly."""
    seconds = time.time() - time_s
    if seconds < -60:
        return "in the future"
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} seconds ago"
