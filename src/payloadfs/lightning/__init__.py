"""The names of Lightning App, the framework that Payload comes from, on top of `payloadfs.works`.

A program for ``lightning_app`` that passes objects between works runs after one change to its imports::

    import payloadfs.lightning as lapp

Start it with ``payloadfs run app.py``. ``docs/how-to/run-lightning-programs.md`` lists the
differences.
"""

from __future__ import annotations

from typing import Any, NoReturn

from .._log import warn_once
from ..payload import Payload as _BasePayload
from ..works import App, Flow, Work
from ..works._component import active_driver, walk
from . import storage, structures
from ._cron import next_time
from .storage import Payload

__all__ = [
    "BuildConfig",
    "CloudCompute",
    "LightningApp",
    "LightningFlow",
    "LightningWork",
    "Payload",
    "storage",
    "structures",
]


class LightningWork(Work):
    """A `payloadfs.works.Work` that treats payloads as ``lightning_app.LightningWork`` does.

    The flow sees its attributes as soon as it has assigned a payload.

    Parameters
    ----------
    parallel, cache_calls, raise_exception : bool
        As for `payloadfs.works.Work`.
    host, port : str, int or None
        Where the work serves, for its own use.
    **options
        Those of the framework's cloud are ignored with a warning; others as for `payloadfs.works.Work`.
    """

    def __init__(
        self,
        parallel: bool = False,
        cache_calls: bool = True,
        raise_exception: bool = True,
        host: str = "127.0.0.1",
        port: int | None = None,
        **options: Any,
    ) -> None:
        options = _without_cloud(options, type(self).__name__)
        super().__init__(
            parallel=parallel,
            cache_calls=cache_calls,
            raise_exception=raise_exception,
            **{"live": True, **options},
        )
        self._display_name, self._address = "", (host, port)

    @property
    def display_name(self) -> str:
        """A name for people; nothing depends on it."""
        return self._display_name

    @display_name.setter
    def display_name(self, name: str) -> None:
        self._display_name = name

    @property
    def host(self) -> str:
        """The host that was passed to the constructor."""
        return self._address[0]

    @property
    def port(self) -> int | None:
        """The port that was passed to the constructor."""
        return self._address[1]

    def start(self) -> None:
        """Do nothing: processes are started by the app. In the framework this starts a machine, without a call."""

    def _on_assign(self, name: str, payload: _BasePayload[Any]) -> None:
        if not self._is_declared:
            raise AttributeError(
                f"Assign the Payload to {name!r} in run(): declare it in __init__ with {name} = None, and assign "
                "Payload(...) where the object is created."
            )
        if isinstance(payload, Payload):
            if payload._origin is None:
                payload._name, payload._origin = name, self.name
            payload._consumer = self.name

    def _on_receive(self, payload: _BasePayload[Any]) -> None:
        if isinstance(payload, Payload):
            payload._consumer = self.name


class LightningFlow(Flow):
    """A `payloadfs.works.Flow`, under the name that Lightning App uses."""

    def schedule(self, cron_pattern: str, start_time: Any = None, user_key: str = "") -> bool:
        """Return True in the pass that begins at or after a time that matches a cron expression (in UTC).

        The app makes a pass then; a resumed run catches up on one time that it missed. `start_time` is
        ignored: the schedule begins with the first call.

        Raises
        ------
        ConfigError
            `cron_pattern` is not a cron expression of five fields.
        """
        del start_time
        driver = active_driver.get()
        if driver is None:
            return False
        timer = f"{self.name}/schedule/{user_key or cron_pattern}"
        due_s = next_time(cron_pattern, driver.timer(timer))
        if due_s > driver.now_s:
            driver.wake_at(due_s)
            return False
        driver.restart_timer(timer)
        driver.timer(timer)
        return True

    def named_works(self, recurse: bool = True) -> list[tuple[str, LightningWork]]:
        """Return names and works of the flow, with those of its flows unless `recurse` is False."""
        depth = self.name.count(".") + 1
        components = [component for component in walk(self) if isinstance(component, LightningWork)]
        return [(work.name, work) for work in components if recurse or work.name.count(".") == depth]


class LightningApp(App):
    """A `payloadfs.works.App`, under the name that Lightning App uses; ``payloadfs run`` finds and runs it.

    Options of the framework's servers and cloud are ignored with a warning.
    """

    def __init__(self, root: Flow, **options: Any) -> None:
        warn_about(options, _APP_OPTIONS, "LightningApp")
        super().__init__(root)

    @property
    def root(self) -> Flow:
        """The root flow."""
        return self.flow


class CloudCompute:
    """The machine type of a work in the framework's cloud: accepted, and ignored with a warning."""

    def __init__(self, *args: Any, **options: Any) -> None:
        del args, options


class BuildConfig(CloudCompute):
    """The image of a work in the framework's cloud: accepted, and ignored with a warning."""


_WORK_OPTIONS = ("cloud_compute", "cloud_build_config", "local_build_config", "start_with_flow")
_APP_OPTIONS = ("flow_cloud_compute", "info", "log_level", "root_path", "tree")
_REFUSED = {
    "components": "write a work that starts the script in a subprocess",
    "frontend": "start the web server in a work",
    "api": "call the program with other arguments",
    "utilities": "use payloadfs.works",
}


def warn_about(options: dict[str, Any], ignored: tuple[str, ...], owner: str) -> None:
    """Warn once about options that have no meaning here, and raise TypeError for others."""
    for name in options:
        if name not in ignored:
            raise TypeError(f"{owner} has no option {name!r}.")
        warn_once(
            f"{owner}: {name} is ignored, because payloadfs has no cloud. See docs/how-to/run-lightning-programs.md."
        )


def _without_cloud(options: dict[str, Any], owner: str) -> dict[str, Any]:
    warn_about({name: None for name in options if name in _WORK_OPTIONS}, _WORK_OPTIONS, owner)
    return {name: value for name, value in options.items() if name not in _WORK_OPTIONS}


def __getattr__(name: str) -> NoReturn:
    if name in _REFUSED:
        raise ImportError(
            f"payloadfs.lightning has no {name}: {_REFUSED[name]}. See docs/how-to/run-lightning-programs.md.",
            name=f"{__name__}.{name}",
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
