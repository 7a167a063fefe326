"""The program that `kill.py` kills: counters, calls of every kind, payloads between them, and a log of calls.

Payloads hold objects of its own classes, and one work fails or hangs in the first attempt of each call.

python kill_program.py STORE LOG [RUN]
"""

import dataclasses
import enum
import json
import os
import sys
import time

from payloadfs import Payload
from payloadfs.works import App, Flow, Work
from payloadfs.works._state import encode, fingerprint


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Made:
    """An object of the program's own class."""

    number: int
    color: Color = Color.RED


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
        self.data = self.made = None
        self.history = []

    def run(self, number):
        self.begin(number)
        self.data = Payload([number] * 1000)
        self.history.append(Payload({"made": number}))
        self.made = Payload(Made(number))


class Add(Logged):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.total = 0
        self.last = None

    def run(self, *payloads):
        self.begin(*payloads)
        self.total += sum(sum(payload.value) for payload in payloads)
        self.last = Payload([self.total])


class Flaky(Work):
    """Fails or hangs in the first attempt of each call, and cleans up."""

    def __init__(self, log):
        super().__init__(parallel=True, retries=50, backoff="10ms", timeout_s="300ms")
        self.log, self.total = log, 0

    def run(self, number):
        mark = f"{self.log} {number}"
        if not os.path.exists(mark):
            with open(mark, "w"):
                pass
            if number % 2:
                raise ValueError("the first attempt fails")
            time.sleep(600)
        self.total += number


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
        self.flaky = Flaky(log)
        self.added = []

    def run(self):
        if self.n == self.ROUNDS:
            self.stop("all done")
        self.make.run(self.n)
        self.flaky.run(self.n)
        made = self.make.made.value
        if type(made) is not Made or made != Made(self.n) or made.color is not Color.RED:
            raise TypeError(f"{made} is not what was stored")
        if len(self.added) == self.n:
            self.added.append(Make(self.make.log))
        self.added[self.n].run(self.n)
        for pos, make in enumerate(self.many):
            make.run(100 * self.n + pos)
        if any(make.is_running for make in self.many):
            return
        for add in self.adds.values():
            add.run(self.make.data, *(make.data for make in self.many))
        if any(add.is_running for add in self.adds.values()):
            return
        if self.flaky.is_running:
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
