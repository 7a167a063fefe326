"""Events that an app reports while it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

EventKind = Literal[
    "run-started",
    "run-resumed",
    "call-started",
    "call-succeeded",
    "call-failed",
    "call-retried",
    "call-stopped",
    "output",
    "run-finished",
    "run-idle",
    "run-failed",
    "run-interrupted",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run.

    Parameters
    ----------
    kind : str
        One of `EventKind`.
    run : str
        Name of the run.
    work : str
        Name of the work; empty if the event is not about a work.
    message : str
        What went wrong, or what was printed.
    stream : str
        For output: ``"stdout"`` or ``"stderr"``.
    took_s : float or None
        For a call that ended: how long it ran, in seconds.
    stored : tuple
        For a call that succeeded: attribute, type name and size in bytes of each payload it saved.
    time_s : float
        Time of the event, in seconds since 1970 (UTC).
    """

    kind: EventKind
    run: str
    work: str = ""
    message: str = ""
    stream: str = ""
    took_s: float | None = None
    stored: tuple[tuple[str, str, int], ...] = ()
    time_s: float = field(default_factory=time.time)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON values, without the fields that do not apply."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields["stored"] = [dict(zip(("attribute", "type", "size_bytes"), one, strict=True)) for one in self.stored]
        return {name: value for name, value in fields.items() if value not in ("", None, [])}
