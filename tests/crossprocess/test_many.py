"""Thousands of small loads from S3 with 50 in flight: every one right, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from pathlib import Path

import pytest

from payloadfs import Repository, aio
from payloadfs.testing.servers import S3Server

pytestmark = pytest.mark.s3

AT_ONCE = 50


def grown() -> tuple[int, int, float]:
    """Return open files, threads and resident megabytes of this process."""
    gc.collect()
    # After awaited calls nobody waits for their threads, which end a moment later.
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s and any(one.name.startswith("payloadfs-many") for one in threading.enumerate()):
        time.sleep(0.01)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return len(os.listdir("/proc/self/fd")), threading.active_count(), resident / 1e6


def load_all(repository: Repository, count: int, *, awaited: bool) -> None:
    pointers = repository.save_many(({"number": number} for number in range(100)), at_once=AT_ONCE)
    asked = [pointers[number % 100] for number in range(count)]
    if awaited:
        loaded = asyncio.run(aio.load_many(asked, repository=repository, at_once=AT_ONCE))
    else:
        loaded = repository.load_many(asked, at_once=AT_ONCE)
    assert loaded == [{"number": number % 100} for number in range(count)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_small_loads_leak_nothing(payloadfs_seaweedfs: S3Server, count: int, awaited: bool) -> None:
    repository = Repository(f"s3://{payloadfs_seaweedfs.bucket()}", payloadfs_seaweedfs.storage_options())
    # Connections and threads that stay are made in the first part, and caches are filled.
    load_all(repository, count // 3, awaited=awaited)
    files, threads, megabytes = grown()
    load_all(repository, count // 3, awaited=awaited)
    load_all(repository, count // 3, awaited=awaited)
    now = grown()
    print(f"{count} loads: files {files} > {now[0]}, threads {threads} > {now[1]}, MB {megabytes:.0f} > {now[2]:.0f}")
    # As many connections as there are loads on their way may stay open.
    assert now[0] <= files + AT_ONCE
    assert now[1] <= threads
    assert now[2] <= megabytes + 30
