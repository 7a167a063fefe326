"""The driver: runs the flow pass by pass, sends calls to the executor, and saves after each change.

A pass is one run of the flow's `run`. During it the flow sees its own assignments and the results
of the calls that it waits for; results of parallel calls show when the next pass begins. So what a
pass does follows from the state at its beginning and from the results of its calls. Both are in
the run's document, and a pass that was interrupted can be run again.
"""

from __future__ import annotations

import inspect
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import lru_cache, partial
from typing import Any

from ..errors import ConfigError, WorkError
from ._checkpoints import Journal, payload_scope
from ._events import Event, EventKind
from ._flow import Flow, StopFlow
from ._history import Call, Calls
from ._state import canonical, encode, identity
from ._submit import Dispatch, EndApp
from ._work import Work, WorkStatus

__all__ = ["Driver"]

_signature = lru_cache(inspect.signature)


class Driver:
    """One run of an app.

    Parameters
    ----------
    flow : Flow
        The root.
    journal : Journal
        Where the run's documents go; its repository also holds the payloads.
    executor : concurrent.futures.Executor
        Runs the calls.
    settings : mapping
        Settings for the processes of the calls.
    emit : callable
        Called with each `Event`.

    Raises
    ------
    ConfigError
        Another driver uses the flow.
    """

    def __init__(
        self,
        flow: Flow,
        journal: Journal,
        executor: Executor,
        settings: Mapping[str, Any],
        emit: Callable[[Event], None],
    ) -> None:
        self._flow, self._journal, self._prefix = flow, journal, payload_scope(journal.run)
        self._parts = {part.name: part for part in flow._tree()}
        self._works = {name: part for name, part in self._parts.items() if isinstance(part, Work)}
        self._calls = Calls()
        self._dispatch = Dispatch(executor, settings, journal.repository, self._prefix, journal.run, emit)
        self._again: list[Call] = []
        self._components: dict[str, Any] | None = None
        self._next: tuple[dict[str, Any], str, int] | None = None
        self._text = ""
        self._pass, self._created_s, self._token = 0, time.time(), secrets.token_hex(8)
        self.stage, self.message = "running", ""
        if any("run" in vars(part) for part in self._parts.values()):
            raise ConfigError("This flow runs already: an app runs once at a time.", kind="app")
        for part in self._parts.values():
            part._put(_prefix=self._prefix)
        for work in self._works.values():
            work._put(run=partial(self._call, work), _stop=partial(self._stop_work, work), _status=WorkStatus())

    def resume(self) -> None:
        """Take over the newest document of the run: attributes, statuses, and calls to run again.

        Raises
        ------
        ConfigError
            The works and flows here are others. Nothing was run.
        """
        document = self._journal.load()
        if document["components"].keys() != self._parts.keys():
            raise ConfigError(
                f"Run {self._journal.run!r} was made by another program: its works and flows are "
                f"{', '.join(document['components'])}.",
                kind="other-program",
            )
        for name, state in document["components"].items():
            self._parts[name]._restore(state, self._journal.repository)
        self._keep(document["pass"])
        self._created_s, self.stage, self.message = (document[name] for name in ("created_s", "stage", "message"))
        raising = {name for name, work in self._works.items() if work.raise_exception}
        self._again = self._calls.restore(document, raising)
        for work in self._works.values():
            self._show(work)

    def drive(self) -> None:
        """Run the flow until it stops, or nothing can change any more.

        Raises
        ------
        WorkError
            A work failed, and neither it nor the flow says that this is no matter.
        Exception
            What the flow's `run` raised.
        """
        self.stage, self.message = "running", ""
        try:
            if self._components is None:
                self._keep(0)
            # Before anything is run: another driver of this run can't save any more from here on.
            self._save()
            for call in self._again:
                self._dispatch.start(call, self._works[call.work])
            while self._run_pass():
                self._begin_pass()
            self._finish()
        except KeyboardInterrupt:
            self._leave("interrupted", "stopped at the keyboard")
            raise
        except EndApp as end:
            self._leave("failed", f"{type(end.error).__name__}: {end.error}")
            raise end.error from end.__cause__
        except Exception as error:
            self._leave("failed", f"{type(error).__name__}: {error}")
            raise

    def detach(self) -> None:
        """Let go of the works: their `run` is an ordinary method again."""
        for work in self._works.values():
            del vars(work)["run"]
            work._put(_stop=None)

    def _run_pass(self) -> bool:
        """Run the flow once; wait for a result if nothing changed. False: it is over."""
        try:
            self._flow.run()
        except StopFlow as stop:
            self.message = str(stop)
            return False
        self._check_parts()
        if self._dispatch.has_ended or self._has_changed():
            return True
        waiting = list(self._calls.all_open())
        if waiting and not any(call.has_ended for call in waiting):
            self._save()
            self._dispatch.take()
        return bool(waiting)

    def _begin_pass(self) -> None:
        """Let the flow see what has ended, and save: from here a resumed run begins."""
        while self._dispatch.has_ended:
            self._dispatch.take()
        for call in self._calls.all_open():
            if call.ends_app:
                raise _failure(call.work, call.message)
        for work in {call.work for call in self._calls.all_open()}:
            self._apply_ended(self._works[work])
        self._keep(self._pass + 1)
        self._save()

    def _check_parts(self) -> None:
        if any(self._parts.get(part.name) is not part for part in self._flow._tree()):
            raise ConfigError(
                "Works and flows are declared in __init__: run() put one into a list or dict of them, or moved one.",
                kind="app",
            )

    def _has_changed(self) -> bool:
        return self._calls.has_moved or canonical(self._snapshot()) != self._text

    def _keep(self, pass_number: int) -> None:
        """Make the state as it is now the beginning of a pass."""
        # In two steps: what fails or is interrupted must not leave calls that are done without their state.
        components = self._snapshot()
        self._next = components, canonical(components), pass_number
        self._settle()

    def _settle(self) -> None:
        if self._next is not None:
            self._calls.commit()
            self._components, self._text, self._pass = self._next
            self._next = None

    def _finish(self) -> None:
        for work in self._works.values():
            self._stop_work(work)
        self._keep(self._pass + 1)
        self.stage = "finished"
        self._save()
        self._dispatch.emit("run-finished", message=self.message)

    def _leave(self, stage: str, message: str) -> None:
        """Stop what runs and save how things stand; a resumed run makes these calls again."""
        kind: EventKind = "run-interrupted" if stage == "interrupted" else "run-failed"
        self.stage, self.message = stage, message
        try:
            self._settle()
            self._dispatch.stop_all()
            if self._components is not None:
                self._save()
        finally:
            self._dispatch.emit(kind, message=message)

    def _call(self, work: Work, /, *arguments: Any, **named: Any) -> None:
        """Stand in for `work.run` while the app runs."""
        encoded = self._encoded(work, arguments, named)
        id_ = identity(encoded)
        done = self._calls.done(work.name, id_) if work.cache_calls else None
        if done is not None:
            if done and work.raise_exception:
                raise _failure(work.name, done)
            return
        if not (work.parallel and self._calls.is_open(work.name, id_)):
            self._make(work, id_, encoded)
        while not work.parallel and (call := self._calls.first(work.name)) is not None:
            while not call.has_ended:
                self._wait_within_pass()
            self._apply_ended(work)
            if call.ends_app:
                raise _failure(call.work, call.message)

    def _encoded(self, work: Work, arguments: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
        try:
            bound = _signature(type(work).run).bind(work, *arguments, **named)
        except TypeError as error:
            raise TypeError(f"{work.name}.run(): {error}") from None
        return [
            [
                encode(v, f"{work.name}.run(), argument {n},", prefix=self._prefix)
                for n, v in enumerate(bound.args[1:], 1)
            ],
            {n: encode(v, f"{work.name}.run(), argument {n},", prefix=self._prefix) for n, v in bound.kwargs.items()},
        ]

    def _make(self, work: Work, id_: str, encoded: list[Any]) -> None:
        number = self._calls.next_number(work.name, id_)
        new = Call(work.name, id_, number, self._pass, encoded, work.raise_exception, work.cache_calls)
        call = self._calls.replayed(new)
        self._calls.add(call)
        self._show(work)
        if call is self._calls.first(work.name) and not call.has_ended:
            self._dispatch.start(call, work)

    def _wait_within_pass(self) -> None:
        self._save()
        ended = self._dispatch.take()
        self._save()
        if ended.ends_app and self._works[ended.work].parallel:
            raise EndApp(_failure(ended.work, ended.message))

    def _apply_ended(self, work: Work) -> None:
        """Let the flow see the calls of `work` that have ended, in order, and start the next."""
        while (call := self._calls.first(work.name)) is not None:
            if not call.has_ended:
                if not self._dispatch.runs(call):
                    self._dispatch.start(call, work)
                if not call.has_ended:
                    break
            work._restore(call.state or {}, self._journal.repository)
            self._calls.close(call)
        self._show(work)

    def _stop_work(self, work: Work) -> None:
        for call in [call for call in self._calls.all_open() if call.work == work.name]:
            self._dispatch.stop(call)
            call.give_up("stopped", "")
            self._calls.close(call)
            self._dispatch.emit("call-stopped", work.name)
        self._show(work)

    def _show(self, work: Work) -> None:
        work._put(_status=self._calls.status.get(work.name, WorkStatus()))

    def _snapshot(self) -> dict[str, Any]:
        return {name: part._encoded() for name, part in self._parts.items()}

    def _save(self) -> None:
        facts = {"stage": self.stage, "message": self.message, "pass": self._pass, "created_s": self._created_s}
        # The token tells drivers apart: two that write the same would both believe that theirs was stored.
        facts["driver"] = self._token
        self._journal.save({**facts, "components": self._components, **self._calls.to_json()})


def _failure(work: str, message: str) -> WorkError:
    first, _, more = message.rstrip().partition("\n")
    error = WorkError(f"{work}.run() failed: {first}", work=work)
    if more:
        error.add_note(more)
    return error
