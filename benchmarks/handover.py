"""The time to pass a 1 MB DataFrame from one work to the next.

    python benchmarks/handover.py [--rounds 20] [--lightning PYTHON]

Each round, a source attaches a new frame and the flow hands it to a consumer, in processes of the local executor
that are warm. Prints JSON, medians in milliseconds from the flow's call of the consumer: until the first line of
its run(), and until it holds the frame. Another row does the same with the objects on disk for good (fsync).
PYTHON is that of an environment in which `handover_lightning.py` runs: then its figures, of the framework that
the idea comes from, are measured in the same run.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd

from payloadfs import Payload, using
from payloadfs.works import App, Flow, LocalExecutor, Work

FRAME_BYTES = 1_000_000
WARM_UP = 3


class Source(Work):
    def __init__(self) -> None:
        super().__init__()
        self.frame: Payload[pd.DataFrame] | None = None

    def run(self, round_: int) -> None:
        self.frame = Payload(pd.DataFrame(np.full((FRAME_BYTES // 80, 10), float(round_))))


class Consumer(Work):
    def __init__(self) -> None:
        super().__init__()
        self.entered_s = self.holds_s = 0.0

    def run(self, frame: Payload[pd.DataFrame], round_: int) -> None:
        # One clock for all processes of the machine.
        self.entered_s = time.monotonic()
        value = frame.value
        self.holds_s = time.monotonic()
        assert value.iloc[-1, -1] == round_


class HandOver(Flow):
    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.source, self.consumer = Source(), Consumer()
        self.rounds = rounds
        self.times: list[list[float]] = []

    def run(self) -> None:
        round_ = len(self.times)
        if round_ < self.rounds:
            self.source.run(round_)
            frame = self.source.frame
            assert frame is not None
            called_s = time.monotonic()
            self.consumer.run(frame, round_)
            self.times = [*self.times, [self.consumer.entered_s - called_s, self.consumer.holds_s - called_s]]


def measured(rounds: int, *, fsync: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, using(folder, fsync=fsync), LocalExecutor(2) as pool:
        flow = HandOver(rounds + WARM_UP)
        App(flow).run(executor=pool)
    entered, holds = zip(*flow.times[WARM_UP:], strict=True)
    return {
        "entered_ms": round(statistics.median(entered) * 1000, 1),
        "holds_ms": round(statistics.median(holds) * 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--lightning", metavar="PYTHON", help="Python that runs handover_lightning.py")
    options = parser.parse_args()
    figures: dict[str, object] = {
        "payloadfs.works": measured(options.rounds, fsync=False),
        "payloadfs.works, fsync": measured(options.rounds, fsync=True),
    }
    if options.lightning:
        script = pathlib.Path(__file__).with_name("handover_lightning.py")
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env["PYTHONPATH"] = str(script.parent.parent / "src")
        done = subprocess.run([options.lightning, str(script)], check=False, capture_output=True, text=True, env=env)
        if done.returncode:
            sys.exit(done.stderr)
        figures |= json.loads(done.stdout)
    json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
