"""Messages that payloadfs writes to a program's log, under the name ``payloadfs``."""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

__all__ = ["debug", "log_done", "warn", "warn_once"]

_DEBUG = 10
_already_warned: set[str] = set()


def debug(message: str, *arguments: Any) -> None:
    """Log `message` at level DEBUG."""
    # If the program never imported logging, it has no handler, and the import would cost more than a load.
    if "logging" in sys.modules:
        _logger().debug(message, *arguments)


def log_done(verb: str, pointer: Any, started_s: float) -> None:
    """Log at level DEBUG that the object of `pointer` was saved or loaded, and how long it took."""
    if "logging" in sys.modules and (logger := _logger()).isEnabledFor(_DEBUG):
        took_ms = (time.perf_counter() - started_s) * 1000
        details = (pointer.location, pointer.type_name, pointer.serializer, pointer.size_bytes, took_ms)
        logger.debug("%s %s: %s, %s, %d bytes, %.1f ms", verb, *details)


def warn(message: str) -> None:
    """Log `message` as a warning: on standard error, unless the program configures logging."""
    _logger().warning("%s", message)


def warn_once(message: str) -> None:
    """Log `message` as a warning, unless this process has already done so."""
    if message not in _already_warned:
        _already_warned.add(message)
        warn(message)


@functools.cache
def _logger() -> Any:
    # Cached: `logging` takes a lock with every look-up.
    import logging

    return logging.getLogger("payloadfs")
