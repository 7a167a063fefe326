"""What payloadfs tells a program's log, under the name ``payloadfs``."""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

__all__ = ["log_done", "warn", "warn_once"]

_DEBUG = 10
_told: set[str] = set()


def log_done(verb: str, pointer: Any, started_s: float) -> None:
    """Log at level DEBUG what was done with the object of `pointer`, and how long it took."""
    # Where logging was never imported nobody can listen, and importing it would cost more than a load.
    if "logging" in sys.modules and (logger := _logger()).isEnabledFor(_DEBUG):
        name, took_ms = f"{pointer.root}/{pointer.key}", (time.perf_counter() - started_s) * 1000
        facts = (pointer.type_name, pointer.serializer, pointer.size_bytes, took_ms)
        logger.debug("%s %s: %s, %s, %d bytes, %.1f ms", verb, name, *facts)


def warn(message: str) -> None:
    """Log `message` as a warning: on standard error, if the program says nothing else."""
    _logger().warning("%s", message)


@functools.cache
def _logger() -> Any:
    # Asked for once: for every question `logging` takes a lock.
    import logging

    return logging.getLogger("payloadfs")


def warn_once(message: str) -> None:
    """Log `message` as a warning, unless this process has done so."""
    if message not in _told:
        _told.add(message)
        warn(message)
