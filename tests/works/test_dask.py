"""A real Dask cluster: a scheduler and two workers, each in its own process."""

import os
import signal
import subprocess
import sys

import pytest

import payloadfs
from payloadfs import ConfigError, Payload
from payloadfs.works import App, Flow, Work

pytest.importorskip("distributed")

ROWS = 25_000_000  # 200 MB
SMALL_BYTES = 1_000_000

COUNT = """
import sys, types
from tornado.iostream import IOStream
sys.modules["counted"] = counted = types.SimpleNamespace(moved_bytes=0)
def counting(method):
    def call(*arguments):
        moved = method(*arguments)
        counted.moved_bytes += moved or 0
        return moved
    return call
IOStream.read_from_fd, IOStream.write_to_fd = counting(IOStream.read_from_fd), counting(IOStream.write_to_fd)
"""
START = {
    "scheduler": COUNT
    + """
import asyncio, sys
from distributed import Scheduler
async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        print(scheduler.address, flush=True)
        await scheduler.finished()
asyncio.run(main())
""",
    "worker": """
import asyncio, sys
from distributed import Worker
async def main():
    async with Worker(sys.argv[1], nthreads=1, host="127.0.0.1", name=sys.argv[2], dashboard=False) as worker:
        print(worker.address, flush=True)
        await worker.finished()
asyncio.run(main())
""",
}


def start(kind, folder, *arguments):
    # Without the user's settings, as in every test. This fixture runs before the one that removes them.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PAYLOADFS_"))}
    env |= {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", START[kind], *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
        cwd=folder,
    )
    return process, process.stdout.readline().strip()


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        self.scheduler, self.address = start("scheduler", folder)
        self.workers = [start("worker", folder, self.address, str(n))[0] for n in range(2)]
        self.url = self.address.replace("tcp://", "dask://")

    def replace_ended_workers(self):
        """Replace each worker that has ended."""
        for pos, worker in enumerate(self.workers):
            if worker.poll() is not None:
                worker.stdout.close()
                self.workers[pos] = start("worker", self.folder, self.address, str(pos))[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home-of-the-cluster")


@pytest.fixture(scope="module")
def module_cluster(home, tmp_path_factory):
    os.environ["HOME"] = str(home)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    for process in (*cluster.workers, cluster.scheduler):
        end(process)


@pytest.fixture
def cluster(home, clean_environment, module_cluster, monkeypatch):
    # Workers find the key in their home folder, which the tests of this module share.
    monkeypatch.setenv("HOME", str(home))
    module_cluster.replace_ended_workers()
    return module_cluster


class Source(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.frame = None
        self.pid = None

    def run(self, rows):
        import numpy as np
        import pandas as pd

        self.frame = Payload(pd.DataFrame({"a": np.arange(rows, dtype="int64")}))
        self.pid = os.getpid()


class Sink(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.total = None
        self.runs = 0

    def run(self, frame):
        self.runs += 1
        self.total = int(frame.value["a"].sum())


class Main(Flow):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows
        self.source, self.sink = Source(), Sink()

    def run(self):
        self.source.run(self.rows)
        self.sink.run(self.source.frame)


def rss_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def moved_bytes():
    return sys.modules["counted"].moved_bytes


def test_two_hundred_megabytes_bypass_scheduler_and_driver(cluster, monkeypatch):
    from distributed import Client
    from tornado.iostream import IOStream

    for name in ("read_from_fd", "write_to_fd"):
        monkeypatch.setattr(IOStream, name, getattr(IOStream, name))
    exec(COUNT, {})
    with Client(cluster.address, set_as_default=False) as client:

        def moved():
            return {"scheduler": client.run_on_scheduler(moved_bytes), "driver": moved_bytes()}

        pids = cluster.scheduler.pid, os.getpid()
        App(Main(1)).run(executor=client)  # imports and first contacts
        before, rss_before = moved(), [rss_bytes(pid) for pid in pids]
        app = App(Main(ROWS))
        app.run(executor=client)
        after, rss_after = moved(), [rss_bytes(pid) for pid in pids]
    assert app.flow.sink.total == ROWS * (ROWS - 1) // 2
    assert app.flow.source.pid in [worker.pid for worker in cluster.workers]
    pointer = app.flow.source.frame.pointer
    assert pointer.size_bytes > 8 * ROWS
    for name in before:
        print(f"{name}: {after[name] - before[name]:,} bytes for {pointer.size_bytes:,}")
        assert 1000 < after[name] - before[name] < SMALL_BYTES
    for one, other in zip(rss_before, rss_after, strict=True):
        assert other - one < 32 * SMALL_BYTES


def test_an_address_instead_of_a_client(cluster):
    app = App(Main(10))
    app.run(executor=cluster.url)
    assert app.flow.sink.total == 45


def test_equal_calls_are_two_calls(cluster):
    class Twice(Flow):
        def __init__(self):
            super().__init__()
            self.sink = Sink(cache_calls=False)
            self.frame = None
            self.source = Source()

        def run(self):
            self.source.run(3)
            if self.sink.runs < 2:
                self.sink.run(self.source.frame)
                self.sink.run(self.source.frame)

    app = App(Twice())
    app.run(executor=cluster.url)
    assert app.flow.sink.runs == 2


def test_exceptions_and_output_of_a_work_are_returned(cluster):
    class Bad(Work):
        def run(self):
            print("before")
            raise ValueError("bad\nsecond line")

    class Flow_(Flow):
        def __init__(self):
            super().__init__()
            self.bad = Bad()

        def run(self):
            self.bad.run()

    events = []
    with pytest.raises(payloadfs.WorkError, match=r"root.bad.run\(\) failed: ValueError: bad") as caught:
        App(Flow_()).run(executor=cluster.url, on_event=events.append)
    assert "test_dask.py" in caught.value.__notes__[0]
    assert [event.message for event in events if event.kind == "output"] == ["before\n"]


class Fatal(Work):
    """Kills its worker in the first attempt."""

    def __init__(self, path, **options):
        super().__init__(raise_exception=False, **options)
        self.path = path
        self.pid = None

    def run(self):
        is_first = not os.path.exists(self.path)
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()}\n")
        if is_first:
            os.kill(os.getpid(), signal.SIGKILL)
        self.pid = os.getpid()


class Calls(Flow):
    def __init__(self, work):
        super().__init__()
        self.work = work

    def run(self):
        self.work.run()


@pytest.mark.parametrize("retries", [0, 1])
def test_a_worker_that_is_killed(cluster, tmp_path, store, retries):
    """Dask starts the call again on the other worker, where it does not run: only `retries` repeats it."""
    app = App(Calls(Fatal(str(tmp_path / "pids"), retries=retries, backoff=0)))
    events = []
    app.run(executor=cluster.url, on_event=events.append)
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 1 + retries
    work, lost = app.flow.work, f"The executor lost the process that ran it (process {pids[0]} on "
    if retries:
        assert (work.has_succeeded, work.pid, work.status.attempts) == (True, pids[1], 2)
        assert [event.message.startswith(lost) for event in events if event.kind == "call-retried"] == [True]
    else:
        assert work.has_failed
        assert work.status.message.startswith(lost)
    assert not list(store.glob("runs/*/attempts/*"))


def test_a_cluster_without_workers(home, clean_environment, monkeypatch, tmp_path):
    """A warning, once for each work; the call runs when a worker joins."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("payloadfs.works._submit.HEARTBEAT_S", 0.05)
    monkeypatch.setattr("payloadfs.works._submit._WAIT_WARNING_S", 0)
    scheduler, address = start("scheduler", tmp_path)
    processes, warnings = [scheduler], []

    def on_event(event):
        if event.kind == "output" and "The Dask cluster has no worker" in event.message:
            warnings.append(event.message)
            if len(processes) == 1:
                processes.append(start("worker", tmp_path, address, "late")[0])

    app = App(Main(10))
    try:
        app.run(executor=address.replace("tcp://", "dask://"), on_event=on_event)
    finally:
        for process in processes:
            end(process)
    assert app.flow.sink.total == 45
    assert warnings == [
        "payloadfs: After 0 s, the executor has not started root.source. The Dask cluster has no worker.\n"
    ]


def test_secrets_are_not_sent_through_the_scheduler(cluster):
    refused = pytest.raises(ConfigError, match="storage_options was set in code")
    with payloadfs.using(storage_options={"secret": "canary"}), refused as caught:
        App(Main(1)).run(executor=cluster.url)
    assert caught.value.kind == "secrets"


def test_no_scheduler(monkeypatch):
    monkeypatch.setattr("payloadfs.works._executors._DASK_TIMEOUT_S", 1)
    with pytest.raises(ConfigError, match=r"Cannot connect to a Dask scheduler at dask://127.0.0.1:9"):
        App(Main(1)).run(executor="dask://127.0.0.1:9")
