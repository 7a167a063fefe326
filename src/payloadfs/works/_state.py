"""State as JSON: what an attribute may hold, its spelling in the run's document, and back.

Plain JSON values stand for themselves. What JSON lacks is an object with one key that begins with
``$``, so that nothing a user stores can be mistaken for it::

    a payload              {"$payload": {pointer}, "as": {...}}   "as" only for subclasses
    nan, inf, -inf         {"$float": "nan"}
    a very long int        {"$int": "0x1f..."}                    JSON's readers have limits
    a dict with a $ key    {"$dict": [["$key", value], ...]}
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .._typenames import type_label
from ..errors import EncodeError, PointerError
from ..payload import Payload
from ..pointer import Pointer
from ..repository import Repository

__all__ = ["canonical", "check", "decode", "encode", "identity", "known_as", "payloads_in", "pointers_in"]

_PLAIN = (type(None), bool, int, str)
_DEEPEST = 100
_LONG_BITS = 2000  # Python refuses to read longer ones in decimals, if told so from 640 digits on
_PAYLOAD, _FLOAT, _INT, _DICT, _AS = "$payload", "$float", "$int", "$dict", "as"
_WAY = "wrap it in Payload(...) to store it beside the state"

_subclasses: dict[str, type[Payload[Any]]] = {}


def known_as(cls: type[Payload[Any]]) -> str:
    """Note that payloads may be of class `cls`, and return its name in state.

    A name in state only ever chooses among classes that this process has already defined. The
    class needs ``to_facts() -> dict[str, str]`` and a class method ``from_facts(pointer, facts, repository)``.
    """
    name = f"{cls.__module__}.{cls.__qualname__}"
    _subclasses[name] = cls
    return name


def encode(value: Any, path: str, *, prefix: str | None = None) -> Any:
    """Return `value` as JSON. Payloads in it that are not saved yet are saved, under `prefix`.

    Raises
    ------
    EncodeError
        Something in `value` is no JSON value and no payload; names the attribute.
    """
    return _encode(value, path, partial(_encode_payload, prefix=prefix), 0)


def check(value: Any, path: str) -> None:
    """Raise what `encode` would, and save nothing."""
    _encode(value, path, _NOTHING, 0)


_Keep = Callable[[Payload[Any]], Any]
_NOTHING: _Keep = lambda _: None  # noqa: E731


def _encode(value: Any, path: str, keep: _Keep, depth: int) -> Any:
    kind = type(value)
    if kind is int and value.bit_length() > _LONG_BITS:
        return {_INT: hex(value)}
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else {_FLOAT: repr(value)}
    if depth > _DEEPEST:
        raise EncodeError(f"{path[:80]}... is nested over {_DEEPEST} deep, or holds itself: {_WAY}.", path=path)
    if kind is list:
        return [_encode(item, f"{path}[{place}]", keep, depth + 1) for place, item in enumerate(value)]
    if kind is dict:
        return _encode_dict(value, path, keep, depth)
    if isinstance(value, Payload):
        return keep(value)
    raise EncodeError(f"{path} can't be part of the state: {_words(value)}: {_WAY}.", path=path, kind="state")


def _encode_dict(value: dict[Any, Any], path: str, keep: _Keep, depth: int) -> Any:
    for key in value:
        if type(key) is not str:
            raise EncodeError(f"{path} has the key {key!r:.60}, and JSON only knows texts as keys.", path=path)
    items = {key: _encode(item, f"{path}[{key!r:.60}]", keep, depth + 1) for key, item in value.items()}
    return {_DICT: [[key, item] for key, item in items.items()]} if any(k.startswith("$") for k in items) else items


def _encode_payload(value: Payload[Any], prefix: str | None) -> dict[str, Any]:
    pointer = Payload.save(value, prefix=prefix).to_dict()
    if type(value) is Payload:
        return {_PAYLOAD: pointer}
    facts: Callable[[], dict[str, str]] = value.to_facts  # type: ignore[attr-defined]
    return {_PAYLOAD: pointer, _AS: {"class": known_as(type(value)), **facts()}}


def _words(value: Any) -> str:
    kind = type(value)
    if kind is tuple:
        return "a tuple would come back as a list; use a list"
    if isinstance(value, (*_PLAIN, float, list, dict)):
        return f"{kind.__qualname__} would come back as another class; turn it into a plain value"
    return f"{type_label(value)} is no JSON value"


def decode(value: Any, repository: Repository | None = None) -> Any:
    """Return what `encode` made `value` of. No I/O; payloads will be resolved with `repository`.

    Raises
    ------
    PointerError
        Something in `value` is neither JSON nor a pointer. Nothing was resolved.
    """
    if type(value) is list:
        return [decode(item, repository) for item in value]
    if type(value) is not dict:
        return value
    if _PAYLOAD in value:
        return _decode_payload(value, repository)
    if _FLOAT in value:
        return float(value[_FLOAT])
    if _INT in value:
        return int(value[_INT], 16)
    if _DICT in value:
        return {key: decode(item, repository) for key, item in value[_DICT]}
    return {key: decode(item, repository) for key, item in value.items()}


def _decode_payload(value: dict[str, Any], repository: Repository | None) -> Payload[Any]:
    pointer = Pointer.from_dict(value[_PAYLOAD])
    if _AS not in value:
        return Payload.from_pointer(pointer, repository=repository)
    facts = dict(value[_AS])
    name = facts.pop("class")
    if name not in _subclasses:
        raise PointerError(f"The state holds a payload of class {name}, which is not defined here: import it first.")
    made: Payload[Any] = _subclasses[name].from_facts(pointer, facts, repository)  # type: ignore[attr-defined]
    return made


def canonical(value: Any, *, sort_keys: bool = False) -> str:
    """Return the one spelling of encoded JSON. Unlike ``==``, it tells 1 from True and 1.0."""
    return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)


def identity(value: Any) -> str:
    """Return 32 characters that stand for encoded arguments: payloads count by their content.

    New content gives another identity; the same content under another key, and another order of a
    dict's keys, do not (SHA-256, cut to 128 bits).
    """
    return hashlib.sha256(canonical(_by_content(value), sort_keys=True).encode()).hexdigest()[:32]


def _by_content(value: Any) -> Any:
    if type(value) is list:
        return [_by_content(item) for item in value]
    if type(value) is not dict:
        return value
    if _PAYLOAD in value:
        pointer = value[_PAYLOAD]
        return {_PAYLOAD: [pointer[name] for name in ("serializer", "size", "digest")]}
    if _DICT in value:
        return {_DICT: [[key, _by_content(item)] for key, item in sorted(value[_DICT], key=lambda pair: pair[0])]}
    return {key: _by_content(item) for key, item in value.items()}


def pointers_in(value: Any, path: str = "") -> Iterator[tuple[str, Pointer]]:
    """Yield path and pointer of every payload in encoded JSON."""
    if type(value) is list:
        for place, item in enumerate(value):
            yield from pointers_in(item, f"{path}[{place}]")
    elif type(value) is dict and _PAYLOAD in value:
        yield path, Pointer.from_dict(value[_PAYLOAD])
    elif type(value) is dict:
        for key, item in value.items():
            yield from pointers_in(item, f"{path}.{key}".lstrip("."))


def payloads_in(value: Any) -> Iterator[Payload[Any]]:
    """Yield every payload in a value of a state."""
    if isinstance(value, Payload):
        yield value
    elif type(value) in (list, dict):
        for item in value.values() if type(value) is dict else value:
            yield from payloads_in(item)
