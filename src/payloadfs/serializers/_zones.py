"""Time zones as plain lists: of the system, of pytz, or a fixed offset."""

from __future__ import annotations

import datetime as dt
from typing import Any

from .._typenames import loaded_class
from ._base import NotExactError


def encode_zone(zone: Any) -> list[Any]:
    """Return a time zone as a list that `decode_zone` takes.

    Raise `NotExactError` if the zone was read from a file, or is of another class.

    Examples
    --------
    >>> encode_zone(dt.timezone(dt.timedelta(hours=1)))
    ['offset', 3600000000]
    """
    kind = type(zone)
    if kind is dt.timezone:
        offset, *name = zone.__getinitargs__()
        return ["offset", offset // dt.timedelta(microseconds=1), *name]
    if kind is loaded_class("zoneinfo.ZoneInfo"):
        try:
            _, (key, from_cache) = zone.__reduce__()
        except Exception as error:
            raise NotExactError from error
        if from_cache:
            return ["zone", key]
    elif kind.__module__.partition(".")[0] == "pytz":
        make, args = zone.__reduce__()
        fields = ["pytz offset", *args] if make.__name__ == "FixedOffset" else ["pytz", *(args or ["UTC"])]
        # pytz has one object per zone and offset.
        if decode_zone(fields) is zone:
            return fields
    raise NotExactError


def decode_zone(fields: Any) -> Any:
    """Return the time zone of `fields`. Raises any exception for other fields."""
    kind, value, *args = fields
    if type(value).__name__ != ("int" if "offset" in kind else "str"):
        raise TypeError("not a time zone")
    if kind == "offset":
        return dt.timezone(dt.timedelta(microseconds=value), *args)
    if kind == "zone" and not args:
        import zoneinfo

        return zoneinfo.ZoneInfo(value)
    import pytz  # type: ignore[import-untyped]  # pyright: ignore[reportMissingModuleSource]

    if kind == "pytz offset":
        return pytz.FixedOffset(value)
    if kind != "pytz":
        raise ValueError("unknown kind of time zone")
    zone: Any = pytz.timezone(value)
    if not args:
        return zone
    offset_s, saving_s, abbreviation = args
    return zone._tzinfos[dt.timedelta(0, offset_s), dt.timedelta(0, saving_s), abbreviation]
