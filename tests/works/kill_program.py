"""The program that `kill.py` kills: counters, calls of every kind, payloads between them, and a log of calls.

python kill_program.py STORE LOG [RUN]
"""

import json
import os
import sys
import time

from payloadfs import Payload
from payloadfs.works import App, Flow, Work
from payloadfs.works._state import encode, fingerprint


class Logged(Work):
    """A work that writes each call to the log when it starts."""

    def __init__(self, log, **options):
        super().__init__(**options)
        self.log = log
        self.calls = 0

    def begin(self, *arguments):
        self.calls += 1
        line = json.dumps([self.name, fingerprint(encode([list(arguments), {}], "x"))])
        file = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode() + b"\n")
        os.close(file)
        time.sleep(0.01)


class Make(Logged):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.data = None
        self.history = []

    def run(self, number):
        self.begin(number)
        self.data = Payload([number] * 1000)
        self.history.append(Payload({"made": number}))


class Add(Logged):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.total = 0
        self.last = None

    def run(self, *payloads):
        self.begin(*payloads)
        self.total += sum(sum(payload.value) for payload in payloads)
        self.last = Payload([self.total])


class Inner(Flow):
    def __init__(self, log):
        super().__init__()
        self.add = Add(log)

    def run(self, payload):
        self.add.run(payload)


class Main(Flow):
    ROUNDS = 4

    def __init__(self, log):
        super().__init__()
        self.n = 0
        self.sums = []
        self.make = Make(log)
        self.again = Make(log, cache_calls=False)
        self.many = [Make(log, parallel=True) for _ in range(3)]
        self.adds = {name: Add(log, parallel=True) for name in "ab"}
        self.inner = Inner(log)

    def run(self):
        if self.n == self.ROUNDS:
            self.stop("all done")
        self.make.run(self.n)
        for pos, make in enumerate(self.many):
            make.run(100 * self.n + pos)
        if any(make.is_running for make in self.many):
            return
        for add in self.adds.values():
            add.run(self.make.data, *(make.data for make in self.many))
        if any(add.is_running for add in self.adds.values()):
            return
        # The number of passes before this depends on when results arrive, but this line is always reached.
        self.again.run(7)
        self.again.run(7)
        self.inner.run(self.adds["a"].last)
        self.sums.append([self.n, self.inner.add.total])
        self.n += 1


if __name__ == "__main__":
    STORE, LOG = sys.argv[1:3]
    App(Main(LOG)).run(store=STORE, max_workers=2, resume=sys.argv[3] if len(sys.argv) > 3 else None)
