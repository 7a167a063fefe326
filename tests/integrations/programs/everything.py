"""An app that uses payloads in every way that works and flows can, and writes what happened to log.jsonl.

python everything.py PORT      in an empty folder
"""

import hashlib
import json
import os
import pathlib
import sys
import time
import urllib.request

import pandas as pd
import psutil
from lightning_app.runners import MultiProcessRuntime

import payloadfs
import payloadfs.integrations.lightning_app as lapp
from payloadfs.testing import describe

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "exactness"))
from everyday import FRAMES

LOG = pathlib.Path("log.jsonl").resolve()
PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 0
# No value is repeated later: the framework reliably remembers only the latest call of a work.
CONTENTS = [1, 2, 2, 3]

_load = payloadfs.Repository.load


def log(event, **details):
    with LOG.open("a") as lines:
        lines.write(json.dumps({"event": event, "pid": os.getpid(), **details}) + "\n")


def events():
    return [(entry["event"], entry["pid"]) for entry in map(json.loads, LOG.read_text().splitlines())]


def load(self, pointer, **options):
    log("load")
    return _load(self, pointer, **options)


payloadfs.Repository.load = load


def frame(content):
    return pd.DataFrame({"content": [content] * 3})


def content(payload):
    return int(payload.value["content"].iloc[0])


def fingerprint(obj):
    return hashlib.sha256(repr(list(describe(obj))).encode()).hexdigest()


class Source(lapp.LightningWork):
    def __init__(self):
        super().__init__(cache_calls=True)
        self.frame = None

    def run(self, content, step):
        value = frame(content)
        self.frame = lapp.storage.Payload(value)
        value["content"] = 99
        log("source", frame=dict(self.frame))


class Everyday(lapp.LightningWork):
    def __init__(self):
        super().__init__(cache_calls=True)
        self.fingerprints = None
        self.frames = None
        self.nested = None

    def run(self, done=False):
        if done:
            # With more than 64 KB of state, the server and the app of the framework deadlock at the end.
            self.fingerprints = self.frames = None
            return
        frames = {}
        for name, make in FRAMES.items():
            try:
                frames[name] = make()
            except ImportError as error:
                log("left out", name=name, missing=error.name)
        self.fingerprints = {name: fingerprint(value) for name, value in frames.items()}
        self.frames = {name: lapp.storage.Payload(value) for name, value in frames.items()}
        self.nested = [lapp.storage.Payload(frame(7)), {"deep": [lapp.storage.Payload(frame(8))]}]


class Twin(lapp.LightningWork):
    def __init__(self, content):
        super().__init__(parallel=True, cache_calls=True)
        self.content = content
        self.frame = None

    def run(self):
        self.frame = lapp.storage.Payload(frame(self.content))


class Consumer(lapp.LightningWork):
    def run(self, frame: lapp.storage.Payload):
        log("consumed", work=self.name, content=content(frame), is_payload=isinstance(frame, lapp.storage.Payload))


class Receiver(lapp.LightningWork):
    def __init__(self):
        super().__init__(cache_calls=True)
        self.passed_on = None
        self.inbox = None

    def run(self, frame):
        self.passed_on = frame
        log("received", content=content(frame), inbox=content(self.inbox))


class Late(lapp.LightningWork):
    """A work that starts after the source has ended, in a process that inherits nothing."""

    _start_method = "spawn"

    def __init__(self):
        super().__init__(cache_calls=True)

    def run(self, source_pid, kept, fingerprints, frames, nested):
        until_s = time.monotonic() + 20
        while is_alive(source_pid) and time.monotonic() < until_s:
            time.sleep(0.1)
        log("late", source_is_alive=is_alive(source_pid), contents=[content(payload) for payload in kept])
        differ = [name for name in fingerprints if fingerprint(frames[name].value) != fingerprints[name]]
        log("everyday", count=len(fingerprints), differ=differ, pandas=pd.__version__)
        log("nested", contents=[content(nested[0]), content(nested[1]["deep"][0])])
        log("state", **get_state())


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def get_state():
    headers = {"X-Lightning-Session-UUID": "1", "X-Lightning-Session-ID": "1", "X-Lightning-Type": "DEFAULT"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/api/v1/state", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        state = json.load(answer)
    return {"status": answer.status, "frame": state["works"]["src"]["vars"]["frame"]}


class Flow(lapp.LightningFlow):
    def __init__(self):
        super().__init__()
        self.src = Source()
        self.everyday = Everyday()
        self.dst = Consumer(cache_calls=True)
        self.receiver = Receiver()
        self.last = Consumer(cache_calls=True)
        self.a, self.b = Twin(11), Twin(22)
        self.dst_a, self.dst_b = Consumer(parallel=True, cache_calls=True), Consumer(parallel=True, cache_calls=True)
        self.late = Late()
        self.kept = []
        self.step = 0
        self.stopped = False
        self.done = False

    def run(self):
        if self.step < len(CONTENTS):
            self.src.run(content=CONTENTS[self.step], step=self.step)
            if len(self.kept) == self.step:
                self.kept = [*self.kept, self.src.frame]
            self.dst.run(frame=self.kept[self.step])
            self.step += 1
            return
        self.receiver.inbox = self.kept[0]
        self.receiver.run(frame=self.kept[1])
        self.last.run(self.receiver.passed_on)
        self.everyday.run()
        if self.twins():
            self.after_the_source()

    def twins(self):
        self.a.run()
        self.b.run()
        if self.a.frame and self.b.frame:
            self.dst_a.run(self.a.frame)
            self.dst_b.run(self.b.frame)
        return self.dst_a.has_succeeded and self.dst_b.has_succeeded

    def after_the_source(self):
        if not self.stopped:
            self.stopped = True
            self.src.stop()
        if not self.done:
            pid = next(pid for event, pid in events() if event == "source")
            self.late.run(pid, self.kept, self.everyday.fingerprints, self.everyday.frames, self.everyday.nested)
            log("flow", kept=[dict(payload) for payload in self.kept])
            self.done = True
        self.everyday.run(done=True)
        self.stop()


if __name__ == "__main__":
    MultiProcessRuntime(lapp.LightningApp(Flow()), start_server=PORT > 0, host="127.0.0.1", port=PORT).dispatch(
        open_ui=False
    )
