"""Unsigned frames with changed bytes: an error or a value, never a crashed process."""

import random
import subprocess
import sys

import pandas as pd
import pytest
from tests.exactness import everyday

from payloadfs.serializers import default_serializers
from payloadfs.testing.serializers import stored_bytes

MEMORY_BYTES = 4 << 30
CHILD = f"""
import resource, struct, sys, warnings
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
warnings.simplefilter("ignore")
from payloadfs.serializers import default_serializers

serializer = default_serializers.by_id("pandas/1")
values = errors = 0
while head := sys.stdin.buffer.read(8):
    content = sys.stdin.buffer.read(struct.unpack("<Q", head)[0])
    try:
        frame = serializer.decode(memoryview(bytearray(content)), trusted=False)
        frame.to_dict()
        values += 1
    except Exception:
        errors += 1
print(values, errors)
"""


def originals():
    found = []
    for make in everyday.FRAMES.values():
        frame = make()
        if 0 < frame.shape[1] <= 20:
            serializer, encoded = default_serializers.encode(frame.head(5))
            found += [bytes(stored_bytes(encoded))] if serializer.id == "pandas/1" else []
    return found


def mutant(content, rng):
    """Return `content` with some bytes changed, often in the sidecar, where the descriptions are."""
    changed = bytearray(content)
    sidecar = changed.find(b'"columns"')
    for _ in range(rng.choice([1, 1, 2, 5])):
        if rng.random() < 0.4:
            changed[min(sidecar + rng.randrange(600), len(changed) - 1)] = rng.choice(b'0123456789"[]{},abcz-')
        else:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def check(count, seed):
    rng, sources = random.Random(seed), originals()
    assert len(sources) > 50
    mutants = [mutant(rng.choice(sources), rng) for _ in range(count)]
    stream = b"".join(len(content).to_bytes(8, "little") + content for content in mutants)
    done = subprocess.run([sys.executable, "-c", CHILD], input=stream, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    values, errors = map(int, done.stdout.split())
    assert values + errors == count
    assert errors > count / 10  # or the mutants would not have been looked at


def test_some_mutants():
    check(1_500, seed=pd.__version__)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_many_mutants(seed):
    check(10_000, seed)
