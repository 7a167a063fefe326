"""Cron expressions: the times that ``LightningFlow.schedule`` waits for."""

from __future__ import annotations

from ..errors import ConfigError


def next_time(pattern: str, after_s: float) -> float:
    """Return the first time after `after_s` that matches `pattern`, in seconds since 1970; fields are in UTC.

    Raises
    ------
    ConfigError
        `pattern` is not a cron expression, no time matches it, or croniter is not installed.
    """
    try:
        from croniter import croniter
    except ImportError as error:
        raise ConfigError("Schedules need croniter: pip install 'payloadfs[cron]'.", kind="missing-package") from error
    try:
        if not pattern.startswith("@") and len(pattern.split()) != 5:
            raise ValueError("it must have five fields")
        return float(croniter(pattern, after_s).get_next(float))
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise ConfigError(
            f"Cannot find a time for the cron expression {pattern!r}: {reason}.", kind="schedule"
        ) from error
