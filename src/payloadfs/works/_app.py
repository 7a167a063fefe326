"""The app: runs a flow to its end, on this machine or a cluster, and resumes it after a crash."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from .. import config
from .._typenames import suggestion
from .._urls import scheme_of
from ..config import Settings
from ..errors import ConfigError
from ..repository import Repository
from ._component import Component, state_attributes, walk
from ._driver import Driver
from ._events import Event
from ._executors import LOCAL_EXECUTORS, open_executor
from ._flow import Flow
from ._journal import Journal, new_run_name
from ._program import adopt_main, is_import_for_worker, pickled_by_value
from ._work import Work, seconds

_SECRETS = ("storage_options", "keys")


class App:
    """A flow, ready to run.

    Parameters
    ----------
    flow : Flow
        The root flow. The app names its works and flows: ``"root.src"``, ``"root.models.0"``.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from payloadfs import Payload, using
    >>> from payloadfs.works import Work
    >>> class Source(Work):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.numbers = None
    ...
    ...     def run(self):
    ...         self.numbers = Payload([1, 2, 3])
    >>> class Sum(Work):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.total = None
    ...
    ...     def run(self, numbers):
    ...         self.total = sum(numbers.value)
    >>> class Main(Flow):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.source = Source()
    ...         self.sum = Sum()
    ...
    ...     def run(self):
    ...         self.source.run()
    ...         self.sum.run(self.source.numbers)
    >>> app = App(Main())
    >>> with using("memory://demo"), ThreadPoolExecutor() as threads:
    ...     app.run(executor=threads)
    >>> app.flow.sum.total
    6
    """

    def __init__(self, flow: Flow) -> None:
        if not isinstance(flow, Flow):
            raise ConfigError(f"An app needs a Flow, not a {type(flow).__name__}.", kind="app")
        self.flow = flow
        self.run_name = ""
        self.stage = "not-started"
        self.message = ""
        _assign_names(flow, "root", {})

    @property
    def work_names(self) -> list[str]:
        """Names of all works of the flow."""
        return [component.name for component in walk(self.flow) if isinstance(component, Work)]

    def assign(self, path: str, value: Any) -> None:
        """Assign `value` to an attribute of the flow (``"rows"``), or of a work or flow in it (``"src.rows"``).

        Raises
        ------
        ConfigError
            The attribute is not declared. Nothing was assigned.
        """
        attributes = {
            f"{component.name}.{name}".removeprefix("root."): (component, name)
            for component in walk(self.flow)
            for name in state_attributes(component)
        }
        if path not in attributes:
            hint = suggestion(path, attributes, 0.6) or f". Declared: {', '.join(attributes) or 'none'}."
            raise ConfigError(f"The flow has no attribute {path!r}{hint}", kind="set-option")
        setattr(*attributes[path], value)

    def run(
        self,
        *,
        store: str | None = None,
        executor: Executor | str | Any = None,
        max_workers: int | None = None,
        resume: str | None = None,
        send_secrets: bool = False,
        on_event: Callable[[Event], None] | None = None,
        grace_s: float | str = 5.0,
    ) -> None:
        """Run the flow until it stops, or until nothing can change any more.

        `stage` is ``"finished"`` after `Flow.stop`, or if all works succeeded, and ``"idle"`` otherwise. Does
        nothing in a worker process that imports the program.

        Parameters
        ----------
        store : str, optional
            Folder or URL for payloads and state. Default: the configured one.
        executor : concurrent.futures.Executor, distributed.Client or str, optional
            Where works run; ``"dask://host:port"`` for a Dask cluster. Default: processes on this
            machine, which end with the run.
        max_workers : int, optional
            How many works run at the same time on this machine. Default: one per available core.
        resume : str, optional
            Name of a run to resume. Calls that had ended are not repeated; calls that were running are.
        send_secrets : bool
            Send keys and credentials that were set in code through the connection of `executor`.
        on_event : callable, optional
            Called with each `Event`; events of kind ``"output"`` may come from other threads.
            Default: print what works print.
        grace_s : float or str
            How long a stopped work may take to clean up, after SIGTERM and before SIGKILL.

        Raises
        ------
        WorkError
            A work failed; its traceback is attached as a note.
        ConfigError
            Settings, executor and flow are incompatible. Nothing was run.
        NotFoundError
            Run `resume` was not found.
        StoreError
            The store failed, or another process has resumed the run. The state that was saved last is intact.

        Notes
        -----
        Cost: one small object for each change of the state, up to three for a call, one every 30 seconds,
        and one for each payload. Payloads travel between processes only through the store.
        """
        if is_import_for_worker():
            return
        adopt_main()
        by_value = nullcontext() if executor is None or type(executor) in LOCAL_EXECUTORS else pickled_by_value()
        with config.using(store), by_value:
            settings = config.current()
            repository = Repository()
            call_settings = _settings_for_calls(settings, executor, send_secrets=send_secrets)
            journal = Journal(repository, resume or new_run_name())
            self.run_name = journal.run
            emit = on_event or _print_output

            def on_output(work: str, stream: str, text: str) -> None:
                emit(Event("output", journal.run, work, text, stream))

            with open_executor(executor, max_workers, on_output, seconds(grace_s, "grace_s")) as pool:
                driver = Driver(self.flow, journal, pool, call_settings, emit)
                try:
                    self._drive(driver, resume, emit)
                finally:
                    self.stage, self.message = driver.stage, driver.message
                    driver.detach()

    def _drive(self, driver: Driver, resume: str | None, emit: Callable[[Event], None]) -> None:
        if resume is not None:
            driver.resume()
        emit(Event("run-started" if resume is None else "run-resumed", self.run_name))
        if driver.stage != "finished":
            driver.drive()


def _assign_names(component: Component, name: str, seen: dict[str, int]) -> None:
    if id(component) in seen.values():
        raise ConfigError(
            f"{name} and {component.name} are the same {type(component).__name__}: create two.", kind="app"
        )
    if name in seen:
        raise ConfigError(f"Two works or flows would be named {name}: choose other names.", kind="app")
    seen[name] = id(component)
    component._set_internal(_name=name)
    for child_name, child in component._children():
        _assign_names(child, child_name, seen)


def _settings_for_calls(settings: Settings, executor: Any, *, send_secrets: bool) -> dict[str, Any]:
    """Return the settings to send to the processes that run calls.

    Processes that we start on this machine get all settings. Others get keys and credentials only
    with `send_secrets`; otherwise they must find them in their own environment or files.
    """
    if scheme_of(settings.url) == "memory" and not isinstance(executor, ThreadPoolExecutor):
        raise ConfigError(
            "memory:// exists in one process only: works in other processes need a folder or another URL.",
            kind="executor",
        )
    sent = settings.public()
    public_options = sent.pop("storage_options")
    if executor is None or type(executor) in LOCAL_EXECUTORS:
        for name in ("storage_options", "keys", "cache_bytes"):
            if settings.origins[name] != "default":
                sent[name] = getattr(settings, name)
        sent |= {"keys_file": settings.keys_file, "cache": str(settings.cache or "off")}
    else:
        sent |= _secrets_in_code(settings, public_options, send_secrets=send_secrets)
    if sent.get("keys") is not None:
        sent["keys"] = sent["keys"].to_text()  # a key ring cannot be pickled
    return sent


def _secrets_in_code(settings: Settings, public_options: Any, *, send_secrets: bool) -> dict[str, Any]:
    """Return the keys and storage options that were set in code, or raise `ConfigError` if they must not be sent."""
    sent = {name: getattr(settings, name) for name in _SECRETS if settings.origins[name] in ("code", "context")}
    for name, value in sent.items():
        if not send_secrets and value != public_options:
            raise ConfigError(
                f"{name} was set in code, and works in another executor need it: set PAYLOADFS_{name.upper()} "
                "where they run, or pass send_secrets=True to send it.",
                kind="secrets",
            )
    return sent


def _print_output(event: Event) -> None:
    if event.kind == "output":
        print(event.message, end="", file=getattr(sys, event.stream), flush=True)
