"""Single values as JSON, each with its exact class: names of indexes, time zones, `attrs`.

A string is stored unchanged. Any other value is an object with one field, named after the class:
``{"int": 3}``, ``{"Timestamp": [1767225600, "s", null]}``. Classes that are not in the table below,
by exact class, are not stored here (`NotExactError`).
"""

from __future__ import annotations

import datetime as dt
import struct
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any

from .._base import NotExactError
from .._plain import check_exact

__all__ = ["decode_attrs", "decode_scalar", "decode_zone", "encode_attrs", "encode_scalar", "encode_zone"]

_MAX_INT = 2**63
_NUMPY_KINDS = "biufcMm"


def encode_scalar(value: Any) -> Any:
    """Return `value` as JSON.

    Raises
    ------
    NotExactError
        The class is not in the vocabulary, or JSON cannot represent the value.

    Examples
    --------
    >>> encode_scalar(("x", 1.5))
    {'tuple': ['x', {'float': '000000000000f83f'}]}
    """
    kind = type(value)
    if kind is str:
        return value
    if value is None or kind is bool or (kind is int and abs(value) < _MAX_INT):
        return {kind.__name__: value}
    for name, (cls, encode, _) in _scalar_codecs().items():
        if kind is cls:
            return {name: encode(value)}
    if type(getattr(value, "dtype", None)).__module__.startswith("numpy") and kind is value.dtype.type:
        return {"numpy": _encode_numpy(value)}
    raise NotExactError


def decode_scalar(encoded: Any) -> Any:
    """Return the value that `encode_scalar` encoded."""
    if isinstance(encoded, str):
        return encoded
    ((name, value),) = encoded.items()
    if name in ("NoneType", "bool", "int"):
        return value
    if name == "numpy":
        return _decode_numpy(*value)
    return _scalar_codecs()[name][2](value)


def encode_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return ``DataFrame.attrs`` as one field of the sidecar: plain JSON where that is exact, else tagged."""
    try:
        check_exact(dict(attrs))
    except NotExactError:
        return {"attrs_tagged": _encode_tree(dict(attrs), set())}
    return {"attrs": dict(attrs)}


def decode_attrs(sidecar: Mapping[str, Any]) -> Any:
    """Return the `attrs` in the sidecar `sidecar`."""
    return sidecar["attrs"] if "attrs" in sidecar else _decode_tree(sidecar["attrs_tagged"])


def _encode_tree(value: Any, seen: set[int]) -> Any:
    if type(value) not in (list, dict):
        return encode_scalar(value)
    if id(value) in seen:
        raise NotExactError
    seen.add(id(value))
    if type(value) is list:
        return {"list": [_encode_tree(part, seen) for part in value]}
    return {"dict": [[encode_scalar(key), _encode_tree(part, seen)] for key, part in value.items()]}


def _decode_tree(encoded: Any) -> Any:
    kind = next(iter(encoded))
    if kind == "list":
        return [_decode_tree(part) for part in encoded["list"]]
    if kind == "dict":
        return {decode_scalar(key): _decode_tree(part) for key, part in encoded["dict"]}
    return decode_scalar(encoded)


def encode_zone(zone: dt.tzinfo) -> list[Any]:
    """Return a time zone as the JSON list that `decode_zone` takes."""
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return ["zone", zone.key]
    if type(zone) is dt.timezone:
        offset = zone.utcoffset(None)
        if repr(zone) == repr(dt.timezone(offset)):
            return ["offset", offset.total_seconds()]
        return ["offset", offset.total_seconds(), str(zone)]
    name = getattr(zone, "zone", None)
    # pytz has a class for each zone and an instance for each of its offsets.
    if (
        type(zone).__module__.partition(".")[0] == "pytz"
        and type(name) is str
        and type(decode_zone("pytz", name)) is type(zone)
    ):
        return ["pytz", name]
    raise NotExactError


def decode_zone(kind: str, encoded: Any, name: str | None = None) -> dt.tzinfo:
    """Return the time zone: a `ZoneInfo`, a fixed offset or a pytz zone."""
    if kind == "zone":
        return zoneinfo.ZoneInfo(encoded)
    if kind == "pytz":
        import pytz  # type: ignore[import-untyped]  # pyright: ignore[reportMissingModuleSource]

        zone: dt.tzinfo = pytz.timezone(encoded)
        return zone
    if name is not None:
        return dt.timezone(dt.timedelta(seconds=encoded), name)
    return dt.timezone(dt.timedelta(seconds=encoded)) if encoded else dt.UTC


def _scalar_codecs() -> dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]]:
    """Return class, encoder and decoder for each class name."""
    import pandas as pd

    return {
        "float": (float, lambda v: struct.pack("<d", v).hex(), lambda f: struct.unpack("<d", bytes.fromhex(f))[0]),
        "bytes": (bytes, bytes.hex, bytes.fromhex),
        "tuple": (tuple, lambda v: list(map(encode_scalar, v)), lambda f: tuple(map(decode_scalar, f))),
        "date": (dt.date, dt.date.isoformat, dt.date.fromisoformat),
        "Timestamp": (pd.Timestamp, _encode_timestamp, _decode_timestamp),
        "Timedelta": (pd.Timedelta, lambda v: [int(v.asm8.view("i8")), v.unit], _decode_timedelta),
        "Period": (pd.Period, lambda v: [v.ordinal, _period_alias(v)], lambda f: pd.Period(ordinal=f[0], freq=f[1])),
        "Interval": (
            pd.Interval,
            lambda v: [encode_scalar(v.left), encode_scalar(v.right), v.closed],
            lambda f: pd.Interval(decode_scalar(f[0]), decode_scalar(f[1]), f[2]),
        ),
        "NA": (type(pd.NA), lambda _: None, lambda _: pd.NA),
        "NaT": (type(pd.NaT), lambda _: None, lambda _: pd.NaT),
    }


def _encode_timestamp(value: Any) -> list[Any]:
    encoded = [int(value.asm8.view("i8")), value.unit, None if value.tz is None else encode_zone(value.tz)]
    if repr(_decode_timestamp(encoded)) != repr(value):
        raise NotExactError
    return encoded


def _decode_timestamp(encoded: list[Any]) -> Any:
    import numpy as np
    import pandas as pd

    count, unit, zone = encoded
    naive = pd.Timestamp(np.datetime64(count, unit))
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(decode_zone(*zone))


def _decode_timedelta(encoded: list[Any]) -> Any:
    import numpy as np
    import pandas as pd

    return pd.Timedelta(np.timedelta64(*encoded))


def _period_alias(period: Any) -> str:
    import pandas as pd

    # The dtype spells the frequency as all versions of pandas read it ("M", not "ME").
    name: str = pd.PeriodDtype(period.freq).name
    return name.removeprefix("period[").removesuffix("]")


def _encode_numpy(value: Any) -> list[str]:
    dtype = value.dtype
    if dtype.kind not in _NUMPY_KINDS or dtype.itemsize > (16 if dtype.kind == "c" else 8) or dtype.metadata:
        raise NotExactError
    return [dtype.str, value.tobytes().hex()]


def _decode_numpy(name: str, content: str) -> Any:
    import numpy as np

    dtype = np.dtype(name)
    if dtype.kind not in _NUMPY_KINDS:
        raise ValueError(f"invalid scalar dtype {name!r}")
    return np.frombuffer(bytes.fromhex(content), dtype)[0]
