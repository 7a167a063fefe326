"""Options and formatting that several commands share."""

from __future__ import annotations

import argparse
import errno
import sys
import time
from typing import Any

from .. import config
from ..pointer import MAX_POINTER_BYTES, Pointer
from ..repository import Repository


def add_command(
    commands: Any, common: argparse.ArgumentParser, name: str, summary: str, example: str
) -> argparse.ArgumentParser:
    """Add the parser of one command and return it; `example` is shown at the end of its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        parents=[common],
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def add_group(parser: argparse.ArgumentParser, *, required: bool = True) -> Any:
    """Give a command subcommands, and return the object to pass to `add_command`."""
    return parser.add_subparsers(title="commands", required=required)


def add_pointer(parser: argparse.ArgumentParser) -> None:
    """Add the pointer argument, and the option for the locations it may read from."""
    parser.add_argument(
        "pointer",
        metavar="POINTER",
        help="file that contains the pointer, - for standard input, or the pointer itself as JSON",
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        action="append",
        help="folder or URL that may be read from; can be repeated (default: as configured)",
    )


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add the option for the location of the objects."""
    parser.add_argument("--url", metavar="URL", help="folder or URL of the objects (default: as configured)")


def open_repository(url: str | list[str] | None) -> Repository:
    """Return the repository at `url`; further URLs are allowed roots. No I/O."""
    if not isinstance(url, list):
        return Repository(url)
    first, *others = url
    return Repository(first, allowed_roots=[*config.current().allowed_roots, *others])


def read_pointer(argument: str) -> Pointer:
    """Return the pointer in a command line argument: JSON, ``-`` for standard input, or the path of a file."""
    if argument.lstrip().startswith("{"):
        return Pointer.from_json(argument.strip())
    # Twice the size of a pointer leaves space for whitespace, and limits how much of a wrong file is read.
    if argument == "-":
        content = read_stdin(MAX_POINTER_BYTES * 2)
    else:
        with open(argument, "rb") as file:
            content = file.read(MAX_POINTER_BYTES * 2)
    return Pointer.from_json(content.strip())


def read_stdin(max_bytes: int = -1) -> bytes:
    """Return the content of standard input, at most `max_bytes` of it."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, "closed", "standard input")
    return sys.stdin.buffer.read(max_bytes)


def printable(text: str) -> str:
    """Return `text` as one line without control characters, so that untrusted text cannot control the terminal."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)


def plural(count: int, singular: str, plural: str) -> str:
    """Return a count with its noun, such as ``"1 work"`` or ``"1,200 works"``."""
    return f"{count:,} {singular if count == 1 else plural}"


def size(size_bytes: int) -> str:
    """Format a size for display."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def utc_time(time_s: float) -> str:
    """Format a time in seconds since 1970 for display, in UTC."""
    if time_s == float("inf"):
        return "at an unknown time     "
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_s)) + " UTC"


def age(time_s: float) -> str:
    """Return roughly how long ago a time was."""
    seconds = time.time() - time_s
    if seconds < -60:
        return "in the future"
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{plural(max(0, round(seconds)), 'second', 'seconds')} ago"
