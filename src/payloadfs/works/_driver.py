"""The driver: runs the flow pass by pass, sends calls to the executor, and saves the state after each change.

A pass is one execution of the flow's `run`. During a pass the flow sees its own assignments and
the results of the calls that it waits for; results of parallel calls become visible when the next
pass begins. So a pass is determined by the state and the time at its beginning and the results of its calls.
All of these are in the journal, so an interrupted pass can be repeated.
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
from ._component import Component, active_driver, find_class, tree
from ._events import Event, EventKind
from ._flow import Flow, StopFlow
from ._history import Call, CallHistory
from ._journal import Journal, State, payload_prefix
from ._state import decode, encode, fingerprint, same
from ._submit import EndApp, Submitter, heartbeat
from ._work import CallOptions, Work, WorkStatus

_MAX_GATHER_S = 0.5
_MAX_FRUITLESS = 10
_IDLE = "nothing is left to do, but not all works succeeded, and the flow did not call stop()"

_signature = lru_cache(inspect.signature)


class Driver:
    """One run of an app.

    Parameters
    ----------
    flow : Flow
        The root flow.
    journal : Journal
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
        journal: Journal,
        executor: Executor,
        settings: Mapping[str, Any],
        emit: Callable[[Event], None],
    ) -> None:
        self._flow, self._journal, self._prefix = flow, journal, payload_prefix(journal.run)
        self._components: dict[str, Component] = {}
        self._works: dict[str, Work] = {}
        self._created: dict[str, dict[str, Any]] = {}
        self._calls = CallHistory(journal)
        self.submitter = Submitter(executor, settings, journal.repository, self._prefix, journal.run, emit)
        self._unfinished: list[Call] = []
        self._published: dict[str, dict[str, Any]] = {}
        self._pass_state: dict[str, dict[str, Any]] = {}
        self._next_pass: tuple[dict[str, dict[str, Any]], int, float] | None = None
        self._pass, self._pass_took_s, self._has_begun = 0, 0.0, False
        self._created_s, self._token = time.time(), secrets.token_hex(8)
        self.now_s = self._created_s
        self._timers: dict[str, float] = {}
        self._wake_s: float | None = None
        self._fruitless = 0
        self.stage, self.message = "running", ""
        components = list(tree(flow, "root", None))
        if any("run" in vars(component) for _, component, _ in components):
            raise ConfigError("This flow is already running: an app cannot run twice at the same time.", kind="app")
        for name, component, _ in components:
            self._attach(name, component)

    def _attach(self, name: str, component: Component) -> None:
        component._set_internal(_name=name, _prefix=self._prefix, _runs_in_driver=True)
        self._components[name] = component
        if isinstance(component, Work):
            self._works[name] = component
            call, stop = partial(self._call, component), partial(self._stop_work, component)
            run = partial(call, component._call_options)
            look = partial(self._calls.forget_failures, name)
            component._set_internal(run=run, _start_call=call, _stop=stop, _on_look=look, _status=WorkStatus())

    def detach(self) -> None:
        """Release the works: their `run` is an ordinary method again."""
        self.submitter.detach()
        for component in self._components.values():
            component._set_internal(_runs_in_driver=False)
        for work in self._works.values():
            vars(work).pop("run", None)
            work._set_internal(_stop=None, _start_call=None, _on_look=None)

    def resume(self) -> None:
        """Load the state of the run: attributes, statuses, works created by `run`, and calls to run again.

        Raises
        ------
        ConfigError
            The run has different works and flows. Nothing was run.
        """
        state = self._journal.load()
        saved, run = state.get("component", {}), state["run"][""]
        static = [name for name, created in saved.items() if not created]
        if not self._components.keys() <= saved.keys() or not all(name in self._components for name in static):
            raise ConfigError(
                f"Run {self._journal.run!r} was saved by a different program. Its works and flows are "
                f"{', '.join(static)}.",
                kind="other-program",
            )
        for name, component in list(self._components.items()):
            component._restore_state(state.get(f"state:{name}", {}), self._journal.repository)
        for name, created in saved.items():
            if created:
                self._recreate(name, created, state)
        self._pass, self._created_s, self.now_s = run["pass"], run["created_s"], run["now_s"]
        self.stage, self.message = run["stage"], run["message"]
        self._timers = dict(state.get("timer", {}))
        self._pass_state, self._has_begun = self._encode_state(), True
        self._unfinished = self._calls.restore(state)
        for work in self._works.values():
            self._update_status(work)

    def _recreate(self, name: str, created: dict[str, Any], state: State) -> None:
        """Recreate a work or flow that `run` had created, at its old position."""
        self._created[name] = created
        parent, attribute, key = self._components[created["parent"]], created["attribute"], created["key"]
        if name not in self._components:
            args, kwargs = decode(created["arguments"], self._journal.repository)
            component = find_class(created["class"])(*args, **kwargs)
            container = getattr(parent, attribute)
            if key is None:
                parent._set_internal(**{attribute: component})
            elif isinstance(container, dict):
                container[key] = component
            else:
                container.append(component)
            for child_name, child, _ in tree(component, name, None):
                self._attach(child_name, child)
        self._components[name]._restore_state(state.get(f"state:{name}", {}), self._journal.repository)

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
            if not self._has_begun:
                self._begin_pass_from_current_state(0)
            # Before anything runs: from here on, no other driver of this run can save.
            self._save()
            with heartbeat(self._journal.renew, self.submitter):
                for call in self._unfinished:
                    self.submitter.start(call, self._works[call.work])
                while self._run_pass() and self._begin_pass():
                    pass
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

    def _run_pass(self) -> bool:
        """Run the flow once; wait for a result if nothing changed. Return False when the run is over."""
        began_s, self._wake_s, self.stage = time.monotonic(), None, "running"
        token = active_driver.set(self)
        try:
            self._flow.run()
            self._adopt()
        except StopFlow as stop:
            self._adopt()
            self.stage, self.message = "finished", str(stop)
            return False
        finally:
            active_driver.reset(token)
        if self.submitter.has_results or self._has_changed():
            return True
        open_calls = list(self._calls.all_open())
        if not open_calls and self._wake_s is None:
            self.stage, self.message = ("finished", "") if self._is_complete() else ("idle", _IDLE)
            return False
        if not any(call.has_ended for call in open_calls):
            self._save()
            self._pass_took_s = time.monotonic() - began_s
            self._wait_between_passes()
        return True

    def _is_complete(self) -> bool:
        """Return whether a flow that does not call stop() counts as finished."""
        return bool(self._works) and all(work._status.stage == "succeeded" for work in self._works.values())

    def _wait_between_passes(self) -> None:
        """Wait until a result arrives or a timer is due. Results that arrive soon after share the next pass."""
        while True:
            waited = self._wait(self._wake_s)
            if waited or (self._wake_s is not None and time.time() >= self._wake_s):
                break
        ends_s = time.time() + min(self._pass_took_s, _MAX_GATHER_S)
        while time.time() < ends_s and any(not call.has_ended for call in self._calls.all_open()):
            self._wait(ends_s)

    def _wait(self, until_s: float | None = None) -> Call | None:
        """Wait until a call has ended or published state, or until `until_s`. Return the call."""
        result = self.submitter.wait(until_s)
        if result is None:
            return None
        call, published = result
        if published is not None:
            self._published.setdefault(call.work, {}).update(published)
            return call
        if call.stage != "stopped":
            self._calls.write(call)
        return call if call.has_ended else None

    def _begin_pass(self) -> bool:
        """Make all results visible to the flow, and save: a resumed run starts from here.

        Returns False if the flow only repeats failing calls, so that the run would never end.
        """
        while self.submitter.has_results:
            self._wait()
        for call in self._calls.all_open():
            if call.ends_app:
                raise _work_error(call.work, call.message)
        for name, published in self._published.items():
            self._works[name]._restore_state(published, self._journal.repository)
        self._published.clear()
        for name in {call.work for call in self._calls.all_open()}:
            self._apply_results(self._works[name])
        if not same(self._encode_state(), self._pass_state):
            self._fruitless = 0
        elif self._calls.has_closed:
            self._fruitless = self._fruitless + 1 if self._calls.has_only_failed_again else 0
        self._begin_pass_from_current_state(self._pass + 1)
        self._save()
        if self._fruitless < _MAX_FRUITLESS or any(True for _ in self._calls.all_open()):
            return True
        self.stage, self.message = "idle", f"{_MAX_FRUITLESS} passes in a row only repeated calls that fail"
        return False

    def _adopt(self) -> None:
        """Attach works and flows that `run` added to the flow.

        Raises
        ------
        ConfigError
            One was moved, replaced or removed, or is in two places.
        """
        found: set[int] = set()
        for name, component, place in tree(self._flow, "root", None):
            known = self._components.get(name)
            if known is None and component._prefix != self._prefix:
                self._attach(name, component)
                assert place is not None
                self._created[name] = self._describe(component, *place)
            elif known is not component:
                raise ConfigError(
                    f"{component.name} was moved to {name}: works and flows can be added while a flow runs, but not "
                    "moved or replaced.",
                    kind="app",
                )
            found.add(id(component))
        if len(found) < len(self._components):
            missing = next(name for name, component in self._components.items() if id(component) not in found)
            raise ConfigError(f"{missing} was removed while the flow was running: stop it instead.", kind="app")

    def _describe(self, component: Component, parent: Component, attribute: str, key: Any) -> dict[str, Any]:
        args, kwargs = component._constructor_arguments()
        arguments = encode([list(args), kwargs], f"arguments of {component.name}", prefix=self._prefix)
        cls = type(component)
        return {
            "class": f"{cls.__module__}:{cls.__qualname__}",
            "parent": parent.name,
            "attribute": attribute,
            "key": key,
            "arguments": arguments,
        }

    def call_new(self, component: Component, run: Callable[..., None], args: Any, kwargs: Any) -> None:
        """Run a work or flow that is not attached, because `run` created it or the app cannot find it."""
        self._adopt()
        if self._components.get(component.name) is not component:
            raise ConfigError(
                f"The app cannot find a {type(component).__name__} that was called: assign it to an attribute of the "
                "flow, or add it to a list or dict in one.",
                kind="app",
            )
        if isinstance(component, Work):
            component.run(*args, **kwargs)
        else:
            run(component, *args, **kwargs)

    def has_elapsed(self, timer: str, seconds: float) -> bool:
        """Return whether a timer is due; if it is not, schedule a pass for it."""
        due_s = self.timer(timer) + seconds
        if due_s > self.now_s:
            self.wake_at(due_s)
        return due_s <= self.now_s

    def timer(self, timer: str) -> float:
        """Return when a timer was started; if it was not, start it."""
        return self._timers.setdefault(timer, self.now_s)

    def wake_at(self, time_s: float) -> None:
        """Begin another pass at `time_s` at the latest."""
        self._wake_s = time_s if self._wake_s is None else min(self._wake_s, time_s)

    def restart_timer(self, timer: str) -> None:
        """Restart a timer at its next use."""
        self._timers.pop(timer, None)

    def _has_changed(self) -> bool:
        if self._calls.has_changed or len(self._components) != len(self._pass_state):
            return True
        return not same(self._encode_state(), self._pass_state)

    def _begin_pass_from_current_state(self, pass_number: int) -> None:
        # In two steps: if encoding fails or is interrupted, calls must not be committed without their state.
        self._next_pass = self._encode_state(), pass_number, time.time()
        self._commit_pass()

    def _commit_pass(self) -> None:
        """Write the next pass to the journal. After an interrupt, a second call completes it."""
        if self._next_pass is None:
            return
        self._calls.commit()
        states, pass_number, now_s = self._next_pass
        for name, state in states.items():
            before = self._pass_state.get(name)
            if before is None:
                self._journal.set("component", name, self._created.get(name, {}))
            if before is None or not same(before, state):
                self._write_state(f"state:{name}", before or {}, state)
        for timer, started_s in self._timers.items():
            self._journal.set("timer", timer, started_s)
        self._pass_state, self._pass, self.now_s, self._has_begun = states, pass_number, now_s, True
        self._next_pass = None

    def _write_state(self, kind: str, before: dict[str, Any], state: dict[str, Any]) -> None:
        for name in before.keys() - state.keys():
            self._journal.drop(kind, name)
        for name, value in state.items():
            old = before.get(name)
            if type(value) is list and type(old) is list and 0 < len(old) < len(value) and same(value[: len(old)], old):
                self._journal.append(kind, name, len(old), value[len(old) :])
            elif name not in before or not same(value, old):
                self._journal.set(kind, name, value)

    def _finish(self) -> None:
        stage = self.stage
        for work in self._works.values():
            self._stop_work(work)
        self.stage = "running"
        self._begin_pass_from_current_state(self._pass + 1)
        self.stage = stage
        self._save()
        self.submitter.emit("run-finished" if stage == "finished" else "run-idle", message=self.message)

    def _abort(self, stage: str, message: str) -> None:
        """Stop running calls and save the state; a resumed run repeats these calls."""
        kind: EventKind = "run-interrupted" if stage == "interrupted" else "run-failed"
        self.stage, self.message = stage, message
        try:
            self._commit_pass()
            self.submitter.stop_all()
            for call in self._calls.all_open():
                self._calls.write(call)
            if self._has_begun:
                self._save()
        finally:
            self.submitter.emit(kind, message=message)

    def _call(self, work: Work, options: CallOptions, /, *args: Any, **kwargs: Any) -> None:
        """Replace `work.run` while the app runs."""
        encoded = self._encode_arguments(work, args, kwargs)
        id_ = fingerprint(encoded)
        if work.cache_calls and self._calls.is_done(work.name, id_):
            return
        if not (work.parallel and self._calls.is_open(work.name, id_)):
            self._new_call(work, id_, encoded, options)
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

    def _new_call(self, work: Work, id_: str, encoded: list[Any], options: CallOptions) -> None:
        number = self._calls.next_number(work.name, id_)
        saved_options, raises, cached = options.to_dict(), work.raise_exception, work.cache_calls
        call = self._calls.replayed(Call(work.name, id_, number, self._pass, encoded, raises, cached, saved_options))
        self._calls.add(call)
        self._update_status(work)
        if call is self._calls.first_open(work.name) and not call.has_ended:
            self.submitter.start(call, work)

    def _wait_within_pass(self) -> None:
        self._save()
        ended = self._wait()
        self._save()
        if ended is not None and ended.ends_app and self._works[ended.work].parallel:
            raise EndApp(_work_error(ended.work, ended.message))

    def _apply_results(self, work: Work) -> None:
        """Make the results of the ended calls of `work` visible to the flow, in order, and start its next call."""
        while (call := self._calls.first_open(work.name)) is not None:
            if not call.has_ended:
                if not self.submitter.is_running(call):
                    self.submitter.start(call, work)
                if not call.has_ended:
                    break
            self._published.pop(work.name, None)
            work._restore_state(call.state or {}, self._journal.repository)
            self._calls.close(call)
        self._update_status(work)

    def _stop_work(self, work: Work) -> None:
        for call in self._calls.open_calls(work.name):
            self.submitter.stop(call)
            call.mark_stopped()
            self._calls.close(call)
            self.submitter.emit("call-stopped", work.name)
        self._update_status(work)

    def _update_status(self, work: Work) -> None:
        work._set_internal(_status=self._calls.status.get(work.name, WorkStatus()))

    def _encode_state(self) -> dict[str, dict[str, Any]]:
        return {name: component._encode_state() for name, component in self._components.items()}

    def _save(self) -> None:
        run = {
            "stage": self.stage,
            "message": self.message,
            "pass": self._pass,
            "now_s": self.now_s,
            "created_s": self._created_s,
            "works": len(self._works),
            "failed": sum(status.stage == "failed" for status in self._calls.status.values()),
            # Distinguishes drivers: otherwise two that save equal states would both assume that theirs was stored.
            "driver": self._token,
        }
        self._journal.set("run", "", run)
        self._journal.save()


def _work_error(work: str, message: str) -> WorkError:
    summary, _, details = message.rstrip().partition("\n")
    error = WorkError(f"{work}.run() failed: {summary}", work=work)
    if details:
        error.add_note(details)
    return error
