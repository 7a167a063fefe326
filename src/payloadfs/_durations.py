"""Durations in settings and keys: whole seconds, written as ``"7d"``."""

from __future__ import annotations

import datetime
import re

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MAX_S = 999_999_999
_PATTERN = re.compile(r"([1-9][0-9]{0,8})([smhdw])")


def duration_name(duration_s: int) -> str:
    """Return a number of seconds as `seconds` reads it, in the largest unit up to days that fits.

    Examples
    --------
    >>> duration_name(604_800), duration_name(5400)
    ('7d', '90m')
    """
    unit = next(unit for unit in "dhms" if duration_s % _UNITS_S[unit] == 0)
    return f"{duration_s // _UNITS_S[unit]}{unit}"


def seconds(duration: int | str | datetime.timedelta) -> int:
    """Return a number of seconds, a timedelta, or a string such as ``"90s"``, ``"7d"`` or ``"2w"`` in whole seconds.

    Raises
    ------
    ValueError
        `duration` is none of these.

    Examples
    --------
    >>> seconds("7d"), seconds(datetime.timedelta(hours=1))
    (604800, 3600)
    """
    if isinstance(duration, datetime.timedelta):
        # Rounded down: a shorter time is the stricter one.
        duration = duration // datetime.timedelta(seconds=1)
    if isinstance(duration, str) and (match := _PATTERN.fullmatch(duration)):
        duration = int(match[1]) * _UNITS_S[match[2]]
    if type(duration) is int and 0 < duration <= _MAX_S:
        return duration
    raise ValueError(
        "a duration must be a positive number of seconds or a string such as '90s', '12h' or '7d', and at most 30 years"
    )
