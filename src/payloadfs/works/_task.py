"""One call of a work, as it travels to where it runs, and what comes back from there."""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .. import config
from ..errors import EncodeError
from . import _worker_process
from ._capture import captured
from ._cloudpickle import dumps
from ._state import canonical
from ._work import Work

__all__ = ["Outcome", "Task", "execute", "pack"]

_MOST_OUTPUT_CHARS = 1_000_000
_MOST_MESSAGE_CHARS = 1_000
_MOST_TRACEBACK_CHARS = 10_000


@dataclass(frozen=True, slots=True)
class Task:
    """What is sent to run a call: the work's name, settings for its process, and the pickled work with its arguments.

    Payloads are pickled as their pointers, so a task is small whatever they hold.
    """

    work: str
    settings: Mapping[str, Any] = field(repr=False)
    prefix: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to.

    Parameters
    ----------
    state : dict or None
        The attributes that it changed, as JSON; None if it failed.
    message, traceback : str
        Of its exception: one line, and the work's own part of the traceback.
    started_s, ended_s : float
        Seconds since 1970 (UTC), by the clock of its machine.
    output : list of tuple of str
        What it printed, by stream, where that could not be passed on at once.
    """

    state: dict[str, Any] | None
    message: str
    traceback: str
    started_s: float
    ended_s: float
    output: list[tuple[str, str]]


def pack(
    work: Work, arguments: tuple[Any, ...], named: dict[str, Any], settings: Mapping[str, Any], prefix: str
) -> Task:
    """Return the task of calling `work`.

    Classes and functions of ``__main__``, and of modules registered with cloudpickle, travel by
    value; others have to be importable where the call runs.

    Raises
    ------
    EncodeError
        A private attribute of the work can't be pickled.
    """
    try:
        body = dumps((work, arguments, named))
    except Exception as error:
        for name, value in work.__getstate__().items():
            try:
                dumps(value)
            except Exception as inner:  # of any kind
                raise EncodeError(
                    f"{work.name}.{name} can't be sent to another process: {inner}. Make it in run().", path=name
                ) from error
        raise EncodeError(f"{work.name} can't be sent to another process: {error}.") from error
    return Task(work.name, settings, prefix, body)


def execute(task: Task) -> Outcome:
    """Run the call where it was sent to. Never raises what the work raises: that is part of the outcome."""
    started_s, output = time.time(), _Output()
    sink = partial(_worker_process.output, task.work) if _worker_process.output else output.keep
    try:
        with config.using(**task.settings), captured(sink):
            state = _changes(task)
    except BaseException as error:  # whatever it is, it is the work's
        return Outcome(None, _message(error), _own_traceback(error), started_s, time.time(), output.kept)
    return Outcome(state, "", "", started_s, time.time(), output.kept)


def _changes(task: Task) -> dict[str, Any]:
    work, arguments, named = _unpacked(task.body)
    work._put(_prefix=task.prefix)
    before = work._encoded()
    run: Callable[..., Any] = work.run
    result = run(*arguments, **named)
    if result is not None:
        raise TypeError(
            f"{type(work).__name__}.run() returned a {type(result).__name__}, and nobody can receive it: assign it "
            "to an attribute, self.result = ..., wrapped in Payload(...) if it is no JSON value."
        )
    return {
        n: value for n, value in work._encoded().items() if n not in before or canonical(value) != canonical(before[n])
    }


def _unpacked(body: bytes) -> tuple[Work, tuple[Any, ...], dict[str, Any]]:
    try:
        work, arguments, named = pickle.loads(body)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: the work's class can't be imported where it runs; install its package there, or let it travel "
            "by value with cloudpickle.register_pickle_by_value(module)",
            name=error.name,
        ) from error
    return work, arguments, named


class _Output:
    """Keeps what a call prints, up to a million characters."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str]] = []
        self._chars = 0

    def keep(self, stream: str, text: str) -> None:
        if self._chars < _MOST_OUTPUT_CHARS <= self._chars + len(text):
            self.kept.append((stream, f"{text[: _MOST_OUTPUT_CHARS - self._chars]}\n[more was printed, and dropped]\n"))
        elif self._chars < _MOST_OUTPUT_CHARS:
            self.kept.append((stream, text))
        self._chars += len(text)


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # a class may get that wrong as well
        text = "(its text can't be told)"
    return _shortened(f"{type(error).__name__}: {text}" if text else type(error).__name__, _MOST_MESSAGE_CHARS)


def _own_traceback(error: BaseException) -> str:
    """Return the traceback of `error` without our own frames at its top."""
    told = traceback.TracebackException.from_exception(error)
    while told.stack and told.stack[0].filename in (__file__, _worker_process.__file__):
        del told.stack[0]
    return _shortened("".join(told.format()), _MOST_TRACEBACK_CHARS)


def _shortened(text: str, most_chars: int) -> str:
    """Return `text`, its middle left out if it is long: it becomes part of the run's document."""
    if len(text) <= most_chars:
        return text
    half = most_chars // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters are left out]\n{text[-half:]}"
