"""Measure all tables or some of them on this machine, and write the figures as JSON.

    python -m benchmarks                       every table, about a quarter of an hour
    python -m benchmarks --quick               small sizes, one round: shows that all of it works
    python -m benchmarks --only small rows     these tables; they replace those of the same day's file
    python -m benchmarks page                  page and plots for the documentation, from the newest file
    python -m benchmarks list                  tables and who takes part

Close what else runs: the figures are those of the machine as it is.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from ._harness import Plan
from ._machine import machine, versions
from .peers import PEERS
from .tables import TABLES

RESULTS = Path(__file__).parent / "results"


def run(names: list[str], plan: Plan, path: Path, *, quick: bool) -> None:
    """Measure the tables `names` and add them to the file at `path`."""
    found = json.loads(path.read_text()) if path.exists() else {"tables": {}}
    with tempfile.TemporaryDirectory(prefix="payloadfs-benchmarks-") as folder:
        found |= {"date": datetime.date.today().isoformat(), "quick": quick, "rounds": plan.rounds}
        found |= {"machine": machine(folder), "versions": versions()}
        for name in names:
            started_s = time.monotonic()
            rows = TABLES[name].run(plan, folder, name)
            found["tables"][name] = {"title": TABLES[name].title, "rows": [asdict(row) for row in rows]}
            path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
            left_out = [f"{row.peer}: {row.why_not}" for row in rows if row.why_not]
            print(f"{name}: {time.monotonic() - started_s:.0f} s", *left_out, sep="\n  ", file=sys.stderr)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["run", "page", "list"], default="run")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the sizes, one round")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES), metavar="TABLE")
    parser.add_argument("--peer", nargs="+", choices=PEERS, metavar="PEER", help="measure only these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/DATE.json, or quick.json")
    options = parser.parse_args(arguments)
    if options.what == "list":
        print(*(f"{name:10} {table.title}" for name, table in TABLES.items()), sep="\n")
        print(*(f"{name:23} {way.mode}" for name, way in PEERS.items()), sep="\n")
    elif options.what == "page":
        from ._page import write_page
        from ._plots import write_plots

        print(write_page(), *write_plots(), sep="\n")
    else:
        plan = Plan(rounds=options.rounds, peers=frozenset(options.peer) if options.peer else None)
        plan = Plan(rounds=1, scale=0.01, peers=plan.peers) if options.quick else plan
        named = "quick" if options.quick else datetime.date.today().isoformat()
        run(options.only, plan, options.out or RESULTS / f"{named}.json", quick=options.quick)


if __name__ == "__main__":
    main()
