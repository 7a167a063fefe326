"""One call of a work: the task sent to the process that runs it, and the outcome that it returns."""

from __future__ import annotations

import os
import pickle
import platform
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .. import config
from ..errors import EncodeError, StoreError
from ..repository import default_repository
from ..signing import KeyRing
from . import _component, _worker_process
from ._capture import capture_output
from ._cloudpickle import dumps
from ._component import active_driver
from ._journal import Content
from ._state import canonical, same
from ._work import Work

_MAX_OUTPUT_CHARS = 1_000_000
_MAX_MESSAGE_CHARS = 1_000
_MAX_TRACEBACK_CHARS = 10_000


@dataclass(frozen=True, slots=True)
class Task:
    """A call to run: name of the work, settings for its process, and the pickled work with its arguments.

    Payloads are pickled as their pointers, so a task is small whatever the size of their objects.
    `limit_s` is how long the call may run, unless its executor enforces that. `claim` is the key of an object that the
    attempt creates when it begins, if its executor may run it again: then the second attempt fails.
    """

    work: str
    settings: Mapping[str, Any] = field(repr=False)
    prefix: str
    body: bytes = field(repr=False)
    limit_s: float | None = None
    claim: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a call.

    Parameters
    ----------
    state : dict or None
        The attributes that the call changed, as JSON; None if it failed.
    message, traceback : str
        The exception as one line, and its traceback without our own frames; empty if it succeeded.
    started_s, ended_s : float
        Seconds since 1970 (UTC), by the clock of the machine that ran it.
    output : list of tuple of str
        The stream and text of its output, if that could not be sent while it ran.
    """

    state: dict[str, Any] | None
    message: str
    traceback: str
    started_s: float
    ended_s: float
    output: list[tuple[str, str]]


def pack(
    work: Work,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    settings: Mapping[str, Any],
    prefix: str,
    limit_s: float | None,
    claim: str,
) -> Task:
    """Return the task that calls ``work.run(*args, **kwargs)``; the other parameters are those of `Task`.

    Classes and functions of ``__main__``, and of modules registered with cloudpickle, are pickled by
    value; all others must be importable where the call runs.

    Raises
    ------
    EncodeError
        The work or one of its private attributes cannot be pickled.
    """
    try:
        body = dumps((work, args, kwargs))
    except Exception as error:
        for name, value in work.__getstate__().items():
            try:
                dumps(value)
            except Exception as cause:
                raise EncodeError(
                    f"{work.name}.{name} cannot be sent to another process: {cause}. Create it in run().", path=name
                ) from error
        raise EncodeError(f"{work.name} cannot be sent to another process: {error}.") from error
    return Task(work.name, settings, prefix, body, limit_s, claim)


def execute(task: Task) -> Outcome:
    """Run a call in the process that it was sent to. An exception of the work is part of the outcome, never raised.

    A call with a limit runs in a separate thread. If it takes longer, it has failed; the thread cannot be
    ended, and keeps running.
    """
    if task.limit_s is None:
        return _execute(task)
    outcomes: list[Outcome] = []
    started_s, context = time.time(), copy_context()
    thread = threading.Thread(
        target=lambda: outcomes.append(context.run(_execute, task)), daemon=True, name="payloadfs-call"
    )
    thread.start()
    thread.join(task.limit_s)
    if outcomes:
        return outcomes[0]
    message = f"It was still running after {task.limit_s:g} s (timeout_s)."
    return Outcome(None, message, "", started_s, time.time(), [])


def _execute(task: Task) -> Outcome:
    started_s, output = time.time(), _OutputBuffer()
    sink = partial(_worker_process.output, task.work) if _worker_process.output else output.write
    try:
        with config.using(**_settings(task)), capture_output(sink), _own_process_restored():
            if task.claim and (problem := _claim(task.claim)):
                return Outcome(None, problem, "", started_s, time.time(), [])
            state = _run(task)
    except BaseException as error:  # also SystemExit and the like: they come from the work
        return Outcome(None, _message(error), _traceback(error), started_s, time.time(), output.kept)
    return Outcome(state, "", "", started_s, time.time(), output.kept)


def _claim(key: str) -> str:
    """Record that this process has begun the attempt. If another one has, return why the attempt failed. One PUT."""
    store, content = default_repository().store, f"process {os.getpid()} on {platform.node()}, {secrets.token_hex(8)}"
    try:
        store.put(key, Content(content.encode()))
    except StoreError as error:
        if error.kind != "exists":
            raise
    else:
        return ""
    stored = bytes(store.get(key, store.info(key).size_bytes).buffer).decode(errors="replace")
    if stored == content:  # an earlier try of this put
        return ""
    return (
        f"The executor lost the process that ran it ({stored.rpartition(',')[0]}) and started it again, which was refused: "
        "`retries` says how often an attempt is repeated."
    )


@contextmanager
def _own_process_restored() -> Iterator[None]:
    """Undo changes to the working directory and the environment after the block, in our own worker processes.

    Other executors may run other calls in the same process at the same time.
    """
    if _worker_process.output is None:
        yield
        return
    environment, folder = dict(os.environ), os.getcwd()
    try:
        yield
    finally:
        os.chdir(folder)
        if os.environ != environment:
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)


def _settings(task: Task) -> dict[str, Any]:
    if "keys" not in task.settings:
        return dict(task.settings)
    return {**task.settings, "keys": KeyRing.parse(task.settings["keys"], origin="the flow")}


def _run(task: Task) -> dict[str, Any]:
    """Run the work, and return the attributes that it changed, as JSON."""
    work, args, kwargs = _unpack(task.body)
    active_driver.set(None)  # threads may inherit it from the driver
    work._set_internal(_prefix=task.prefix)
    before = work._encode_state()
    output = _worker_process.output
    if work._is_live and output is not None:
        work._set_internal(_publish_state=lambda: output(work.name, "state", f"{canonical(_changes(work, before))}\n"))
    run: Callable[..., Any] = work.run
    result = run(*args, **kwargs)
    if result is not None:
        raise TypeError(
            f"{type(work).__name__}.run() returned a {type(result).__name__}, but run must return None: assign the "
            "result to an attribute, self.result = ..., wrapped in Payload(...) if it is not a JSON value."
        )
    return _changes(work, before)


def _changes(work: Work, before: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of `work` that differ from `before`, as JSON."""
    return {
        name: value
        for name, value in work._encode_state().items()
        if name not in before or not same(value, before[name])
    }


def _unpack(body: bytes) -> tuple[Work, tuple[Any, ...], dict[str, Any]]:
    try:
        work, args, kwargs = pickle.loads(body)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: the class of the work cannot be imported in the process that runs it. Install its package "
            "there, or send it by value with cloudpickle.register_pickle_by_value(module)",
            name=error.name,
        ) from error
    return work, args, kwargs


class _OutputBuffer:
    """A buffer for what a call prints, limited to a million characters."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str]] = []
        self._chars = 0

    def write(self, stream: str, text: str) -> None:
        if self._chars < _MAX_OUTPUT_CHARS <= self._chars + len(text):
            self.kept.append((stream, f"{text[: _MAX_OUTPUT_CHARS - self._chars]}\n[further output was dropped]\n"))
        elif self._chars < _MAX_OUTPUT_CHARS:
            self.kept.append((stream, text))
        self._chars += len(text)


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # __str__ is the user's code
        text = "(str of the exception failed)"
    return _shorten(f"{type(error).__name__}: {text}" if text else type(error).__name__, _MAX_MESSAGE_CHARS)


def _traceback(error: BaseException) -> str:
    """Return the traceback of `error` without our own frames at its top."""
    summary = traceback.TracebackException.from_exception(error)
    while summary.stack and summary.stack[0].filename in (__file__, _worker_process.__file__, _component.__file__):
        del summary.stack[0]
    return _shorten("".join(summary.format()), _MAX_TRACEBACK_CHARS)


def _shorten(text: str, max_chars: int) -> str:
    """Return `text` without its middle if it is long: it becomes part of the journal."""
    if len(text) <= max_chars:
        return text
    half = max_chars // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters omitted]\n{text[-half:]}"
