"""Retries of requests, and the time limit of every operation on a remote store.

A request is sent again if the server refuses it or cuts the connection, but not if the server is silent: each
request ends after two thirds of the time limit. Long transfers run under `Retry.watch`, which probes the server
when nothing arrives. Operations that run at the same time share the knowledge that a server is dead.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from .._operation import count
from ..errors import PayloadError, is_interrupt
from ._errors import ErrorTranslator

_T = TypeVar("_T")

TIMEOUT_S = 15.0
"""Default time limit for an operation that makes no progress."""

PAUSES_S = (0.2, 0.6, 1.8)
"""Between attempts, before jitter."""

RETRIED = frozenset({"busy", "checksum", "conflict", "connection-lost", "timeout", "unreachable"})
"""Kinds of errors after which another attempt may help."""

_DEAD = frozenset({"connection-lost", "timeout", "unreachable"})
"""Kinds of errors that are not responses from the server."""


class _Outcome(Generic[_T]):
    """Result or error of a call in another thread."""

    result: _T
    error: BaseException | None = None

    def get(self) -> _T:
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            # The traceback holds this frame: without a cycle, buffers are released immediately.
            self.error = None


class Retry:
    """Retries of one store's requests, and translation of library errors into payloadfs errors.

    A request has up to four attempts if the server refuses or cuts the connection, or is busy. A request that is not
    answered within the time limit gets one more attempt only if the server answered another request meanwhile: then
    only this request is stuck. A dead server therefore causes one error after one time limit.

    If the server denies a request, `refresh` looks for new credentials, and returns whether it found any.
    """

    def __init__(
        self, translator: ErrorTranslator, timeout_s: float = TIMEOUT_S, refresh: Callable[[], bool] = lambda: False
    ) -> None:
        self.timeout_s = timeout_s
        self._translator, self._refresh = translator, refresh
        self._last_response_s = 0.0
        self._active: set[int] = set()
        self._dead: tuple[float, str] = 0.0, ""

    @property
    def request_s(self) -> float:
        """How long a server may take to answer one request."""
        return self.timeout_s * 2 / 3

    @property
    def connect_s(self) -> float:
        """How long a server may take to accept a connection, or to answer a probe."""
        return self.timeout_s / 3

    def note_response(self) -> None:
        """Remember that the server is alive."""
        self._last_response_s = time.monotonic()

    def call(
        self,
        operation: str,
        key: str,
        attempt: Callable[[], _T],
        *,
        kinds: Collection[str] = RETRIED,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> _T:
        """Return what `attempt` returns, or raise the translated error of the last attempt.

        It is called again after errors of `kinds`, if that may help and the caller still needs the result.
        """
        thread = threading.get_ident()
        if thread in self._active:
            return self._call(operation, key, attempt, kinds, is_stopped)
        self._refuse_if_dead(operation, key)
        self._active.add(thread)
        try:
            return self._call(operation, key, attempt, kinds, is_stopped)
        finally:
            self._active.discard(thread)

    def _call(
        self,
        operation: str,
        key: str,
        attempt: Callable[[], _T],
        kinds: Collection[str],
        is_stopped: Callable[[], bool],
    ) -> _T:
        started_s, refreshes = time.monotonic(), bool(kinds)
        attempted_s = started_s
        for pause_s in (*PAUSES_S, 0.0):
            try:
                result = attempt()
            except BaseException as error:
                if is_interrupt(error):
                    raise
                ours = self._translator.translate(error, operation, key)
                is_final = not pause_s or is_stopped()
                if not is_final and refreshes and ours.kind == "denied" and self._refresh():
                    refreshes = False
                    continue
                is_final = is_final or ours.kind not in kinds or not self._may_help(ours, started_s, attempted_s)
                if is_final:
                    self._note_silence(ours, attempted_s)
                    if ours is error:
                        raise
            else:
                self.note_response()
                return result
            if is_final:
                try:
                    raise ours
                finally:
                    # The traceback holds this frame: without a cycle, buffers are released immediately.
                    del ours
            count("retries", **{"error.type": ours.kind})
            # Random, so that many clients do not retry at the same moment.
            time.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311
            attempted_s = time.monotonic()
        raise AssertionError("The last attempt returns or raises.")

    def once(self, operation: str, key: str, function: Callable[..., _T], *args: Any) -> _T:
        """Return what `function` returns, without repeating it, or raise the translated error."""
        return self.call(operation, key, lambda: function(*args), kinds=())

    def watch(
        self,
        operation: str,
        key: str,
        run: Callable[[], _T],
        probe: Callable[[], Any] | None = None,
        *,
        patience_s: float = float("inf"),
    ) -> _T:
        """Return what `run` returns; it may take any time while the server is alive.

        `run` runs in a thread; after an error here, it may keep running until the limit of its requests. If the store
        receives nothing for a third of the time limit, `probe` sends one cheap request, and has another third. Without
        it, the server counts as dead if nothing arrives for two thirds of the limit, and even a server that is alive
        must send something within `patience_s`.

        Raises
        ------
        StoreError
            ``kind="timeout"``: the server is dead.
        """
        self._refuse_if_dead(operation, key)
        started_s, finished, outcome = time.monotonic(), threading.Event(), _Outcome[_T]()

        def work() -> None:
            try:
                outcome.result = run()
            except BaseException as error:  # noqa: BLE001  raised in the caller's thread
                outcome.error = error
            finally:
                finished.set()

        try:
            # A daemon, so that the program can exit while a server is dead.
            threading.Thread(
                target=copy_context().run, args=(work,), name=f"payloadfs-{operation}", daemon=True
            ).start()
        except RuntimeError:
            # While the interpreter exits, no thread can start.
            work()
        probed_s, idle_s = started_s, self.connect_s if probe else self.request_s
        while not finished.wait(max(0.0, idle_s - (time.monotonic() - max(probed_s, self._last_response_s)))):
            if time.monotonic() - max(probed_s, self._last_response_s) < idle_s:
                continue
            is_alive = probe is not None and self._answers(operation, key, probe)
            probed_s = time.monotonic()
            is_late = probed_s - max(started_s, self._last_response_s) > patience_s
            if (is_late or not is_alive) and not finished.is_set():
                error = self._translator.timeout(operation, key, self.timeout_s)
                self._note_silence(error, started_s)
                raise error
        return outcome.get()

    def _answers(self, operation: str, key: str, probe: Callable[[], Any]) -> bool:
        try:
            probe()
        except BaseException as error:
            if is_interrupt(error):
                raise
            return self._translator.translate(error, operation, key).kind not in _DEAD
        return True

    def _note_silence(self, error: PayloadError, attempted_s: float) -> None:
        # A single caller decides for itself when to try again.
        if error.kind in ("timeout", "unreachable") and self._last_response_s < attempted_s and len(self._active) > 1:
            self._dead = time.monotonic(), error.kind

    def _refuse_if_dead(self, operation: str, key: str) -> None:
        dead_s, kind = self._dead
        if kind and time.monotonic() - dead_s < self.timeout_s / 10 and self._last_response_s < dead_s:
            raise self._translator.dead(operation, key, kind)

    def _may_help(self, error: PayloadError, started_s: float, attempted_s: float) -> bool:
        if error.kind == "timeout":
            return self._last_response_s > attempted_s == started_s
        return error.kind == "checksum" or time.monotonic() - started_s < self.connect_s
