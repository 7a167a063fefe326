"""What a run tells while it goes on: counts, plain lines, or JSON; the live view builds on it."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Self, TextIO

from ..works import Event
from ._common import printable, size
from ._redirect import diverted

__all__ = ["Json", "Lines", "Output", "Report", "Tally", "duration", "failure", "indented", "payloads"]

_WIDEST_NAME = 40


class Output:
    """The two standard streams, for whole texts, from any thread.

    A stream that can't be written to any more (a full disk, a reader that left) interrupts the
    main thread once; `lost` then says why. What else comes for it is dropped.
    """

    def __init__(self) -> None:
        self.lost: OSError | None = None
        self.streams: dict[str, TextIO | None] = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._lock = threading.Lock()

    def write(self, stream: str, text: str) -> None:
        """Write `text` to ``"stdout"`` or ``"stderr"``. Never raises."""
        place = self.streams[stream]
        if place is None:
            return
        try:
            with self._lock:
                place.write(text)
                place.flush()
        except OSError as error:
            self.streams[stream] = None
            self.fail(error)

    def fail(self, error: OSError) -> None:
        """Note that a stream can't be written to, and interrupt the main thread, once."""
        if self.lost is None:
            self.lost = error
            main = threading.main_thread().ident
            if main is not None:
                signal.pthread_kill(main, signal.SIGINT)


class Tally:
    """What of a run is going on, and what it came to.

    Parameters
    ----------
    slots : int or None
        How many calls run at once, if that is known. The first that were made run, the others wait.
    """

    def __init__(self, slots: int | None) -> None:
        self._slots = slots
        self._began_s = time.monotonic()
        self.run = ""
        self.running: dict[str, float] = {}
        self.waiting: dict[str, None] = {}
        self.works: set[str] = set()
        self.calls = self.failed = self.payloads = self.stored_bytes = 0

    @property
    def took_s(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._began_s

    def take(self, event: Event) -> list[str]:
        """Count `event`, and return the works that begin to run now."""
        self.run = event.run
        if event.kind == "call-started":
            self.waiting[event.work] = None
        elif event.kind.startswith("call-"):
            self.waiting.pop(event.work, None)
            self.running.pop(event.work, None)
            self.works.add(event.work)
            self.calls += 1
            self.failed += event.kind == "call-failed"
            self.payloads += len(event.stored)
            self.stored_bytes += sum(size_bytes for _, _, size_bytes in event.stored)
        begun: list[str] = []
        while self.waiting and (self._slots is None or len(self.running) < self._slots):
            work = next(iter(self.waiting))
            del self.waiting[work]
            self.running[work] = time.monotonic()
            begun.append(work)
        return begun

    def facts(self) -> dict[str, Any]:
        """Return the counts for programs."""
        return {
            "run": self.run,
            "works": len(self.works),
            "calls": self.calls,
            "failed": self.failed,
            "payloads": self.payloads,
            "stored_bytes": self.stored_bytes,
            "took_s": round(self.took_s, 3),
        }

    def words(self) -> str:
        """Return the counts for people."""
        if not self.calls:
            return "no call ended"
        failed = f", {self.failed} failed" if self.failed else ""
        stored = f", {_count(self.payloads, 'payload')} of {size(self.stored_bytes)} stored" if self.payloads else ""
        return f"{_count(len(self.works), 'work')}, {_count(self.calls, 'call')}{failed}{stored}"


class Report:
    """Tells what happens in a run; called with each event, from several threads.

    Parameters
    ----------
    root : str
        Where the run is stored.
    names : iterable of str
        Names of the works.
    slots : int or None
        As for `Tally`.
    """

    def __init__(self, root: str, names: Iterable[str], slots: int | None) -> None:
        self.out, self.tally = Output(), Tally(slots)
        self.has_begun = False
        self.told_failures: set[str] = set()
        self._root, self._width = root, min(max(map(len, names), default=0), _WIDEST_NAME)
        self._lock = threading.RLock()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, event: Event) -> None:
        """Tell of `event`."""
        with self._lock:
            begun = self.tally.take(event)
            self.has_begun = True
            if event.kind == "call-failed":
                self.told_failures.add(event.work)
            self._tell(event, begun)

    def end(self, stage: str, message: str, hint: str) -> None:
        """Tell what the run came to, and how to go on with it."""
        raise NotImplementedError

    def _tell(self, event: Event, begun: list[str]) -> None:
        raise NotImplementedError


class Lines(Report):
    """One plain line on standard error for each thing that happens; what works print stays as it is."""

    def end(self, stage: str, message: str, hint: str) -> None:
        """Write the summary, and the command that goes on."""
        said = f": {printable(message)}" if message else ""
        self._say(
            f"{self.tally.run} {stage} {'in' if stage == 'finished' else 'after'} {duration(self.tally.took_s)}{said}; {self.tally.words()}",
            "run",
        )
        if hint:
            self._say(f"to go on: {hint}", "run")

    def _tell(self, event: Event, begun: list[str]) -> None:
        if event.kind == "output":
            self.out.write(event.stream, event.message)
        elif event.kind in ("run-started", "run-resumed"):
            goes_on = "goes on" if event.kind == "run-resumed" else "starts"
            self._say(f"{event.run} {goes_on} in {printable(self._root)}", "run")
        elif event.kind == "call-succeeded":
            stored = f", stored {payloads(event)}" if event.stored else ""
            self._say(f"succeeded{_in(event)}{stored}", event.work)
        elif event.kind == "call-failed":
            self._say(f"failed{_in(event).replace(' in ', ' after ')}", event.work)
            self.out.write("stderr", indented(failure(event.message)))
        elif event.kind == "call-stopped":
            self._say("stopped", event.work)
        for work in begun:
            self._say("started", work)

    def _say(self, text: str, work: str) -> None:
        self.out.write("stderr", f"{self.tally.took_s:7.1f}s  {work:<{self._width}}  {text}\n")


class Json(Report):
    """Each event as one line of JSON on standard output, at last one of the kind "summary"."""

    def __enter__(self) -> Self:
        # What the flow prints is an event too, or the lines would not be JSON.
        self.out.streams["stdout"] = self._stack.enter_context(diverted("stdout", self._printed))
        self._stack.callback(self.out.streams.update, stdout=sys.stdout)
        return self

    def end(self, stage: str, message: str, hint: str) -> None:
        """Write the summary."""
        facts = {"kind": "summary", "stage": stage, "message": message, "resume": hint, **self.tally.facts()}
        self._write({name: value for name, value in facts.items() if value != ""})

    def _printed(self, stream: str, text: str) -> None:
        self._write(Event("output", self.tally.run, message=text, stream=stream).to_dict())

    def _tell(self, event: Event, begun: list[str]) -> None:  # noqa: ARG002  # an event tells all
        self._write(event.to_dict())

    def _write(self, facts: dict[str, Any]) -> None:
        self.out.write("stdout", json.dumps(facts) + "\n")


def payloads(event: Event) -> str:
    """Return what a call stored, for people."""
    return "; ".join(
        f"{printable(attribute)}: {printable(type_name)}, {size(size_bytes)}"
        for attribute, type_name, size_bytes in event.stored
    )


def failure(message: str) -> str:
    """Return the traceback in the message of a call, which ends with what stands above it, or all of it."""
    return message[message.find("\nTraceback (most recent call last)") + 1 :]


def indented(text: str) -> str:
    """Return a traceback with its lines set in, so that it stands apart."""
    return "".join(f"    {line}\n" for line in text.rstrip().splitlines())


def duration(seconds: float) -> str:
    """Return a length of time for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    return f"{minutes} min {seconds % 60:.0f} s" if minutes < 60 else f"{hours} h {minutes % 60} min"


def _in(event: Event) -> str:
    return "" if event.took_s is None else f" in {duration(event.took_s)}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
