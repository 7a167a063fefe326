"""The cost of importing a package, in a new process."""

from __future__ import annotations

import importlib.util

from .._harness import Plan, Row, rotated
from ..import_time import seconds

PACKAGES = {
    "payloadfs": "payloadfs",
    "cloudpickle": "cloudpickle",
    "fsspec": "fsspec",
    "joblib": "joblib",
    "pyarrow": "pyarrow",
    "obstore": "obstore",
    "s3fs": "s3fs",
    "boto3": "boto3",
    "safetensors": "safetensors.numpy",
    "ProxyStore": "proxystore.store",
    "Ray": "ray",
    "Dask": "distributed",
}


def run(plan: Plan, folder: str, name: str) -> list[Row]:
    """Return a row for each package: milliseconds beyond a bare interpreter of the same round."""
    rows = {name: Row(name, "import", 0) for name in plan.chosen(list(PACKAGES))}
    for package, row in rows.items():
        if importlib.util.find_spec(PACKAGES[package].partition(".")[0]) is None:
            row.why_not = f"No module named {PACKAGES[package]!r}"
        else:
            seconds(f"import {PACKAGES[package]}")  # the first one compiles
    here = [name for name, row in rows.items() if not row.why_not]
    for turn in range(plan.rounds):
        bare_s = seconds("pass")
        for package in rotated(here, turn):
            over_s = seconds(f"import {PACKAGES[package]}") - bare_s
            rows[package].add("import", {"ms": over_s * 1000})
    return list(rows.values())
