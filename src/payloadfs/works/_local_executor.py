"""The executor that apps use by default: worker processes on this machine, each with its own connection."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Pipe
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from .._threads import available_cores
from ..errors import ConfigError, WorkError
from ._cloudpickle import dumps
from ._program import current
from ._worker_process import SHUTDOWN

if sys.platform == "win32":
    import msvcrt


T = TypeVar("T")
_PROGRAM = (
    "import sys; sys.path[:], sys.argv[:] = {path!r}, {argv!r}; "
    "from payloadfs.works._worker_process import serve; serve{arguments}"
)
_EXIT_TIMEOUT_S = 5.0
_GRACE_S = 5.0


class _Job(NamedTuple):
    """A call: its future, what is sent to the process, and how long it may run."""

    future: Future[Any]
    content: bytes
    limit_s: float | None


_OnOutput = Callable[[str, str, str], None]


class LocalExecutor(Executor):
    """Worker processes on this machine, each started separately and connected to this process.

    If a worker process dies, only its current call fails, immediately, and a new process replaces it;
    the process pool of the standard library fails all calls instead. Worker processes import the
    program up to the point where it starts its app, so it needs no ``if __name__ == "__main__"``.

    Parameters
    ----------
    max_workers : int, optional
        How many calls run at the same time. Default: one per available core.
    on_output : callable, optional
        Called in other threads with what works print: the name of the work, ``"stdout"`` or
        ``"stderr"``, and a string. If it raises, the call that printed fails. Default: print it.
    grace_s : float
        How long a stopped call may take to clean up, after SIGTERM and before SIGKILL.
    max_calls_per_process : int, optional
        After how many calls a process is replaced; 1 isolates calls completely. Default: never.

    Notes
    -----
    Cost: a process takes about 100 ms to start; all are started together, in the constructor. A
    process runs one call at a time, and is reused. It leads a process group: programs that a call
    starts are killed when the worker process ends, at the latest with the executor; on Windows they are
    not. Use the executor in a ``with`` block. When the program ends, calls that are still running are killed.
    A call gets the working directory and the environment that its process started with; changes that
    an earlier call made to modules and their variables remain.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        on_output: _OnOutput | None = None,
        grace_s: float = _GRACE_S,
        max_calls_per_process: int | None = None,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ConfigError(f"max_workers must be 1 or more, not {max_workers}.", kind="max-workers")
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._workers: list[_WorkerHandle] = []
        self._lock, self._is_closed = threading.Lock(), False
        self.listeners: list[_OnOutput] = []
        """Called like `on_output`, and with the stream ``"state"`` for what a live work publishes."""
        weakref.finalize(self, _close, self._jobs, self._workers)
        handle = partial(_WorkerHandle, self._jobs, self.listeners, on_output or _print, grace_s, max_calls_per_process)
        for _ in range(max_workers or available_cores()):
            self._workers.append(handle())

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` in a worker process. All three are pickled with cloudpickle."""
        return self.submit_limited(None, fn, *args, **kwargs)

    def submit_limited(self, limit_s: float | None, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` for at most `limit_s` seconds; then stop it, and its future raises `WorkError`."""
        future: Future[T] = Future()
        job = _Job(future, dumps((fn, args, kwargs)), limit_s)
        with self._lock:
            if self._is_closed:
                raise RuntimeError("The executor was shut down.")
            self._jobs.put(job)
        return future

    def kill(self, future: Future[Any]) -> None:
        """Stop the call of `future`, running or not. Does not wait while its process takes the grace period to end."""
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
        """Stop all calls, running or not, and end the processes. Takes the grace period at most."""
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
                    job.future.cancel()
                    job.future.set_running_or_notify_cancel()


def _close(jobs: SimpleQueue[_Job | None], workers: list[_WorkerHandle]) -> None:
    for _ in workers:
        jobs.put(None)


def _print(_work: str, stream: str, text: str) -> None:
    print(text, end="", file=getattr(sys, stream), flush=True)


class _WorkerDied(Exception):  # noqa: N818  # never leaves this file
    """Control flow: the worker process closed its connection."""


class _WorkerHandle:
    """One worker process, and the thread that communicates with it."""

    def __init__(
        self,
        jobs: SimpleQueue[_Job | None],
        listeners: list[_OnOutput],
        on_output: _OnOutput,
        grace_s: float,
        max_calls: int | None,
    ) -> None:
        self._jobs, self._listeners, self._on_output = jobs, listeners, on_output
        self._grace_s, self._max_calls = grace_s, max_calls
        self._lock, self._calls = threading.Lock(), 0
        self._running: Future[Any] | None = None
        self._timer: threading.Timer | None = None
        self._is_killed = self._is_ending = False
        self._process, self._connection, self._lifeline = _start_process()
        self._thread = threading.Thread(target=self._serve, name="payloadfs-works", daemon=True)
        self._thread.start()

    def kill(self, future: Future[Any] | None = None) -> None:
        """Stop the call of `future`. Without `future`, stop any call, and never restart the process."""
        with self._lock:
            self._is_ending = self._is_ending or future is None
            if self._running is not None and future in (None, self._running):
                self._stop_process()

    def _stop_process(self) -> None:
        """Send SIGTERM to the process, and SIGKILL to its group after the grace period."""
        if self._is_killed:
            return
        self._is_killed = True
        process = self._process
        if process.poll() is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            self._timer = threading.Timer(self._grace_s, _kill_if_alive, (process,))
            self._timer.daemon = True
            self._timer.start()

    def join(self) -> None:
        self._thread.join()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                self._run(job)
        with suppress(OSError):
            self._connection.send_bytes(SHUTDOWN)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_TIMEOUT_S)
        self._terminate()

    def _run(self, job: _Job) -> None:
        with self._lock:
            self._running, self._is_killed = job.future, False
        is_idle = True
        try:
            kind, value = self._request(job)
        except Exception as error:
            kind, value, is_idle = "error", error, False
        with self._lock:
            self._running = None
        self._calls += 1
        if self._is_killed or not is_idle or self._calls == self._max_calls:
            if self._is_killed:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(self._grace_s + _EXIT_TIMEOUT_S)
            with suppress(OSError):  # the next call tries again, and reports the error
                self._restart()
        if kind == "result":
            job.future.set_result(value)
        else:
            job.future.set_exception(value)

    def _request(self, job: _Job) -> tuple[str, Any]:
        """Send a job to the process, pass on what it prints, and return ``("result" or "error", value)``."""
        for is_last in (False, True):
            has_begun = False
            try:
                self._send(job.content)
                ends_s = None
                while True:
                    if ends_s is not None and not self._connection.poll(max(ends_s - time.monotonic(), 0)):
                        return "error", self._time_out(job)
                    kind, value = self._receive()
                    if kind == "output":
                        self._pass_on(*value)
                    elif kind == "begun":
                        has_begun = True
                        ends_s = None if job.limit_s is None else time.monotonic() + job.limit_s
                    else:
                        return kind, value
            except _WorkerDied:
                if self._is_killed and not has_begun:  # it was still starting, and ended as if it was idle
                    raise WorkError("It was stopped by SIGTERM before it began.", kind="process-died") from None
                error = _died_error(self._process, has_begun=has_begun)
                if has_begun or is_last:
                    raise error from None
            # It died while it was idle: no part of the call has run.
            self._restart()
        raise AssertionError

    def _time_out(self, job: _Job) -> WorkError:
        """Stop the call, and return its error once the process has ended. What it prints meanwhile is passed on."""
        with self._lock:
            self._stop_process()
        with suppress(_WorkerDied):
            while (message := self._receive())[0] == "output":
                self._pass_on(*message[1])
        return WorkError(f"It was still running after {job.limit_s:g} s (timeout_s) and was stopped.", kind="timeout")

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
        for listener in list(self._listeners):
            listener(work, stream, text)
        if stream == "state":
            return
        try:
            self._on_output(work, stream, text)
        except Exception as error:
            raise WorkError(f"Its output cannot be printed: {type(error).__name__}: {error}.") from error

    def _restart(self) -> None:
        self._terminate()
        with self._lock:
            self._calls = 0
            if not self._is_ending:
                self._process, self._connection, self._lifeline = _start_process()

    def _terminate(self) -> None:
        """Kill the process and the processes it started, and close the connection."""
        _kill_group(self._process)
        self._process.wait()
        if self._timer is not None:
            self._timer.cancel()
        self._connection.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def _start_process() -> tuple[subprocess.Popen[bytes], Any, int]:
    """Start a worker process. Return it, its connection, and the pipe by which it notices that this process died."""
    connection, remote_connection = Pipe()
    parent_pipe, lifeline = os.pipe()
    try:
        process = _spawn(remote_connection.fileno(), parent_pipe)
    except BaseException:
        connection.close()
        os.close(lifeline)
        raise
    finally:
        remote_connection.close()
        os.close(parent_pipe)
    return process, connection, lifeline


def _spawn(connection: int, parent_pipe: int) -> subprocess.Popen[bytes]:
    """Start Python with two descriptors or, on Windows, handles."""
    inherited: dict[str, Any]
    if sys.platform == "win32":
        descriptors = connection, msvcrt.get_osfhandle(parent_pipe)
        for handle in descriptors:
            os.set_handle_inheritable(handle, True)
        # No other handle is inherited.
        inherited = {"startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": list(descriptors)})}
    else:
        descriptors = connection, parent_pipe
        inherited = {"pass_fds": descriptors, "process_group": 0}
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    user_program = current()
    arguments = (*descriptors, user_program and tuple(user_program))
    program = _PROGRAM.format(path=sys.path, argv=sys.argv, arguments=arguments)
    command = [sys.executable, *flags, "-c", program]
    process: Any = subprocess.Popen(command, stdin=subprocess.DEVNULL, **inherited)  # noqa: S603
    return process  # type: ignore[no-any-return]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _kill_if_alive(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        _kill_group(process)


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
