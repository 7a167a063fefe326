"""No copy in user space: memory use of saving and loading beyond the object, in separate processes."""

import json
import subprocess
import sys

import pytest

MEGABYTES = 200

PROGRAM = """
import json, sys, tracemalloc
import numpy as np, pandas as pd, pyarrow
import payloadfs

step, kind, folder, pointer = sys.argv[1:]
size = MEGABYTES * 1_000_000 // 80
repository = payloadfs.Repository(folder, fsync=False)

def peak_mb(reset=False):
    # Not ru_maxrss, which starts with the value of the parent.
    if reset:
        open("/proc/self/clear_refs", "w").write("5")
    return next(int(line.split()[1]) / 1000 for line in open("/proc/self/status") if line.startswith("VmHWM"))

def create(size):
    arrays = {f"x{n}": np.arange(size, dtype="f8") for n in range(10)}
    # pandas 2 stores str as objects.
    text = "str" if pd.__version__ >= "3" else "string[pyarrow]"
    mixed = {"number": arrays["x0"], "text": pd.array(np.array(list("abc"))[np.arange(size) % 3], dtype=text),
             "kind": pd.Categorical(np.arange(size) % 3), "when": pd.date_range("2026", periods=size, freq="s", tz="Asia/Tokyo")}
    return {"mixed": lambda: pd.DataFrame({f"{name}{n}": mixed[name] for n in range(3) for name in mixed}),
            "frame": lambda: pd.DataFrame(arrays, copy=False), "arrays": lambda: arrays,
            "array": lambda: np.arange(10 * size, dtype="f8"), "strided": lambda: np.ones((10, size)).T}[kind]()

repository.load(repository.save(create(100_000)))  # imports and threads are not measured
if step == "save":
    obj = create(size)
    before = peak_mb(reset=True)
    tracemalloc.start()
    pointer = repository.save(obj).to_json()
    traced = tracemalloc.get_traced_memory()[1] / 1e6
    print(json.dumps([pointer, traced, peak_mb() - before]))
else:
    before = peak_mb(reset=True)
    tracemalloc.start()
    value = repository.load(payloadfs.Pointer.from_json(pointer))
    traced = tracemalloc.get_traced_memory()[1] / 1e6
    grown = peak_mb() - before
    if kind == "frame":
        value.iloc[0, 0] = 7
    print(json.dumps([pointer, traced, grown]))
""".replace("MEGABYTES", str(MEGABYTES))


@pytest.mark.parametrize("kind", ["frame", "mixed", "arrays", "array", "strided"])
def test_memory_beyond_the_object(kind, tmp_path):
    pointer = ""
    for step in ("save", "load"):
        command = [sys.executable, "-c", PROGRAM, step, kind, str(tmp_path / "objects"), pointer]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        pointer, traced_mb, grown_mb = json.loads(done.stdout)
        assert traced_mb < 3, step
        assert grown_mb < 0.05 * MEGABYTES + 16, step


ROWS = """
import json, sys
import payloadfs

def peak_mb(reset=False):
    if reset:
        open("/proc/self/clear_refs", "w").write("5")
    return next(int(line.split()[1]) / 1000 for line in open("/proc/self/status") if line.startswith("VmHWM"))

step, folder, pointer = sys.argv[1:]
repository = payloadfs.Repository(folder, fsync=False)
repository.load(repository.save([(n,) for n in range(20_000)]))
before = peak_mb(reset=True)
if step == "save":
    rows = [{"id": n, "name": f"name {n}", "price": n * 0.5} for n in range(500_000)]
    own = peak_mb(reset=True) - before
    pointer = repository.save(rows).to_json()
else:
    own, rows = 0, repository.load(payloadfs.Pointer.from_json(pointer))
print(json.dumps([pointer, own, peak_mb() - before]))
"""


def test_memory_beyond_half_a_million_rows(tmp_path):
    pointer, own_mb = "", 0.0
    for step in ("save", "load"):
        command = [sys.executable, "-c", ROWS, step, str(tmp_path / "objects"), pointer]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        pointer, own, grown_mb = json.loads(done.stdout)
        own_mb = own or own_mb
        # The 19 MB of stored bytes are released while the rows are created.
        assert grown_mb < {"save": 1.05 * own_mb + 16, "load": own_mb + 8}[step], (step, own_mb)
