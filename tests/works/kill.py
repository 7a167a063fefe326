"""Kills a running app at random times, its driver, a worker, or all at once, and resumes it until it is finished.

    python tests/works/kill.py --rounds 200

Each round has to end in the state of a run that nobody disturbed. After each kill no process is left over, every
object that the state names is whole, and what the state says has ended is not run again.
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
from payloadfs.works._checkpoints import Checkpoints, read_checkpoint, parse_key
from payloadfs.works._state import by_content, pointers_in

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill_program.py")
MARK = "KILLED_ROUND"
LONGEST_S = 10.0
ORPHANS_END_S = 2.0
MOST_RESUMES = 5
TARGETS = ("driver", "worker", "all")


class Round:
    """One program that is killed and resumed."""

    def __init__(self, folder):
        self.mark = secrets.token_hex(8)
        self.store, self.log = os.path.join(folder, "store"), os.path.join(folder, "log")
        self.repository = payloadfs.Repository(self.store)

    def start(self):
        run = self.run_name()
        words = [sys.executable, PROGRAM, self.store, self.log, *([run] if run else [])]
        env = os.environ | {MARK: self.mark, "PAYLOADFS_FSYNC": "0"}
        return subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self, process):
        """Return what it wrote to standard error, once it has ended by itself."""
        try:
            return process.communicate(timeout=LONGEST_S)[1].decode()
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"It hangs: {process.communicate()[1].decode()}") from None

    def run_name(self):
        names = {found[0] for info in self.repository.list() if (found := parse_key(info.key))}
        assert len(names) <= 1, names
        return next(iter(names), None)

    def document(self):
        return Checkpoints(self.repository, self.run_name()).load()

    def processes(self):
        """Return the processes of the round that live, by what their environment says."""
        found, wanted = [], f"{MARK}={self.mark}".encode()
        for entry in os.scandir("/proc"):
            try:
                with open(f"/proc/{entry.name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        found.append(int(entry.name))
            except (OSError, ValueError):
                continue
        return found

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

    def check_no_process(self):
        ends_s = time.monotonic() + ORPHANS_END_S
        while left := self.processes():
            assert time.monotonic() < ends_s, f"Left over: {left}"
            time.sleep(0.02)

    def check_objects(self):
        """Return the newest document; every document and every object that it names must be whole."""
        for info in self.repository.list():
            if parse_key(info.key):
                document = read_checkpoint(self.repository, info)[1]
        for _, pointer in pointers_in({name: document[name] for name in ("components", "calls")}):
            self.repository.read(pointer, full=True)
        return document

    def begun(self):
        """Return how often each call was begun, by work and identity."""
        if not os.path.exists(self.log):
            return collections.Counter()
        with open(self.log, encoding="utf-8") as file:
            return collections.Counter(tuple(json.loads(line)) for line in file)


def ended(document):
    """Return the calls that need not be made again: those of cached works."""
    done = {(work, id_) for work, ids in document["done"].items() for id_, failure in ids.items() if not failure}
    return done | {(c["work"], c["id"]) for c in document["calls"] if c["stage"] == "succeeded" and c["cached"]}


def final(document):
    assert document["stage"] == "finished", document["message"]
    for state in document["components"].values():
        state.pop("log", None)
    return by_content(document["components"])


def undisturbed():
    """Return the final state, how often each call runs, and how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        one = Round(folder)
        began_s = time.monotonic()
        told = one.finish(one.start())
        assert not told, told
        return final(one.document()), one.begun(), time.monotonic() - began_s


def disturbed(wanted, calls, took_s, target):
    """Kill a run once at a random time, and resume it. Return how often it was resumed, and if it was running."""
    with tempfile.TemporaryDirectory() as folder:
        one = Round(folder)
        process = one.start()
        time.sleep(random.uniform(0.1, 0.95) * took_s)
        was_running = process.poll() is None
        one.kill(process, target)
        told = one.finish(process)
        one.check_no_process()
        resumes = 0
        while one.run_name() is None or one.document()["stage"] != "finished":
            assert resumes < MOST_RESUMES, told
            before = (ended(one.check_objects()) if one.run_name() else set()), one.begun()
            told = one.finish(one.start())
            one.check_no_process()
            resumes += 1
            for call in before[0]:
                assert one.begun()[call] == before[1][call], f"{call} had ended, and was made again"
        one.check_objects()
        reached = final(one.document())
        assert reached == wanted, {n: (reached[n], wanted[n]) for n in wanted if reached[n] != wanted[n]}
        extra, lost = one.begun() - calls, calls - one.begun()
        assert not lost, f"Never made: {lost}"
        # Two run at once, and results of others may just have come back that are not saved yet.
        assert extra.total() <= 4, f"Made again: {extra}"
        return resumes, was_running


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", choices=TARGETS, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    random.seed(seed)
    wanted, calls, took_s = undisturbed()
    counts = collections.Counter()
    for number in range(options.rounds):
        target = options.target or TARGETS[number % len(TARGETS)]
        try:
            resumes, was_running = disturbed(wanted, calls, took_s, target)
        except AssertionError as error:
            error.add_note(f"round {number} of seed {seed}, target: {target}")
            raise
        counts["resumes"] += resumes
        counts[f"{target}, while it ran"] += was_running
    print(f"{options.rounds} rounds (seed {seed}): {dict(counts)}")


if __name__ == "__main__":
    main()
