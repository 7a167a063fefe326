"""Values of one process, which a fork must not inherit: locks, threads and connections."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def on_fork(callback: Callable[[], None]) -> Callable[[], None]:
    """Call `callback` in each child that this process forks, before anything else runs there. Also a decorator."""
    if sys.platform != "win32":  # Windows has no fork
        os.register_at_fork(after_in_child=callback)
    return callback


class PerProcess(dict[int, T]):
    """A value that each process creates for itself when it first needs it, by ``value[os.getpid()]``.

    The value of the parent stays referenced in a forked child, so that nothing closes it there. If several threads
    need a value at the same time, each may create one, but all get the same.

    Examples
    --------
    >>> numbers = PerProcess(list)
    >>> numbers[os.getpid()] is numbers[os.getpid()]
    True
    """

    def __init__(self, create: Callable[[], T]) -> None:
        super().__init__()
        self._create = create

    def __missing__(self, process: int) -> T:
        # No lock: setdefault is atomic, and a lock held during a fork would never be released in the child.
        return self.setdefault(process, self._create())


_forked_with_obstore: list[bool] = []


@on_fork
def _after_fork() -> None:
    # No matter which code imported it: all users of obstore in a process share its threads.
    if "obstore" in sys.modules:
        _forked_with_obstore.append(True)


def obstore_unusable_after_fork() -> bool:
    """Return whether this process was forked from one that had loaded obstore: without its threads, calls hang."""
    return bool(_forked_with_obstore)
