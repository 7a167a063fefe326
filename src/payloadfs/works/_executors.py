"""Where calls run: processes of this machine, or any other `concurrent.futures.Executor`."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue
from typing import Any, TypeVar

from ..errors import ConfigError, WorkError
from ._child import GOODBYE

__all__ = ["LocalExecutor", "opened_executor"]

T = TypeVar("T")
_PROGRAM = "import sys; sys.path[:] = {path!r}; from payloadfs.works._child import serve; serve({descriptor})"
_END_S = 5.0
_DASK_S = 10

_Job = tuple["Future[Any]", bytes]


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

    Notes
    -----
    Cost: a process takes some 100 ms to start, all start at once and beforehand. A process runs
    one call at a time, and is used again.
    """

    def __init__(
        self, max_workers: int | None = None, *, on_output: Callable[[str, str, str], None] | None = None
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ConfigError(f"max_workers must be 1 or more, not {max_workers}.", kind="max-workers")
        self._on_output = on_output
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lines = [_Line(self._jobs, self._handle_output) for _ in range(max_workers or os.cpu_count() or 1)]
        self._closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` in one of the processes. Pickled by cloudpickle."""
        import cloudpickle

        if self._closed:
            raise RuntimeError("The executor was shut down.")
        future: Future[T] = Future()
        self._jobs.put((future, cloudpickle.dumps((fn, args, kwargs))))
        return future

    def kill(self, future: Future[Any]) -> None:
        """Stop the call of `future`, running or not."""
        if not future.cancel():
            for line in self._lines:
                line.kill(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, once their calls are done, or now if `cancel_futures`."""
        self._closed = True
        while cancel_futures and not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                job[0].cancel()
        for _ in self._lines:
            self._jobs.put(None)
        for line in self._lines:
            line.end(now=cancel_futures, wait=wait)

    def _handle_output(self, work: str, stream: str, text: str) -> None:
        if self._on_output is not None:
            self._on_output(work, stream, text)
        else:
            print(text, end="", file=getattr(sys, stream), flush=True)  # what the work printed


class _Line:
    """One process, and the thread that talks to it."""

    def __init__(self, jobs: SimpleQueue[_Job | None], on_output: Callable[[str, str, str], None]) -> None:
        self._jobs, self._on_output = jobs, on_output
        self._lock = threading.Lock()
        self._running: Future[Any] | None = None
        self._process, self._connection = _start()
        self._thread = threading.Thread(target=self._serve, name="payloadfs-works", daemon=True)
        self._thread.start()

    def kill(self, future: Future[Any]) -> None:
        with self._lock:
            if self._running is future:
                self._process.kill()

    def end(self, *, now: bool, wait: bool) -> None:
        with self._lock:
            if now and self._running is not None:
                self._process.kill()
        if wait:
            self._thread.join()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, content = job
            if not future.set_running_or_notify_cancel():
                continue
            self._send(future, content)
            self._receive(future)
            with self._lock:
                self._running = None
        with suppress(OSError):
            self._connection.send_bytes(GOODBYE)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection.close()

    def _send(self, future: Future[Any], content: bytes) -> None:
        try:
            with self._lock:
                self._running = future
            self._connection.send_bytes(content)
        except OSError:
            # It died while it was idle. Nothing of this call has run.
            self._renew()
            self._connection.send_bytes(content)

    def _receive(self, future: Future[Any]) -> None:
        try:
            while True:
                kind, value = pickle.loads(self._connection.recv_bytes())
                if kind != "output":
                    break
                self._on_output(*value)
        except (EOFError, OSError):
            future.set_exception(_died(self._process))
            self._renew()
        except Exception as error:  # an answer that can't be read is the caller's matter
            future.set_exception(error)
        else:
            future.set_result(value) if kind == "result" else future.set_exception(value)

    def _renew(self) -> None:
        self._connection.close()
        self._process.wait()
        with self._lock:
            self._process, self._connection = _start()


def _start() -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = Pipe()
    with theirs:
        program = _PROGRAM.format(path=sys.path, descriptor=theirs.fileno())
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        command = [sys.executable, *flags, "-c", program]
        # An interrupt while it starts must not reach it: it would tell of it in words of its own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return process, ours


def _died(process: subprocess.Popen[bytes]) -> WorkError:
    try:
        code = process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return WorkError("Its process closed the line to the app.", kind="process-died")
    if code >= 0:
        return WorkError(f"Its process ended in the middle of the call, with exit code {code}.", kind="process-died")
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return WorkError(f"Its process was killed in the middle of the call, by {name}.", kind="process-died")


@contextmanager
def opened_executor(executor: Any) -> Iterator[Executor]:
    """Give the executor that `executor` means; close what had to be opened for it.

    Parameters
    ----------
    executor : concurrent.futures.Executor, distributed.Client or str
        ``"dask://host:port"`` is the scheduler of a Dask cluster.

    Raises
    ------
    ConfigError
        It is none of these, or the package ``distributed`` is missing.
    """
    if isinstance(executor, Executor):
        yield executor
    elif isinstance(executor, str) and executor.startswith("dask://"):
        with _dask_client(executor) as client:
            yield client.get_executor(pure=False)
    elif not isinstance(executor, str) and hasattr(executor, "get_executor"):
        # Not pure: two calls with equal arguments are two calls.
        yield executor.get_executor(pure=False)
    else:
        raise ConfigError(
            f"{executor!r:.60} is no executor: use a concurrent.futures.Executor, a Dask Client or 'dask://host:port'.",
            kind="executor",
        )


def _dask_client(address: str) -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ConfigError("Dask needs a package: pip install 'payloadfs[dask]'.", kind="missing-package") from error
    client: Any = distributed.Client
    try:
        return client(address.replace("dask://", "tcp://", 1), timeout=_DASK_S)
    except (OSError, ValueError) as error:
        raise ConfigError(f"There is no Dask scheduler at {address}: {error}.", kind="executor") from error
