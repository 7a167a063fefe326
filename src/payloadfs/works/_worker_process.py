"""The process in which the local executor runs calls: one at a time, until its parent is gone."""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from multiprocessing.connection import Connection
from operator import itemgetter
from typing import Any

from ._cloudpickle import dumps

__all__ = ["GOODBYE", "output", "serve"]

GOODBYE = b""
"""In the place of a job: the process ends in order, as any program does."""

output: Callable[[str, str, str], None] | None = None
"""Passes what a work prints (its name, stream, text) on to the parent at once; None in every other process."""

_Send = Callable[[str, Any], None]
_SOON_S = 0.02
_MOST_CHARS = 1 << 20


def serve(descriptor: int, watched: int) -> None:
    """Run what comes in by the socket `descriptor`, until the other end of it or of the pipe `watched` is closed."""
    global output
    # An interrupt at the terminal is for the parent, which then ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whoever else held the line would keep the parent waiting after this process died.
    os.set_inheritable(descriptor, False)
    os.set_inheritable(watched, False)
    os.register_at_fork(after_in_child=lambda: _let_go(descriptor, watched))
    threading.Thread(target=_end_with_parent, args=(watched,), daemon=True).start()
    connection, sending = Connection(descriptor), threading.RLock()

    def send(kind: str, value: Any) -> None:
        message = _pickled((kind, value))
        with sending:
            if kind != "output":
                printed.flush()
            connection.send_bytes(message)

    printed = _Printed(send, sending)
    output = printed.write
    streams = sys.stdout, sys.stderr
    while True:
        try:
            job = connection.recv_bytes()
        except EOFError:
            return
        if job == GOODBYE:
            return
        send("begun", None)
        _answer(job, send)
        # A call may have put others there, and closed them.
        sys.stdout, sys.stderr = streams
        for stream in filter(None, streams):
            with suppress(OSError, ValueError):
                stream.flush()


class _Printed:
    """What calls print, on its way to the parent: lines at once, or if there are many, many at once."""

    def __init__(self, send: _Send, lock: threading.RLock) -> None:
        self._send, self._lock = send, lock
        self._texts: list[tuple[tuple[str, str], str]] = []
        self._chars, self._sent_s = 0, 0.0
        self._some = threading.Event()
        threading.Thread(target=self._flush_soon, daemon=True).start()

    def write(self, work: str, stream: str, text: str) -> None:
        with self._lock:
            self._texts.append(((work, stream), text))
            self._chars += len(text)
            is_line = text.endswith("\n") and time.monotonic() > self._sent_s + _SOON_S
            if is_line or self._chars > _MOST_CHARS:
                self.flush()
        self._some.set()

    def flush(self) -> None:
        with self._lock:
            texts, self._texts, self._chars = self._texts, [], 0
            for whose, group in groupby(texts, key=itemgetter(0)):
                self._send("output", (*whose, "".join(text for _, text in group)))
            self._sent_s = time.monotonic()

    def _flush_soon(self) -> None:
        while self._some.wait():
            time.sleep(_SOON_S)
            self._some.clear()
            self.flush()


def _answer(job: bytes, send: _Send) -> None:
    try:
        function, arguments, named = pickle.loads(job)
        result = function(*arguments, **named)
    except BaseException as error:  # all of them are the caller's
        _send_error(error, send)
        return
    try:
        send("result", result)
    except Exception as error:  # it can't be pickled
        _send_error(error, send)


def _pickled(message: tuple[str, Any]) -> bytes:
    try:
        return pickle.dumps(message, protocol=5)
    except Exception:  # of any kind: classes of __main__ travel by value, for example
        return dumps(message)


def _send_error(error: BaseException, send: _Send) -> None:
    told = "".join(traceback.format_exception(error))
    try:
        error.add_note(f"In its own process:\n{told}")
        pickle.loads(pickle.dumps(error))
        send("error", error)
    except Exception:  # an exception that can't be pickled, or not be made again, is told in words
        send("error", RuntimeError(told))


def _let_go(*descriptors: int) -> None:
    global output
    output = None
    for descriptor in descriptors:
        os.close(descriptor)


def _end_with_parent(watched: int) -> None:
    """End this process and what it started, in the middle of a call too, once the parent's end is closed."""
    leads = os.getpgrp() == os.getpid()
    if leads and hasattr(fcntl, "F_SETSIG"):
        # The kernel kills then, even while a call holds Python's lock for long.
        fcntl.fcntl(watched, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(watched, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(watched, fcntl.F_SETFL, fcntl.fcntl(watched, fcntl.F_GETFL) | os.O_ASYNC)
    hang_up = select.poll()
    hang_up.register(watched, 0)
    hang_up.poll()
    if leads:
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
