"""The work: a step that runs in its own process and leaves its results in its attributes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..errors import ConfigError
from ._component import Component, reserve_names

Stage = Literal["not-started", "running", "succeeded", "failed", "stopped"]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_MAX_BACKOFF_S = 3600.0


def seconds(value: float | str, name: str) -> float:
    """Return a duration in seconds: a number, or a string such as ``"500ms"``, ``"10s"``, ``"5m"``, ``"2h"``.

    Raises
    ------
    ConfigError
        `value` is neither, or is negative. `name` is the name of the setting.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", value) if isinstance(value, str) else None
    number = float(match[1]) * _UNITS[match[2]] if match else value
    if isinstance(number, (str, bool)) or not 0 <= number < math.inf:
        raise ConfigError(
            f"{name} must be a number of seconds, or a string such as '10s' or '5m', not {value!r}.", kind="duration"
        )
    return float(number)


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Retries and time limit of a call.

    Parameters
    ----------
    retries : int
        How often a failed attempt is repeated before the call counts as failed.
    backoff_s : float
        How long to wait before the first retry; each later wait is twice as long, up to an hour.
    timeout_s : float or None
        How long one attempt may run.
    """

    retries: int = 0
    backoff_s: float = 1.0
    timeout_s: float | None = None

    def changed(self, options: Mapping[str, Any]) -> CallOptions:
        """Return the options with some of ``retries``, ``backoff`` and ``timeout_s`` changed, after checking them."""
        changes: dict[str, Any] = {}
        for name, value in options.items():
            if name == "retries":
                if type(value) is not int or value < 0:
                    raise ConfigError(f"retries must be 0 or more, not {value!r}.", kind="retries")
                changes[name] = value
            elif name == "backoff":
                changes["backoff_s"] = seconds(value, name)
            elif name == "timeout_s":
                changes[name] = None if value is None else seconds(value, name)
            else:
                raise TypeError(f"{name!r} is not an option of a call: use retries, backoff or timeout_s.")
        return replace(self, **changes)

    def wait_s(self, failures: int) -> float:
        """Return how long to wait after `failures` failed attempts."""
        return float(min(self.backoff_s * 2.0 ** min(failures - 1, 40), _MAX_BACKOFF_S))

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON."""
        return asdict(self)


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
    attempts : int
        How often the latest call ran.
    """

    stage: Stage = "not-started"
    message: str = ""
    started_s: float | None = None
    ended_s: float | None = None
    count: int = 0
    attempts: int = 0


class Work(Component):
    """A step of a flow: subclass it and define `run`.

    In an app, calling ``work.run(...)`` executes `run` in another process, on a copy of the work's
    attributes. When it has succeeded, the attributes that it assigned are updated here, all together.
    Outside an app, `run` is an ordinary method.

    Parameters
    ----------
    parallel : bool
        False: a call returns once `run` has succeeded. True: a call returns immediately, and the flow
        sees the result in a later pass.
    cache_calls : bool
        True: a call does nothing if an earlier call with the same arguments succeeded. Payloads are
        compared by their content. False: every call runs. A failed call runs again if the flow
        repeats it after seeing the failure: by catching the error, or by reading `status`, `has_failed` or
        `has_succeeded`.
    raise_exception : bool
        True: the call raises `WorkError` if `run` raises an exception, which ends the app unless the
        flow catches it; a parallel work that fails always ends the app. False: a failure only shows
        in `status`.
    retries : int
        How often an attempt that failed, timed out or lost its process is repeated before the call counts as
        failed. No process is held while the call waits for its next attempt.
    backoff : float or str
        How long to wait before the first retry, in seconds or as ``"500ms"``, ``"10s"``, ``"5m"``,
        ``"1h"``. Each later wait is twice as long, up to an hour.
    timeout_s : float or str, optional
        How long one attempt may run, from its start in a process. Then it is stopped and has failed.
    live : bool
        True: each time `run` assigns a payload, the flow sees the attributes assigned so far, even if `run`
        fails later. Each time costs a pass and a save. Only with `LocalExecutor`.
    resources : mapping, optional
        What the work needs, such as ``{"cpus": 4, "memory": "8GB", "gpu": 1}``. Passed to executors
        that schedule by resources; other executors ignore it with a warning.

    Examples
    --------
    >>> class Double(Work):
    ...     def __init__(self):
    ...         super().__init__(retries=2)
    ...         self.result = None
    ...
    ...     def run(self, number):
    ...         self.result = 2 * number
    >>> work = Double()
    >>> work.run(21)
    >>> work.result
    42
    """

    _parallel, _cache_calls, _raise_exception, _is_live = False, True, True, False
    _call_options = CallOptions()
    _call_resources: Mapping[str, Any] = {}
    _status = WorkStatus()
    _stop: Callable[[], None] | None = None
    _start_call: Callable[..., None] | None = None
    _publish_state: Callable[[], None] | None = None
    _on_look: Callable[[], None] | None = None

    def __init__(
        self,
        *,
        parallel: bool = False,
        cache_calls: bool = True,
        raise_exception: bool = True,
        retries: int = 0,
        backoff: float | str = 1.0,
        timeout_s: float | str | None = None,
        live: bool = False,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        options = CallOptions().changed({"retries": retries, "backoff": backoff, "timeout_s": timeout_s})
        self._set_internal(
            _parallel=parallel,
            _cache_calls=cache_calls,
            _raise_exception=raise_exception,
            _call_options=options,
            _is_live=live,
            _call_resources=dict(resources or {}),
        )

    def run(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002  # subclasses define the parameters
        """Do the work. Arguments are JSON values and payloads, possibly nested. Must return None."""
        raise TypeError(f"{type(self).__name__} does not define run().")

    def with_options(self, **options: Any) -> ConfiguredWork:
        """Return an object whose ``run(...)`` calls this work with other `retries`, `backoff` or `timeout_s`.

        Examples
        --------
        >>> class Nap(Work):
        ...     def run(self): ...
        >>> Nap().with_options(timeout_s=5, retries=3).run()
        """
        return ConfiguredWork(self, self._call_options.changed(options))

    @property
    def parallel(self) -> bool:
        """Whether calls return immediately."""
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
        if self._on_look is not None:
            self._on_look()
        return self._status

    @property
    def has_started(self) -> bool:
        """Whether it was ever called."""
        return self._status.stage != "not-started"

    @property
    def is_running(self) -> bool:
        """Whether there is a call whose result the flow has not seen yet, even if it waits for its next attempt."""
        return self._status.stage == "running"

    @property
    def has_succeeded(self) -> bool:
        """Whether the latest call succeeded."""
        return self.status.stage == "succeeded"

    @property
    def has_failed(self) -> bool:
        """Whether the latest call failed, after all its attempts."""
        return self.status.stage == "failed"

    @property
    def has_stopped(self) -> bool:
        """Whether the latest call was stopped."""
        return self._status.stage == "stopped"

    def stop(self) -> None:
        """Stop the calls that are running or waiting; their changes are lost. For use in flows.

        The process gets SIGTERM, which ends `run` with `SystemExit`, so that its ``finally`` blocks run. If it still
        exists after the app's grace period, it is killed. An executor that cannot stop a running call, such as
        Dask's, lets it finish; its result is ignored.
        """
        if self._stop is not None:
            self._stop()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and self._stop is not None and self.is_running:
            raise AttributeError(
                f"{self.name} is running on a copy of its attributes: assign {name!r} before or after the call."
            )
        super().__setattr__(name, value)

    def _on_saved(self) -> None:
        if self._publish_state is not None:
            self._publish_state()

    def __getstate__(self) -> dict[str, Any]:
        # References to the app are left out: a copy of the work is independent.
        return {name: value for name, value in vars(self).items() if name not in _NOT_COPIED}


_NOT_COPIED = (
    "run",
    "_start_call",
    "_stop",
    "_status",
    "_publish_state",
    "_on_look",
    "_encoded_state",
    "_created_with",
)


class ConfiguredWork:
    """A work with other options for its next call; returned by `Work.with_options`."""

    def __init__(self, work: Work, options: CallOptions) -> None:
        self._work, self._call_options = work, options

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Call the work."""
        call = self._work._start_call
        if call is None:
            self._work.run(*args, **kwargs)
        else:
            call(self._call_options, *args, **kwargs)


reserve_names(Work)
