"""A store of a million objects: removal, collection and verification stream, and their memory is bounded."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import re
from payloadfs import KeyRing, Key, Repository
from payloadfs.retention import collect, remove, scan
from payloadfs.stores import Fetched, ObjectInfo

COUNT = {count}
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def object_id(number):
    tail = "".join(DIGITS[number // 32**place % 32] for place in range(15, -1, -1))
    return "01kjk3c8r0" + tail


class Bucket:
    root = "memory://million"
    def __init__(self): self.deleted = 0; self.small = {{}}
    def list(self, prefix=""):
        if prefix.startswith(("payloadfs-gc/", "ttl=", "runs/")):
            yield from (ObjectInfo(key, len(value), 2.0e9) for key, value in list(self.small.items()) if key.startswith(prefix))
            return
        for number in range(COUNT):
            yield ObjectInfo(f"run/{{object_id(number)}}.bin", 10, 1.7e9)
    def put(self, key, body): self.small[key] = b"".join(body)
    def get(self, key, size_bytes): return Fetched(memoryview(bytearray(self.small.get(key, bytes(size_bytes)))))
    def info(self, key): return ObjectInfo(key, len(self.small[key]), 2.0e9)
    def delete(self, key): self.deleted += 1; self.small.pop(key, None)


def peak_mb(reset=False):
    if reset:
        open("/proc/self/clear_refs", "w").write("5")
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024


repository, bucket = Repository("memory://million", keys=KeyRing([Key(b"k" * 32)])), Bucket()
repository._store_at = lambda root: bucket
before = peak_mb(reset=True)
print(sum(1 for _ in scan(repository=repository)), remove("run", repository=repository).count)
bounds = [peak_mb(reset=True) - before]
references = (object_id(number).encode() + b"\\n" for number in range(0, COUNT, 2))
collected = collect([references], grace=1, max_share=1, dry_run=False, repository=repository)
print(collected.total, collected.marked)
bounds.append(peak_mb() - before)
print(*bounds)
"""


def _run(count: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(count=count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_counts() -> None:
    assert _run(2000)[:4] == ["2000", "2000", "2000", "1000"]


@pytest.mark.long
def test_memory() -> None:
    *counts, streamed_mb, collected_mb = _run(1_000_000)
    assert counts == ["1000000", "1000000", "1000000", "500000"]
    assert float(streamed_mb) < 50
    assert float(collected_mb) < 300
