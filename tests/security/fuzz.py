"""Structure-aware fuzzer of the safe serializers.

Run from the repository's root; the same seed and case number create the same bytes again::

    python -m tests.security.fuzz --cases 1000000
    python -m tests.security.fuzz --format polars --seed 7 --first 31415 --cases 1

Each case is a valid object in which a description, a type, a table, a length, an offset or plain bytes
were changed. It is decoded as untrusted bytes in a child process that may neither grow by more than
64 MB and twice the object nor use more than five seconds of CPU. Allowed are a value and a
`PayloadError`. The number of the case is in a file before anything is decoded, so that a crash is
attributed to it.

For a coverage-guided run install atheris (``pip install atheris``; it is not a dependency), instrument
the package, and let it choose the bytes after a valid start::

    import atheris
    with atheris.instrument_imports(include=["payloadfs"]):
        from tests.security import fuzz
    sources = fuzz.FORMATS["pandas"]()
    atheris.Setup(sys.argv, lambda data: fuzz.attempt("pandas/1", data))
    atheris.Fuzz()      # with a folder of ``sources.originals`` as corpus
"""

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import warnings

import pandas as pd
import polars as pl
import pyarrow as pa

from payloadfs import PayloadError
from payloadfs.serializers import decode, default_serializers

from .mutants import FORMATS, SHARES, entered, register_toy

MEMORY_BYTES, CPU_S = 64 << 20, 5
PER_CHILD = 2_000
COMMAND = [sys.executable, "-m", "tests.security.fuzz"]


def attempt(serializer_id, content):
    """Decode `content` as untrusted bytes. Return the value in a list, or an empty list if it was refused.

    An object that is refused because this process had no memory left was not refused in time.
    """
    try:
        return [attempt_strictly(serializer_id, content)]
    except PayloadError as error:
        if error.kind == "memory":
            raise MemoryError(f"{error}") from error
        return []


def attempt_strictly(serializer_id, content):
    """Decode `content` as untrusted bytes."""
    return decode(default_serializers.by_id(serializer_id), memoryview(bytearray(content)), trusted=False)


def use(value):
    """Look at a few cells of a decoded value. Errors are allowed, panics and crashes are not."""
    with contextlib.suppress(Exception):
        if isinstance(value, pa.Table | pa.RecordBatch):
            value.slice(0, 3).to_pylist()
        elif isinstance(value, pl.DataFrame | pl.Series):
            value.head(3).to_dict() if isinstance(value, pl.DataFrame) else value.head(3).to_list()
            repr(value)
        elif isinstance(value, pd.DataFrame | pd.Series):
            value.head(3).to_dict()
            repr(value.head(3))
        else:
            repr(value)[:100]


def peak_bytes(*, reset=False):
    """Return the largest size of this process so far, or since the last reset.

    `getrusage` is of no use: its `ru_maxrss` begins with the size of the process that started this one.
    """
    if reset:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status", "rb") as file:
        return int(file.read().partition(b"VmHWM:")[2].split(None, 1)[0]) << 10


def run_cases(name, seed, first, count, progress):
    """Run cases in this process, which is a limited child. Return counts and failures."""
    register_toy()
    warnings.simplefilter("ignore")
    fuzzed, result = FORMATS[name](), {"values": 0, "refused": 0, "failures": []}
    for serializer_id, content in fuzzed.originals:
        for value in attempt(serializer_id, content) or sys.exit(f"{serializer_id} refuses a valid object"):
            use(value)
    with open("/proc/self/statm") as file:
        address_space = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (address_space + (512 << 20),) * 2)
    for number in range(first, first + count):
        os.pwrite(progress, struct.pack("<q", number), 0)
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        entered.clear()
        serializer_id, content = fuzzed.case(random.Random(f"{seed}/{name}/{number}"))
        entered.clear()
        before = peak_bytes(reset=True)
        try:
            values = attempt(serializer_id, content)
            grown = peak_bytes() - before
            result["values" if values else "refused"] += 1
            for value in values:
                use(value)
            problem = "ran the code of an extension type" if entered else None
            problem = problem or (f"grew by {grown} bytes" if grown > MEMORY_BYTES + 2 * len(content) else None)
        except BaseException as error:  # noqa: BLE001
            problem = f"{type(error).__name__}: {error}"
        if problem:
            result["failures"].append([number, f"{serializer_id}, {len(content)} bytes: {problem}"])
    signal.setitimer(signal.ITIMER_PROF, 0)
    return result


def run(name, seed, first, count):
    """Run cases in child processes. Return counts, and a list of failed cases with the reason."""
    total = {"values": 0, "refused": 0, "failures": []}
    while count > 0:
        size = min(count, PER_CHILD)
        with tempfile.TemporaryFile() as progress:
            os.set_inheritable(progress.fileno(), True)
            arguments = [
                "--child",
                str(progress.fileno()),
                "--format",
                name,
                "--seed",
                str(seed),
                "--first",
                str(first),
            ]
            done = subprocess.run(
                [*COMMAND, *arguments, "--cases", str(size)],
                pass_fds=[progress.fileno()],
                capture_output=True,
                check=False,
                env=os.environ | {"POLARS_MAX_THREADS": "1", "RUST_BACKTRACE": "0"},
            )
            if done.returncode:
                last = struct.unpack("<q", os.pread(progress.fileno(), 8, 0).ljust(8, b"\xff"))[0]
                reason = f"the process ended with {done.returncode}: {done.stderr[-500:].decode(errors='replace')}"
                total["failures"].append([last, reason])
                size = max(last - first + 1, 1)
            else:
                result = json.loads(done.stdout)
                for key, value in result.items():
                    total[key] += value
        first, count = first + size, count - size
        if len(total["failures"]) > 50:
            break
    return total


def main():
    parser = argparse.ArgumentParser(description="Fuzz the safe serializers with untrusted bytes.")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--first", type=int, default=0, help="number of the first case; with --format")
    parser.add_argument("--format", choices=FORMATS)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        json.dump(run_cases(options.format, options.seed, options.first, options.cases, options.child), sys.stdout)
        return
    failed = False
    for name in [options.format] if options.format else FORMATS:
        count = options.cases if options.format else round(options.cases * SHARES[name])
        result = run(name, options.seed, options.first, count)
        print(f"{name}: {result['values']} values, {result['refused']} refused, {len(result['failures'])} failures")
        for number, reason in result["failures"]:
            print(f"  --format {name} --seed {options.seed} --first {number} --cases 1: {reason}", flush=True)
        failed |= bool(result["failures"])
    sys.exit(failed)


if __name__ == "__main__":
    main()
