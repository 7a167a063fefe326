"""The work: a step that runs in its own process and leaves its results in its attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ._component import Component, reserve_names

__all__ = ["Stage", "Work", "WorkStatus"]

Stage = Literal["not-started", "running", "succeeded", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class WorkStatus:
    """Status of the latest call of a work.

    Parameters
    ----------
    stage : {"not-started", "running", "succeeded", "failed", "stopped"}
        ``"running"`` from the call until the flow sees its result.
    message : str
        What went wrong: one line, then the traceback; empty otherwise.
    started_s, ended_s : float or None
        When `run` began and ended, in seconds since 1970 (UTC), by the clock of its machine.
    count : int
        How many calls of the work have ended.
    """

    stage: Stage = "not-started"
    message: str = ""
    started_s: float | None = None
    ended_s: float | None = None
    count: int = 0


class Work(Component):
    """A step of a flow: subclass it and define `run`.

    In an app, calling ``work.run(...)`` executes `run` in another process, on a copy of the work's
    attributes. When it has succeeded, the attributes that it assigned are updated here, all at once.
    Outside an app, `run` is an ordinary method.

    Parameters
    ----------
    parallel : bool
        False: a call returns once `run` has succeeded. True: a call returns at once, and the flow
        sees the result in a later pass.
    cache_calls : bool
        True: a call does nothing if an earlier call with the same arguments succeeded. Payloads are
        compared by their content. False: every call runs.
    raise_exception : bool
        True: the call raises `WorkError` if `run` raises an exception, which ends the app unless the
        flow catches it; a parallel work that fails always ends the app. False: a failure only shows
        in `status`.

    Examples
    --------
    >>> class Double(Work):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.result = None
    ...
    ...     def run(self, number):
    ...         self.result = 2 * number
    >>> work = Double()
    >>> work.run(21)
    >>> work.result
    42
    """

    _parallel, _cache_calls, _raise_exception = False, True, True
    _status = WorkStatus()
    _stop: Callable[[], None] | None = None

    def __init__(self, *, parallel: bool = False, cache_calls: bool = True, raise_exception: bool = True) -> None:
        self._set_internal(_parallel=parallel, _cache_calls=cache_calls, _raise_exception=raise_exception)

    def run(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002  # subclasses define the parameters
        """Do the work. Arguments are JSON values and payloads, also nested; must return None."""
        raise TypeError(f"{type(self).__name__} does not define run().")

    @property
    def parallel(self) -> bool:
        """Whether calls return at once."""
        return self._parallel

    @property
    def cache_calls(self) -> bool:
        """Whether a call with the arguments of an earlier successful call is skipped."""
        return self._cache_calls

    @property
    def raise_exception(self) -> bool:
        """Whether an exception in `run` ends the app."""
        return self._raise_exception

    @property
    def status(self) -> WorkStatus:
        """Status of the latest call, as visible to the flow."""
        return self._status

    @property
    def has_started(self) -> bool:
        """Whether it was ever called."""
        return self._status.stage != "not-started"

    @property
    def is_running(self) -> bool:
        """Whether there is a call whose result the flow has not seen yet."""
        return self._status.stage == "running"

    @property
    def has_succeeded(self) -> bool:
        """Whether the latest call succeeded."""
        return self._status.stage == "succeeded"

    @property
    def has_failed(self) -> bool:
        """Whether the latest call failed."""
        return self._status.stage == "failed"

    @property
    def has_stopped(self) -> bool:
        """Whether the latest call was stopped."""
        return self._status.stage == "stopped"

    def stop(self) -> None:
        """Stop the calls that are running or waiting; their changes are lost. For use in flows.

        An executor that cannot stop a running call, such as Dask's, lets it finish; its result is
        ignored.
        """
        if self._stop is not None:
            self._stop()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and self._stop is not None and self.is_running:
            raise AttributeError(
                f"{self.name} is running on a copy of its attributes: assign {name!r} before or after the call."
            )
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        # References to the app are left out: a copy of the work is independent.
        return {name: value for name, value in vars(self).items() if name not in ("run", "_stop", "_status")}


reserve_names(Work)
