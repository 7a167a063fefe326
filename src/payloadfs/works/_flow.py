"""The flow: holds works and other flows, and says in `run` what happens in which order."""

from __future__ import annotations

from typing import NoReturn

from ._component import Component, reserve
from ._work import Work

__all__ = ["Flow", "StopFlow"]


class StopFlow(BaseException):  # no error, and nothing that a flow should catch
    """Leaves the flow's `run`; raised by `Flow.stop`."""


class Flow(Component):
    """Drives works: subclass it, declare works in ``__init__`` and call them in `run`.

    An app calls `run` in passes, as long as anything changes from one to the next: an attribute, or
    the status of a work. What parallel works have done shows at the beginning of a pass. If the app
    is killed, it begins the pass again from the attributes as they were at its beginning, and calls
    that had ended are not made again; so `run` should depend on nothing but attributes, and have no
    effect besides calls and assignments.

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
        """Say what to do, pass for pass. Only the root's takes no arguments."""
        raise TypeError(f"{type(self).__name__} does not define run().")

    def stop(self, message: str = "") -> NoReturn:
        """End the app now: leaves `run` at once, keeps its assignments, and stops works that still run."""
        raise StopFlow(message)


Flow._kinds = (Work, Flow)
reserve(Flow)
