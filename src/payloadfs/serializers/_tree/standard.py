"""Codecs of the standard library's classes."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from ..._buffers import as_bytes
from ..._typenames import class_name
from ...pointer import Pointer
from .._base import NotExactError
from .._zones import decode_zone, encode_zone
from .vocabulary import LARGE_BYTES, Codec, Memory, expect, flatten, without_attributes

_FACTORIES: dict[str, Any] = {
    **{cls.__name__: cls for cls in (list, dict, tuple, set, frozenset, int, float, str, bytes, bool)},
    "none": None,
}
_MAX_FRACTION_BITS = 32_768
"""Reducing a longer fraction could take minutes."""

UNNAMED = frozenset({type(...), type(NotImplemented), Pointer})
"""Classes that cannot be found by their names."""


def make_pairs(flat: Any) -> list[tuple[Any, Any]]:
    """Return keys and values that follow each other as pairs. Raise `ValueError` if a key occurs twice."""
    pairs = list(zip(expect(flat, list)[::2], flat[1::2], strict=True))
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key occurs twice")
    return pairs


def _make_mapping(cls: Any, flat: Any, *args: Any) -> Any:
    mapping = cls(*args)
    for key, value in make_pairs(flat):
        mapping[key] = value
    return mapping


def _factory_name(factory: Any) -> str:
    for name, known in _FACTORIES.items():
        if factory is known:
            return name
    raise NotExactError


def make_set(cls: Any, items: Any) -> Any:
    """Return a set of `items`. Raise `ValueError` if one occurs twice."""
    elements = cls(expect(items, list))
    if len(elements) != len(items):
        raise ValueError("an element occurs twice")
    return elements


ZONE = Codec("timezone", lambda zone: [encode_zone(zone)], lambda fields: decode_zone(expect(fields, list)))


def _time_fields(obj: Any) -> list[Any]:
    if obj.tzinfo is None and not obj.fold:
        return [obj.isoformat()]
    plain = obj.replace(tzinfo=None, fold=0).isoformat()
    zone = None if obj.tzinfo is None else encode_zone(obj.tzinfo)
    return [plain, zone, *([obj.fold] if obj.fold else [])]


def _make_time(cls: Any, text: str, zone: Any = None, fold: int = 0) -> Any:
    plain = cls.fromisoformat(text)
    if zone is None and not fold:
        return plain
    return plain.replace(tzinfo=None if zone is None else decode_zone(expect(zone, list)), fold=fold)


def _fraction_fields(obj: Any) -> list[int]:
    fields = [obj.numerator, obj.denominator]
    if sum(field.bit_length() for field in fields) > _MAX_FRACTION_BITS:
        raise NotExactError
    return fields


def _make_fraction(numerator: Any, denominator: Any) -> Any:
    from fractions import Fraction

    if expect(numerator, int).bit_length() + expect(denominator, int).bit_length() > _MAX_FRACTION_BITS:
        raise ValueError("the fraction is too long")
    return Fraction(numerator, denominator)


def _uuid_fields(obj: Any) -> list[Any]:
    unknown = type(obj.is_safe)(None)
    return [obj.bytes] if obj.is_safe is unknown else [obj.bytes, obj.is_safe.value]


def _make_uuid(content: bytes, safety: int | None = None) -> Any:
    from uuid import UUID, SafeUUID

    content = expect(content, bytes)
    return UUID(bytes=content) if safety is None else UUID(bytes=content, is_safe=SafeUUID(safety))


def _bytearray_fields(obj: bytearray) -> list[Any]:
    return [bytes(obj) if len(obj) < LARGE_BYTES else Memory(as_bytes(bytes(obj)))]


def _checked(make: Callable[..., Any], *classes: type) -> Callable[..., Any]:
    """Return `make` with a check of the class of each argument."""
    return lambda *fields: make(*(expect(field, cls) for field, cls in zip(fields, classes, strict=True)))


def _from_string(module: str, name: str) -> Codec:
    """Return the codec of a class in `module` whose objects are made from their strings."""

    def make(text: Any) -> Any:
        return getattr(import_module(module), name)(expect(text, str))

    def fields(obj: Any) -> list[str]:
        text = str(obj)
        again = make(text)
        same = again.parts == obj.parts if module == "pathlib" else again == obj
        if not same or getattr(again, "__dict__", None) != getattr(obj, "__dict__", None):
            raise NotExactError
        return [text]

    return Codec(name, fields, make)


def _slice_children(obj: Any) -> list[Any]:
    return [obj.start, obj.stop, obj.step]


def _mapping_codec(cls: type) -> Codec:
    return Codec(
        cls.__name__,
        lambda obj: [flatten(without_attributes(obj))],
        partial(_make_mapping, cls),
        has_identity=True,
        children=flatten,
    )


def _container(name: str, fields: Callable[[Any], list[Any]], make: Callable[..., Any], children: Any) -> Codec:
    return Codec(name, fields, make, has_identity=True, children=children)


CODECS: dict[str, Codec] = {
    "int": Codec(
        "int",
        lambda v: [v.to_bytes(v.bit_length() // 8 + 1, "little", signed=True)],
        _checked(partial(int.from_bytes, byteorder="little", signed=True), bytes),
    ),
    "str": Codec(
        "str", lambda v: [v.encode("utf-8", "surrogatepass")], lambda content: content.decode("utf-8", "surrogatepass")
    ),
    "complex": Codec("complex", lambda v: [v.real, v.imag], _checked(complex, float, float)),
    "bytearray": Codec(
        "bytearray", _bytearray_fields, lambda v: bytearray(expect(v, bytes, memoryview)), has_identity=True
    ),
    "set": _container("set", lambda v: [list(v)], partial(make_set, set), None),
    "frozenset": _container("frozenset", lambda v: [list(v)], partial(make_set, frozenset), None),
    "range": Codec("range", lambda v: [v.start, v.stop, v.step], _checked(range, int, int, int)),
    "slice": _container("slice", _slice_children, slice, _slice_children),
    "ellipsis": Codec("Ellipsis", lambda _: [], lambda: ...),
    "NotImplementedType": Codec("NotImplemented", lambda _: [], lambda: NotImplemented),
    "collections.OrderedDict": _mapping_codec(collections.OrderedDict),
    "collections.Counter": _mapping_codec(collections.Counter),
    "collections.defaultdict": _container(
        "defaultdict",
        lambda v: [flatten(v), _factory_name(v.default_factory)],
        lambda flat, name: _make_mapping(collections.defaultdict, flat, _FACTORIES[name]),
        flatten,
    ),
    "collections.deque": _container(
        "deque",
        lambda v: [list(v), v.maxlen],
        lambda items, limit: collections.deque(expect(items, list), limit),
        list,
    ),
    "datetime.date": Codec("date", lambda v: [v.isoformat()], dt.date.fromisoformat),
    "datetime.time": Codec("time", _time_fields, partial(_make_time, dt.time)),
    "datetime.datetime": Codec("datetime", _time_fields, partial(_make_time, dt.datetime)),
    "datetime.timedelta": Codec(
        "timedelta", lambda v: [v.days, v.seconds, v.microseconds], _checked(dt.timedelta, int, int, int)
    ),
    "datetime.timezone": ZONE,
    "zoneinfo.ZoneInfo": ZONE,
    "decimal.Decimal": Codec("Decimal", lambda v: [str(v)], lambda v: decimal.Decimal(expect(v, str))),
    "fractions.Fraction": Codec("Fraction", _fraction_fields, _make_fraction),
    "uuid.UUID": Codec("UUID", _uuid_fields, _make_uuid),
    class_name(Pointer): Codec("Pointer", lambda v: [v.to_dict()], Pointer.from_dict),
    **{
        f"{module}.{name}": _from_string("pathlib", name)
        for name in ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")
        for module in ("pathlib", "pathlib._local")
    },
    **{
        f"ipaddress.{name}": _from_string("ipaddress", name)
        for name in (f"IPv{version}{kind}" for version in (4, 6) for kind in ("Address", "Network", "Interface"))
    },
}
