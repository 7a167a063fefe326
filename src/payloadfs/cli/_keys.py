"""``keys``: list, make, pass on and retire the keys that sign pointers."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import config
from ..errors import ConfigError
from ..signing import Key, KeyRing, read_or_create_keys, write_keys
from ._common import add_command, add_group, printable, read_stdin

__all__ = ["add_to"]

_MAX_BYTES = 1 << 20


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands to the program's parser."""
    steps = add_group(commands, common, "keys", "list, make, pass on and retire signing keys", "payloadfs keys list")
    file = argparse.ArgumentParser(add_help=False, parents=[common])
    file.add_argument("--keys-file", metavar="PATH", help="key file; default: as configured")

    listing = add_command(steps, file, "list", "list the keys, never their secrets", "payloadfs keys list")
    listing.set_defaults(run=_list)
    new = add_command(
        steps, file, "generate", "make a key that signs from now on; the others still verify", "payloadfs keys generate"
    )
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


def _list(arguments: argparse.Namespace) -> int:
    ring, place = _ring(arguments)
    signing = _signing(ring.keys)
    rows = [{"id": key.id, "signs": key.id == signing, "retired": key.retired} for key in ring.keys]
    if arguments.json:
        print(json.dumps({"file": str(place) if isinstance(place, Path) else None, "keys": rows}))
        return 0
    print(printable(str(place)))
    for row in rows:
        print(f"  {row['id']}  {'signs and verifies' if row['signs'] else 'verifies only'}")
    if not rows:
        print("  no key yet; the first save, or 'payloadfs keys generate', makes one")
    return 0


def _new(arguments: argparse.Namespace) -> int:
    key = Key.generate()
    _change(arguments, lambda keys: [key, *(other for other in keys if other != key)])
    print(json.dumps({"id": key.id}) if arguments.json else key.id)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    key = _found(_ring(arguments)[0].keys, arguments.key_id)
    print("payloadfs: whoever has this line can make you run code; pass it on in secret.", file=sys.stderr)
    print(json.dumps({"id": key.id, "key": key.to_line()}) if arguments.json else key.to_line())
    return 0


def _add(arguments: argparse.Namespace) -> int:
    if arguments.file == "-":
        content, origin = read_stdin(_MAX_BYTES), "standard input"
    else:
        with open(arguments.file, "rb") as file:
            content, origin = file.read(_MAX_BYTES), arguments.file
    # What is not UTF-8 fails as a line that is no key: the decoder's own error would show it.
    given = {key.id: key for key in KeyRing.parse(content.decode("utf-8", "replace"), origin=origin).keys}
    if not given:
        raise ConfigError(f"There is no key in {origin}; 'payloadfs keys export' prints one.", kind="key-format")

    def behind(keys: Sequence[Key]) -> list[Key]:
        # Behind the others: what signs here stays what it was.
        known = {key.id for key in keys}
        return [*keys, *(key for key in given.values() if key.id not in known)]

    before = {key.id for key in _change(arguments, behind)}
    added = [key_id for key_id in given if key_id not in before]
    if arguments.json:
        print(json.dumps({"added": added}))
    else:
        print("\n".join(f"added {key_id}" for key_id in added) or "nothing to add: all of them are here")
    return 0


def _retire(arguments: argparse.Namespace) -> int:
    def without(keys: Sequence[Key]) -> list[Key]:
        retired = _found(keys, arguments.key_id).id
        return [Key(key.secret, retired=True) if key.id == retired else key for key in keys]

    left = _signing(without(_change(arguments, without)))
    print(json.dumps({"retired": arguments.key_id}) if arguments.json else f"{arguments.key_id} verifies only")
    if left is None:
        print("payloadfs: no key signs now; make one with 'payloadfs keys generate'.", file=sys.stderr)
    return 0


def _signing(keys: Sequence[Key]) -> str | None:
    return next((key.id for key in keys if not key.retired), None)


def _found(keys: Sequence[Key], key_id: str) -> Key:
    for key in keys:
        if key.id == key_id:
            return key
    known = ", ".join(key.id for key in keys) or "none"
    raise ConfigError(f"There is no key {key_id!r}; the keys here: {known}.", kind="unknown-key")


def _ring(arguments: argparse.Namespace) -> tuple[KeyRing, Path | str]:
    """Return the keys in force, and the file or other source that they are from."""
    place = _place(arguments)
    if isinstance(place, Path):
        return read_or_create_keys(place, create=False), place
    ring = config.current().keys
    assert ring is not None
    return ring, place


def _place(arguments: argparse.Namespace) -> Path | str:
    if arguments.keys_file is not None:
        return Path(arguments.keys_file)
    settings = config.current()
    return settings.keys_file if settings.keys is None else settings.origins["keys"]


def _change(arguments: argparse.Namespace, change: Callable[[Sequence[Key]], list[Key]]) -> tuple[Key, ...]:
    """Let the key file hold what `change` makes of its keys, and return those it held before.

    `change` is called again on its own result if another process writes the file at that moment.
    """
    place = _place(arguments)
    if not isinstance(place, Path):
        raise ConfigError(
            f"The keys in force are from the {place}, not from a file: change them there, "
            "or name a file with --keys-file.",
            kind="key-file",
        )
    place = Path(os.path.realpath(place))  # a link to the file stays one
    with _alone(place):
        before = read_or_create_keys(place, create=False).keys
        wanted = change(before)
        if not place.exists():
            # A first save may make the file just now: its key must not be lost.
            write_keys(place, KeyRing(wanted), replace=False)
            wanted = change(read_or_create_keys(place, create=False).keys)
        if wanted != list(read_or_create_keys(place, create=False).keys):
            write_keys(place, KeyRing(wanted), replace=True)
    return before


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Keep other commands from changing the key file `place` inside the block."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(place.with_name(f".{place.name}.lock"), flags, 0o600)
    except OSError as error:
        raise ConfigError(
            f"The key file {place} can't be changed: {error.strerror}. Let PAYLOADFS_KEYS_FILE name another place.",
            kind="key-file",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
