"""The app: a flow, and the means to run it to its end, here or on a cluster, also after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from .. import config
from .._urls import scheme_of
from ..config import TABLE, Settings
from ..errors import ConfigError
from ..repository import Repository
from ._checkpoints import Journal, new_run
from ._component import Component
from ._driver import Driver
from ._events import Event
from ._executors import opened_executor
from ._flow import Flow
from ._local_executor import LocalExecutor

__all__ = ["App"]

_SECRET = ("storage_options", "keys")
_OF_THIS_MACHINE = ("keys_file",)


class App:
    """A flow that can be run.

    Parameters
    ----------
    flow : Flow
        The root. Its works and flows get their names here: ``"root.src"``, ``"root.models.0"``.

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
        _name(flow, "root", {})

    def run(
        self,
        *,
        store: str | None = None,
        executor: Executor | str | Any = None,
        max_workers: int | None = None,
        resume: str | None = None,
        send_secrets: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Run the flow until it stops, or nothing can change any more.

        Parameters
        ----------
        store : str, optional
            Folder or URL for payloads and state. Default: the configured one.
        executor : concurrent.futures.Executor, distributed.Client or str, optional
            Where works run; ``"dask://host:port"`` for a Dask cluster. Default: processes of this
            machine, which end with the run.
        max_workers : int, optional
            How many works run at once on this machine. Default: one for each core.
        resume : str, optional
            Name of a run to go on with: calls that ended are not made again, those that ran are.
        send_secrets : bool
            Send keys and credentials that were set in code through an `executor`'s own channels.
        on_event : callable, optional
            Called with each `Event`, with output also in other threads. Default: what works print is
            printed here.

        Raises
        ------
        WorkError
            A work failed; its own traceback comes along as a note.
        ConfigError
            Settings, executor or flow don't fit together. Nothing was run.
        NotFoundError
            There is no run `resume`.
        StoreError
            The store failed, or another process goes on with the run. What was saved last stands.

        Notes
        -----
        Cost: one small object for each change of the state, up to three for a call, and one for
        each payload. Payloads go from process to process through the store alone.
        """
        with config.using(store):
            settings = config.current()
            repository = Repository()
            for_calls = _settings_for_calls(settings, executor, send_secrets=send_secrets)
            journal = Journal(repository, resume or new_run())
            self.run_name = journal.run
            emit = on_event or _print_output
            with _opened(executor, max_workers, lambda *printed: emit(_output(journal.run, *printed))) as pool:
                driver = Driver(self.flow, journal, pool, for_calls, emit)
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


def _name(part: Component, name: str, seen: dict[str, int]) -> None:
    if id(part) in seen.values():
        raise ConfigError(f"{name} is the same {type(part).__name__} as {part.name}: make two.", kind="app")
    if name in seen:
        raise ConfigError(f"Two works or flows would be called {name}: choose other names.", kind="app")
    seen[name] = id(part)
    part._put(_name=name)
    for child_name, child in part._children():
        _name(child, child_name, seen)


def _settings_for_calls(settings: Settings, executor: Any, *, send_secrets: bool) -> dict[str, Any]:
    """Return what the processes of calls are told of `settings`.

    Processes of this machine that we start are told all. To others, keys and credentials go only
    if the caller says so; without, they have to find them in their own environment or files.
    """
    said = {name: getattr(settings, name) for name in TABLE if settings.origins[name] != "default"}
    # Where nothing is configured pointers may name more roots, and works are to resolve what the flow does.
    said["url"], said["allowed_roots"] = settings.url, list(settings.roots[1:])
    if scheme_of(settings.url) == "memory" and not isinstance(executor, ThreadPoolExecutor):
        raise ConfigError("memory:// is the memory of one process; works need a folder or a URL.", kind="executor")
    if executor is None or isinstance(executor, (LocalExecutor, ThreadPoolExecutor, ProcessPoolExecutor)):
        return {**said, "keys_file": settings.keys_file}
    for name in _OF_THIS_MACHINE:
        said.pop(name, None)
    for name in _SECRET:
        if settings.origins[name] not in ("code", "context"):
            said.pop(name, None)
        elif not send_secrets:
            raise ConfigError(
                f"{name} was set in code, and works on another executor would need it: set "
                f"PAYLOADFS_{name.upper()} where they run, or allow it to be sent with send_secrets=True.",
                kind="secrets",
            )
    return said


@contextmanager
def _opened(executor: Any, max_workers: int | None, on_output: Callable[[str, str, str], None]) -> Iterator[Executor]:
    if executor is not None:
        with opened_executor(executor) as opened:
            yield opened
        return
    pool = LocalExecutor(max_workers, on_output=on_output)
    try:
        yield pool
    finally:
        pool.kill_workers()


def _output(run: str, work: str, stream: str, text: str) -> Event:
    return Event("output", run, work, text, stream)


def _print_output(event: Event) -> None:
    if event.kind == "output":
        import sys

        print(event.message, end="", file=getattr(sys, event.stream), flush=True)  # what works printed
