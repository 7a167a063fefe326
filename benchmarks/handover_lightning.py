"""The time that the real Lightning App framework takes to pass a 1 MB DataFrame from one work to the next.

    python benchmarks/handover_lightning.py [--rounds 7]

Run it where the framework is installed: `pip install -e ".[lightning,pandas]"` in a separate environment.
Two apps run, one with the framework's payload and one with ours; otherwise they are equal. In each round, a source
attaches a new DataFrame and the flow passes it to a waiting consumer. Prints JSON, medians in milliseconds from the
flow's call of the consumer: until the first line of its run(), and until it has the DataFrame. The first round, which
also starts the consumer's process and imports, is not measured.
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
from typing import Any

import numpy as np
import pandas as pd

FRAME_BYTES = 1_000_000
PAYLOADS = {"lightning_app": "lightning_app", "payloadfs_in_lightning_app": "payloadfs.integrations.lightning_app"}


def log(event: str, round_: int) -> None:
    # One clock for all processes of the machine.
    with pathlib.Path(os.environ["HANDOVER_LOG"]).open("a") as lines:
        lines.write(json.dumps([event, round_, time.monotonic()]) + "\n")


def run_app(module: str, rounds: int) -> None:
    """Run one app in this process; payloads are those of `module`."""
    from importlib import import_module

    import lightning_app
    from lightning_app.runners import MultiProcessRuntime

    storage = import_module(module).storage

    class Source(lightning_app.LightningWork):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.frame: Any = None

        def run(self, round_: int) -> None:
            self.frame = storage.Payload(pd.DataFrame(np.full((FRAME_BYTES // 80, 10), float(round_))))

    class Consumer(lightning_app.LightningWork):  # type: ignore[misc]
        def run(self, frame: Any, round_: int) -> None:
            log("entered", round_)
            value = frame.value
            log("holds", round_)
            assert value.iloc[-1, -1] == round_

    class Flow(lightning_app.LightningFlow):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.src, self.dst = Source(), Consumer()
            self.round_ = 0
            self._called = -1

        def run(self) -> None:
            self.src.run(self.round_)
            if self._called < self.round_:
                self._called = self.round_
                log("called", self.round_)
            self.dst.run(self.src.frame, self.round_)
            self.round_ += 1
            if self.round_ > rounds:
                self.stop()

    MultiProcessRuntime(lightning_app.LightningApp(Flow()), start_server=False).dispatch(open_ui=False)


def measured(module: str, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        log_file = pathlib.Path(folder, "log.jsonl")
        environment = os.environ | {"HANDOVER_LOG": str(log_file), "PAYLOADFS_URL": f"{folder}/objects"}
        command = [sys.executable, os.path.abspath(__file__), "--app", module, "--rounds", str(rounds)]
        subprocess.run(
            command, cwd=folder, env=environment, check=True, timeout=300, stdout=subprocess.DEVNULL, stderr=sys.stderr
        )
        found = {(event, round_): at_s for event, round_, at_s in map(json.loads, log_file.read_text().splitlines())}
    spans = {"entered_ms": "entered", "holds_frame_ms": "holds"}
    return {
        name: round(statistics.median((found[event, n] - found["called", n]) * 1000 for n in range(1, rounds + 1)), 1)
        for name, event in spans.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--app", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.app:
        run_app(options.app, options.rounds)
        return
    figures = {name: measured(module, options.rounds) for name, module in PAYLOADS.items()}
    print(json.dumps({"frame_bytes": FRAME_BYTES, "rounds": options.rounds, **figures}, indent=1))


if __name__ == "__main__":
    main()
