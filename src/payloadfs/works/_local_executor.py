"""The executor that apps use by default: processes of this machine, each with a line of its own."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ..errors import ConfigError, WorkError
from ._cloudpickle import dumps
from ._worker_process import GOODBYE

__all__ = ["LocalExecutor"]

T = TypeVar("T")
_PROGRAM = "import sys; sys.path[:], sys.argv[:] = {path!r}, {argv!r}; from payloadfs.works._worker_process import serve; serve{ends}"
_END_S = 5.0

_Job = tuple["Future[Any]", bytes]
_OnOutput = Callable[[str, str, str], None]


class LocalExecutor(Executor):
    """Processes of this machine, each started afresh, each with a line of its own to this one.

    If a process dies, only the call in it fails, at once, and a new process takes its place; the
    executors of the standard library give up all calls then. The program that uses it is not
    imported again in its processes, so it needs no ``if __name__ == "__main__"``.

    Parameters
    ----------
    max_workers : int, optional
        How many calls run at once. Default: one for each core.
    on_output : callable, optional
        Called, in other threads, for what works print: the work's name, ``"stdout"`` or ``"stderr"``, and a text.
        If it raises, the call whose text it is fails. Default: it is printed here.

    Notes
    -----
    Cost: a process takes some 100 ms to start, all start at once and beforehand. A process runs
    one call at a time, and is used again. It leads a process group: what a call starts ends with
    its process, at the latest with the executor. Use it in a ``with`` block: when the program
    ends, calls that still run end with it.
    """

    def __init__(self, max_workers: int | None = None, *, on_output: _OnOutput | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ConfigError(f"max_workers must be 1 or more, not {max_workers}.", kind="max-workers")
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lines: list[_Line] = []
        self._closing, self._is_closed = threading.Lock(), False
        weakref.finalize(self, _close, self._jobs, self._lines)
        for _ in range(max_workers or os.cpu_count() or 1):
            self._lines.append(_Line(self._jobs, on_output or _print))

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` in one of the processes. Pickled by cloudpickle."""
        future: Future[T] = Future()
        content = dumps((fn, args, kwargs))
        with self._closing:
            if self._is_closed:
                raise RuntimeError("The executor was shut down.")
            self._jobs.put((future, content))
        return future

    def kill(self, future: Future[Any]) -> None:
        """Stop the call of `future`, running or not."""
        if not future.cancel():
            for line in self._lines:
                line.kill(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes once their calls are done; calls that wait are not begun if `cancel_futures`."""
        with self._closing:
            self._is_closed = True
            if cancel_futures:
                self._cancel()
            _close(self._jobs, self._lines)
        for line in self._lines if wait else ():
            line.join()

    def kill_workers(self) -> None:
        """Stop all calls, running or not, and end the processes."""
        with self._closing:
            self._is_closed = True
            self._cancel()
            _close(self._jobs, self._lines)
        for line in self._lines:
            line.kill()
        for line in self._lines:
            line.join()

    def _cancel(self) -> None:
        with suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    job[0].cancel()
                    job[0].set_running_or_notify_cancel()


def _close(jobs: SimpleQueue[_Job | None], lines: list[_Line]) -> None:
    for _ in lines:
        jobs.put(None)


def _print(_work: str, stream: str, text: str) -> None:
    print(text, end="", file=getattr(sys, stream), flush=True)  # what the work printed


class _Gone(Exception):  # noqa: N818  # it never leaves this file
    """The process at the other end of the line is no more."""


class _Line:
    """One process, and the thread that talks to it."""

    def __init__(self, jobs: SimpleQueue[_Job | None], on_output: _OnOutput) -> None:
        self._jobs, self._on_output = jobs, on_output
        self._lock = threading.Lock()
        self._running: Future[Any] | None = None
        self._is_killed = self._is_ending = False
        self._process, self._connection, self._life = _start()
        self._thread = threading.Thread(target=self._serve, name="payloadfs-works", daemon=True)
        self._thread.start()

    def kill(self, future: Future[Any] | None = None) -> None:
        """Stop the call of `future`; without one, whatever runs, and start no process any more."""
        with self._lock:
            self._is_ending = self._is_ending or future is None
            if self._running is not None and future in (None, self._running):
                self._is_killed = True
                if self._process.poll() is None:
                    _kill_group(self._process)

    def join(self) -> None:
        self._thread.join()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, content = job
            if future.set_running_or_notify_cancel():
                self._run(future, content)
        with suppress(OSError):
            self._connection.send_bytes(GOODBYE)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._sweep()

    def _run(self, future: Future[Any], content: bytes) -> None:
        with self._lock:
            self._running, self._is_killed = future, False
        is_idle = True
        try:
            kind, value = self._answer(content)
        except Exception as error:
            kind, value, is_idle = "error", error, False
        with self._lock:
            self._running = None
        if self._is_killed or not is_idle:
            with suppress(OSError):  # the next call tries again, and tells
                self._renew()
        if kind == "result":
            future.set_result(value)
        else:
            future.set_exception(value)

    def _answer(self, content: bytes) -> tuple[str, Any]:
        """Let the process run a call, pass on what it prints, and return what comes of it."""
        for is_last in (False, True):
            has_begun = False
            try:
                self._send(content)
                while True:
                    kind, value = self._receive()
                    if kind == "output":
                        self._pass_on(*value)
                    elif kind == "begun":
                        has_begun = True
                    else:
                        return kind, value
            except _Gone:
                error = _died(self._process, has_begun=has_begun)
                if has_begun or is_last or self._is_killed:
                    raise error from None
            # It died while it was idle: nothing of the call has run.
            self._renew()
        raise AssertionError

    def _send(self, content: bytes) -> None:
        try:
            self._connection.send_bytes(content)
        except OSError as error:
            raise _Gone from error

    def _receive(self) -> tuple[str, Any]:
        try:
            content = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise _Gone from error
        kind, value = pickle.loads(content)
        return kind, value

    def _pass_on(self, work: str, stream: str, text: str) -> None:
        try:
            self._on_output(work, stream, text)
        except Exception as error:
            raise WorkError(f"What it printed can't be passed on: {type(error).__name__}: {error}.") from error

    def _renew(self) -> None:
        self._sweep()
        with self._lock:
            if not self._is_ending:
                self._process, self._connection, self._life = _start()

    def _sweep(self) -> None:
        """End the process, and what it started, and close the line."""
        _kill_group(self._process)
        self._process.wait()
        self._connection.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1


def _start() -> tuple[subprocess.Popen[bytes], Connection, int]:
    """Start a process, and return it with our ends of its line and of the pipe that tells it that we live."""
    ours, theirs = Pipe()
    watched, life = os.pipe()
    try:
        ends = (theirs.fileno(), watched)
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        command = [sys.executable, *flags, "-c", _PROGRAM.format(path=sys.path, argv=sys.argv, ends=ends)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=ends, process_group=0)  # noqa: S603
    except BaseException:
        ours.close()
        os.close(life)
        raise
    finally:
        theirs.close()
        os.close(watched)
    return process, ours, life


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _died(process: subprocess.Popen[bytes], *, has_begun: bool) -> WorkError:
    when = "in the middle of the call" if has_begun else "before the call began"
    try:
        code = process.wait(_END_S)
    except subprocess.TimeoutExpired:
        return WorkError("Its process closed the line to the app.", kind="process-died")
    if code >= 0:
        return WorkError(f"Its process ended {when}, with exit code {code}.", kind="process-died")
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return WorkError(f"Its process was killed {when}, by {name}.", kind="process-died")
