"""``keys``: list, make, pass on and retire the keys that sign pointers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .. import config
from ..errors import ConfigError
from ..signing import Key, KeyRing, read_or_create_keys, write_keys
from ._words import add_command

__all__ = ["add_to"]


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands to the program's parser."""
    keys = commands.add_parser("keys", help="list, make, pass on and retire signing keys", description=__doc__)
    steps = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    file = argparse.ArgumentParser(add_help=False, parents=[common])
    file.add_argument("--keys-file", type=Path, metavar="FILE", help="key file; default: as configured")

    listing = add_command(steps, file, "list", "list the keys, never their secrets", "payloadfs keys list")
    listing.set_defaults(run=_list)
    new = add_command(steps, file, "new", "make a key that signs from now on", "payloadfs keys new")
    new.set_defaults(run=_new)
    export = add_command(
        steps,
        file,
        "export",
        "print one key: the secret itself",
        "payloadfs keys export 1d9bb6c4 | ssh other-machine payloadfs keys add",
    )
    export.add_argument("key_id", metavar="KEY_ID")
    export.set_defaults(run=_export)
    add = add_command(
        steps, file, "add", "trust the keys in a file or on standard input", "payloadfs keys add other-machine.key"
    )
    add.add_argument("file", metavar="FILE", nargs="?", default="-", help="what 'keys export' printed; default: -")
    add.set_defaults(run=_add)
    retire = add_command(
        steps, file, "retire", "let a key verify only, no longer sign", "payloadfs keys retire 1d9bb6c4"
    )
    retire.add_argument("key_id", metavar="KEY_ID")
    retire.set_defaults(run=_retire)


def _place(arguments: argparse.Namespace) -> Path:
    place: Path = arguments.keys_file or config.current().keys_file
    return place


def _ring(arguments: argparse.Namespace) -> KeyRing:
    return read_or_create_keys(_place(arguments), create=False)


def _list(arguments: argparse.Namespace) -> int:
    ring, place = _ring(arguments), _place(arguments)
    signing = next((key.id for key in ring.keys if not key.retired), None)
    rows = [{"id": key.id, "signs": key.id == signing, "retired": key.retired} for key in ring.keys]
    if arguments.json:
        print(json.dumps({"file": str(place), "keys": rows}))
        return 0
    print(place)
    for row in rows:
        print(f"  {row['id']}  {'signs and verifies' if row['signs'] else 'verifies only'}")
    if not rows:
        print("  no key yet; the first save, or 'payloadfs keys new', makes one")
    return 0


def _new(arguments: argparse.Namespace) -> int:
    key = Key.generate()
    _write(arguments, [key, *_ring(arguments).keys])
    print(json.dumps({"id": key.id}) if arguments.json else key.id)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    key = _found(_ring(arguments), arguments.key_id)
    print("payloadfs: whoever has this line can make you run code; pass it on in secret.", file=sys.stderr)
    print(json.dumps({"id": key.id, "key": key.to_line()}) if arguments.json else key.to_line())
    return 0


def _add(arguments: argparse.Namespace) -> int:
    text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text(encoding="utf-8")
    given = KeyRing.parse(text, origin=arguments.file if arguments.file != "-" else "standard input").keys
    if not given:
        raise ConfigError("There is no key in what was given.", kind="key-format")
    ring = _ring(arguments)
    known = {key.id for key in ring.keys}
    added = [key for key in given if key.id not in known]
    # Behind the others: what signs here stays what it was.
    _write(arguments, [*ring.keys, *added])
    if arguments.json:
        print(json.dumps({"added": [key.id for key in added]}))
    else:
        print("\n".join(f"added {key.id}" for key in added) or "nothing to add: all of them are here")
    return 0


def _retire(arguments: argparse.Namespace) -> int:
    ring = _ring(arguments)
    retired = _found(ring, arguments.key_id)
    _write(arguments, [Key(key.secret, retired=True) if key == retired else key for key in ring.keys])
    print(json.dumps({"retired": retired.id}) if arguments.json else f"{retired.id} verifies only")
    return 0


def _found(ring: KeyRing, key_id: str) -> Key:
    for key in ring.keys:
        if key.id == key_id:
            return key
    known = ", ".join(key.id for key in ring.keys) or "none"
    raise ConfigError(f"There is no key {key_id!r}; the keys here: {known}.", kind="unknown-key")


def _write(arguments: argparse.Namespace, keys: list[Key]) -> None:
    write_keys(_place(arguments), KeyRing(keys), replace=True)
