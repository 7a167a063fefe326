"""Writers that are killed at any moment: what they reported can be read, and one collection removes what they left."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from payloadfs import Key, KeyRing, Repository
from payloadfs.retention import collect, scan
from payloadfs.testing.servers import S3Server

RING = KeyRing([Key(b"k" * 32)])
VALUES: list[Any] = [b"x" * 200, list(range(500)), np.arange(50_000), {"a": np.arange(300_000), "b": (1, 2)}]


def _writer(make: Callable[[], Repository], report: int) -> None:
    """Save in an endless loop, and write each pointer to the pipe `report` once it was returned."""
    repository = make()
    while True:
        for value in VALUES:
            os.write(report, repository.save(value).to_json().encode() + b"\n")


def _kill_one(make: Callable[[], Repository], after_s: float, *, is_patient: bool) -> list[str]:
    """Run a writer in a forked child, kill it, and return the pointers that it reported: at least one if `is_patient`."""
    reader, report = os.pipe()
    child = os.fork()
    if not child:
        try:
            _writer(make, report)
        finally:
            os._exit(1)
    os.close(report)
    if is_patient:
        select.select([reader], [], [])
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(reader, "rb") as pipe:
        lines = pipe.read().split(b"\n")
    return [line.decode() for line in lines[:-1]]


def _check(make: Callable[[], Repository], kills: int, longest_s: float) -> None:
    choose = random.Random(7)
    reported = [
        text
        for number in range(kills)
        for text in _kill_one(make, choose.uniform(0, longest_s), is_patient=number % 3 == 0)
    ]
    repository = make()
    time.sleep(2)  # the grace period
    collect([map(str.encode, reported)], grace=1, max_share=1, dry_run=False, repository=repository)
    assert collect(grace=1, dry_run=False, repository=repository).leftovers == 0
    for text in reported:
        repository.read(text, full=True)
    assert [result for result in scan(repository=repository) if result.error is not None] == []
    assert reported


@pytest.mark.parametrize("kills", [20, pytest.param(1000, marks=pytest.mark.long)])
def test_local(tmp_path: Path, kills: int) -> None:
    _check(lambda: Repository(tmp_path / "store", keys=RING), kills, 0.05)
    assert not [path for path in (tmp_path / "store").rglob("*") if path.name.startswith(".")]


@pytest.mark.s3
@pytest.mark.parametrize("kills", [3, pytest.param(300, marks=pytest.mark.long)])
def test_s3(payloadfs_seaweedfs: S3Server, kills: int) -> None:
    bucket = payloadfs_seaweedfs.bucket()

    def make() -> Repository:
        return Repository(f"s3://{bucket}/x", payloadfs_seaweedfs.storage_options(), keys=RING, cache="off")

    _check(make, kills, 1.5)
