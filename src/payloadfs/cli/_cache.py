"""``cache``: shows how much space cached copies of remote objects take, and removes them."""

from __future__ import annotations

import argparse
import json

from .. import config
from ..stores._cache import Cache
from ._common import add_command, add_group, plural, printable, size


def configure_cache(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``cache``."""
    group = add_group(parser)
    info = add_command(group, common, "info", "show where the cache is, its size and its limit", "payloadfs cache info")
    info.set_defaults(run=_info)
    clear = add_command(
        group,
        common,
        "clear",
        "remove all cached copies; objects that are already loaded stay valid",
        "payloadfs cache clear",
    )
    clear.set_defaults(run=_clear)


def _info(arguments: argparse.Namespace) -> int:
    cache = _open_cache()
    if cache is None:
        print(json.dumps({"folder": None}) if arguments.json else "The cache is off.")
        return 0
    copies = [copy.size_bytes for copy in cache.quota.copies() if not copy.is_incomplete]
    limit = cache.quota.limit_bytes(sum(copies))
    if arguments.json:
        print(json.dumps({"folder": cache.path, "copies": len(copies), "size": sum(copies), "limit": limit}))
    else:
        print(printable(cache.path))
        print(f"  {plural(len(copies), 'object', 'objects')}, {size(sum(copies))} of {size(limit)} used")
    return 0


def _clear(arguments: argparse.Namespace) -> int:
    cache = _open_cache()
    count, size_bytes = (0, 0) if cache is None else cache.quota.clear()
    if arguments.json:
        print(json.dumps({"copies": count, "size": size_bytes}))
    else:
        print(f"Removed {plural(count, 'object', 'objects')}, {size(size_bytes)}.")
    return 0


def _open_cache() -> Cache | None:
    settings = config.current()
    if settings.cache is None:
        return None
    cache = Cache(settings.cache, settings.cache_bytes)
    cache.refuse_shared_folder()
    return cache
