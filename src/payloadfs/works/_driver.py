"""The driver: runs the flow pass by pass, sends calls to the executor, and saves after each change.

A pass is one run of the flow's `run`. During it the flow sees its own assignments and the results
of the calls that it waits for; results of parallel calls show when the next pass begins. So what a
pass does follows from the state at its beginning and from the results of its calls. Both are in
the run's document, and a pass that was interrupted can be run again.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any

from ..errors import ConfigError, PayloadError, WorkError
from ._call import Outcome, execute, pack
from ._calls import Call, Calls
from ._events import Event, EventKind
from ._flow import Flow, StopFlow
from ._journal import Journal, payload_scope
from ._state import canonical, decode, encode, identity, payloads_in, pointers_in
from ._work import Work, WorkStatus

__all__ = ["Driver"]


class _EndApp(BaseException):
    """Leaves the flow's `run`, whatever it catches, because a parallel work failed."""


class Driver:
    """One run of an app.

    Parameters
    ----------
    flow : Flow
        The root; no other driver may use it.
    journal : Journal
        Where the run's documents go; its repository also holds the payloads.
    executor : concurrent.futures.Executor
        Runs the calls.
    settings : mapping
        Settings for the processes of the calls.
    emit : callable
        Called with each `Event`.
    """

    def __init__(
        self,
        flow: Flow,
        journal: Journal,
        executor: Executor,
        settings: Mapping[str, Any],
        emit: Callable[[Event], None],
    ) -> None:
        self._flow, self._journal, self._executor = flow, journal, executor
        self._settings, self._told = settings, emit
        self._repository, self._scope = journal.repository, payload_scope(journal.run)
        self._parts = {part.name: part for part in flow._tree()}
        self._works = {name: part for name, part in self._parts.items() if isinstance(part, Work)}
        self._calls = Calls()
        self._futures: dict[Call, Future[Outcome]] = {}
        self._ended: SimpleQueue[tuple[Call, Future[Outcome]]] = SimpleQueue()
        self._pass, self._created_s = 0, time.time()
        self.stage, self.message = "running", ""
        for part in self._parts.values():
            part._scope = self._scope
        for work in self._works.values():
            object.__setattr__(work, "run", partial(self._call, work))
            work._stop, work._status = partial(self._stop_work, work), WorkStatus()
        self._components = self._snapshot()

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
            self._parts[name]._restore(state, self._repository)
        self._components, self._pass, self._created_s = self._snapshot(), document["pass"], document["created_s"]
        self.stage, self.message = document["stage"], document["message"]
        again = self._calls.restore(document)
        for work in self._works.values():
            self._show(work)
        if self.stage != "finished":
            self.stage, self.message = "running", ""
            for call in again:
                self._submit(call)

    def drive(self) -> None:
        """Run the flow until it stops, or nothing can change any more.

        Raises
        ------
        WorkError
            A work failed, and neither it nor the flow says that this is no matter.
        Exception
            What the flow's `run` raised.
        """
        try:
            self._save()
            while self._run_pass():
                self._begin_pass()
            self._finish()
        except KeyboardInterrupt:
            self._leave("interrupted", "stopped at the keyboard")
            raise
        except Exception as error:
            self._leave("failed", f"{type(error).__name__}: {error}")
            raise

    def detach(self) -> None:
        """Let go of the works: their `run` is an ordinary method again."""
        for work in self._works.values():
            object.__delattr__(work, "run")
            work._stop = None

    def _run_pass(self) -> bool:
        """Run the flow once; wait for a result if nothing changed. False: it is over."""
        try:
            self._flow.run()
        except StopFlow as stop:
            self.message = str(stop)
            return False
        except _EndApp:
            return True
        if self._ended.empty() and not self._has_changed():
            if not self._futures:
                return False
            self._save()
            self._collect()
        return True

    def _begin_pass(self) -> None:
        """Let the flow see what has ended, and save: from here a resumed run begins."""
        while not self._ended.empty():
            self._collect()
        for call in self._calls.all_open():
            if call.ends_app:
                raise _failure(call)
        for work in {call.work for call in self._calls.all_open()}:
            self._apply_ended(self._works[work])
        self._commit()
        self._save()

    def _has_changed(self) -> bool:
        return self._calls.has_moved or canonical(self._snapshot()) != canonical(self._components)

    def _commit(self) -> None:
        self._calls.commit()
        self._components, self._pass = self._snapshot(), self._pass + 1

    def _finish(self) -> None:
        for work in self._works.values():
            self._stop_work(work)
        self.stage = "finished"
        self._commit()
        self._save()
        self._emit("run-finished", message=self.message)

    def _leave(self, stage: EventKind | str, message: str) -> None:
        """Stop what runs and save how things stand; a resumed run makes these calls again."""
        for call in list(self._futures):
            self._abandon(call)
        self.stage, self.message = stage, message
        self._save()
        self._emit("run-interrupted" if stage == "interrupted" else "run-failed", message=message)

    def _call(self, work: Work, /, *arguments: Any, **named: Any) -> None:
        """Stand in for `work.run` while the app runs."""
        bound = inspect.signature(type(work).run).bind(work, *arguments, **named)
        encoded = encode([list(bound.args[1:]), bound.kwargs], f"{work.name}.run's argument", scope=self._scope)
        id_ = identity(encoded)
        done = self._calls.done(work.name, id_) if work.cache_calls else None
        if done is not None:
            if done and work.raise_exception:
                raise _failure_of(work.name, done)
            return
        if not (work.parallel and self._calls.is_open(work.name, id_)):
            self._make(work, id_, encoded)
        while not work.parallel and (call := self._calls.first(work.name)) is not None:
            while not call.has_ended:
                self._wait_within_pass()
            self._apply_ended(work)
            if call.ends_app:
                raise _failure(call)

    def _make(self, work: Work, id_: str, encoded: list[Any]) -> None:
        number = self._calls.next_number(work.name, id_)
        new = Call(work.name, id_, number, self._pass, encoded, work.raise_exception, work.cache_calls)
        call = self._calls.replayed(new)
        self._calls.add(call)
        self._show(work)
        if call is self._calls.first(work.name) and not call.has_ended:
            self._submit(call)

    def _wait_within_pass(self) -> None:
        self._save()
        ended = self._collect()
        self._save()
        if ended.ends_app and self._works[ended.work].parallel:
            raise _EndApp

    def _submit(self, call: Call) -> None:
        work = self._works[call.work]
        given, named = decode(call.arguments, self._repository)
        for payload in payloads_in([given, named]):
            work._received(payload)
        task = pack(work, tuple(given), named, self._settings, self._scope)
        self._emit("call-started", call.work)
        future = self._futures[call] = self._executor.submit(execute, task)
        future.add_done_callback(lambda future: self._ended.put((call, future)))

    def _collect(self) -> Call:
        """Wait until a call ends, and note its result. The flow does not see it yet."""
        call, future = self._ended.get()
        if self._futures.pop(call, None) is None:
            return call  # it was stopped
        try:
            outcome = future.result()
            for _, pointer in pointers_in(outcome.state):
                self._repository.verify(pointer)
            call.end(outcome)
            for stream, text in outcome.output:
                self._emit("output", call.work, text, stream=stream)
        except Exception as error:  # of whatever kind: an executor has errors of its own
            words = str(error) if isinstance(error, PayloadError) else f"{type(error).__name__}: {error}"
            call.give_up("failed", words)
        self._tell(call)
        return call

    def _tell(self, call: Call) -> None:
        took_s = call.ended_s - call.started_s if call.started_s and call.ended_s else None
        stored = tuple((path, p.type_name, p.size_bytes) for path, p in pointers_in(call.state))
        kind: EventKind = "call-succeeded" if call.stage == "succeeded" else "call-failed"
        self._emit(kind, call.work, call.message, took_s=took_s, stored=stored)

    def _apply_ended(self, work: Work) -> None:
        """Let the flow see the calls of `work` that have ended, in order, and start the next."""
        while (call := self._calls.first(work.name)) is not None and call.has_ended:
            work._restore(call.state or {}, self._repository)
            self._calls.close(call)
        self._show(work)
        if call is not None and call not in self._futures:
            self._submit(call)

    def _stop_work(self, work: Work) -> None:
        for call in [call for call in self._calls.all_open() if call.work == work.name]:
            self._abandon(call)
            call.give_up("stopped", "")
            self._calls.close(call)
            self._emit("call-stopped", work.name)
        self._show(work)

    def _abandon(self, call: Call) -> None:
        future = self._futures.pop(call, None)
        if future is not None:
            # Only our own executor can stop a call that runs already.
            kill = getattr(self._executor, "kill", Future.cancel)
            kill(future)

    def _show(self, work: Work) -> None:
        work._status = self._calls.status.get(work.name, WorkStatus())

    def _snapshot(self) -> dict[str, Any]:
        return {name: part._encoded() for name, part in self._parts.items()}

    def _save(self) -> None:
        facts = {"stage": self.stage, "message": self.message, "pass": self._pass, "created_s": self._created_s}
        self._journal.save({**facts, "components": self._components, **self._calls.to_json()})

    def _emit(self, kind: EventKind, work: str = "", message: str = "", **facts: Any) -> None:
        self._told(Event(kind, self._journal.run, work, message, **facts))


def _failure(call: Call) -> WorkError:
    return _failure_of(call.work, call.message)


def _failure_of(work: str, message: str) -> WorkError:
    last = message.rstrip().rpartition("\n")[2]
    error = WorkError(f"{work}.run() failed: {last}", work=work)
    if last != message.rstrip():
        error.add_note(message.rstrip())
    return error
