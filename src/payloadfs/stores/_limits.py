"""Time limits of fsspec's file systems."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def time_limits(scheme: str, timeout_s: float) -> dict[str, Any]:
    """Return the options that keep fsspec's own synchronous clients from waiting forever."""
    from fsspec import get_filesystem_class

    name = get_filesystem_class(scheme).__name__
    if name == "FTPFileSystem":
        return {"timeout": timeout_s * 2 / 3}
    if name == "SFTPFileSystem":
        return {f"{step}timeout": timeout_s / 3 for step in ("", "banner_", "auth_")}
    return {}


def call_limited(
    filesystem: Any, method: str, arguments: tuple[Any, ...], options: Mapping[str, Any], limit_s: float
) -> Any:
    """Call a method of a file system, with a time limit if it is asynchronous."""
    function = getattr(filesystem, f"_{method}", None) if filesystem.async_impl else None
    if function is None or not inspect.iscoroutinefunction(function):
        return getattr(filesystem, method)(*arguments, **options)
    import asyncio

    from fsspec.asyn import sync

    return sync(filesystem.loop, asyncio.wait_for, function(*arguments, **options), limit_s)
