"""Immutable Python values that Arrow has a type for: each class with its way there and back."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._base import NotExactError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["ATOMS", "Atom"]

_DECIMAL_DIGITS = 38


@dataclass(frozen=True)
class Atom:
    """One class of values.

    Attributes
    ----------
    encode : callable
        Takes a list of values of exactly this class, and a mask of those that are missing (or None:
        then missing ones are None); returns an Arrow array or raises `NotExactError`.
    decode : callable
        Takes the Arrow array; returns the values, with anything where one is missing.
    """

    encode: Callable[[list[Any], Any], pa.Array]
    decode: Callable[[pa.Array], Sequence[Any]]


def _plain(kind: str, *arguments: Any) -> Callable[[list[Any], Any], pa.Array]:
    def encode(values: list[Any], absent: npt.NDArray[np.bool_] | None) -> pa.Array:
        import pyarrow as pa

        return pa.array(values, getattr(pa, kind)(*arguments), mask=absent, from_pandas=False)

    return encode


def _timeless(encode: Callable[[list[Any], Any], pa.Array]) -> Callable[[list[Any], Any], pa.Array]:
    """Refuse times with a zone or a fold, for which Arrow has no place."""

    def checked(values: list[Any], absent: npt.NDArray[np.bool_] | None) -> pa.Array:
        if any(getattr(value, "fold", 0) or getattr(value, "tzinfo", None) is not None for value in values):
            raise NotExactError
        return encode(values, absent)

    return checked


def _encode_decimals(values: list[Any], absent: npt.NDArray[np.bool_] | None) -> pa.Array:
    # One scale for all: Arrow would give 1.50 where 1.5 was. It has no sign for zero and no NaN.
    numbers = [value for value in values if type(value) is decimal.Decimal]
    scales = {number.as_tuple().exponent for number in numbers}
    scale = next(iter(scales), 0)
    if len(scales) > 1 or not isinstance(scale, int) or not -_DECIMAL_DIGITS <= scale <= 0:
        raise NotExactError
    if any(number.is_signed() and not number for number in numbers):
        raise NotExactError
    return _plain("decimal128", _DECIMAL_DIGITS, -scale)(values, absent)


def _encode_uuids(values: list[Any], absent: npt.NDArray[np.bool_] | None) -> pa.Array:
    found = [value if type(value) is uuid.UUID else None for value in values]
    if any(value is not None and value.is_safe is not uuid.SafeUUID.unknown for value in found):
        raise NotExactError
    return _plain("binary", 16)([None if value is None else value.bytes for value in found], absent)


def _numbers(array: pa.Array) -> Sequence[Any]:
    # Many times faster than `to_pylist`, and the same where nothing is missing.
    values: list[Any] = array.to_pylist() if array.null_count else array.to_numpy(zero_copy_only=False).tolist()
    return values


def _pylist(array: pa.Array) -> Sequence[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _texts(array: pa.Array) -> Sequence[Any]:
    values: Sequence[Any] = array.to_numpy(zero_copy_only=False)
    return values


def _uuids(array: pa.Array) -> Sequence[Any]:
    return [None if value is None else uuid.UUID(bytes=value) for value in array.to_pylist()]


ATOMS: dict[type, Atom] = {
    str: Atom(_plain("large_string"), _texts),
    bytes: Atom(_plain("large_binary"), _texts),
    bool: Atom(_plain("bool_"), _numbers),
    int: Atom(_plain("int64"), _numbers),
    float: Atom(_plain("float64"), _numbers),
    dt.date: Atom(_plain("date32"), _pylist),
    dt.time: Atom(_timeless(_plain("time64", "us")), _pylist),
    dt.datetime: Atom(_timeless(_plain("timestamp", "us")), _pylist),
    dt.timedelta: Atom(_plain("duration", "us"), _pylist),
    decimal.Decimal: Atom(_encode_decimals, _pylist),
    uuid.UUID: Atom(_encode_uuids, _uuids),
}
