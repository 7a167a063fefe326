"""``cache``: what near copies of far objects take, and how to be rid of them."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .. import config
from ..stores._cache import Cache
from ._common import add_command, add_group, printable, size

__all__ = ["add_to"]


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands to the program's parser."""
    steps = add_group(commands, common, "cache", "look at or clear the cache", "payloadfs cache info")
    info = add_command(
        steps, common, "info", "tell where the cache is, what it takes and what it may take", "payloadfs cache info"
    )
    info.set_defaults(run=_info)
    clear = add_command(
        steps, common, "clear", "remove all copies; who has one loaded keeps it", "payloadfs cache clear"
    )
    clear.set_defaults(run=_clear)


def _info(arguments: argparse.Namespace) -> int:
    cache = _cache()
    if cache is None:
        print(json.dumps({"folder": None}) if arguments.json else "The cache is off.")
        return 0
    copies = [copy.size_bytes for copy in cache.quota.copies() if not copy.is_incomplete]
    limit = cache.quota.limit_bytes(sum(copies))
    if arguments.json:
        print(json.dumps({"folder": cache.path, "copies": len(copies), "size": sum(copies), "limit": limit}))
    else:
        print(printable(cache.path))
        print(f"  {_counted(len(copies))}, {size(sum(copies))} of {size(limit)}")
    return 0


def _clear(arguments: argparse.Namespace) -> int:
    cache = _cache()
    count, size_bytes = (0, 0) if cache is None else cache.quota.clear()
    if arguments.json:
        print(json.dumps({"copies": count, "size": size_bytes}))
    else:
        print(f"removed {_counted(count)}, {size(size_bytes)}")
    return 0


def _cache() -> Cache | None:
    settings = config.current()
    if settings.cache is None:
        return None
    cache = Cache(settings.cache, settings.cache_bytes)
    cache.refuse_shared_folder()
    return cache


def _counted(count: int) -> str:
    return f"{count} {'copy' if count == 1 else 'copies'}"
