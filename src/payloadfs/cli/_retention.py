"""``rm``, ``gc``, ``verify`` and ``lifecycle``: delete objects, and check that they are intact."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO

from .._durations import duration_name
from .._keys import EXPIRING, lifetime_s
from .._urls import scheme_of
from ..errors import ConfigError, IntegrityError, PayloadError
from ..retention import Damaged, Removed, collect, remove, scan, verify
from ..retention._references import pointers_in
from ._common import add_url, open_repository, plural, printable, read_pointer, size

_CHUNK_BYTES = 1 << 20
_DAY_S = 86_400


def configure_rm(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``rm``."""
    parser.add_argument(
        "target",
        metavar="PREFIX|POINTER",
        help="prefix of the objects, such as the id of a run; or a pointer as JSON, or - to read one from standard input",
    )
    parser.add_argument("--older-than", metavar="TIME", help="only objects that are older than this, such as 30d")
    parser.add_argument("--dry-run", action="store_true", help="show how much would be deleted")
    add_url(parser)
    parser.set_defaults(run=_rm)


def configure_gc(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``gc``."""
    parser.add_argument(
        "--refs",
        metavar="FILE",
        action="append",
        help="text file, in any format, that contains all pointers in use; - for standard input; can be repeated. "
        "Without it, only expired objects and leftovers are deleted",
    )
    parser.add_argument(
        "--grace",
        metavar="TIME",
        default="1d",
        help="keep objects and leftovers that are younger than this, and delete unreferenced objects this long after "
        "they were marked (default: 1d)",
    )
    parser.add_argument(
        "--max-share",
        metavar="SHARE",
        type=float,
        default=0.5,
        help="delete no unreferenced objects if they are more than this share of all objects (default: 0.5)",
    )
    parser.add_argument("--apply", action="store_true", help="delete; without it, only show what would be deleted")
    add_url(parser)
    parser.set_defaults(run=_gc)


def configure_verify(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``verify``."""
    parser.add_argument(
        "refs",
        metavar="FILE",
        nargs="?",
        help="JSON lines that contain the pointers, at any depth; - for standard input. Without it, every object "
        "is read, and checked against the digests inside it, if it has them",
    )
    parser.add_argument("--url", metavar="URL", action="append", help="folder or URL that may be read from")
    parser.set_defaults(run=_verify)


def configure_lifecycle(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``lifecycle``."""
    parser.add_argument(
        "--apply", action="store_true", help="set these rules in the bucket, and keep all its other rules"
    )
    add_url(parser)
    parser.set_defaults(run=_lifecycle)


def _rm(arguments: argparse.Namespace) -> int:
    repository = open_repository(arguments.url)
    if arguments.target == "-" or arguments.target.lstrip().startswith("{"):
        if arguments.older_than is not None:
            raise ConfigError("--older-than is for prefixes, not for a pointer.", kind="older-than")
        pointer = read_pointer(arguments.target)
        if not arguments.dry_run:
            repository.delete(pointer)
        removed = Removed(1, pointer.size_bytes)
    else:
        removed = remove(
            arguments.target, older_than=arguments.older_than, dry_run=arguments.dry_run, repository=repository
        )
    if arguments.json:
        print(json.dumps({"count": removed.count, "size": removed.size_bytes, "dry_run": arguments.dry_run}))
    else:
        print(_sentence("would be deleted" if arguments.dry_run else "deleted", removed))
    return 0


def _gc(arguments: argparse.Namespace) -> int:
    with ExitStack() as stack:
        references = None if arguments.refs is None else [_pieces(name, stack) for name in arguments.refs]
        result = collect(
            references,
            grace=arguments.grace,
            max_share=arguments.max_share,
            dry_run=not arguments.apply,
            repository=open_repository(arguments.url),
        )
    if arguments.json:
        print(
            json.dumps(
                {
                    "expired": {"count": result.expired.count, "size": result.expired.size_bytes},
                    "unreferenced": {"count": result.unreferenced.count, "size": result.unreferenced.size_bytes},
                    "leftovers": result.leftovers,
                    "marked": result.marked,
                    "dry_run": not arguments.apply,
                }
            )
        )
        return 0
    verb = "deleted" if arguments.apply else "would be deleted"
    print(_sentence(f"expired and {verb}", result.expired))
    print(f"{plural(result.leftovers, 'leftover', 'leftovers')} of interrupted saves {verb}")
    if references is not None:
        print(_sentence(f"unreferenced and {verb}", result.unreferenced))
        print(
            f"{plural(result.marked, 'object', 'objects')} unreferenced "
            f"{'and marked' if arguments.apply else 'but not marked long enough ago'}"
        )
    if not arguments.apply:
        print("payloadfs: nothing was deleted; add --apply.", file=sys.stderr)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.refs is None:
        return _scan(arguments)
    count = damaged = 0
    with ExitStack() as stack:
        lines = sys.stdin if arguments.refs == "-" else stack.enter_context(open(arguments.refs, encoding="utf-8"))
        for result in verify(pointers_in(lines), repository=open_repository(arguments.url)):
            count += 1
            if isinstance(result, Damaged):
                damaged += 1
                _print_damaged(result.pointer.key or "inline", result.error, in_json=arguments.json)
    return _finish(count, damaged, in_json=arguments.json)


def _scan(arguments: argparse.Namespace) -> int:
    count = damaged = sealed = 0
    for result in scan(repository=open_repository(arguments.url)):
        count += 1
        sealed += result.is_sealed
        if result.error is not None:
            damaged += 1
            _print_damaged(result.info.key, result.error, in_json=arguments.json)
    if not arguments.json:
        print(f"{plural(sealed, 'object has', 'objects have')} digests inside; the others were only read")
    return _finish(count, damaged, in_json=arguments.json)


def _finish(count: int, damaged: int, *, in_json: bool) -> int:
    if in_json:
        print(json.dumps({"count": count, "damaged": damaged}))
    else:
        print(f"{plural(count, 'object', 'objects')} checked, {damaged:,} missing or damaged")
    if damaged:
        raise IntegrityError(f"{damaged:,} of {plural(count, 'object is', 'objects are')} missing or damaged.")
    return 0


def _print_damaged(key: str, error: PayloadError, *, in_json: bool) -> None:
    if in_json:
        print(json.dumps({"key": key, "kind": error.kind, "message": error.message}))
    else:
        print(printable(f"{key}: {error.message}"))


def _lifecycle(arguments: argparse.Namespace) -> int:
    repository = open_repository(arguments.url)
    if scheme_of(repository.root) != "s3":
        raise ConfigError("Only S3 buckets have lifecycle rules in this form.", kind="lifecycle")
    path = repository.root.removeprefix("s3://").partition("/")[2]
    folder = f"{path}/" if path else ""
    names = {info.key.partition("/")[0]: lifetime_s(info.key) for info in repository.store.list(EXPIRING)}
    if repository.settings.expires is not None:
        names[f"{EXPIRING}{duration_name(repository.settings.expires)}"] = repository.settings.expires
    rules = [_rule(folder, name, lifetime) for name, lifetime in sorted(names.items()) if lifetime is not None]
    rules.append(
        {
            "ID": "payloadfs-abandoned-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": folder},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        }
    )
    if arguments.apply:
        set_rules: Any = repository.store
        set_rules.set_lifecycle_rules(rules)
    print(json.dumps({"Rules": rules}, indent=None if arguments.json else 2))
    return 0


def _rule(folder: str, name: str, lifetime: int) -> dict[str, Any]:
    # One day more: the bucket counts whole days, and a writer's clock may be ahead.
    return {
        "ID": f"payloadfs-{name.replace('=', '-')}",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{folder}{name}/"},
        "Expiration": {"Days": math.ceil(lifetime / _DAY_S) + 1},
    }


def _pieces(name: str, stack: ExitStack) -> Iterator[bytes]:
    # Opened now: a missing file must stop the collection before anything is deleted.
    file: BinaryIO = sys.stdin.buffer
    if name != "-":
        file = open(name, "rb")  # noqa: SIM115  closed by the stack
        stack.callback(file.close)
    return iter(lambda: file.read(_CHUNK_BYTES), b"")


def _sentence(verb: str, removed: Removed) -> str:
    return f"{plural(removed.count, 'object', 'objects')} {verb}, {size(removed.size_bytes)}"
