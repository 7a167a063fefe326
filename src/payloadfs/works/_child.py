"""The process in which the local executor runs calls: one at a time, until its parent is gone."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["GOODBYE", "output", "serve"]

GOODBYE = b""
"""In the place of a job: the process ends in order, as any program does."""

output: Callable[[str, str, str], None] | None = None
"""Passes what a work prints (its name, stream, text) on to the parent at once; None in every other process."""


def serve(descriptor: int) -> None:
    """Run what comes in by the socket `descriptor` until its other end is closed."""
    global output
    # An interrupt at the terminal is for the parent, which then ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    connection, sending = Connection(descriptor), threading.Lock()

    def send(kind: str, value: Any) -> None:
        message = pickle.dumps((kind, value), protocol=5)
        with sending:
            connection.send_bytes(message)

    output = lambda *printed: send("output", printed)  # noqa: E731
    while True:
        try:
            job = connection.recv_bytes()
        except EOFError:
            return
        if job == GOODBYE:
            return
        _answer(job, send)
        sys.stdout.flush()
        sys.stderr.flush()


def _answer(job: bytes, send: Callable[[str, Any], None]) -> None:
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


def _send_error(error: BaseException, send: Callable[[str, Any], None]) -> None:
    try:
        send("error", error)
    except Exception:  # an exception that can't be pickled is told in words
        send("error", RuntimeError(f"{type(error).__name__}: {error}"))


def _end_with_parent(descriptor: int) -> None:
    """End this process, in the middle of a call too, once the parent's end of the socket is closed."""
    hang_up = select.poll()
    hang_up.register(descriptor, 0)
    hang_up.poll()
    os._exit(1)
