"""HTML for notebooks: a short table of properties. Nothing is loaded to show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(title: str, rows: Mapping[str, Any]) -> str:
    """Return a table with one row for each name and value; every character is escaped.

    Examples
    --------
    >>> table("Pointer", {"size": "5 bytes"})
    '<table><caption>Pointer</caption><tr><th>size</th><td>5 bytes</td></tr></table>'
    """
    # Here, because it imports a table of two thousand names, and few processes show tables.
    import html

    cells = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>" for name, value in rows.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{cells}</table>"
