"""The flow: holds works and other flows, and defines in `run` what happens in which order."""

from __future__ import annotations

from typing import NoReturn

from ._component import Component, reserve_names
from ._work import Work

__all__ = ["Flow", "StopFlow"]


class StopFlow(BaseException):  # not an error, and a flow must not catch it
    """Exits the flow's `run`; raised by `Flow.stop`."""


class Flow(Component):
    """A program that drives works: subclass it, declare works in ``__init__`` and call them in `run`.

    An app calls `run` in passes for as long as a pass changes an attribute or the status of a
    work. Results of parallel works appear at the beginning of a pass. If the app is killed and
    resumed, it repeats the interrupted pass from the attributes that the pass started with; calls
    that had ended are not repeated. So `run` should depend only on attributes, and have no effect
    other than calls and assignments.

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

    def run(self) -> None:
        """Define one pass. Only the `run` of the root flow must take no arguments."""
        raise TypeError(f"{type(self).__name__} does not define run().")

    def stop(self, message: str = "") -> NoReturn:
        """End the app now: exit `run` at once, keep its assignments, and stop works that are still running."""
        raise StopFlow(message)


Flow._child_types = (Work, Flow)
reserve_names(Flow)
