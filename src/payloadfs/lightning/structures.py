"""The structures of Lightning App: plain lists and dicts, which flows support directly and which may grow in `run`."""

from __future__ import annotations

from typing import Any

__all__ = ["Dict", "List"]


def List(*items: Any) -> list[Any]:  # noqa: N802  # the name that it has in Lightning
    """Return the works or flows as a list."""
    return list(items)


def Dict(**items: Any) -> dict[str, Any]:  # noqa: N802
    """Return the works or flows as a dict."""
    return items
