"""A thousand works in one flow, a hundred at a time, in two processes."""

import gc
import json
import os
import resource

import pytest

import payloadfs
from payloadfs import Payload
from payloadfs.works import App, Flow, Work
from payloadfs.works._journal import Journal

WORKS, DEFAULT_CONCURRENCY = 1000, 100


class Job(Work):
    def __init__(self):
        super().__init__(parallel=True)
        self.data = None

    def run(self, number):
        self.data = Payload([number] * 100)


class Many(Flow):
    def __init__(self):
        super().__init__()
        self.jobs = [Job() for _ in range(WORKS)]
        self.done = 0

    def run(self):
        running = 0
        for number, job in enumerate(self.jobs):
            if job.has_succeeded:
                continue
            if running == DEFAULT_CONCURRENCY:
                break
            job.run(number)
            running += 1
        self.done = sum(job.has_succeeded for job in self.jobs)


def rss_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.sweep
def test_a_thousand_works_finish_in_little_memory(store):
    sizes, rss = [], []

    def on_event(event):
        if event.kind == "call-succeeded":
            sizes.append(event.stored[0][2])
            if len(sizes) % 50 == 0:
                gc.collect()
                rss.append(rss_bytes())

    app = App(Many())
    app.run(max_workers=2, on_event=on_event)
    assert app.flow.done == WORKS
    assert len(sizes) == WORKS
    repository = payloadfs.Repository()
    folder = store / "runs" / app.run_name / "state"
    largest = max(os.path.getsize(folder / name) for name in os.listdir(folder))
    print(f"{WORKS} works, checkpoint of {largest:,} bytes, memory {rss[1] / 1e6:.0f} to {rss[-1] / 1e6:.0f} MB")
    assert largest < 1_000_000
    assert rss[-1] - rss[1] < 30_000_000
    document = Journal(repository, app.run_name).load()
    assert len(json.dumps(document)) < 1_000_000
    assert [job.data.value[0] for job in app.flow.jobs[::100]] == list(range(0, WORKS, 100))
