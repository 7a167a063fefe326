"""What an app tells while it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Event", "EventKind"]

EventKind = Literal[
    "run-started",
    "run-resumed",
    "call-started",
    "call-succeeded",
    "call-failed",
    "call-stopped",
    "output",
    "run-finished",
    "run-failed",
    "run-interrupted",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Parameters
    ----------
    kind : str
        One of `EventKind`.
    run : str
        Name of the run.
    work : str
        Name of the work; empty if the event is not about one.
    message : str
        What went wrong, or what was printed.
    stream : str
        Of output: ``"stdout"`` or ``"stderr"``.
    took_s : float or None
        Seconds that a call ran.
    stored : tuple
        Payloads that a call left: attribute, class of the value, size in bytes.
    time_s : float
        Seconds since 1970 (UTC).
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
        """Return the event as JSON values, without what does not apply."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        facts["stored"] = [dict(zip(("attribute", "type", "size_bytes"), one, strict=True)) for one in self.stored]
        return {name: value for name, value in facts.items() if value not in ("", None, [])}
