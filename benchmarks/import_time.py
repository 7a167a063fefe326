"""The cost of `import payloadfs` beyond a bare interpreter, in new processes, interleaved.

    python benchmarks/import_time.py [--rounds 15]

Run it on an installed package: without compiled bytecode the figure is the compiler's.
"""

import argparse
import statistics
import subprocess
import sys
import time

CASES = {
    "bare interpreter": "pass",
    "payloadfs": "import payloadfs",
    "cloudpickle": "import cloudpickle",
    "fsspec": "import fsspec",
    "s3fs": "import s3fs",
    "pandas": "import pandas",
}


def seconds(code: str) -> float:
    started_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, code in CASES.items():
            taken[name].append(seconds(code))
    bare = statistics.median(taken["bare interpreter"])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:<17} {median * 1000:7.1f} ms   {(median - bare) * 1000:+7.1f} ms over bare")


if __name__ == "__main__":
    main()
