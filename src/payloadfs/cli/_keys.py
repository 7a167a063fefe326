"""``keys``: lists, generates, exports, adds, retires and removes the keys that sign pointers."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from .. import config
from .._atomic import file_lock
from ..errors import ConfigError
from ..signing import Key, KeyRing, read_keys, write_keys
from ._common import add_command, add_group, printable, read_stdin

_MAX_BYTES = 1 << 20


def configure_keys(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``keys``."""
    group = add_group(parser)
    with_file = argparse.ArgumentParser(add_help=False, parents=[common])
    with_file.add_argument("--keys-file", metavar="PATH", help="key file (default: as configured)")

    listing = add_command(group, with_file, "list", "list the keys without their secrets", "payloadfs keys list")
    listing.set_defaults(run=_list)
    generate = add_command(
        group,
        with_file,
        "generate",
        "generate a new signing key; existing keys still verify",
        "payloadfs keys generate",
    )
    generate.add_argument(
        "--kind",
        choices=("hmac", "ed25519"),
        default="hmac",
        help="hmac (default): every key that verifies also signs; ed25519: has a public half that only verifies "
        "(needs the package cryptography)",
    )
    generate.set_defaults(run=_generate)
    export = add_command(
        group,
        with_file,
        "export",
        "print one key, including its secret",
        "payloadfs keys export 1d9bb6c4 | ssh other-machine payloadfs keys add",
    )
    export.add_argument(
        "--public",
        action="store_true",
        help="print only the public half of an ed25519 key, which verifies and cannot sign",
    )
    add = add_command(
        group, with_file, "add", "trust the keys in a file or on standard input", "payloadfs keys add other-machine.key"
    )
    add.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="-",
        help="output of 'payloadfs keys export' (default: standard input)",
    )
    add.set_defaults(run=_add)
    retire = add_command(
        group, with_file, "retire", "stop signing with a key; it still verifies", "payloadfs keys retire 1d9bb6c4"
    )
    remove = add_command(
        group,
        with_file,
        "remove",
        "stop trusting a key, even in running processes; pointers that it signed no longer load",
        "payloadfs keys remove 1d9bb6c4",
    )
    for command, run in ((export, _export), (retire, _retire), (remove, _remove)):
        command.add_argument("key_id", metavar="KEY_ID", help="id of the key, as 'payloadfs keys list' prints it")
        command.set_defaults(run=run)


def _list(arguments: argparse.Namespace) -> int:
    ring, source = _read_keys(arguments)
    rows = [
        {"id": key.id, "kind": key.kind, "signs": key is ring.signing_key, "retired": key.retired} for key in ring.keys
    ]
    if arguments.json:
        print(json.dumps({"file": str(source) if isinstance(source, Path) else None, "keys": rows}))
        return 0
    print(printable(str(source)))
    for row in rows:
        print(f"  {row['id']}  {row['kind']:14}  {'signs and verifies' if row['signs'] else 'verifies only'}")
    if not rows:
        print("  no keys yet; 'payloadfs keys generate' or the first save generates one")
    return 0


def _generate(arguments: argparse.Namespace) -> int:
    key = Key.generate(arguments.kind)
    _change_keys(arguments, lambda keys: [key, *(other for other in keys if other != key)])
    print(json.dumps({"id": key.id}) if arguments.json else key.id)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    key = _find(_read_keys(arguments)[0].keys, arguments.key_id)
    if arguments.public:
        key = key.public
    if key.kind != "ed25519-public":
        print("payloadfs: keep this key secret: anyone with it can run code where it is trusted.", file=sys.stderr)
    print(json.dumps({"id": key.id, "key": key.to_line()}) if arguments.json else key.to_line())
    return 0


def _add(arguments: argparse.Namespace) -> int:
    if arguments.file == "-":
        content, origin = read_stdin(_MAX_BYTES), "standard input"
    else:
        with open(arguments.file, "rb") as file:
            content, origin = file.read(_MAX_BYTES), arguments.file
    # Bytes that are not UTF-8 are refused as an invalid line: the decoder's own error would show them.
    new_keys = {key.id: key for key in KeyRing.parse(content.decode("utf-8", "replace"), origin=origin).keys}
    if not new_keys:
        raise ConfigError(f"No key in {origin}; 'payloadfs keys export' prints one.", kind="key-format")

    def append_new(keys: Sequence[Key]) -> list[Key]:
        # At the end: the signing key does not change. Both halves of a key replace its public half.
        kept = [new_keys[key.id] if _extends(new_keys.get(key.id), key) else key for key in keys]
        known = {key.id for key in keys}
        return [*kept, *(key for key in new_keys.values() if key.id not in known)]

    before = {key.id: key for key in _change_keys(arguments, append_new)}
    added = [key.id for key in new_keys.values() if key.id not in before or _extends(key, before[key.id])]
    if arguments.json:
        print(json.dumps({"added": added}))
    else:
        print("\n".join(f"added {key_id}" for key_id in added) or "nothing to add: all these keys are already trusted")
    return 0


def _retire(arguments: argparse.Namespace) -> int:
    def retire(keys: Sequence[Key]) -> list[Key]:
        retired = _find(keys, arguments.key_id).id
        return [replace(key, retired=True) if key.id == retired else key for key in keys]

    signing = KeyRing(retire(_change_keys(arguments, retire))).signing_key
    print(json.dumps({"retired": arguments.key_id}) if arguments.json else f"{arguments.key_id} now verifies only")
    if signing is None:
        print("payloadfs: no signing key is left; run 'payloadfs keys generate'.", file=sys.stderr)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    def remove(keys: Sequence[Key]) -> list[Key]:
        return [key for key in keys if key.id != arguments.key_id]

    _find(_read_keys(arguments)[0].keys, arguments.key_id)
    remaining = KeyRing(remove(_change_keys(arguments, remove)))
    print(json.dumps({"removed": arguments.key_id}) if arguments.json else f"{arguments.key_id} is no longer trusted")
    if remaining.signing_key is None:
        print("payloadfs: no signing key is left; run 'payloadfs keys generate'.", file=sys.stderr)
    return 0


def _extends(new: Key | None, old: Key) -> bool:
    """Return whether `new` is the whole Ed25519 key of which `old` is the public half."""
    return new is not None and (new.kind, old.kind) == ("ed25519", "ed25519-public")


def _find(keys: Sequence[Key], key_id: str) -> Key:
    for key in keys:
        if key.id == key_id:
            return key
    known = ", ".join(key.id for key in keys) or "none"
    raise ConfigError(f"Key {key_id!r} not found. Keys here: {known}.", kind="unknown-key")


def _read_keys(arguments: argparse.Namespace) -> tuple[KeyRing, Path | str]:
    """Return the keys, and the file or setting that they come from."""
    source = _key_source(arguments)
    if isinstance(source, Path):
        return read_keys(source), source
    ring = config.current().keys
    assert ring is not None
    return ring, source


def _key_source(arguments: argparse.Namespace) -> Path | str:
    if arguments.keys_file is not None:
        return Path(arguments.keys_file)
    settings = config.current()
    return settings.keys_file if settings.keys is None else settings.origins["keys"]


def _change_keys(arguments: argparse.Namespace, change: Callable[[Sequence[Key]], list[Key]]) -> tuple[Key, ...]:
    """Replace the keys in the key file by ``change(keys)``, and return the keys it contained before.

    `change` is called again on its own result if another process writes the file at the same time.
    """
    path = _key_source(arguments)
    if not isinstance(path, Path):
        raise ConfigError(
            f"The keys come from the {path}, not from a file: change them there, or specify a file with --keys-file.",
            kind="key-file",
        )
    path = Path(os.path.realpath(path))  # a link to the file must stay a link
    with _lock(path):
        before = read_keys(path).keys
        wanted = change(before)
        if not path.exists():
            # The first save of another process may be creating the file: its key must not be lost.
            write_keys(path, KeyRing(wanted), replace=False)
            wanted = change(read_keys(path).keys)
        if wanted != list(read_keys(path).keys):
            write_keys(path, KeyRing(wanted), replace=True)
    return before


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Prevent other commands from changing the key file `path` inside the block."""
    lock_path = path.with_name(f".{path.name}.lock")
    with ExitStack() as stack:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = stack.enter_context(file_lock(str(lock_path), math.inf, keep=True))
        except OSError as error:
            raise ConfigError(
                f"Cannot change the key file {path}: {error.strerror}. Set PAYLOADFS_KEYS_FILE to another path.",
                kind="key-file",
            ) from error
        if lock is None:
            raise ConfigError(
                f"Another process removed {lock_path}, so no key was changed: try again.", kind="key-file"
            )
        yield
