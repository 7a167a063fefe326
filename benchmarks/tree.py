"""The cost of trees compared with pickle and msgspec, in one run, interleaved, medians.

    python benchmarks/tree.py [--rows dicts,parts,frame] [--count 1000000] [--megabytes 250] [--rounds 5]

``dicts`` are a million dicts of int, str and float: encoding, decoding and the memory beyond the
object, next to the C pickler and msgspec alone. ``parts`` is a dict of 20 frames and arrays next to the
largest of them and to pickle. ``frame`` is a DataFrame in a dict next to the same frame alone. The last
two save into and load from a local folder, with signature and digest, without fsync.
"""

import argparse
import gc
import itertools
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

import payloadfs
from payloadfs.serializers import default_serializers

Call = Callable[[], Any]


def timed(call: Call) -> float:
    gc.collect()
    started_s = time.perf_counter()
    result = call()
    took_s = time.perf_counter() - started_s
    del result
    return took_s * 1000


def compare(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Print and return the median milliseconds of each of `calls`, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timed(call))
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"  {name:40} {median:9.1f} ms  {median / first:5.2f}")
    return medians


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"id": n, "name": f"name {n}", "price": n * 0.5} for n in range(count)]


def stored(obj: Any) -> bytes:
    from payloadfs._buffers import chunks

    _, encoded = default_serializers.encode(obj)
    return b"".join(bytes(piece) for frame in encoded.frames for piece in chunks(frame))


def dicts(count: int, rounds: int, folder: Path) -> None:
    rows = rows_of(count)
    pickled, packed = pickle.dumps(rows, 5), msgspec.msgpack.encode(rows)
    tree, serializer = stored(rows), default_serializers.by_id("tree/1")
    print(f"{count:,} dicts: {len(pickled):,} bytes pickled, {len(tree):,} as a tree. Encode:")
    compare(
        {
            "pickle": lambda: pickle.dumps(rows, 5),
            "tree/1": lambda: default_serializers.encode(rows),
            "msgspec alone": lambda: msgspec.msgpack.encode(rows),
        },
        rounds,
    )
    print("Decode:")
    compare(
        {
            "pickle": lambda: pickle.loads(pickled),
            "tree/1": lambda: serializer.decode(memoryview(bytearray(tree)), trusted=True),
            'tree/1, untrusted (pickle="never")': lambda: serializer.decode(memoryview(tree), trusted=False),
            "msgspec alone": lambda: msgspec.msgpack.decode(packed),
        },
        rounds,
    )
    for step in ("save", "load"):
        command = [sys.executable, __file__, "--memory", step, "--count", str(count), "--folder", str(folder)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def memory(step: str, count: int, folder: Path) -> None:
    """Print the peak memory of one step beyond the object. Runs in its own process."""

    def peak_kb(field: str) -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
        return int(line.split()[1])

    repository = payloadfs.Repository(folder, fsync=False)
    repository.load(repository.save([(1,)]))
    marker = folder / "pointer.json"
    if step == "save":
        rows = rows_of(count)
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_kb("VmRSS")
        marker.write_text(repository.save(rows).to_json())
        beyond = peak_kb("VmHWM") - before
    else:
        Path("/proc/self/clear_refs").write_text("5")
        rows = repository.load(payloadfs.Pointer.from_json(marker.read_text()))
        beyond = peak_kb("VmHWM") - peak_kb("VmRSS")
    print(f"  {step}: peak {beyond / 1024:.1f} MB beyond the object ({len(rows):,} dicts)")


def both(obj: Any, repository: payloadfs.Repository) -> tuple[Call, Call]:
    pointer = repository.save(obj)
    return lambda: repository.save(obj), lambda: repository.load(pointer)


def parts(megabytes: int, rounds: int, folder: Path) -> None:
    rng, repository = np.random.default_rng(7), payloadfs.Repository(folder, fsync=False)
    weights = itertools.cycle([1, 1, 2, 4])
    sizes = [next(weights) for _ in range(19)] + [30]
    unit = megabytes * 1_000_000 // sum(sizes)
    obj = {
        f"part {number}": (
            pd.DataFrame({f"x{n}": rng.random(unit * size // 80) for n in range(10)}, copy=False)
            if number % 2
            else rng.random(unit * size // 8)
        )
        for number, size in enumerate(sizes)
    }
    largest = obj["part 19"]
    (save, load), (save_largest, load_largest) = both(obj, repository), both(largest, repository)
    loads = [both(part, repository)[1] for part in obj.values()]
    path = folder / "pickle"
    path.write_bytes(pickle.dumps(obj, 5))
    print(f"A dict of 20 frames and arrays, {megabytes} MB, largest {unit * 30 / 1e6:.0f} MB. Load:")
    compare(
        {
            "its largest part alone": load_largest,
            "its parts, one by one": lambda: [load() for load in loads],
            "tree/1": load,
            "pickle": lambda: pickle.loads(path.read_bytes()),
        },
        rounds,
    )
    print("Save:")
    compare({"its largest part alone": save_largest, "tree/1": save, "pickle": lambda: path.write_bytes(pickle.dumps(obj, 5))}, rounds)  # fmt: skip


def frame(megabytes: int, rounds: int, folder: Path) -> None:
    repository = payloadfs.Repository(folder, fsync=False)
    for size in (10_000, megabytes * 1_000_000):
        data = pd.DataFrame({f"x{n}": np.random.default_rng(n).random(size // 80) for n in range(10)}, copy=False)
        (save, load), (save_inside, load_inside) = both(data, repository), both({"frame": data}, repository)
        print(f"A DataFrame of {size:,} bytes. Load:")
        compare({"alone": load, "in a dict": load_inside}, rounds * 3)
        print("Save:")
        compare({"alone": save, "in a dict": save_inside}, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="dicts,parts,frame")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--megabytes", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", choices=["save", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory(options.memory, options.count, options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row in options.rows.split(","):
            if row == "dicts":
                dicts(options.count, options.rounds, folder)
            else:
                {"parts": parts, "frame": frame}[row](options.megabytes, options.rounds, folder)


if __name__ == "__main__":
    main()
