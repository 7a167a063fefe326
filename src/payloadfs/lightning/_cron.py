"""Cron expressions: the times that ``LightningFlow.schedule`` waits for."""

from __future__ import annotations

import datetime
from functools import lru_cache

from ..errors import ConfigError

__all__ = ["next_time"]

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
_MAX_DAYS = 366 * 8


@lru_cache
def _fields(pattern: str) -> tuple[tuple[frozenset[int], ...], bool]:
    """Return the values that each of the five fields admits, and whether either kind of day is enough."""
    parts = _NAMES.get(pattern, pattern).split()
    try:
        minute, hour, day, month, weekday = (_values(part, *span) for part, span in zip(parts, _RANGES, strict=True))
    except ValueError as error:
        raise ConfigError(f"{pattern!r} is not a cron expression of five fields: {error}.", kind="schedule") from error
    weekday = frozenset(number % 7 for number in weekday)
    return (minute, hour, day, month, weekday), parts[2] != "*" and parts[4] != "*"


def _values(part: str, first: int, last: int) -> frozenset[int]:
    values: set[int] = set()
    for item in part.split(","):
        span, _, step = item.partition("/")
        low, _, high = span.partition("-")
        begin, end = (first, last) if low == "*" else (int(low), int(high or (last if step else low)))
        if not first <= begin <= end <= last or (step and int(step) < 1):
            raise ValueError(f"{item!r} is not within {first}-{last}")
        values.update(range(begin, end + 1, int(step or 1)))
    return frozenset(values)


def next_time(pattern: str, after_s: float) -> float:
    """Return the first time after `after_s` that matches `pattern`, in seconds since 1970; fields are in UTC.

    Raises
    ------
    ConfigError
        `pattern` is not a cron expression, or no time within eight years matches it.
    """
    (minutes, hours, days, months, weekdays), either = _fields(pattern)
    moment = datetime.datetime.fromtimestamp(after_s, datetime.UTC).replace(second=0, microsecond=0)
    moment += datetime.timedelta(minutes=1)
    midnight = moment.replace(hour=0, minute=0)
    for _ in range(_MAX_DAYS):
        by_day, by_weekday = midnight.day in days, midnight.isoweekday() % 7 in weekdays
        if midnight.month in months and (by_day or by_weekday if either else by_day and by_weekday):
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    found = midnight.replace(hour=hour, minute=minute)
                    if found >= moment:
                        return found.timestamp()
        midnight += datetime.timedelta(days=1)
    raise ConfigError(f"No time within eight years matches the cron expression {pattern!r}.", kind="schedule")
