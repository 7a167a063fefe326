"""The benchmark page of the documentation: prose is in this file and limits.md, figures are only in the JSON."""

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
LIMITS = Path(__file__).parent / "limits.md"
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

payloadfs compared with similar libraries, on one machine. `python -m benchmarks` measures all figures on your machine
and writes them to a file; this page is generated from that file.
"""

METHOD = """## How it was measured

- An object is saved in one process and loaded in another, which is started for that one load. Before the measurement
  this process has imported its packages and loaded one small object.
- Libraries take turns: each runs once per round, and each round starts with another library. Saved objects are deleted
  before the next turn, and the same number of bytes is written and deleted before the first turn. Figures are medians
  over the rounds, with minimum and maximum. For small objects, the figure of a round is the median of many calls.
- *Then read all* is the time to read every byte of the loaded object, because libraries that map a file do the work then and
  not when loading. The result of reading is compared with that of the original.
- *Peak* is the increase of the process's resident memory during the call. *Own memory once read* is memory that the
  system cannot reclaim: copies count, mapped files do not.
- payloadfs signs every pointer, and computes and checks digests as it does by default. No other library here does either.
  `fsync` is off unless the row says otherwise, because no other library waits for the disk.
- Figures of different machines or runs cannot be compared; ratios within a table can.

Each library is used in its best documented mode:
"""


def newest() -> Path:
    """Return the file of the newest full run, or of the quick run if there is none."""
    full = sorted(RESULTS.glob("20*.json"))
    return full[-1] if full else RESULTS / "quick.json"


def write_page() -> Path:
    """Write the page of the newest figures and return its path."""
    PAGE.write_text(page(json.loads(newest().read_text())))
    return PAGE


def page(found: dict[str, Any]) -> str:
    """Return the page that shows the figures `found`."""
    return "\n".join([*_head(found), *_method(found), *_tables(found), LIMITS.read_text()]).rstrip() + "\n"


def _head(found: dict[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    yield HEAD
    yield (
        f"Measured on {found['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB of memory, "
        f"{machine['file_system']}, {machine['system']}, Python {machine['python']}; {found['rounds']} rounds. "
        + ", ".join(f"{name} {version}" for name, version in sorted(found["versions"].items()))
        + ".\n"
    )
    if found["quick"]:
        yield (
            ":::{warning}\nThis is a quick run, with one round and objects of a hundredth of the size. It shows only that\n"
            "the command works. Do not draw conclusions from its figures.\n:::\n"
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
    """Show only loading, with one column per size."""
    yield "Load, ms:\n"
    yield "| |" + "".join(f" {size:,} bytes |" for size in sizes)
    yield "|---|" + "---:|" * len(sizes)
    for peer in dict.fromkeys(row.peer for row in rows if row.figures):
        by_size = {row.size: row for row in rows if row.peer == peer}
        yield f"| {peer} |" + "".join(f" {_cell(by_size[n], 'load_ms') if n in by_size else ''} |" for n in sizes)
    yield ""
    for size in sizes:
        for line in _judged([row for row in rows if row.size == size], ("load_ms",)):
            yield f"{size:,} bytes: {line[0].lower()}{line[1:]}"


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
            yield f"{row.peer} was not measured: `{row.why_not.splitlines()[0]}`\n"


def _cell(row: Row, column: str) -> str:
    values = row.figures.get(column)
    if not values:
        return ""
    scale = 1000 if column.endswith("cpu_s") else 1
    centre, least, most = (_short(value * scale) for value in middle(values))
    # Only times show a spread; that of memory and requests is negligible.
    spread = f" ({least} to {most})" if column.endswith("_ms") and least != most else ""
    return f"{centre}{spread}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _judged(rows: list[Row], columns: Sequence[str] = JUDGED) -> Iterator[str]:
    """Say which libraries are faster than payloadfs. Rows that only show a limit do not count."""
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
        names = ", ".join(ahead) if ahead else "none"
        yield f"Better than payloadfs in *{COLUMNS[column]}*: {names}.\n"


def _ratio(row: Row, ours: Row, column: str) -> float:
    """Return by what factor `row` is better than `ours`: above 1 it is better."""
    theirs, own = middle(row.figures[column])[0], middle(ours.figures[column])[0]
    return theirs / own if column.endswith("per_s") else own / theirs
