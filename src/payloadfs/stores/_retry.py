"""When a request is sent again: what a living server refused, broke off or forgot; never what a dead one did."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import PayloadError
from ._answers import plain
from ._errors import Border
from ._transfer import PAUSES_S, jitter

__all__ = ["Patience"]

_T = TypeVar("_T")
_REFUSALS_S = 5.0
"""So long after its beginning a request that is refused or broken off is sent again."""


class Patience:
    """Sends requests again, for one store.

    A server that breaks off or is busy is asked up to four times. One that says nothing within the
    time limit is asked again only if it said something to somebody else meanwhile: then this
    request is stuck. So a dead server is one error, after one time limit.

    Parameters
    ----------
    border : Border
        Translates errors.
    """

    def __init__(self, border: Border) -> None:
        self._border = border
        self._heard_s = 0.0

    def heard(self) -> None:
        """Note that the server is alive."""
        self._heard_s = time.monotonic()

    def tried(
        self, operation: str, key: str, attempt: Callable[[], _T], is_stopped: Callable[[], bool] = lambda: False
    ) -> _T:
        """Return what `attempt` returns, made again where that may help.

        Raises
        ------
        PayloadError
            The last attempt's error, as ours.
        """
        started_s = time.monotonic()
        for pause_s in (*PAUSES_S, None):
            began_s = time.monotonic()
            try:
                result = attempt()
            except Exception as error:
                cause = plain(error)
                ours = self._border.translate(cause, operation, key)
                if pause_s is None or is_stopped() or not self._may_pass(ours, started_s, began_s):
                    if ours is error:
                        raise
                    raise ours from cause
            else:
                self.heard()
                return result
            time.sleep(jitter(pause_s))
        raise AssertionError("The last attempt returns or raises.")

    def _may_pass(self, error: PayloadError, started_s: float, began_s: float) -> bool:
        if error.kind == "timeout":
            return self._heard_s > began_s
        return error.kind in ("connection-lost", "busy") and time.monotonic() - started_s < _REFUSALS_S
