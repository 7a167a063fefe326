"""Failing calls of the operating system, for stores that use local files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

_NAMES = {"write": ("write", "writev"), "fallocate": ("posix_fallocate",), "rename": ("rename", "replace")}


@dataclass(slots=True)
class DiskFault:
    """How often the calls of a `disk_fault` were made, and how often they failed."""

    calls: int = 0
    failures: int = 0


@contextmanager
def disk_fault(
    call: str,
    error: int | None,
    *,
    at: int = 1,
    times: int | None = 1,
    matching: Callable[..., bool] = lambda *_, **__: True,
) -> Iterator[DiskFault]:
    """Make calls of one function of `os` in this process fail inside the block, or kill the process before one of them.

    Parameters
    ----------
    call : str
        Name of the function, such as ``"fsync"``, ``"link"``, ``"open"``, ``"mkdir"``, ``"close"`` or ``"unlink"``.
        ``"write"`` is also `os.writev`, ``"rename"`` also `os.replace`, and ``"fallocate"`` is `os.posix_fallocate`.
    error : int or None
        The errno of the `OSError`. None: the process is killed by SIGKILL before the call.
    at : int
        Which call is the first to fail, from 1. With 0 none fails: calls are only counted.
    times : int, optional
        How many fail. None: all that follow.
    matching : callable
        Called with the arguments of each call; returns whether the call counts.

    Yields
    ------
    DiskFault
        The numbers of calls and failures so far.

    Notes
    -----
    Calls by code in C, such as those of Python's own file objects, are not seen. A ``close`` that fails closes the
    file, as on Linux; every other call that fails does nothing. A function that this system lacks is never called.

    Examples
    --------
    >>> import errno, os
    >>> with disk_fault("mkdir", errno.ENOSPC) as fault:
    ...     os.mkdir("full")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'full'
    >>> fault.failures
    1
    """
    counted, lock = DiskFault(), threading.Lock()

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            if not matching(*args, **kwargs):
                return real(*args, **kwargs)
            with lock:
                counted.calls += 1
                fails = 0 < at <= counted.calls and (times is None or counted.calls < at + times)
                counted.failures += fails
            if not fails:
                return real(*args, **kwargs)
            if error is None:
                os.kill(os.getpid(), 9)  # Windows has no name for it
            elif call == "close":
                real(*args, **kwargs)
            path = args[0] if args and isinstance(args[0], (str, bytes, os.PathLike)) else None
            raise OSError(error, os.strerror(error or 0), path)

        return called

    with ExitStack() as stack:
        for name in _NAMES.get(call, (call,)):
            if real := getattr(os, name, None):
                stack.enter_context(patch.object(os, name, wrap(real)))
        yield counted
