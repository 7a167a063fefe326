"""The plots of the page, as SVG and PNG. The same figures give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._harness import Row
from ._measure import middle
from ._page import PAGE, newest
from .peers import PEERS
from .tables import rows_of

__all__ = ["write_plots"]

FOLDER = PAGE.parent / "benchmarks"
BARS = {"numeric": "numeric frame", "mixed": "mixed frame", "arrays": "dict of arrays", "objects": "a million objects"}
OURS, OTHERS = (
    "#d1495b",
    ["#30638e", "#00798c", "#edae49", "#5c6b73", "#8d6a9f", "#66a182", "#2e4057", "#b56576", "#7f9172"],
)


def write_plots() -> list[Path]:
    """Draw all plots of the newest figures; return the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {"svg.hashsalt": "payloadfs", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    FOLDER.mkdir(exist_ok=True)
    found = json.loads(newest().read_text())
    tables = {name: rows_of(table["rows"]) for name, table in found["tables"].items()}
    note = "quick run: sizes of a hundredth" if found["quick"] else f"{found['date']}, {found['machine']['cpu']}"
    times = {"save_ms": "save, ms", "load_ms": "load, ms", "total_ms": "save, load and read all, ms"}
    memory = {
        "save_peak_mb": "save, peak MB",
        "load_peak_mb": "load, peak MB",
        "load_anon_mb": "own memory once read, MB",
    }
    return [
        *_drawn("sizes", lambda axes: _curves(axes, tables.get("sizes", [])), 1, 1, note),
        *_drawn("workloads", lambda axes: _bars(axes, tables, times), len(BARS), len(times), note),
        *_drawn("memory", lambda axes: _bars(axes, tables, memory), len(BARS), len(memory), note),
    ]


def _drawn(name: str, draw: Callable[[Any], None], rows: int, columns: int, note: str) -> list[Path]:
    from matplotlib import pyplot as plt

    width, height = (7.5, 4.8) if rows == 1 else (11, 2.6 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
    draw(axes)
    figure.supxlabel(note, x=0.995, ha="right", fontsize=6, color="#777777")
    files = [FOLDER / f"{name}.svg", FOLDER / f"{name}.png"]
    figure.savefig(files[0], metadata={"Date": None})
    figure.savefig(files[1], dpi=110, metadata={"Software": None})
    plt.close(figure)
    return files


def _colour(peer: str) -> str:
    if peer.startswith("payloadfs"):
        return OURS
    others = [name for name in PEERS if not name.startswith("payloadfs")]
    return OTHERS[others.index(peer) % len(OTHERS)]


def _curves(axes: Any, rows: list[Row]) -> None:
    (plot,) = axes[0]
    for peer in dict.fromkeys(row.peer for row in rows if row.figures):
        points = [(row.size, *middle(row.figures["load_ms"])) for row in rows if row.peer == peer and row.figures]
        sizes, centre, least, most = zip(*points, strict=True)
        width = 2.4 if peer == "payloadfs" else 1.3
        plot.plot(sizes, centre, marker="o", markersize=3.5, linewidth=width, label=peer, color=_colour(peer))
        plot.fill_between(sizes, least, most, alpha=0.15, linewidth=0, color=_colour(peer))
    plot.set(xscale="log", yscale="log", xlabel="size of the frame, bytes", ylabel="load, ms")
    plot.set_title("Loading a numeric frame in a fresh process", loc="left")
    plot.grid(visible=True, which="major", alpha=0.25)
    if rows:
        plot.legend(frameon=False)


def _bars(axes: Any, tables: dict[str, list[Row]], columns: dict[str, str]) -> None:
    for line, (name, title) in zip(axes, BARS.items(), strict=True):
        rows = [row for row in tables.get(name, []) if row.figures and not PEERS[row.peer].limit]
        for plot, (column, label) in zip(line, columns.items(), strict=True):
            values = [_value(row, column) for row in rows]
            bars = plot.barh([row.peer for row in rows], values, color=[_colour(row.peer) for row in rows], height=0.7)
            plot.bar_label(bars, fmt=lambda value: f" {value:,.3g}", fontsize=7)
            plot.invert_yaxis()
            plot.set_title(f"{title}: {label}", loc="left", fontsize=8)
            plot.set_xlim(0, max(values, default=1) * 1.18 or 1)
            plot.tick_params(labelsize=7)
            if plot is not line[0]:
                plot.set_yticklabels([])


def _value(row: Row, column: str) -> float:
    parts = ("save_ms", "load_ms", "load_read_ms") if column == "total_ms" else (column,)
    return sum(middle(row.figures[part])[0] for part in parts)
