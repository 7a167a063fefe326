"""What the commands share: their options, pointers as words, sizes and times for people."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

from ..errors import ConfigError
from ..pointer import MAX_POINTER_BYTES, Pointer
from ..repository import Repository

__all__ = ["add_command", "add_url", "age", "read_pointer", "refuse_terminal", "repository", "size", "when"]


def add_command(commands: Any, common: argparse.ArgumentParser, name: str, what: str, example: str) -> Any:
    """Add and return the parser of one command; `example` stands at the end of its help."""
    return commands.add_parser(
        name,
        parents=[common],
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add the option for the place of the objects."""
    parser.add_argument("--url", metavar="URL", help="folder or URL of the objects; default: as configured")


def repository(arguments: argparse.Namespace) -> Repository:
    """Return the repository that the options name. Nothing is opened yet."""
    return Repository(arguments.url)


def read_pointer(word: str) -> Pointer:
    """Return the pointer that `word` stands for: JSON itself, ``-`` for standard input, or a file."""
    if word.lstrip().startswith("{"):
        return Pointer.from_json(word.strip())
    if word == "-":
        text = sys.stdin.buffer.read(MAX_POINTER_BYTES * 2)
    else:
        with open(word, "rb") as file:
            text = file.read(MAX_POINTER_BYTES * 2)
    return Pointer.from_json(text.strip())


def refuse_terminal() -> None:
    """Raise if standard output is a terminal, which bytes would garble."""
    if os.isatty(sys.stdout.fileno()):
        raise ConfigError("These are bytes, and standard output is a terminal: name a file with -o.", kind="terminal")


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
    seconds = max(0.0, time.time() - time_s)
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"
