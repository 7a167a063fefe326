"""Capture of what works print, by thread and task, so that the output of two calls never mixes."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .._forks import on_fork

Sink = Callable[[str, str], None]
"""Takes the name of the stream, ``"stdout"`` or ``"stderr"``, and a string."""

_MAX_LINE_CHARS = 8192

_lines: ContextVar[_LineBuffer | None] = ContextVar("payloadfs_output", default=None)
_lock = threading.Lock()
_users = 0


# A forked child is an ordinary program: its output must not use its parent's connection.
@on_fork
def _after_fork() -> None:
    _lines.set(None)


class _LineBuffer:
    """A buffer that passes on whole lines, so that the output of concurrent works stays readable.

    It passes on an unfinished line if it has a carriage return, as progress bars do, or if it is flushed.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink, self._lock = sink, threading.Lock()
        self._incomplete: dict[str, str] = {}

    def write(self, stream: str, text: str) -> None:
        with self._lock:
            text = self._incomplete.pop(stream, "") + text
            end = text.rfind("\n") + 1
            if "\r" in text[end:] or len(text) >= _MAX_LINE_CHARS:
                end = len(text)
            self._incomplete[stream] = text[end:]
            if end:
                self._sink(stream, text[:end])

    def flush(self, stream: str) -> None:
        with self._lock:
            if text := self._incomplete.pop(stream, ""):
                self._sink(stream, text)


class _CapturedStream(io.TextIOBase):
    """A standard stream that writes to the sink of the current thread or task if there is one."""

    def __init__(self, name: str, original: Any) -> None:
        self._name, self.original = name, original

    def write(self, text: str) -> int:
        lines = _lines.get()
        if lines is None or not isinstance(text, str):
            self.original.write(text)
        else:
            lines.write(self._name, text)
        return len(text)

    def flush(self) -> None:
        if (lines := _lines.get()) is not None:
            lines.flush(self._name)
        self.original.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        descriptor: int = self.original.fileno()
        return descriptor

    @property
    def encoding(self) -> str:  # type: ignore[override]
        name: str = self.original.encoding
        return name

    def __getattr__(self, name: str) -> Any:
        # Everything else, such as `buffer`, belongs to the original stream and is not captured.
        return getattr(self.original, name)


@contextmanager
def capture_output(sink: Sink) -> Iterator[None]:
    """Pass what this thread or task prints inside the block to `sink`, in whole lines if possible.

    Output of threads started inside the block is not captured.
    """
    global _users
    with _lock:
        # Even if there are other users: the program may have replaced the streams while an abandoned call ran.
        for name in ("stdout", "stderr"):
            if not isinstance(getattr(sys, name), _CapturedStream):
                setattr(sys, name, _CapturedStream(name, getattr(sys, name)))
        _users += 1
    lines = _LineBuffer(sink)
    token = _lines.set(lines)
    try:
        yield
    finally:
        _lines.reset(token)
        for name in ("stdout", "stderr"):
            lines.flush(name)
        with _lock:
            _users -= 1
            if _users == 0 and isinstance(sys.stdout, _CapturedStream) and isinstance(sys.stderr, _CapturedStream):
                sys.stdout, sys.stderr = sys.stdout.original, sys.stderr.original
