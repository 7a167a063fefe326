"""The driver: runs the flow pass by pass, sends calls to the executor, and saves a checkpoint after each change.

A pass is one execution of the flow's `run`. During a pass the flow sees its own assignments and
the results of the calls that it waits for; results of parallel calls become visible when the next
pass begins. So a pass is determined by the state at its beginning and the results of its calls.
Both are in the checkpoint, and an interrupted pass can be repeated.
"""

from __future__ import annotations

import inspect
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import lru_cache, partial
from typing import Any

from ..errors import ConfigError, WorkError, is_interrupt
from ._checkpoints import Checkpoints, payload_prefix
from ._component import walk
from ._events import Event, EventKind
from ._flow import Flow, StopFlow
from ._history import Call, CallHistory
from ._state import canonical, encode, fingerprint
from ._submit import EndApp, Submitter
from ._work import Work, WorkStatus

__all__ = ["Driver"]

_signature = lru_cache(inspect.signature)


class Driver:
    """One run of an app.

    Parameters
    ----------
    flow : Flow
        The root flow.
    checkpoints : Checkpoints
        Where the state of the run is saved; its repository also stores the payloads.
    executor : concurrent.futures.Executor
        Runs the calls.
    settings : mapping
        Settings for the processes that run calls.
    emit : callable
        Called with each `Event`.

    Raises
    ------
    ConfigError
        Another driver is using the flow.
    """

    def __init__(
        self,
        flow: Flow,
        checkpoints: Checkpoints,
        executor: Executor,
        settings: Mapping[str, Any],
        emit: Callable[[Event], None],
    ) -> None:
        self._flow, self._checkpoints, self._prefix = flow, checkpoints, payload_prefix(checkpoints.run)
        self._components = {component.name: component for component in walk(flow)}
        self._works = {name: work for name, work in self._components.items() if isinstance(work, Work)}
        self._calls = CallHistory()
        self._submitter = Submitter(executor, settings, checkpoints.repository, self._prefix, checkpoints.run, emit)
        self._unfinished: list[Call] = []
        self._pass_state: dict[str, Any] | None = None
        self._pass_json = ""
        self._next_pass: tuple[dict[str, Any], str, int] | None = None
        self._pass, self._created_s, self._token = 0, time.time(), secrets.token_hex(8)
        self.stage, self.message = "running", ""
        if any("run" in vars(component) for component in self._components.values()):
            raise ConfigError("This flow is already running: an app cannot run twice at the same time.", kind="app")
        for component in self._components.values():
            component._set_internal(_prefix=self._prefix)
        for work in self._works.values():
            run, stop = partial(self._call, work), partial(self._stop_work, work)
            work._set_internal(run=run, _stop=stop, _status=WorkStatus())

    def resume(self) -> None:
        """Load the newest checkpoint of the run: attributes, statuses, and calls to run again.

        Raises
        ------
        ConfigError
            The checkpoint has other works and flows. Nothing was run.
        """
        checkpoint = self._checkpoints.load()
        if checkpoint["components"].keys() != self._components.keys():
            raise ConfigError(
                f"Run {self._checkpoints.run!r} was saved by a different program. Its works and flows are "
                f"{', '.join(checkpoint['components'])}.",
                kind="other-program",
            )
        for name, state in checkpoint["components"].items():
            self._components[name]._restore_state(state, self._checkpoints.repository)
        self._begin_pass_from_current_state(checkpoint["pass"])
        self._created_s, self.stage, self.message = (checkpoint[name] for name in ("created_s", "stage", "message"))
        raising = {name for name, work in self._works.items() if work.raise_exception}
        self._unfinished = self._calls.restore(checkpoint, raising)
        for work in self._works.values():
            self._update_status(work)

    def drive(self) -> None:
        """Run the flow until it stops, or until nothing can change any more.

        Raises
        ------
        WorkError
            A work failed, and neither the work nor the flow tolerates it.
        Exception
            What the flow's `run` raised.
        """
        self.stage, self.message = "running", ""
        try:
            if self._pass_state is None:
                self._begin_pass_from_current_state(0)
            # Before anything runs: from here on, no other driver of this run can save.
            self._save()
            for call in self._unfinished:
                self._submitter.start(call, self._works[call.work])
            while self._run_pass():
                self._begin_pass()
            self._finish()
        except KeyboardInterrupt:
            self._abort("interrupted", "stopped at the keyboard")
            raise
        except EndApp as end:
            self._abort("failed", f"{type(end.error).__name__}: {end.error}")
            raise end.error from end.__cause__
        except BaseException as error:
            if not is_interrupt(error):
                self._abort("failed", f"{type(error).__name__}: {error}")
            raise

    def detach(self) -> None:
        """Release the works: their `run` is an ordinary method again."""
        for work in self._works.values():
            del vars(work)["run"]
            work._set_internal(_stop=None)

    def _run_pass(self) -> bool:
        """Run the flow once; wait for a result if nothing changed. Return False when the run is over."""
        try:
            self._flow.run()
        except StopFlow as stop:
            self.message = str(stop)
            return False
        self._check_components()
        if self._submitter.has_results or self._has_changed():
            return True
        open_calls = list(self._calls.all_open())
        if open_calls and not any(call.has_ended for call in open_calls):
            self._save()
            self._submitter.wait_for_result()
        return bool(open_calls)

    def _begin_pass(self) -> None:
        """Make all results visible to the flow, and save: a resumed run starts from here."""
        while self._submitter.has_results:
            self._submitter.wait_for_result()
        for call in self._calls.all_open():
            if call.ends_app:
                raise _work_error(call.work, call.message)
        for work in {call.work for call in self._calls.all_open()}:
            self._apply_results(self._works[work])
        self._begin_pass_from_current_state(self._pass + 1)
        self._save()

    def _check_components(self) -> None:
        if any(self._components.get(component.name) is not component for component in walk(self._flow)):
            raise ConfigError(
                "Works and flows must be declared in __init__: run() moved one, or added one to a list or dict.",
                kind="app",
            )

    def _has_changed(self) -> bool:
        return self._calls.has_changed or canonical(self._encode_state()) != self._pass_json

    def _begin_pass_from_current_state(self, pass_number: int) -> None:
        # In two steps: if encoding fails or is interrupted, calls must not be committed without their state.
        state = self._encode_state()
        self._next_pass = state, canonical(state), pass_number
        self._commit_pass()

    def _commit_pass(self) -> None:
        if self._next_pass is not None:
            self._calls.commit()
            self._pass_state, self._pass_json, self._pass = self._next_pass
            self._next_pass = None

    def _finish(self) -> None:
        for work in self._works.values():
            self._stop_work(work)
        self._begin_pass_from_current_state(self._pass + 1)
        self.stage = "finished"
        self._save()
        self._submitter.emit("run-finished", message=self.message)

    def _abort(self, stage: str, message: str) -> None:
        """Stop running calls and save the state; a resumed run repeats these calls."""
        kind: EventKind = "run-interrupted" if stage == "interrupted" else "run-failed"
        self.stage, self.message = stage, message
        try:
            self._commit_pass()
            self._submitter.stop_all()
            if self._pass_state is not None:
                self._save()
        finally:
            self._submitter.emit(kind, message=message)

    def _call(self, work: Work, /, *args: Any, **kwargs: Any) -> None:
        """Replace `work.run` while the app runs."""
        encoded = self._encode_arguments(work, args, kwargs)
        id_ = fingerprint(encoded)
        done = self._calls.done(work.name, id_) if work.cache_calls else None
        if done is not None:
            if done and work.raise_exception:
                raise _work_error(work.name, done)
            return
        if not (work.parallel and self._calls.is_open(work.name, id_)):
            self._new_call(work, id_, encoded)
        while not work.parallel and (call := self._calls.first_open(work.name)) is not None:
            while not call.has_ended:
                self._wait_within_pass()
            self._apply_results(work)
            if call.ends_app:
                raise _work_error(call.work, call.message)

    def _encode_arguments(self, work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        try:
            bound = _signature(type(work).run).bind(work, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{work.name}.run(): {error}") from None

        def encoded(value: Any, name: int | str) -> Any:
            return encode(value, f"{work.name}.run(), argument {name},", prefix=self._prefix)

        return [
            [encoded(value, pos) for pos, value in enumerate(bound.args[1:], 1)],
            {name: encoded(value, name) for name, value in bound.kwargs.items()},
        ]

    def _new_call(self, work: Work, id_: str, encoded: list[Any]) -> None:
        number = self._calls.next_number(work.name, id_)
        new = Call(work.name, id_, number, self._pass, encoded, work.raise_exception, work.cache_calls)
        call = self._calls.replayed(new)
        self._calls.add(call)
        self._update_status(work)
        if call is self._calls.first_open(work.name) and not call.has_ended:
            self._submitter.start(call, work)

    def _wait_within_pass(self) -> None:
        self._save()
        ended = self._submitter.wait_for_result()
        self._save()
        if ended.ends_app and self._works[ended.work].parallel:
            raise EndApp(_work_error(ended.work, ended.message))

    def _apply_results(self, work: Work) -> None:
        """Make the results of the ended calls of `work` visible to the flow, in order, and start its next call."""
        while (call := self._calls.first_open(work.name)) is not None:
            if not call.has_ended:
                if not self._submitter.is_running(call):
                    self._submitter.start(call, work)
                if not call.has_ended:
                    break
            work._restore_state(call.state or {}, self._checkpoints.repository)
            self._calls.close(call)
        self._update_status(work)

    def _stop_work(self, work: Work) -> None:
        for call in [call for call in self._calls.all_open() if call.work == work.name]:
            self._submitter.stop(call)
            call.mark_stopped()
            self._calls.close(call)
            self._submitter.emit("call-stopped", work.name)
        self._update_status(work)

    def _update_status(self, work: Work) -> None:
        work._set_internal(_status=self._calls.status.get(work.name, WorkStatus()))

    def _encode_state(self) -> dict[str, Any]:
        return {name: component._encode_state() for name, component in self._components.items()}

    def _save(self) -> None:
        run = {"stage": self.stage, "message": self.message, "pass": self._pass, "created_s": self._created_s}
        # The token distinguishes drivers: two that save equal states would both believe that theirs was stored.
        run["driver"] = self._token
        self._checkpoints.save({**run, "components": self._pass_state, **self._calls.to_json()})


def _work_error(work: str, message: str) -> WorkError:
    summary, _, details = message.rstrip().partition("\n")
    error = WorkError(f"{work}.run() failed: {summary}", work=work)
    if details:
        error.add_note(details)
    return error
