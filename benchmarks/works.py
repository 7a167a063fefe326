"""What a run costs its driver as it grows: bytes written and CPU time, for many calls, payloads and parallel works.

    python -m benchmarks.works

Each row has the figures for a size and for twice the size: cost that grows with the changes doubles.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import payloadfs
from payloadfs import Payload
from payloadfs.stores._local import LocalStore
from payloadfs.works import App, Flow, Work


class Step(Work):
    """A call without work."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.n = 0

    def run(self, n: int) -> None:
        self.n = n


class ManyCalls(Flow):
    """All calls in one pass."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.step = count, Step()

    def run(self) -> None:
        for n in range(self.count):
            self.step.run(n)
        self.stop()


class ManyPasses(ManyCalls):
    """One call in each pass."""

    def run(self) -> None:
        self.step.run(self.step.n + 1)
        if self.step.n == self.count:
            self.stop()


class ManyPayloads(Flow):
    """A hundred calls beside many payloads in the state."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.payloads = [Payload([n] * 100) for n in range(count)]
        self.step = Step()

    def run(self) -> None:
        self.step.run(self.step.n + 1)
        if self.step.n == 100:
            self.stop()


class ManyWorks(Flow):
    """Parallel works."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.steps = [Step(parallel=True) for _ in range(count)]

    def run(self) -> None:
        for n, step in enumerate(self.steps):
            step.run(n)
        if all(step.has_succeeded for step in self.steps):
            self.stop()


def measure(flow: Flow) -> tuple[float, float]:
    """Return megabytes written to the journal and seconds of CPU time of a run."""
    written, put = [0], LocalStore.put

    def counting(self: Any, key: str, body: Any) -> None:
        written[0] += body.size_bytes * ("/state/" in key)
        put(self, key, body)

    LocalStore.put = counting  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder, payloadfs.using(folder, fsync=False):
            began_s = time.process_time()
            with ThreadPoolExecutor(4) as threads:
                App(flow).run(executor=threads)
            return written[0] / 1e6, time.process_time() - began_s
    finally:
        LocalStore.put = put  # type: ignore[method-assign]


def main() -> None:
    """Print the table."""
    for kind, sizes in (
        (ManyCalls, (2500, 5000)),
        (ManyPasses, (1000, 2000)),
        (ManyPayloads, (1000, 2000)),
        (ManyWorks, (200, 400)),
    ):
        figures = [measure(kind(size)) for size in sizes]
        text = ", ".join(
            f"{size:,}: {mb:.1f} MB {cpu_s:.1f} s" for size, (mb, cpu_s) in zip(sizes, figures, strict=True)
        )
        print(f"{kind.__doc__:<55} {text}")


if __name__ == "__main__":
    main()
