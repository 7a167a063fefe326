"""Thousands of small loads from S3, 50 at a time: all are right, and no resource leaks."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from payloadfs import Repository, aio
from payloadfs.testing import fault_proxy
from payloadfs.testing.servers import S3Server

pytestmark = pytest.mark.s3

DEFAULT_CONCURRENCY = 50


def grown() -> tuple[int, int, float]:
    """Return open files, threads and resident megabytes of this process."""
    gc.collect()
    # After awaited calls their threads end a moment later.
    while any(one.name.startswith("payloadfs-batch") for one in threading.enumerate()):
        time.sleep(0.01)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return len(os.listdir("/proc/self/fd")), threading.active_count(), resident / 1e6


def load_all(repository: Repository, count: int, *, awaited: bool) -> None:
    pointers = repository.save_many(({"number": number} for number in range(100)), max_concurrency=DEFAULT_CONCURRENCY)
    asked = [pointers[number % 100] for number in range(count)]
    if awaited:
        loaded = asyncio.run(aio.load_many(asked, repository=repository, max_concurrency=DEFAULT_CONCURRENCY))
    else:
        loaded = repository.load_many(asked, max_concurrency=DEFAULT_CONCURRENCY)
    assert loaded == [{"number": number % 100} for number in range(count)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_small_loads_leak_nothing(payloadfs_seaweedfs: S3Server, count: int, awaited: bool, cache: str) -> None:
    how = {} if cache == "on" else {"cache": "off"}
    repository = Repository(f"s3://{payloadfs_seaweedfs.bucket()}", payloadfs_seaweedfs.storage_options(), **how)
    # The first part creates the connections and threads that stay, and fills caches.
    load_all(repository, count // 3, awaited=awaited)
    files, threads, megabytes = grown()
    load_all(repository, count // 3, awaited=awaited)
    load_all(repository, count // 3, awaited=awaited)
    now = grown()
    print(f"{count} loads: files {files} > {now[0]}, threads {threads} > {now[1]}, MB {megabytes:.0f} > {now[2]:.0f}")
    # One connection per concurrent load may stay open.
    assert now[0] <= files + DEFAULT_CONCURRENCY
    assert now[1] <= threads
    assert now[2] <= megabytes + 30


PROGRAM = """
import json, sys
from payloadfs import Pointer, Repository
root, options, keys, cache, *pointers = json.load(sys.stdin)
repository = Repository(root, options, keys_file=keys, cache=cache)
loaded = repository.load_many(map(Pointer.from_json, pointers), max_concurrency=50)
again = repository.load_many(map(Pointer.from_json, pointers), max_concurrency=3)
print(json.dumps([loaded, again]))
print(sorted({"s3fs", "botocore", "pandas", "pyarrow"} & sys.modules.keys()))
"""


@pytest.mark.parametrize("cache", ["on", "off"])
def test_a_fresh_process_loads_many_by_one_request_each(
    payloadfs_seaweedfs: S3Server, tmp_path: Path, cache: str
) -> None:
    root, keys = f"s3://{payloadfs_seaweedfs.bucket()}/a=b,+c~d", str(tmp_path / "keys.json")
    repository = Repository(root, payloadfs_seaweedfs.storage_options(), keys_file=keys)
    objects = [{"number": number, "text": "ü" * number} for number in range(300)]
    pointers = repository.save_many(objects, prefix="day=1", max_concurrency=20)
    with fault_proxy(payloadfs_seaweedfs.endpoint_url) as proxy:
        options = {**payloadfs_seaweedfs.storage_options(), "endpoint_url": proxy.endpoint_url}
        options["client_kwargs"] = {"region_name": "us-east-1"}
        cache_folder = str(tmp_path / "cache") if cache == "on" else "off"
        asked = json.dumps([root, options, keys, cache_folder, *(pointer.to_json() for pointer in pointers)])
        run = subprocess.run([sys.executable, "-c", PROGRAM], input=asked, capture_output=True, text=True, check=False)
        requests = [request.method for request in proxy.requests]
    assert run.returncode == 0, run.stderr
    loaded, loaded_libraries = run.stdout.splitlines()
    assert json.loads(loaded) == [objects, objects]
    assert requests == ["GET"] * (300 if cache == "on" else 600)
    # No other client library is needed for it.
    assert loaded_libraries == "[]"
