"""``runs``: the runs of a store, and the state of one with what its payloads hold. Loads no pickle."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from .. import config
from ..errors import ConfigError, IntegrityError, NotFoundError, PayloadError, SignatureError, UnknownKeyError
from ..pointer import Pointer
from ..repository import Repository
from ..stores import ObjectInfo
from ..works._journal import Journal, newest, read_document
from ..works._state import pointers_in
from ._report import duration, indented
from ._words import add_command, add_group, age, printable, size, when

__all__ = ["add_to"]

_PREVIEWED_BYTES = 64_000
_PREVIEW_LINES, _PREVIEW_CHARS = 4, 100
_UNREADABLE: tuple[tuple[type[PayloadError], str], ...] = (
    (UnknownKeyError, "unknown-key"),
    (SignatureError, "changed"),
    (IntegrityError, "changed"),
    (ConfigError, "newer-version"),
)


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands to the program's parser."""
    store = argparse.ArgumentParser(add_help=False, parents=[common])
    store.add_argument("--store", metavar="URL", help="folder or URL of the runs; default: as configured")
    steps = add_group(commands, common, "runs", "list runs, and show the state of one", "payloadfs runs list")
    listing = add_command(steps, store, "list", "list runs, oldest first", "payloadfs runs list")
    listing.set_defaults(run=_list)
    show = add_command(
        steps, store, "show", "print a run's state and what its payloads hold", "payloadfs runs show 20261122-101500-k3x9a"
    )
    show.add_argument("name", metavar="RUN")
    show.set_defaults(run=_show)
