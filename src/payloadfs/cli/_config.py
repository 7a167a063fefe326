"""``config show``: prints every setting, its value, and where it comes from."""

from __future__ import annotations

import argparse
import json

from .. import config
from ._common import add_command, add_group, printable


def configure_config(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Add the subcommand of ``config``."""
    show = add_command(
        add_group(parser),
        common,
        "show",
        "print each setting and where it comes from; secrets are masked",
        "payloadfs config show",
    )
    show.set_defaults(run=_show)


def _show(arguments: argparse.Namespace) -> int:
    rows = config.describe()
    if arguments.json:
        print(json.dumps({row.name: {"value": row.value, "origin": row.origin} for row in rows}, default=str))
        return 0
    for row in rows:
        value = json.dumps(row.value, default=str) if not isinstance(row.value, str) else row.value
        print(f"{row.name:<16} {printable(value):<48} {printable(row.origin)}")
    return 0
