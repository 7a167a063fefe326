"""The flow: holds works and other flows, and defines in `run` what happens in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from ._component import Component, active_driver, reserve_names
from ._work import Work, seconds


class StopFlow(BaseException):  # not an error, and a flow must not catch it
    """Exits the flow's `run`; raised by `Flow.stop`."""


class Flow(Component):
    """A program that drives works: subclass it, create works in ``__init__`` or `run`, and call them in `run`.

    An app calls `run` in passes for as long as a pass changes an attribute or the status of a
    work, or a timer is due. Results of parallel works appear at the beginning of a pass. If the app is
    killed and resumed, it repeats the interrupted pass from the attributes that the pass started with; calls
    that had ended are not repeated. So `run` should depend only on attributes and `now_s`, and have no effect
    other than calls and assignments.

    A work or flow that `run` creates must be assigned to a declared attribute, or added to a list or dict in one,
    and cannot be removed. A resumed run creates it again with the same arguments, so these must be JSON values
    or payloads.

    Examples
    --------
    >>> class Main(Flow):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.greeting = None
    ...
    ...     def run(self):
    ...         self.greeting = "hello"
    >>> flow = Main()
    >>> flow.run()
    >>> flow.greeting
    'hello'
    """

    _runs_in_driver = False

    def run(self) -> None:
        """Define one pass. The `run` of the root flow takes no arguments; others may."""
        raise TypeError(f"{type(self).__name__} does not define run().")

    def stop(self, message: str = "") -> NoReturn:
        """End the app: exit `run` immediately, keep its assignments, and stop works that are still running."""
        raise StopFlow(message)

    @property
    def now_s(self) -> float:
        """When this pass began, in seconds since 1970 (UTC); the same if the pass is repeated after a crash."""
        driver = active_driver.get()
        return time.time() if driver is None else driver.now_s

    def has_elapsed(self, duration: float | str, timer: str = "") -> bool:
        """Return whether `duration` has passed since the first call with this `timer`; another pass begins then.

        Parameters
        ----------
        duration : float or str
            Seconds, or a string such as ``"10s"``, ``"5m"``, ``"2h"``.
        timer : str
            Name of the timer, for a flow with several. A resumed run keeps its timers.

        Notes
        -----
        Returns immediately and occupies no process: the flow's `run` is called again when the time has come.
        """
        driver = active_driver.get()
        return driver is not None and driver.has_elapsed(f"{self.name}/{timer}", seconds(duration, "duration"))

    def restart_timer(self, timer: str = "") -> None:
        """Restart `timer` at its next `has_elapsed`."""
        driver = active_driver.get()
        if driver is not None:
            driver.restart_timer(f"{self.name}/{timer}")


Flow._child_types = (Work, Flow)
reserve_names(Flow)


class Map(Flow):
    """One parallel work for each item of a list, created as the list grows.

    Parameters
    ----------
    create : callable
        Creates a work with ``parallel=True``: its class, or a function without parameters.

    Examples
    --------
    In ``__init__``: ``self.squares = Map(Square)``. In `run`: ``self.squares.run(numbers)``, and
    once ``self.squares.is_done``, ``[work.result for work in self.squares.works]``.
    """

    def __init__(self, create: Callable[[], Work]) -> None:
        super().__init__()
        self._create = create
        self.works: list[Any] = []

    def run(self, items: Iterable[Any]) -> None:  # type: ignore[override]
        """Call one work for each item, with the item as its argument."""
        for pos, item in enumerate(items):
            if pos == len(self.works):
                self.works.append(self._create())
            self.works[pos].run(item)

    @property
    def is_done(self) -> bool:
        """Whether all works succeeded; True if there are none."""
        return all(work.has_succeeded for work in self.works)
