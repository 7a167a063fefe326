"""The tables of TARGETS: what is compared with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .._harness import Plan, Row

__all__ = ["TABLES", "Table"]


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Parameters
    ----------
    title : str
        For display.
    where : str
        Module beside this one; its ``run(plan, folder)`` gives the rows.
    """

    title: str
    where: str

    def run(self, plan: Plan, folder: str, name: str) -> list[Row]:
        """Measure all rows, in `folder` where files are needed."""
        work: Callable[[Plan, str, str], list[Row]] = import_module(f"{__name__}.{self.where}").run
        return work(plan, folder, name)


TABLES: dict[str, Table] = {
    "sizes": Table("Numeric frames from 1 KB to 10 GB, local folder", "local"),
    "numeric": Table("A numeric frame of 100 MB, local folder", "local"),
    "mixed": Table("A mixed frame of 250 MB, local folder", "local"),
    "arrays": Table("A dict of arrays of 250 MB, local folder", "local"),
    "small": Table("A dict of 300 bytes, local folder, warm, one call", "local"),
    "rows": Table("A mixed frame of 1,000 rows, local folder, warm, one call", "local"),
    "objects": Table("A list of a million small dicts, local folder", "local"),
    "verify": Table("Checking every byte of 1 GB", "local"),
    "processes": Table("A dict of arrays of 250 MB, from process to process", "local"),
    "imports": Table("Importing", "imports"),
    "s3-small": Table("1 KB on S3 (SeaweedFS), one after the other", "s3"),
    "s3-flight": Table("1,000 times 1 KB from S3 (SeaweedFS), 50 in flight", "s3"),
    "s3-large": Table("256 MB on S3 (SeaweedFS)", "s3"),
}


def rows_of(facts: list[dict[str, Any]]) -> list[Row]:
    """Return the rows that were written as JSON."""
    return [Row(**fact) for fact in facts]
