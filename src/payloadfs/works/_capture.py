"""What works print, caught where they run: by thread and task, so that two calls never mix."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["captured"]

Sink = Callable[[str, str], None]
"""Takes the name of the stream, ``"stdout"`` or ``"stderr"``, and some text."""

_LONGEST_CHARS = 8192

_sink: ContextVar[Sink | None] = ContextVar("payloadfs_output", default=None)
_lock = threading.Lock()
_users = 0

# A fork goes on as an ordinary program: what it prints does not go through its parent's line.
os.register_at_fork(after_in_child=lambda: _sink.set(None))


class _Lines:
    """Hands text on in whole lines, so that what several works print at once stays readable."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._lock = sink, threading.Lock()
        self._rest: dict[str, str] = {}

    def write(self, stream: str, text: str) -> None:
        with self._lock:
            text = self._rest.pop(stream, "") + text
            end = text.rfind("\n") + 1 if len(text) < _LONGEST_CHARS else len(text)
            self._rest[stream] = text[end:]
            if end:
                self._sink(stream, text[:end])

    def end(self) -> None:
        for stream, text in self._rest.items():
            if text:
                self._sink(stream, text)


class _Routed(io.TextIOBase):
    """A standard stream that hands text on to the sink of who prints, if there is one."""

    def __init__(self, name: str, original: Any) -> None:
        self._name, self.original = name, original

    def write(self, text: str) -> int:
        sink = _sink.get()
        if sink is None or not isinstance(text, str):
            self.original.write(text)
        else:
            sink(self._name, text)
        return len(text)

    def flush(self) -> None:
        self.original.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        number: int = self.original.fileno()
        return number

    @property
    def encoding(self) -> str:  # type: ignore[override]
        name: str = self.original.encoding
        return name

    def __getattr__(self, name: str) -> Any:
        # What a text stream has besides, such as `buffer`, is the original's: it is not caught.
        return getattr(self.original, name)


@contextmanager
def captured(sink: Sink) -> Iterator[None]:
    """Hand what this thread or task prints in the block to `sink`, in whole lines.

    The last one may lack its end. Threads that it starts print as ever.
    """
    global _users
    with _lock:
        if _users == 0:
            sys.stdout, sys.stderr = _Routed("stdout", sys.stdout), _Routed("stderr", sys.stderr)
        _users += 1
    lines = _Lines(sink)
    token = _sink.set(lines.write)
    try:
        yield
    finally:
        _sink.reset(token)
        lines.end()
        with _lock:
            _users -= 1
            if _users == 0 and isinstance(sys.stdout, _Routed) and isinstance(sys.stderr, _Routed):
                sys.stdout, sys.stderr = sys.stdout.original, sys.stderr.original
