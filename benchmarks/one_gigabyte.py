"""Save and load one numeric DataFrame through a local folder: time, and memory beyond the DataFrame.

    python benchmarks/one_gigabyte.py [--megabytes 1000]

Writer and reader are new processes. Memory is the increase of the process's peak resident size
during the one call; the reader has imported pandas and pyarrow before. The folder is a new one
that only this user can write to, so ``verify="auto"`` checks structure and maps the data.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time


def peak_mb(*, reset: bool = False) -> float:
    """Return the peak of this process's memory. `reset` restarts the peak. Not ru_maxrss, which starts with the parent's."""
    if reset:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1000 for line in file if line.startswith("VmHWM"))


def save(folder: str, megabytes: int) -> dict[str, object]:
    import numpy as np
    import pandas as pd
    import pyarrow  # noqa: F401

    import payloadfs

    rows = megabytes * 1_000_000 // 80
    columns = {f"x{number}": np.arange(rows, dtype="f8") * number for number in range(10)}
    frame = pd.DataFrame(columns, copy=False)
    repository = payloadfs.Repository(folder)
    repository.save(frame.head(1000))
    before, started_s = peak_mb(reset=True), time.perf_counter()
    pointer = repository.save(frame)
    took_s = time.perf_counter() - started_s
    return {"pointer": pointer.to_json(), "ms": took_s * 1000, "mb": peak_mb() - before}


def load(folder: str, pointer: str) -> dict[str, object]:
    import pandas  # noqa: F401
    import pyarrow  # noqa: F401

    import payloadfs

    payload = payloadfs.Payload.from_json(pointer, repository=payloadfs.Repository(folder))
    before, started_s = peak_mb(reset=True), time.perf_counter()
    frame = payload.value
    took_s = time.perf_counter() - started_s
    grown = peak_mb() - before
    frame.iloc[0, 0] = 1.0
    assert frame.iloc[0, 0] == 1.0
    return {"ms": took_s * 1000, "mb": grown, "sum": float(frame["x3"].sum())}


def fresh(step: str, *arguments: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, __file__, step, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=1000)
    megabytes = parser.parse_args().megabytes
    with tempfile.TemporaryDirectory() as folder:
        saved = fresh("save", folder, str(megabytes))
        loaded = fresh("load", folder, str(saved["pointer"]))
    print(f"frame    {megabytes} MB, 10 float64 columns; pointer {len(str(saved['pointer']))} bytes")
    for name, figures in (("save", saved), ("load", loaded)):
        share = float(str(figures["mb"])) / megabytes
        print(
            f"{name}     {figures['ms']:8.1f} ms   {figures['mb']:7.1f} MB beyond the frame ({share:.3f} of its size)"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["save"]:
        print(json.dumps(save(sys.argv[2], int(sys.argv[3]))))
    elif sys.argv[1:2] == ["load"]:
        print(json.dumps(load(sys.argv[2], sys.argv[3])))
    else:
        main()
