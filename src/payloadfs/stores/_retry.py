"""Repetition of requests: after a refusal or a lost connection, never to a server that is silent."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from ..errors import PayloadError, is_interrupt
from ._errors import ErrorTranslator

__all__ = ["RETRIED", "Retry"]

_T = TypeVar("_T")

PAUSES_S = (0.2, 0.6, 1.8)
"""Between attempts, before jitter."""

RETRY_FOR_S = 5.0
"""A request that is refused or cut off is sent again only within this time after its first attempt."""

RETRIED = frozenset({"busy", "checksum", "conflict", "connection-lost", "timeout"})
"""Kinds of errors after which another attempt may help."""


class Retry:
    """Repeated requests of one store, and its border: what a library raises leaves as one error of payloadfs.

    A server that cuts a connection or is busy gets up to four attempts. A server that does not
    answer within the time limit gets one more only if it answered another request meanwhile: then
    this request is stuck. So a dead server costs one error after one time limit.

    Parameters
    ----------
    translator : ErrorTranslator
        Translates errors.
    """

    def __init__(self, translator: ErrorTranslator) -> None:
        self._translator = translator
        self._last_response_s = 0.0

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
        """Return what `attempt` returns, and repeat it where that may help.

        Parameters
        ----------
        operation, key : str
            For messages.
        attempt : callable
            Sends the request.
        kinds : collection of str
            Kinds of errors after which it is sent again.
        is_stopped : callable
            Whether the caller no longer needs the result.

        Raises
        ------
        PayloadError
            The translated error of the last attempt.
        """
        started_s = time.monotonic()
        for pause_s in (*PAUSES_S, 0.0):
            attempted_s = time.monotonic()
            try:
                result = attempt()
            except BaseException as error:
                if is_interrupt(error):
                    raise
                ours = self._translator.translate(error, operation, key)
                is_final = not pause_s or is_stopped() or ours.kind not in kinds
                is_final = is_final or not self._may_help(ours, started_s, attempted_s)
                if is_final and ours is error:
                    raise
            else:
                self.note_response()
                return result
            if is_final:
                try:
                    raise ours
                finally:
                    # The traceback holds this frame: without a cycle, buffers are released at once.
                    del ours
            # Random, so that many clients do not come back at the same moment.
            time.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311
        raise AssertionError("The last attempt returns or raises.")

    def once(self, operation: str, key: str, function: Callable[..., _T], *args: Any) -> _T:
        """Return what `function` returns, without repeating it, or raise the translated error."""
        return self.call(operation, key, lambda: function(*args), kinds=())

    def _may_help(self, error: PayloadError, started_s: float, attempted_s: float) -> bool:
        if error.kind == "timeout":
            return self._last_response_s > attempted_s
        return error.kind == "checksum" or time.monotonic() - started_s < RETRY_FOR_S
