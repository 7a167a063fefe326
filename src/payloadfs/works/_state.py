"""State as JSON: which values an attribute can hold, how the journal represents them, and how they are decoded.

Plain JSON values represent themselves. Everything else is an object with one key that begins with
``$``, so that it cannot be confused with a user's value::

    a payload              {"$payload": {pointer}, "as": {...}}   "as" only for subclasses
    nan, inf, -inf         {"$float": "nan"}
    a very long int        {"$int": "0x1f..."}                    JSON readers have limits
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
from ..pointer import Pointer, content_fields
from ..repository import Repository

_SCALARS = (type(None), bool, int, str)
_MAX_DEPTH = 100
_MAX_ENCODED = 20_000
_LONG_INT_BITS = 2000  # Python can be configured to refuse decimal integers from 640 digits on
_PAYLOAD, _FLOAT, _INT, _DICT, _AS = "$payload", "$float", "$int", "$dict", "as"
_HINT = "wrap it in Payload(...) to store it as an object"

_encoded_payloads: dict[int, tuple[Pointer, dict[str, Any]]] = {}
_subclasses: dict[str, type[Payload[Any]]] = {}


def register_payload_class(cls: type[Payload[Any]]) -> str:
    """Register a subclass of `Payload` so that state can contain it, and return its name in state.

    A name in state only selects among the classes that this process has registered. The class needs
    ``to_metadata() -> dict[str, str]`` and a class method ``from_metadata(pointer, metadata, repository)``.
    """
    name = f"{cls.__module__}.{cls.__qualname__}"
    _subclasses[name] = cls
    return name


def encode(value: Any, path: str, *, prefix: str | None = None) -> Any:
    """Return `value` as JSON. Payloads in it that are not saved yet are saved, under `prefix`.

    Raises
    ------
    EncodeError
        A part of `value` is neither a JSON value nor a payload; the message contains its path.
    """
    return _encode(value, path, partial(_encode_payload, prefix=prefix), 0)


def check_state_value(value: Any, path: str) -> None:
    """Raise EncodeError if `value` cannot be encoded. Saves nothing."""
    _encode(value, path, lambda _: None, 0)


_PayloadEncoder = Callable[[Payload[Any]], Any]


def _encode(value: Any, path: str, encode_payload: _PayloadEncoder, depth: int) -> Any:
    cls = type(value)
    if cls is int and value.bit_length() > _LONG_INT_BITS:
        return {_INT: hex(value)}
    if cls in _SCALARS:
        return value
    if cls is float:
        return value if math.isfinite(value) else {_FLOAT: repr(value)}
    if depth > _MAX_DEPTH:
        raise EncodeError(
            f"{path[:80]}... is nested more than {_MAX_DEPTH} levels deep, or contains itself: {_HINT}.", path=path
        )
    if cls is list:
        return [_encode(item, f"{path}[{pos}]", encode_payload, depth + 1) for pos, item in enumerate(value)]
    if cls is dict:
        return _encode_dict(value, path, encode_payload, depth)
    if isinstance(value, Payload):
        return encode_payload(value)
    raise EncodeError(f"{path} cannot be stored as state: {_reason(value)}: {_HINT}.", path=path, kind="state")


def _encode_dict(value: dict[Any, Any], path: str, encode_payload: _PayloadEncoder, depth: int) -> Any:
    for key in value:
        if type(key) is not str:
            raise EncodeError(f"{path} has the key {key!r:.60}, but keys in JSON must be strings.", path=path)
    items = {key: _encode(item, f"{path}[{key!r:.60}]", encode_payload, depth + 1) for key, item in value.items()}
    return {_DICT: [[key, item] for key, item in items.items()]} if any(k.startswith("$") for k in items) else items


def _encode_payload(value: Payload[Any], prefix: str | None) -> dict[str, Any]:
    if type(value) is Payload:
        # The same object each time, so that `same` need not compare its content.
        pointer = Payload.save(value, prefix=prefix)
        known = _encoded_payloads.get(id(pointer))
        if known is None or known[0] is not pointer:
            if len(_encoded_payloads) >= _MAX_ENCODED:
                _encoded_payloads.clear()
            known = _encoded_payloads[id(pointer)] = pointer, {_PAYLOAD: pointer.to_dict()}
        return known[1]
    metadata: dict[str, str] = value.to_metadata()  # type: ignore[attr-defined]
    fields = Payload.save(value, prefix=prefix).to_dict()
    return {_PAYLOAD: fields, _AS: {"class": register_payload_class(type(value)), **metadata}}


def _reason(value: Any) -> str:
    cls: type = type(value)
    if cls is tuple:
        return "a tuple would come back as a list; use a list"
    if isinstance(value, (*_SCALARS, float, list, dict)):
        return f"{cls.__qualname__} would come back as another class; convert it to a plain value"
    return f"{type_label(cls)} is not JSON-serializable"


def decode(value: Any, repository: Repository | None = None) -> Any:
    """Return the value that `encode` encoded. No I/O; its payloads will load from `repository`.

    Raises
    ------
    PointerError
        A part of `value` is neither JSON nor a pointer. No pointer was resolved.
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
    metadata = dict(value[_AS])
    name = metadata.pop("class")
    if name not in _subclasses:
        raise PointerError(f"The state contains a payload of class {name}, which is not defined here: import it first.")
    payload: Payload[Any] = _subclasses[name].from_metadata(pointer, metadata, repository)  # type: ignore[attr-defined]
    return payload


def canonical(value: Any, *, sort_keys: bool = False) -> str:
    """Return encoded JSON as a canonical string. Unlike ``==``, it distinguishes 1 from True and 1.0."""
    return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)


def same(a: Any, b: Any) -> bool:
    """Return whether two encoded values are equal as JSON: 1, True and 1.0 differ, and so do different key orders."""
    if a is b:
        return True
    cls = type(a)
    if cls is not type(b):
        return False
    if cls is list:
        return len(a) == len(b) and all(map(same, a, b))
    if cls is dict:
        return len(a) == len(b) and all(map(same, a.values(), b.values())) and list(a) == list(b)
    return bool(a == b) and (cls is not float or repr(a) == repr(b))


def fingerprint(value: Any) -> str:
    """Return 32 characters that identify encoded arguments. A payload is identified by its content.

    New content changes the fingerprint. The same content under another key does not, and neither does
    another order of dict keys (SHA-256, truncated to 128 bits).
    """
    return hashlib.sha256(canonical(by_content(value), sort_keys=True).encode()).hexdigest()[:32]


def by_content(value: Any) -> Any:
    """Return encoded JSON with each pointer reduced to the fields that identify its content."""
    if type(value) is list:
        return [by_content(item) for item in value]
    if type(value) is not dict:
        return value
    if _PAYLOAD in value:
        return {_PAYLOAD: content_fields(value[_PAYLOAD])}
    if _DICT in value:
        return {_DICT: [[key, by_content(item)] for key, item in sorted(value[_DICT], key=lambda pair: pair[0])]}
    return {key: by_content(item) for key, item in value.items()}


def pointers_in(value: Any, path: str = "") -> Iterator[tuple[str, Pointer]]:
    """Yield the path and pointer of every payload in encoded JSON."""
    if type(value) is list:
        for pos, item in enumerate(value):
            yield from pointers_in(item, f"{path}[{pos}]")
    elif type(value) is dict and _PAYLOAD in value:
        yield path, Pointer.from_dict(value[_PAYLOAD])
    elif type(value) is dict:
        for key, item in value.items():
            yield from pointers_in(item, f"{path}.{key}".lstrip("."))


def payloads_in(value: Any) -> Iterator[Payload[Any]]:
    """Yield every payload in a state value that is not encoded."""
    if isinstance(value, Payload):
        yield value
    elif type(value) in (list, dict):
        for item in value.values() if type(value) is dict else value:
            yield from payloads_in(item)
