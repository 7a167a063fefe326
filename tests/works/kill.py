"""Kills a running app at random times, its driver, a worker, or all at once, and resumes it until it is finished.

    python tests/works/kill.py --rounds 200

Each round must end in the state of an undisturbed run. After each kill, no process is left over, every object that
the state refers to is complete, and calls that have ended according to the state are not repeated.
"""

import argparse
import collections
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time

import payloadfs
from payloadfs.works._journal import Journal, parse_key, read_entry
from payloadfs.works._state import by_content, pointers_in

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill_program.py")
MARK = "KILLED_ROUND"
TIMEOUT_S = 900.0
MAX_RESUMES = 5
TARGETS = ("driver", "worker", "all")


class Round:
    """A program that is killed and resumed."""

    def __init__(self, folder):
        self.mark = secrets.token_hex(8)
        self.store, self.log = os.path.join(folder, "store"), os.path.join(folder, "log")
        self.repository = payloadfs.Repository(self.store)

    def start(self):
        run = self.run_name()
        command = [sys.executable, PROGRAM, self.store, self.log, *([run] if run else [])]
        env = os.environ | {MARK: self.mark, "PAYLOADFS_FSYNC": "0"}
        return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self, process):
        """Wait until the process ends by itself, and return its standard error."""
        try:
            return process.communicate(timeout=TIMEOUT_S)[1].decode()
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"The program hangs: {process.communicate()[1].decode()}") from None

    def run_name(self):
        names = {match[0] for info in self.repository.list() if (match := parse_key(info.key))}
        assert len(names) <= 1, names
        return next(iter(names), None)

    def document(self):
        return Journal(self.repository, self.run_name()).read()

    def processes(self):
        """Return the live processes of the round, recognized by their environment."""
        pids, variable = [], f"{MARK}={self.mark}".encode()
        for entry in os.scandir("/proc"):
            try:
                with open(f"/proc/{entry.name}/environ", "rb") as file:
                    if variable in file.read().split(b"\0"):
                        pids.append(int(entry.name))
            except (OSError, ValueError):
                continue
        return pids

    def kill(self, process, target):
        workers = [pid for pid in self.processes() if pid != process.pid]
        pids = {
            "driver": [process.pid],
            "worker": random.sample(workers, min(1, len(workers))),
            "all": [process.pid, *workers],
        }
        for pid in pids[target]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def wait_until_ended(self):
        """Wait until no process is left over. pytest's own limit ends a test in which one never ends."""
        while self.processes():
            time.sleep(0.02)

    def check_objects(self):
        """Return the state; every entry of the journal and every object that it refers to must be complete."""
        for info in self.repository.list():
            if parse_key(info.key):
                read_entry(self.repository, info)
        document = self.document()
        for _, pointer in pointers_in(
            {kind: document[kind] for kind in document if kind.startswith(("state:", "call"))}
        ):
            self.repository.read(pointer, full=True)
        return document

    def started(self):
        """Return how often each call was started, by work and fingerprint."""
        if not os.path.exists(self.log):
            return collections.Counter()
        with open(self.log, encoding="utf-8") as file:
            return collections.Counter(tuple(json.loads(line)) for line in file)


def ended(document):
    """Return the calls that must not be repeated: ended calls of cached works."""
    kinds = [kind for kind in document if kind.startswith("done:")]
    done = {
        (kind.removeprefix("done:"), id_) for kind in kinds for id_, failure in document[kind].items() if not failure
    }
    calls = document.get("call", {}).values()
    return done | {(c["work"], c["id"]) for c in calls if c["stage"] == "succeeded" and c["cached"]}


def final(document):
    assert stage(document) == "finished", document["run"][""]["message"]
    states = {kind: state for kind, state in document.items() if kind.startswith("state:")}
    for state in states.values():
        state.pop("log", None)
    return by_content(states)


def stage(document):
    return document["run"][""]["stage"]


def undisturbed():
    """Return the final state, and how often each call ran."""
    with tempfile.TemporaryDirectory() as folder:
        one = Round(folder)
        stderr = one.finish(one.start())
        assert not stderr, stderr
        return final(one.document()), one.started()


def disturbed(expected, calls, target):
    """Kill a run once at a random time, and resume it. Return how often it was resumed, and whether it was still running."""
    with tempfile.TemporaryDirectory() as folder:
        one = Round(folder)
        process = one.start()
        # The moment is a number of calls, whatever the speed of the machine.
        moment = random.randrange(calls.total())
        while one.started().total() < moment and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 0.1))
        was_running = process.poll() is None
        one.kill(process, target)
        stderr = one.finish(process)
        one.wait_until_ended()
        resumes = 0
        while one.run_name() is None or stage(one.document()) != "finished":
            assert resumes < MAX_RESUMES, stderr
            before = (ended(one.check_objects()) if one.run_name() else set()), one.started()
            stderr = one.finish(one.start())
            one.wait_until_ended()
            resumes += 1
            for call in before[0]:
                assert one.started()[call] == before[1][call], f"{call} had ended, but was repeated"
        one.check_objects()
        reached = final(one.document())
        assert reached == expected, {n: (reached[n], expected[n]) for n in expected if reached[n] != expected[n]}
        extra, lost = one.started() - calls, calls - one.started()
        assert not lost, f"Never called: {lost}"
        # Two calls run at the same time, and results of others may have arrived that are not saved yet.
        assert extra.total() <= 4, f"Repeated: {extra}"
        return resumes, was_running


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", choices=TARGETS, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    random.seed(seed)
    expected, calls = undisturbed()
    counts = collections.Counter()
    for number in range(options.rounds):
        target = options.target or TARGETS[number % len(TARGETS)]
        try:
            resumes, was_running = disturbed(expected, calls, target)
        except AssertionError as error:
            error.add_note(f"round {number} of seed {seed}, target: {target}")
            raise
        counts["resumes"] += resumes
        counts[f"{target}, while it ran"] += was_running
    print(f"{options.rounds} rounds (seed {seed}): {dict(counts)}")


if __name__ == "__main__":
    main()
