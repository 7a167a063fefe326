"""The worker process of the local executor: runs one call at a time, until its parent ends."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any

from .._forks import on_fork
from ._cloudpickle import dumps
from ._program import Program, import_in_worker

if sys.platform == "win32":
    import msvcrt
    from multiprocessing.connection import PipeConnection as Connection
else:
    import fcntl
    import select
    from multiprocessing.connection import Connection


SHUTDOWN = b""
"""A message instead of a job: the process ends normally, like any program."""

output: Callable[[str, str, str], None] | None = None
"""Sends output of a work (its name, the stream, a string) to the parent immediately; None in all other processes."""

_is_in_job = _is_ending = False

_Send = Callable[[str, Any], None]
_FLUSH_INTERVAL_S = 0.02
_MAX_BUFFERED_CHARS = 1 << 20


def serve(descriptor: int, parent_pipe: int, program: tuple[str, str] | None) -> None:
    """Run the jobs that arrive on the socket `descriptor` until its other end is closed; `program` can be imported.

    The process also ends once the other end of `parent_pipe` is closed, even in the middle of a job. On
    Windows both are handles.
    """
    global output
    _set_up(descriptor, parent_pipe)
    connection, lock = Connection(descriptor), threading.RLock()
    if program is not None:
        import_in_worker(Program(*program))

    pid = os.getpid()

    def send(kind: str, value: Any) -> None:
        if os.getpid() != pid:
            os._exit(0)  # a child that the job forked has returned from the job
        message = _pickle((kind, value))
        with lock:
            if kind != "output":
                buffer.flush()
            connection.send_bytes(message)

    buffer = _OutputBuffer(send, lock)
    output = buffer.write
    with suppress(EOFError):
        _run_jobs(connection, send)


def _run_jobs(connection: Any, send: _Send) -> None:
    streams = sys.stdout, sys.stderr
    while (job := connection.recv_bytes()) != SHUTDOWN and not _is_stopped():
        signal.signal(signal.SIGTERM, _end_job)  # an earlier job may have changed it
        send("begun", None)
        _run_job(job, send)
        if _is_stopped():
            return  # the program ends like any other: its exit handlers run
        # The job may have replaced the streams, and closed its own.
        sys.stdout, sys.stderr = streams
        for stream in filter(None, streams):
            with suppress(OSError, ValueError):
                stream.flush()


def _set_up(descriptor: int, parent_pipe: int) -> None:
    """Set up signals and what children inherit, and end this process with its parent."""
    # An interrupt at the terminal is for the parent, which then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_job)
    # A child with these descriptors would keep the parent waiting after this process has died.
    if sys.platform == "win32":
        for handle in (descriptor, parent_pipe):
            os.set_handle_inheritable(handle, False)
        parent_pipe = msvcrt.open_osfhandle(parent_pipe, os.O_RDONLY)
    else:
        for inherited in (descriptor, parent_pipe):
            os.set_inheritable(inherited, False)
    on_fork(lambda: _close_inherited(descriptor, parent_pipe))
    _end_with_parent_by_signal(parent_pipe)
    threading.Thread(target=_end_with_parent, args=(parent_pipe,), daemon=True).start()


class _OutputBuffer:
    """Output on its way to the parent: single lines are sent immediately, many lines together."""

    def __init__(self, send: _Send, lock: threading.RLock) -> None:
        self._send, self._lock = send, lock
        self._pending: list[tuple[tuple[str, str], str]] = []
        self._chars, self._flushed_s = 0, 0.0
        self._has_pending = threading.Event()
        threading.Thread(target=self._flush_periodically, daemon=True).start()

    def write(self, work: str, stream: str, text: str) -> None:
        with self._lock:
            self._pending.append(((work, stream), text))
            self._chars += len(text)
            is_due = text.endswith(("\n", "\r")) and time.monotonic() > self._flushed_s + _FLUSH_INTERVAL_S
            if is_due or self._chars > _MAX_BUFFERED_CHARS:
                self.flush()
        self._has_pending.set()

    def flush(self) -> None:
        with self._lock:
            pending, self._pending, self._chars = self._pending, [], 0
            for source, group in groupby(pending, key=itemgetter(0)):
                self._send("output", (*source, "".join(text for _, text in group)))
            self._flushed_s = time.monotonic()

    def _flush_periodically(self) -> None:
        while self._has_pending.wait():
            time.sleep(_FLUSH_INTERVAL_S)
            self._has_pending.clear()
            self.flush()


def _is_stopped() -> bool:
    return _is_ending


def _end_job(number: int, _: object) -> None:
    """End the job like `sys.exit`, so that its ``finally`` blocks run; on a second signal, exit immediately."""
    global _is_ending
    if _is_ending:
        os._exit(128 + number)
    _is_ending = True
    if _is_in_job:
        raise SystemExit(f"stopped by {signal.Signals(number).name}")


def _run_job(job: bytes, send: _Send) -> None:
    global _is_in_job
    try:
        _is_in_job = True
        function, args, kwargs = pickle.loads(job)
        result = function(*args, **kwargs)
    except BaseException as error:  # also SystemExit: the caller gets every exception
        _is_in_job = False
        _send_error(error, send)
        return
    _is_in_job = False
    try:
        send("result", result)
    except Exception as error:  # it cannot be pickled
        _send_error(error, send)


def _pickle(message: tuple[str, Any]) -> bytes:
    try:
        return pickle.dumps(message, protocol=5)
    except Exception:  # for example, classes of __main__ must be pickled by value
        return dumps(message)


def _send_error(error: BaseException, send: _Send) -> None:
    report = "".join(traceback.format_exception(error))
    try:
        error.add_note(f"In its own process:\n{report}")
        pickle.loads(pickle.dumps(error))
        send("error", error)
    except Exception:  # an exception that cannot be pickled or unpickled is sent as a string
        send("error", RuntimeError(report))


def _close_inherited(*descriptors: int) -> None:
    """Make a forked child an ordinary program, and end it quietly if it returns from the job it was forked in."""
    global output, _is_in_job
    output, _is_in_job = None, False
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for descriptor in descriptors:
        os.close(descriptor)


def _end_with_parent_by_signal(parent_pipe: int) -> None:
    """Let the kernel kill this process group once the parent's end is closed, if it can.

    It does so even if a call holds the GIL for a long time. Not in a thread, which may not run before that call.
    """
    if sys.platform != "win32" and os.getpgrp() == os.getpid() and hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(parent_pipe, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(parent_pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(parent_pipe, fcntl.F_SETFL, fcntl.fcntl(parent_pipe, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([parent_pipe], [], [], 0)[0]:  # it was closed before, which sends no signal
            os.killpg(0, signal.SIGKILL)


def _end_with_parent(parent_pipe: int) -> None:
    """Kill this process and its children, even in the middle of a call, once the parent's end is closed."""
    os.read(parent_pipe, 1)
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
