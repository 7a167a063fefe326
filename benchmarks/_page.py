"""From the figures to the page of the documentation. Words stand here, figures in the JSON only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ._harness import Row
from ._measure import middle
from .peers import PEERS
from .tables import TABLES, rows_of

__all__ = ["PAGE", "newest", "page", "write_page"]

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "benchmarks.md"
OURS = ("payloadfs", "payloadfs, S3")

COLUMNS = {
    "save_ms": "save, ms",
    "load_ms": "load, ms",
    "load_read_ms": "then read all, ms",
    "import_ms": "ms beyond a bare interpreter",
    "load_per_s": "objects per second",
    "save_cpu_s": "save, CPU ms",
    "load_cpu_s": "load, CPU ms",
    "save_peak_mb": "save, peak MB",
    "load_peak_mb": "load, peak MB",
    "load_anon_mb": "own memory once read, MB",
    "save_requests": "save, requests",
    "load_requests": "load, requests",
}

JUDGED = ("save_ms", "load_ms", "import_ms", "load_per_s")

HEAD = """# Benchmarks

payloadfs beside everybody who does similar work, on one machine. `python -m benchmarks` makes all figures anew on
yours, and this page is made from the file that it writes.
"""

METHOD = """## How it was measured

- An object is saved in one process and loaded in another, which was started for that one load. It has imported
  what it needs and has loaded one small object before.
- Peers take turns: in each round everybody goes once, and each round begins with somebody else. What was saved is
  deleted before the next one's turn, and as many bytes are written and deleted before the first. Figures are medians over the rounds, with the least and the greatest; for small
  objects a round's figure is itself the median of many calls.
- *Then read all* is how long it takes to read every byte of what was loaded, since those who map a file pay there and
  not in loading. The result of that reading is compared with the original's.
- *Peak* is how far the process's resident memory rose during the call. *Own memory once read* is what the reader
  cannot give back to the system: copies count, mapped files don't.
- payloadfs signs every pointer, and computes and checks digests as it does by default. Nobody else here does either.
  Only `fsync` is off where the row does not say so, since nobody else waits for the disk.
- Figures of different machines or runs can't be compared; ratios within a table can.

Who takes part, in its best documented mode:
"""


def newest() -> Path:
    """Return the file with the newest full run, or the quick one if there is none."""
    full = sorted(RESULTS.glob("20*.json"))
    return full[-1] if full else RESULTS / "quick.json"


def write_page() -> Path:
    """Write the page of the newest figures and return where."""
    PAGE.write_text(page(json.loads(newest().read_text())))
    return PAGE


def page(found: dict[str, Any]) -> str:
    """Return the page that shows the figures `found`."""
    return "\n".join([*_head(found), *_method(found), *_tables(found)]).rstrip() + "\n"


def _head(found: dict[str, Any]) -> Iterator[str]:
    facts = found["machine"]
    yield HEAD
    yield (
        f"Measured on {found['date']}: {facts['cpu']}, {facts['cores']} cores, {facts['memory_gb']} GB of memory, "
        f"{facts['file_system']}, {facts['system']}, Python {facts['python']}; {found['rounds']} rounds. "
        + ", ".join(f"{name} {version}" for name, version in sorted(found["versions"].items()))
        + ".\n"
    )
    if found["quick"]:
        yield (
            ":::{warning}\nThis is a quick run, of objects of a hundredth of the size and one round, that shows only that\n"
            "the command works. Don't draw conclusions from its figures.\n:::\n"
        )
    yield "![Load time against size](benchmarks/sizes.svg)\n"
    yield "![Save and load by workload](benchmarks/workloads.svg)\n"
    yield "![Memory by workload](benchmarks/memory.svg)\n"


def _method(found: dict[str, Any]) -> Iterator[str]:
    yield METHOD
    seen = {row["peer"] for table in found["tables"].values() for row in table["rows"]}
    for name, way in PEERS.items():
        if name in seen:
            yield f"- **{name}**: {way.mode}"
    yield ""


def _tables(found: dict[str, Any]) -> Iterator[str]:
    for name in TABLES:
        if name not in found["tables"]:
            continue
        table = found["tables"][name]
        yield f"## {table['title']}\n"
        rows = rows_of(table["rows"])
        sizes = list(dict.fromkeys(row.size for row in rows))
        if len(sizes) == 1:
            yield from _table(rows)
            yield from _judged(rows)
        else:
            yield from _by_size(rows, sizes)


def _by_size(rows: list[Row], sizes: list[int]) -> Iterator[str]:
    """Show loading alone, a column for each size."""
    yield "Load, ms:\n"
    yield "| |" + "".join(f" {size:,} bytes |" for size in sizes)
    yield "|---|" + "---:|" * len(sizes)
    for peer in dict.fromkeys(row.peer for row in rows if row.figures):
        by_size = {row.size: row for row in rows if row.peer == peer}
        yield f"| {peer} |" + "".join(f" {_cell(by_size[n], 'load_ms') if n in by_size else ''} |" for n in sizes)
    yield ""
    for size in sizes:
        for words in _judged([row for row in rows if row.size == size], ("load_ms",)):
            yield f"{size:,} bytes: {words[0].lower()}{words[1:]}"


def _table(rows: list[Row]) -> Iterator[str]:
    shown = [column for column in COLUMNS if any(column in row.figures for row in rows)]
    yield "| |" + "".join(f" {COLUMNS[column]} |" for column in shown)
    yield "|---|" + "---:|" * len(shown)
    for row in rows:
        if row.figures:
            yield f"| {row.peer} |" + "".join(f" {_cell(row, column)} |" for column in shown)
    yield ""
    for row in rows:
        if row.why_not:
            yield f"{row.peer} is left out: `{row.why_not.splitlines()[0]}`\n"


def _cell(row: Row, column: str) -> str:
    values = row.figures.get(column)
    if not values:
        return ""
    scale = 1000 if column.endswith("cpu_s") else 1
    centre, least, most = (_short(value * scale) for value in middle(values))
    # The spread belongs to times; memory and requests hardly have one.
    spread = f" ({least} to {most})" if column.endswith("_ms") and least != most else ""
    return f"{centre}{spread}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _judged(rows: list[Row], columns: Sequence[str] = JUDGED) -> Iterator[str]:
    """Say where somebody is ahead of payloadfs; those rows that are a limit don't count."""
    ours = next((row for row in rows if row.peer in OURS and row.figures), None)
    if ours is None:
        return
    peers = [row for row in rows if not row.peer.startswith("payloadfs") and row.figures]
    peers = [row for row in peers if row.peer not in PEERS or not PEERS[row.peer].limit]
    for column in columns:
        if column not in ours.figures:
            continue
        better = [(_ratio(row, ours, column), row.peer) for row in peers if column in row.figures]
        ahead = [f"{peer} ({ratio:.2f} times)" for ratio, peer in sorted(better, reverse=True) if ratio > 1]
        words = ", ".join(ahead) if ahead else "nobody"
        yield f"Ahead of payloadfs in *{COLUMNS[column]}*: {words}.\n"


def _ratio(row: Row, ours: Row, column: str) -> float:
    """Return by how much `row` is better than `ours`: above 1 it is ahead."""
    theirs, own = middle(row.figures[column])[0], middle(ours.figures[column])[0]
    return theirs / own if column.endswith("per_s") else own / theirs
