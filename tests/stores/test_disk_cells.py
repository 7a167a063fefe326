"""Every call of the operating system in a save to a folder fails, or the process is killed before it.

Some cells, always the same ones, are a sweep. This runs all of them, in about ten minutes on two cores::

    pytest -n 2 -m "long or sweep" tests/stores/test_disk_cells.py
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from payloadfs import Key, KeyRing, Repository
from payloadfs.retention import scan
from payloadfs.stores import SupportsLeftovers

pytestmark = pytest.mark.timeout(900)

KEYS = KeyRing([Key(b"k" * 32)])
CALLS = ("write", "fsync", "link", "rename", "open", "mkdir", "fallocate", "close", "unlink")
ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EACCES", "EPERM", "EINTR", "EMFILE", "EOPNOTSUPP", "kill")
SIZES = {"300B": 300, "2MB": 2_000_000, "20MB": 20_000_000}
SAMPLE = 24
MAX_CALLS = 100

PROGRAM = """
import contextlib, errno, json, os, sys
from payloadfs import Key, KeyRing, PayloadError, Repository
from payloadfs.testing import disk_fault

folder, call, error, size_bytes, is_old, is_named, at, last = json.loads(sys.argv[1])
number = None if error == "kill" else getattr(errno, error)
while at <= last:
    repository = Repository(f"{folder}/{at}", keys=KeyRing([Key(b"k" * 32)]), inline_bytes=0, cache="off")
    if is_old:
        repository.save(b"earlier")
    outcome = {"at": at}
    with contextlib.ExitStack() as stack:
        if is_named:
            stack.enter_context(disk_fault("link", errno.EPERM, times=None))
        fault = stack.enter_context(disk_fault(call, number, at=at))
        try:
            outcome["pointer"] = repository.save(bytes(range(250)) * (size_bytes // 250)).to_json()
        except PayloadError as caught:
            outcome |= {"kind": caught.kind, "message": str(caught)}
    print(json.dumps(outcome), flush=True)
    if not fault.failures:
        break
    at += 1
"""


class Cell(NamedTuple):
    """One call that fails, each time it is made in one save."""

    call: str
    error: str
    size: str
    folder: str

    def __str__(self) -> str:
        return "-".join(self)


CELLS = [
    Cell(call, error, size, folder) for call in CALLS for error in ERRORS for size in SIZES for folder in ("new", "old")
]
_IN_SAMPLE = set(random.Random(7).sample(CELLS, SAMPLE))


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=str(cell), marks=pytest.mark.sweep if cell in _IN_SAMPLE else pytest.mark.long)
        for cell in CELLS
    ],
)
def test_cell(cell: Cell, tmp_path: Path) -> None:
    if not hasattr(errno, cell.error) and cell.error != "kill":
        pytest.skip("this system does not have the error")
    if cell.error != "kill":
        *failed, last = _run(cell, tmp_path, 1, MAX_CALLS)
        assert "pointer" in last
        for outcome in failed:
            _check(tmp_path / str(outcome["at"]), cell, outcome)
        return
    for at in range(1, MAX_CALLS):
        outcomes = _run(cell, tmp_path, at, at)
        _check(tmp_path / str(at), cell, outcomes[0] if outcomes else None)
        if outcomes:
            break


def _run(cell: Cell, folder: Path, at: int, last: int) -> list[dict[str, Any]]:
    """Save in a new process while call number `at` and, each in a new folder, those after it fail."""
    # These are only used where the file system has no links.
    is_named = cell.call in ("rename", "unlink")
    arguments = [str(folder), cell.call, cell.error, SIZES[cell.size], cell.folder == "old", is_named, at, last]
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(arguments)], capture_output=True, text=True)
    assert done.returncode in ((0, -signal.SIGKILL) if cell.error == "kill" else (0,)), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _check(folder: Path, cell: Cell, outcome: dict[str, Any] | None) -> None:
    """Check what a save left; `outcome` is None if it was killed."""
    repository = Repository(folder, keys=KEYS, inline_bytes=0, cache="off")
    value = bytes(range(250)) * (SIZES[cell.size] // 250)
    if outcome is not None and "pointer" in outcome:
        assert bool(repository.load(outcome["pointer"]) == value)
    elif outcome is not None:
        assert outcome["kind"] in ("store", "denied", "not-durable")
        assert os.strerror(getattr(errno, cell.error)) in outcome["message"]
        assert len(list(repository.list())) == (cell.folder == "old") + (outcome["kind"] == "not-durable")
    # Whole or not visible at all.
    assert [result for result in scan(repository=repository) if result.error is not None] == []
    assert bool(repository.load(repository.save(value)) == value)
    # What a collection without a grace period would remove.
    assert isinstance(repository.store, SupportsLeftovers)
    for leftover in repository.store.leftovers():
        leftover.remove()
    objects = {info.key for info in repository.list()}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == objects
