"""Reports of a run while it runs, as plain lines or JSON; the live view builds on them."""

from __future__ import annotations

import _thread
import json
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Self, TextIO

from ..works import Event
from ._common import plural, printable, size
from ._redirect import redirect_fd

_MAX_NAME_WIDTH = 40
_MAX_UNFINISHED_CHARS = 8192


class Output:
    """The two standard streams, usable from any thread.

    If a stream cannot be written to any more (a full disk, a closed pipe), the main thread is
    interrupted once, and `lost` is the error. Further output to that stream is dropped.
    """

    def __init__(self) -> None:
        self.lost: OSError | None = None
        self.streams: dict[str, TextIO | None] = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._lock = threading.Lock()

    def write(self, stream: str, text: str) -> None:
        """Write `text` to ``"stdout"`` or ``"stderr"``. Never raises."""
        file = self.streams[stream]
        if file is None:
            return
        try:
            with self._lock:
                file.write(text)
                file.flush()
        except OSError as error:
            self.streams[stream] = None
            self.fail(error)

    def fail(self, error: OSError) -> None:
        """Record that a stream cannot be written to, and interrupt the main thread, once."""
        if self.lost is None:
            self.lost = error
            main = threading.main_thread().ident
            if sys.platform == "win32":
                _thread.interrupt_main()
            elif main is not None:
                signal.pthread_kill(main, signal.SIGINT)


class Tally:
    """Counts of a run: which calls are running and waiting, and how many have ended.

    Parameters
    ----------
    slots : int or None
        How many calls run at the same time, if that is known. The first calls are counted as
        running, the others as waiting.
    """

    def __init__(self, slots: int | None) -> None:
        self._slots = slots
        self._began_s = time.monotonic()
        self.run = ""
        self.running: dict[str, float] = {}
        self.waiting: dict[str, None] = {}
        self.works: set[str] = set()
        self.calls = self.failed = self.retries = self.payloads = self.stored_bytes = 0

    @property
    def took_s(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._began_s

    @property
    def is_parallel(self) -> bool:
        """Whether several calls are running."""
        return len(self.running) > 1

    def add(self, event: Event) -> list[str]:
        """Count `event`, and return the works that start running now."""
        self.run = event.run
        if event.kind == "call-started":
            self.waiting[event.work] = None
        elif event.kind == "call-retried":
            self.running.pop(event.work, None)
            self.waiting.pop(event.work, None)
            self.retries += 1
        elif event.kind.startswith("call-"):
            self.waiting.pop(event.work, None)
            self.running.pop(event.work, None)
            self.works.add(event.work)
            self.calls += 1
            self.failed += event.kind == "call-failed"
            self.payloads += len(event.stored)
            self.stored_bytes += sum(size_bytes for _, _, size_bytes in event.stored)
        started: list[str] = []
        while self.waiting and (self._slots is None or len(self.running) < self._slots):
            work = next(iter(self.waiting))
            del self.waiting[work]
            self.running[work] = time.monotonic()
            started.append(work)
        return started

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        return {
            "run": self.run,
            "works": len(self.works),
            "calls": self.calls,
            "failed": self.failed,
            "retries": self.retries,
            "payloads": self.payloads,
            "stored_bytes": self.stored_bytes,
            "took_s": round(self.took_s, 3),
        }

    def summary(self) -> str:
        """Return the counts for display."""
        if not self.calls:
            return "no call ended"
        failed = f", {self.failed} failed" if self.failed else ""
        failed += f", {plural(self.retries, 'retry', 'retries')}" if self.retries else ""
        stored = (
            f", {plural(self.payloads, 'payload', 'payloads')} stored ({size(self.stored_bytes)})"
            if self.payloads
            else ""
        )
        return f"{plural(len(self.works), 'work', 'works')}, {plural(self.calls, 'call', 'calls')}{failed}{stored}"


class Report:
    """Base class of the reports: an object that is called with each event of a run, from several threads.

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
        self.reported_failures: set[str] = set()
        self._root, self._width = root, min(max(map(len, names), default=0), _MAX_NAME_WIDTH)
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._unfinished: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, event: Event) -> None:
        """Report `event`."""
        with self._lock:
            started = self.tally.add(event)
            self.has_begun = True
            if event.kind == "call-failed":
                self.reported_failures.add(event.work)
            if event.kind.startswith("call-"):
                self._end_lines(event.work)
            self._show(event, started)

    def _end_lines(self, work: str) -> None:
        """End the lines that the latest attempt of `work` left unfinished."""
        for stream in ("stdout", "stderr"):
            if (work, stream) in self._unfinished:
                self._show(Event("output", self.tally.run, work, "\n", stream), [])

    def _lines(self, event: Event) -> list[str]:
        """Return the lines that output completes, with the name of the work while several are running."""
        key = event.work, event.stream
        *lines, rest = (self._unfinished.pop(key, "") + event.message).split("\n")
        rest = rest[rest.rstrip("\r").rfind("\r") + 1 :]
        if len(rest) > _MAX_UNFINISHED_CHARS:
            lines, rest = [*lines, rest], ""
        if rest:
            self._unfinished[key] = rest
        lines = [last_state(line) for line in lines]
        is_named = event.work and self.tally.is_parallel
        return [f"{event.work} | {line}" for line in lines if line] if is_named else lines

    def end(self, stage: str, message: str, hint: str) -> None:
        """Report how the run ended; `hint` is the command that resumes it, or empty."""
        raise NotImplementedError

    def _show(self, event: Event, started: list[str]) -> None:
        raise NotImplementedError


class Lines(Report):
    """One plain line on standard error for each event.

    Output of works stays as it is. While several works are running, only whole lines are written, after the name of
    the work.
    """

    def end(self, stage: str, message: str, hint: str) -> None:
        """Write the summary, and the command that resumes the run."""
        preposition = "in" if stage == "finished" else "after"
        details = f": {printable(message)}" if message else ""
        took = duration(self.tally.took_s)
        self._line(f"{self.tally.run} {stage} {preposition} {took}{details}; {self.tally.summary()}", "run")
        if hint:
            self._line(f"to resume: {hint}", "run")

    def _show(self, event: Event, started: list[str]) -> None:
        if event.kind == "output":
            self._output(event)
        elif event.kind == "call-retried":
            self._line(f"failed, {printable(event.message)}", event.work)
        elif event.kind in ("run-started", "run-resumed"):
            verb = "resumed" if event.kind == "run-resumed" else "started"
            self._line(f"{event.run} {verb} in {printable(self._root)}", "run")
        elif event.kind == "call-succeeded":
            stored = f", stored {payloads(event)}" if event.stored else ""
            self._line(f"succeeded{_took(event, 'in')}{stored}", event.work)
        elif event.kind == "call-failed":
            self._line(f"failed{_took(event, 'after')}", event.work)
            self.out.write("stderr", indented(failure(event.message)))
        elif event.kind == "call-stopped":
            self._line("stopped", event.work)
        for work in started:
            self._line("started", work)

    def _output(self, event: Event) -> None:
        if event.work and self.tally.is_parallel:
            text = "".join(f"{line}\n" for line in self._lines(event))
        else:
            text = self._unfinished.pop((event.work, event.stream), "") + event.message
        self.out.write(event.stream, text)

    def _line(self, text: str, work: str) -> None:
        self.out.write("stderr", f"{self.tally.took_s:7.1f}s  {work:<{self._width}}  {text}\n")


class Json(Report):
    """One line of JSON on standard output for each event, and a last one of the kind "summary"."""

    def __enter__(self) -> Self:
        # Output of the flow becomes an event too; otherwise it would break the JSON.
        self.out.streams["stdout"] = self._stack.enter_context(redirect_fd("stdout", self._output))
        self._stack.callback(self.out.streams.update, stdout=sys.stdout)
        return self

    def end(self, stage: str, message: str, hint: str) -> None:
        """Write the summary."""
        summary = {"kind": "summary", "stage": stage, "message": message, "resume": hint, **self.tally.to_dict()}
        self._write({name: value for name, value in summary.items() if value != ""})

    def _output(self, stream: str, text: str) -> None:
        self._write(Event("output", self.tally.run, message=text, stream=stream).to_dict())

    def _show(self, event: Event, started: list[str]) -> None:  # noqa: ARG002  # the event contains everything
        self._write(event.to_dict())

    def _write(self, value: dict[str, Any]) -> None:
        self.out.write("stdout", json.dumps(value) + "\n")


def payloads(event: Event) -> str:
    """Return which payloads a call stored, for display."""
    return "; ".join(
        f"{printable(attribute)}: {printable(type_name)}, {size(size_bytes)}"
        for attribute, type_name, size_bytes in event.stored
    )


def last_state(line: str) -> str:
    """Return what a terminal shows of `line`, which may have been overwritten with carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]


def failure(message: str) -> str:
    """Return the traceback in the message of a failed call, or the whole message if it has none."""
    return message[message.find("\nTraceback (most recent call last)") + 1 :]


def indented(text: str) -> str:
    """Return `text` with indented lines, so that a traceback is set off from the report."""
    return "".join(f"    {line}\n" for line in text.rstrip().splitlines())


def duration(seconds: float) -> str:
    """Format a duration for display."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    return f"{minutes} min {seconds % 60:.0f} s" if minutes < 60 else f"{hours} h {minutes % 60} min"


def _took(event: Event, preposition: str) -> str:
    return "" if event.took_s is None else f" {preposition} {duration(event.took_s)}"
