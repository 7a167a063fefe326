"""The names of Lightning App, the framework that Payload comes from, on top of `payloadfs.works`.

A program for ``lightning_app`` that passes objects between works runs after one change to its imports::

    import payloadfs.lightning as lapp

Start it with ``payloadfs run app.py``. ``docs/how-to/run-lightning-programs.md`` lists the
differences.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from .._log import warn_once
from ..errors import ConfigError
from ..payload import Payload as _BasePayload
from ..works import App, Flow, Work
from ..works._component import Component, active_driver, walk
from . import storage, structures
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


_PAGE = "See docs/how-to/run-lightning-programs.md."
_MISSING = {
    "url": "the work knows its host and port",
    "num_successes": "status.count counts calls",
    "num_failures": "status.count counts calls",
    "flows": "iterate over the attribute that contains them",
    "state": "read the attributes",
    "state_vars": "read the attributes",
    "reload": "a flow keeps its attributes",
    "experimental_iterate": "use a for loop: calls that succeeded do nothing",
    "get_component_by_name": "read the attribute",
}


class _LightningComponent(Component):
    """What works and flows have in common: attributes of the framework that do not exist here, and its cloud."""

    def __getattr__(self, name: str) -> NoReturn:
        advice = f": {_MISSING[name]}. {_PAGE}" if name in _MISSING else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{advice}")

    def _constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super()._constructor_arguments()
        return tuple(map(_without_class, args)), {name: _without_class(value) for name, value in kwargs.items()}


class LightningWork(_LightningComponent, Work):
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
        cloud_compute = options.get("cloud_compute") or "default"
        of_cloud = {name: options.pop(name) for name in list(options) if name in _WORK_OPTIONS}
        warn_about(of_cloud, _WORK_OPTIONS, type(self).__name__)
        super().__init__(
            parallel=parallel,
            cache_calls=cache_calls,
            raise_exception=raise_exception,
            **{"live": True, **options},
        )
        self._display_name, self._address = "", (host, port)
        # A resumed run creates the work again with the name of the machine.
        self._cloud_compute = CloudCompute(cloud_compute) if isinstance(cloud_compute, str) else cloud_compute

    @property
    def display_name(self) -> str:
        """A name for display; nothing depends on it."""
        return self._display_name

    @display_name.setter
    def display_name(self, name: str) -> None:
        self._display_name = name

    @property
    def cloud_compute(self) -> CloudCompute:
        """What was passed to the constructor; nothing depends on it."""
        return self._cloud_compute

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

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, str) and value.startswith("lit://"):
            raise ConfigError(
                f"Cannot assign {value!r} to {name!r}: lit:// storage is not supported. Pass the bytes of the file in "
                f"a Payload, or a path that all machines share. {_PAGE}",
                kind="app",
            )
        super().__setattr__(name, value)

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


class LightningFlow(_LightningComponent, Flow):
    """A `payloadfs.works.Flow`, under the name that Lightning App uses."""

    def schedule(self, cron_pattern: str, start_time: Any = None, user_key: str = "") -> bool:
        """Return True in the pass that begins at or after a time that matches a cron expression (in UTC).

        The app makes a pass then; a resumed run catches up on one time that it missed. `start_time` is
        ignored: the schedule begins with the first call.

        Raises
        ------
        ConfigError
            `cron_pattern` is not a cron expression of five fields, or croniter is not installed.
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

    def works(self, recurse: bool = True) -> list[LightningWork]:
        """Return the works of the flow, with those of its flows unless `recurse` is False."""
        return [work for _, work in self.named_works(recurse)]


def next_time(pattern: str, after_s: float) -> float:
    """Return the first time after `after_s` that matches `pattern`, in seconds since 1970; fields are in UTC.

    Raises
    ------
    ConfigError
        `pattern` is not a cron expression, no time matches it, or croniter is not installed.
    """
    try:
        from croniter import croniter
    except ImportError as error:
        raise ConfigError("Schedules need croniter: pip install 'payloadfs[cron]'.", kind="missing-package") from error
    try:
        if not pattern.startswith("@") and len(pattern.split()) != 5:
            raise ValueError("it must have five fields")
        return float(croniter(pattern, after_s).get_next(float))
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise ConfigError(
            f"Cannot find a time for the cron expression {pattern!r}: {reason}.", kind="schedule"
        ) from error


class _RootFlow(LightningFlow):
    """The flow of an app that has only a work."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

    def run(self) -> None:
        self.work.run()
        if self.work.has_succeeded:
            self.stop()


class LightningApp(App):
    """A `payloadfs.works.App`, under the name that Lightning App uses; ``payloadfs run`` finds and runs it.

    Instead of a flow, it may be given one work. Options of the framework's servers and cloud are ignored with a
    warning, and so are the methods that configure its user interface.
    """

    def __init__(self, root: Flow | Work, **options: Any) -> None:
        warn_about(options, _APP_OPTIONS, "LightningApp")
        super().__init__(_RootFlow(root) if isinstance(root, Work) else root)
        for component in walk(self.flow):
            for method in _UI_METHODS:
                if hasattr(component, method):
                    warn_once(f"{type(component).__name__}.{method} is never called. {_PAGE}")

    @property
    def root(self) -> Flow:
        """The root flow."""
        return self.flow


class CloudCompute:
    """The machine type of a work in the framework's cloud: accepted, and ignored with a warning."""

    def __init__(self, name: str = "default", *args: Any, **options: Any) -> None:
        del args, options
        self.name = name


class BuildConfig(CloudCompute):
    """The image of a work in the framework's cloud: accepted, and ignored with a warning."""


_WORK_OPTIONS = ("cloud_compute", "cloud_build_config", "local_build_config", "start_with_flow")
_APP_OPTIONS = ("flow_cloud_compute", "info", "log_level", "root_path", "tree")
_UI_METHODS = ("configure_api", "configure_commands", "configure_layout")
_REFUSED = {
    "core": "import the classes from payloadfs.lightning",
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
        warn_once(f"{owner}: {name} is ignored: payloadfs does not start cloud machines. {_PAGE}")


def _without_class(value: Any) -> Any:
    return value.name if isinstance(value, CloudCompute) else value


def _refused(name: str) -> ImportError:
    return ImportError(f"payloadfs.lightning has no {name}: {_REFUSED[name]}. {_PAGE}", name=f"{__name__}.{name}")


class _RefusedModules:
    """A finder that refuses submodules of the framework that do not exist here."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        """Raise ImportError if `name` is one of these modules."""
        del path, target
        package, _, submodule = name.rpartition(".")
        if package == __name__ and submodule in _REFUSED:
            raise _refused(submodule)


sys.meta_path.append(_RefusedModules)


def __getattr__(name: str) -> NoReturn:
    if name in _REFUSED:
        raise _refused(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
