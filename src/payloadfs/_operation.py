"""One save or load as other tools see it: in the log, in traces and metrics, and as a progress bar.

Each of them costs nothing unless the program uses it: `logging` and OpenTelemetry are used only if the program has
imported them, and progress is only counted if `on_progress` or `show_progress` was called.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from ._forks import on_fork
from ._log import logger
from .errors import ConfigError, PayloadError

LARGE_BYTES = 16 * 1024 * 1024
"""Smaller objects do not report progress: they are done before a user could read it."""

_DEBUG = 10
_DONE = {"save": "saved", "load": "loaded"}
_callback: Callable[[Progress], None] | None = None
_current: ContextVar[Operation | None] = ContextVar("payloadfs_operation", default=None)


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a large save or load, as the callback of `on_progress` receives it.

    Parameters
    ----------
    verb : {"save", "load"}
        What is being done.
    type_name : str
        Class of the object.
    done_bytes, total_bytes : int
        Bytes sent or received so far, and the size of the object. If a request is repeated, its bytes are counted again.
    operation : int
        The same for all reports of one save or load.
    is_finished : bool
        Whether this is the last report, even after an error.
    """

    verb: Literal["save", "load"]
    type_name: str
    done_bytes: int
    total_bytes: int
    operation: int
    is_finished: bool = False


def on_progress(callback: Callable[[Progress], None] | None) -> None:
    """Call `callback` with a `Progress` while objects of 16 MiB or more are saved or loaded; None stops it.

    The threads that transfer the bytes call it, up to several times for each MiB, so it must return quickly. A load
    that only maps a file reports nothing.

    Examples
    --------
    >>> import payloadfs
    >>> reports = []
    >>> payloadfs.on_progress(reports.append)
    >>> with payloadfs.using("memory://demo"):
    ...     pointer = payloadfs.save(bytes(20_000_000))
    >>> reports[-1].done_bytes, reports[-1].is_finished
    (20000000, True)
    >>> payloadfs.on_progress(None)
    """
    global _callback
    if callback is not None and not callable(callback):
        raise ConfigError(f"callback must be a function, not {type(callback).__name__}.", kind="argument")
    _callback = callback


def show_progress() -> None:
    """Show a progress bar on standard error for each save and load of 16 MiB or more.

    It needs the package rich (``payloadfs[cli]``), and does nothing if standard error is neither a terminal nor a
    notebook.

    Raises
    ------
    ModuleNotFoundError
        rich is not installed.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_interactive or console.is_jupyter:
        on_progress(_Bars(console).update)


class Operation:
    """A save or load that is under way; a context manager."""

    def __init__(self, verb: Literal["save", "load"]) -> None:
        self._verb: Literal["save", "load"] = verb
        self.pointer: Any = None
        self._callback: Callable[[Progress], None] | None = None
        self._done_bytes = self._total_bytes = 0
        self._type_name = ""

    def __enter__(self) -> Self:
        self._started_s = time.perf_counter()
        self._span = _span(self._verb) if "opentelemetry" in sys.modules else None
        self._token = _current.set(self) if _callback else None
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._report(is_finished=True)
        if self._span is not None:
            _finish(self._span, self._verb, self.pointer, error, time.perf_counter() - self._started_s)
        if error is None and "logging" in sys.modules and (log := logger()).isEnabledFor(_DEBUG):
            pointer, took_ms = self.pointer, (time.perf_counter() - self._started_s) * 1000
            details = (pointer.location, pointer.type_name, pointer.serializer, pointer.size_bytes, took_ms)
            log.debug("%s %s: %s, %s, %d bytes, %.1f ms", _DONE[self._verb], *details)

    def expect(self, type_name: str, total_bytes: int) -> None:
        """Report progress from now on, if a callback is set and the object is large."""
        if _callback is not None and total_bytes >= LARGE_BYTES:
            self._callback, self._type_name, self._total_bytes = _callback, type_name, total_bytes
            self._lock = threading.Lock()

    def advance(self, size_bytes: int) -> None:
        """Report that `size_bytes` more bytes were transferred."""
        if self._callback is not None:
            with self._lock:
                self._done_bytes = min(self._done_bytes + size_bytes, self._total_bytes)
                self._report()

    def restart(self) -> None:
        """Report that the transfer starts again."""
        self._done_bytes = 0

    def _report(self, *, is_finished: bool = False) -> None:
        if self._callback is not None:
            progress = Progress(self._verb, self._type_name, self._done_bytes, self._total_bytes, id(self), is_finished)
            self._callback(progress)


def current() -> Operation | None:
    """Return the operation of this thread, if progress is reported."""
    return _current.get() if _callback else None


class _Bars:
    """One progress bar per operation, shown while there are any."""

    def __init__(self, console: Any) -> None:
        self._console, self._lock = console, threading.Lock()
        self._bars: Any = None
        self._tasks: dict[int, Any] = {}

    def update(self, progress: Progress) -> None:
        """Show `progress`."""
        with self._lock:
            if self._bars is None:
                self._bars = _new_bars(self._console)
                self._bars.start()
            if progress.operation not in self._tasks:
                title = f"{progress.verb} {progress.type_name}"
                self._tasks[progress.operation] = self._bars.add_task(title, total=progress.total_bytes)
            self._bars.update(self._tasks[progress.operation], completed=progress.done_bytes)
            if progress.is_finished:
                self._bars.remove_task(self._tasks.pop(progress.operation))
                if not self._tasks:
                    self._bars.stop()
                    self._bars = None


def _new_bars(console: Any) -> Any:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return RichProgress(*columns, console=console, transient=True)


@functools.cache
def _instruments() -> tuple[Any, Any, Any, Any]:
    from opentelemetry import metrics, trace

    meter = metrics.get_meter("payloadfs")
    return (
        trace.get_tracer("payloadfs"),
        meter.create_histogram("payloadfs.operation.duration", "s", "Duration of saves and loads."),
        meter.create_histogram("payloadfs.object.size", "By", "Size of saved and loaded objects."),
        functools.cache(lambda name: meter.create_counter(name, "1")),
    )


def count(name: str, **attributes: str | bool) -> None:
    """Add one to the OpenTelemetry counter ``payloadfs.NAME``, if the program uses OpenTelemetry."""
    if "opentelemetry" in sys.modules:
        _instruments()[3](f"payloadfs.{name}").add(1, attributes)


def _span(verb: str) -> Any:
    from opentelemetry import trace

    span = _instruments()[0].start_as_current_span(f"payloadfs.{verb}", kind=trace.SpanKind.CLIENT)
    span.__enter__()
    return span, trace.get_current_span()


def _finish(opened: Any, verb: str, pointer: Any, error: BaseException | None, took_s: float) -> None:
    manager, span = opened
    attributes: dict[str, Any] = {"payloadfs.operation.name": verb}
    if pointer is not None:
        attributes |= {"payloadfs.serializer": pointer.serializer, "payloadfs.inline": pointer.is_inline}
        span.set_attributes({"payloadfs.object.location": pointer.location, "payloadfs.object.type": pointer.type_name})
        span.set_attribute("payloadfs.object.size", pointer.size_bytes)
    if error is not None:
        attributes["error.type"] = error.kind if isinstance(error, PayloadError) else type(error).__qualname__
    span.set_attributes(attributes)
    _, duration, size, _ = _instruments()
    duration.record(took_s, attributes)
    if pointer is not None and error is None:
        size.record(pointer.size_bytes, attributes)
    manager.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


@on_fork
def _after_fork() -> None:
    # Bars of the parent belong to its thread, which a fork does not copy.
    on_progress(None)
