"""The executor that apps use by default: worker processes on this machine, each with its own connection."""

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

from .._threads import available_cores
from ..errors import ConfigError, WorkError
from ._cloudpickle import dumps
from ._program import current
from ._worker_process import SHUTDOWN

__all__ = ["LocalExecutor"]

T = TypeVar("T")
_PROGRAM = (
    "import sys; sys.path[:], sys.argv[:] = {path!r}, {argv!r}; "
    "from payloadfs.works._worker_process import serve; serve{arguments}"
)
_EXIT_TIMEOUT_S = 5.0

_Job = tuple["Future[Any]", bytes]
_OnOutput = Callable[[str, str, str], None]


class LocalExecutor(Executor):
    """Worker processes on this machine, each started separately and connected to this process.

    If a worker process dies, only its current call fails, at once, and a new process replaces it;
    the process pool of the standard library fails all calls instead. Worker processes import the
    program up to the point where it starts its app, so it needs no ``if __name__ == "__main__"``.

    Parameters
    ----------
    max_workers : int, optional
        How many calls run at the same time. Default: one per available core.
    on_output : callable, optional
        Called in other threads with what works print: the name of the work, ``"stdout"`` or
        ``"stderr"``, and a string. If it raises, the call that printed fails. Default: print it.

    Notes
    -----
    Cost: a process takes about 100 ms to start; all are started at once, in the constructor. A
    process runs one call at a time, and is reused. It leads a process group: programs that a call
    starts are killed when the worker process ends, at the latest with the executor. Use the executor
    in a ``with`` block. When the program ends, calls that are still running are killed.
    """

    def __init__(self, max_workers: int | None = None, *, on_output: _OnOutput | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ConfigError(f"max_workers must be 1 or more, not {max_workers}.", kind="max-workers")
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._workers: list[_WorkerHandle] = []
        self._lock, self._is_closed = threading.Lock(), False
        weakref.finalize(self, _close, self._jobs, self._workers)
        for _ in range(max_workers or available_cores()):
            self._workers.append(_WorkerHandle(self._jobs, on_output or _print))

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` in a worker process. All three are pickled with cloudpickle."""
        future: Future[T] = Future()
        job = dumps((fn, args, kwargs))
        with self._lock:
            if self._is_closed:
                raise RuntimeError("The executor was shut down.")
            self._jobs.put((future, job))
        return future

    def kill(self, future: Future[Any]) -> None:
        """Stop the call of `future`, running or not."""
        if not future.cancel():
            for worker in self._workers:
                worker.kill(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes after all calls have ended, or only the running ones if `cancel_futures`."""
        with self._lock:
            self._is_closed = True
            if cancel_futures:
                self._cancel_waiting()
            _close(self._jobs, self._workers)
        for worker in self._workers if wait else ():
            worker.join()

    def kill_workers(self) -> None:
        """Stop all calls, running or not, and end the processes."""
        with self._lock:
            self._is_closed = True
            self._cancel_waiting()
            _close(self._jobs, self._workers)
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.join()

    def _cancel_waiting(self) -> None:
        with suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    job[0].cancel()
                    job[0].set_running_or_notify_cancel()


def _close(jobs: SimpleQueue[_Job | None], workers: list[_WorkerHandle]) -> None:
    for _ in workers:
        jobs.put(None)


def _print(_work: str, stream: str, text: str) -> None:
    print(text, end="", file=getattr(sys, stream), flush=True)


class _WorkerDied(Exception):  # noqa: N818  # never leaves this file
    """Control flow: the worker process closed its connection."""


class _WorkerHandle:
    """One worker process, and the thread that communicates with it."""

    def __init__(self, jobs: SimpleQueue[_Job | None], on_output: _OnOutput) -> None:
        self._jobs, self._on_output = jobs, on_output
        self._lock = threading.Lock()
        self._running: Future[Any] | None = None
        self._is_killed = self._is_ending = False
        self._process, self._connection, self._lifeline = _start_process()
        self._thread = threading.Thread(target=self._serve, name="payloadfs-works", daemon=True)
        self._thread.start()

    def kill(self, future: Future[Any] | None = None) -> None:
        """Stop the call of `future`. Without `future`, stop any call, and never restart the process."""
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
            self._connection.send_bytes(SHUTDOWN)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_TIMEOUT_S)
        self._terminate()

    def _run(self, future: Future[Any], content: bytes) -> None:
        with self._lock:
            self._running, self._is_killed = future, False
        is_idle = True
        try:
            kind, value = self._request(content)
        except Exception as error:
            kind, value, is_idle = "error", error, False
        with self._lock:
            self._running = None
        if self._is_killed or not is_idle:
            with suppress(OSError):  # the next call tries again, and reports the error
                self._restart()
        if kind == "result":
            future.set_result(value)
        else:
            future.set_exception(value)

    def _request(self, content: bytes) -> tuple[str, Any]:
        """Send a job to the process, pass on what it prints, and return ``("result" or "error", value)``."""
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
            except _WorkerDied:
                error = _died_error(self._process, has_begun=has_begun)
                if has_begun or is_last or self._is_killed:
                    raise error from None
            # It died while it was idle: no part of the call has run.
            self._restart()
        raise AssertionError

    def _send(self, content: bytes) -> None:
        try:
            self._connection.send_bytes(content)
        except OSError as error:
            raise _WorkerDied from error

    def _receive(self) -> tuple[str, Any]:
        try:
            content = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise _WorkerDied from error
        kind, value = pickle.loads(content)
        return kind, value

    def _pass_on(self, work: str, stream: str, text: str) -> None:
        try:
            self._on_output(work, stream, text)
        except Exception as error:
            raise WorkError(f"Its output cannot be printed: {type(error).__name__}: {error}.") from error

    def _restart(self) -> None:
        self._terminate()
        with self._lock:
            if not self._is_ending:
                self._process, self._connection, self._lifeline = _start_process()

    def _terminate(self) -> None:
        """Kill the process and the processes it started, and close the connection."""
        _kill_group(self._process)
        self._process.wait()
        self._connection.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def _start_process() -> tuple[subprocess.Popen[bytes], Connection, int]:
    """Start a worker process. Return it, its connection, and a pipe whose end it notices when this process dies."""
    connection, remote_connection = Pipe()
    parent_pipe, lifeline = os.pipe()
    try:
        descriptors, program = (remote_connection.fileno(), parent_pipe), current()
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        arguments = (*descriptors, program and tuple(program))
        command = [sys.executable, *flags, "-c", _PROGRAM.format(path=sys.path, argv=sys.argv, arguments=arguments)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors, process_group=0)  # noqa: S603
    except BaseException:
        connection.close()
        os.close(lifeline)
        raise
    finally:
        remote_connection.close()
        os.close(parent_pipe)
    return process, connection, lifeline


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _died_error(process: subprocess.Popen[bytes], *, has_begun: bool) -> WorkError:
    when = "during the call" if has_begun else "before the call began"
    try:
        code = process.wait(_EXIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return WorkError("The worker process closed its connection.", kind="process-died")
    if code >= 0:
        return WorkError(f"The worker process ended {when}, with exit code {code}.", kind="process-died")
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return WorkError(f"The worker process was killed {when}, by {name}.", kind="process-died")
