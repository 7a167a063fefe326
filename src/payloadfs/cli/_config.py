"""``config show``: every setting, its value, and where it came from."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .. import config
from ._words import add_command

__all__ = ["add_to"]


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the program's parser."""
    group = commands.add_parser("config", help="show the settings", description=__doc__)
    steps = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show = add_command(
        steps, common, "show", "print each setting and where it came from; secrets are masked", "payloadfs config show"
    )
    show.set_defaults(run=_show)


def _show(arguments: argparse.Namespace) -> int:
    rows = config.describe()
    if arguments.json:
        print(json.dumps({row.name: {"value": row.value, "origin": row.origin} for row in rows}, default=str))
        return 0
    for row in rows:
        value = json.dumps(row.value, default=str) if not isinstance(row.value, str) else row.value
        print(f"{row.name:<16} {value:<48} {row.origin}")
    return 0
