"""Twelve steps: one fails at first, one is slow and one hangs. With retries, time limits, a report, and resuming.

    payloadfs run examples/reliable.py
    payloadfs run examples/reliable.py --set plan.folder=/tmp/attempts
    payloadfs runs show RUN                                        # calls, attempts, durations and output

Ten stations are read in parallel. Station 3 fails twice before it answers, station 5 is slow, and station 7 hangs
until its time limit; the report does without it. Stop the run at any time: it prints the command that resumes it.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from payloadfs import Payload
from payloadfs.works import App, Flow, Work

STATIONS = range(10)
FAILS, SLOW, HANGS = 3, 5, 7
LIMITS = {HANGS: "1s"}
"""Time limits of attempts. The station that hangs has a short one; the others have a long one, for the unexpected."""


class Plan(Work):
    """Decides what to read, and where attempts are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.hours, self.folder = 0, ""

    def run(self, hours: int) -> None:
        self.hours = hours
        self.folder = self.folder or tempfile.mkdtemp()


class Read(Work):
    """Reads one station. The network is bad."""

    def __init__(self, station: int) -> None:
        super().__init__(parallel=True, raise_exception=False, retries=2, backoff="100ms")
        self.station = station
        self.readings: Any = None

    def run(self, hours: int, folder: str) -> None:
        attempts = Path(folder, f"{self.station}.txt")
        with attempts.open("a") as file:
            file.write("attempt\n")
        count = len(attempts.read_text().splitlines())
        if self.station == FAILS and count < 3:
            raise ConnectionError(f"station {self.station} does not answer")
        if self.station == SLOW:
            time.sleep(1)
        while self.station == HANGS:
            time.sleep(60)
        self.readings = Payload([self.station * hour for hour in range(hours)])


class Report(Work):
    """Adds up what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def run(self, readings: list[Payload[list[int]]], missing: list[int]) -> None:
        self.total = sum(sum(one.value) for one in readings)
        print(f"total {self.total} of {len(readings)} stations, missing: {missing}")


class Pipeline(Flow):
    """Reads all stations, and reports when all have been read or have failed."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = Plan()
        self.reads: list[Read] = []
        self.report = Report()

    def run(self) -> None:
        self.plan.run(24)
        if not self.reads:
            self.reads = [Read(station) for station in STATIONS]
        for read in self.reads:
            if not read.has_started:
                limit = LIMITS.get(read.station, "10m")
                read.with_options(timeout_s=limit).run(self.plan.hours, self.plan.folder)
        if any(read.is_running for read in self.reads):
            return
        self.report.run(
            [read.readings for read in self.reads if read.has_succeeded],
            [read.station for read in self.reads if read.has_failed],
        )
        self.stop()


app = App(Pipeline())
