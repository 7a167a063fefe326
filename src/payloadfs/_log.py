"""Messages that payloadfs writes to a program's log, under the name ``payloadfs``."""

from __future__ import annotations

import functools
import sys
from typing import Any

_already_warned: set[str] = set()


def debug(message: str, *arguments: Any) -> None:
    """Log `message` at level DEBUG."""
    # If the program never imported logging, it has no handler, and the import would cost more than a load.
    if "logging" in sys.modules:
        logger().debug(message, *arguments)


def warn(message: str) -> None:
    """Log `message` as a warning: on standard error, unless the program configures logging."""
    logger().warning("%s", message)


def warn_once(message: str) -> None:
    """Log `message` as a warning, unless this process has already done so."""
    if message not in _already_warned:
        _already_warned.add(message)
        warn(message)


@functools.cache
def logger() -> Any:
    """Return the logger ``payloadfs``."""
    # Cached: `logging` takes a lock with every look-up.
    import logging

    return logging.getLogger("payloadfs")
