"""Packing of any value as JSON: small plain values stay readable, and everything else becomes a pointer.

For host adapters, and for programs whose state holds JSON.

A packed value is JSON in which an object with the field ``"payloadfs"`` represents another value:

===================================================  ============================
``{"payloadfs": 1, ...}``, a pointer                 the object it refers to
``{"payloadfs": "payload", "pointer": {...}}``       a `Payload`
``{"payloadfs": "pointer", "pointer": {...}}``       a `Pointer`
===================================================  ============================

A user's dict with this key is saved as an object, so it is never mistaken for a pointer.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NamedTuple, Unpack

from ._settings import SaveOptions
from .errors import PointerError
from .payload import Payload
from .pointer import Pointer
from .repository import Repository, chosen_repository

DEFAULT_OVER_BYTES = 16 * 1024
_TAG: Final = "payloadfs"
_POINTER_CHARS = 400
_MAX_DEPTH = 100
_MAX_INT = 2**53 - 1  # JSON libraries of other languages round larger ones


def pack(
    value: Any,
    *,
    over: int = DEFAULT_OVER_BYTES,
    repository: Repository | None = None,
    **options: Unpack[SaveOptions],
) -> Any:
    """Return `value` as JSON values: small plain data unchanged, and pointers for everything else.

    Parameters
    ----------
    value : object
        None, booleans, numbers, strings, and lists and dicts of them stay as they are if JSON restores
        them exactly. Objects inside lists and dicts are replaced by pointers one by one.
    over : int
        Largest plain value, in bytes of JSON. A larger list or dict, counted with pointers in place of its
        objects, is saved as one object.
    repository : Repository, optional
        Default: the repository of the settings in force.
    **options
        ``prefix``, ``compression``, ``context`` and ``expires``, as for `Repository.save`.

    Returns
    -------
    None, bool, int, float, str, list or dict
        For ``json.dumps``. It shares no list or dict with `value`.

    Raises
    ------
    BatchError
        One of several objects could not be saved; see `Repository.save_many`.
    PayloadError
        As `Repository.save`, if there is one object.

    Notes
    -----
    Cost: none for plain values; for the objects, that of `Repository.save_many`. A value in which a list, dict
    or other object occurs twice is saved as one object, so that it stays shared. An object that occurs
    only inside two others becomes two objects.

    Examples
    --------
    >>> import datetime, payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     packed = pack({"rows": 3, "day": datetime.date(2026, 1, 31)})
    ...     packed["rows"], packed["day"]["type"], unpack(packed)
    (3, 'datetime.date', {'rows': 3, 'day': datetime.date(2026, 1, 31)})
    """
    plan = _Plan(over)
    try:
        packed, _ = plan.add(value)
    except _OccursTwiceError:
        plan = _Plan(over)
        packed = plan.later(value)
    chosen = chosen_repository(repository)
    if len(plan.objects) == 1:
        pointers = [chosen.save(plan.objects[0], **options)]
    else:
        pointers = chosen.save_many(plan.objects, **options) if plan.objects else []
    return _filled(packed, [pointer.to_dict() for pointer in pointers])


def unpack(packed: Any, *, repository: Repository | None = None, view: bool = False, context: str | None = None) -> Any:
    """Return the value that was packed into `packed`.

    Parameters
    ----------
    packed : None, bool, int, float, str, list or dict
        From `pack`, perhaps after a trip through JSON.
    repository, view, context : optional
        As for `Repository.load`.

    Raises
    ------
    PointerError
        A dict with the key ``"payloadfs"`` is not what `pack` writes. Nothing was fetched.
    BatchError
        One of several objects could not be loaded; see `Repository.load_many`.
    PayloadError
        As `Repository.load`, if there is one object.

    Notes
    -----
    Cost: that of `Repository.load_many` for the pointers. Signature and policy are checked as for any load.
    """
    template, pointers = template_of(packed, repository)
    chosen = chosen_repository(repository)
    if len(pointers) == 1:
        objects = [chosen.load(pointers[0], view=view, context=context)]
    else:
        objects = chosen.load_many(pointers, view=view, context=context) if pointers else []
    return _filled(template, objects)


class _OccursTwiceError(Exception):
    """A list, dict or object occurs twice in a value."""


class _Hole(NamedTuple):
    """A placeholder for an object in a list or dict, with its position among all objects."""

    position: int


class _Plan:
    """A plan for packing one value. Except for payloads, nothing is saved until all parts are known."""

    def __init__(self, over: int) -> None:
        self._over = over
        self._seen: dict[int, Any] = {}  # keeps the objects, so that no id is reused
        self.objects: list[Any] = []

    def add(self, value: Any, depth: int = 0) -> tuple[Any, int]:
        """Return `value` with holes for its objects, and the size of its JSON in bytes."""
        if _is_plain(value):
            size = len(json.dumps(value)) if isinstance(value, str) else len(str(value))
            return (value, size) if size <= self._over else (self.later(value), _POINTER_CHARS)
        if isinstance(value, Payload | Pointer):
            kind = "payload" if isinstance(value, Payload) else "pointer"
            return {_TAG: kind, "pointer": value.to_dict()}, _POINTER_CHARS
        if id(value) in self._seen:
            raise _OccursTwiceError
        self._seen[id(value)] = value
        if depth == _MAX_DEPTH or not (type(value) is list or (type(value) is dict and _has_plain_keys(value))):
            return self.later(value), _POINTER_CHARS
        return self._add_parts(value, depth)

    def later(self, value: Any) -> _Hole:
        """Return a hole for an object that must be saved."""
        self.objects.append(value)
        return _Hole(len(self.objects) - 1)

    def _add_parts(self, value: Any, depth: int) -> tuple[Any, int]:
        before, size = len(self.objects), 2
        parts = []
        for part in value.values() if type(value) is dict else value:
            packed, part_size = self.add(part, depth + 1)
            parts.append(packed)
            size += part_size + 2
            if size > self._over:
                break
        if type(value) is dict:
            size += sum(len(json.dumps(key)) + 2 for key in value)
        if size > self._over:
            del self.objects[before:]
            return self.later(value), _POINTER_CHARS
        return (dict(zip(value, parts, strict=True)) if type(value) is dict else parts), size


def _is_plain(value: Any) -> bool:
    """Return whether `value` is a single JSON value that every JSON library and database restores exactly."""
    kind = type(value)
    if kind is str:
        return "\0" not in value and _is_unicode(value)  # databases refuse NUL
    if kind is int:
        return bool(-_MAX_INT <= value <= _MAX_INT)
    if kind is float:
        return math.isfinite(value) and (value != 0 or math.copysign(1, value) > 0)
    return kind is bool or value is None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _has_plain_keys(value: dict[Any, Any]) -> bool:
    return _TAG not in value and all(type(key) is str and _is_plain(key) for key in value)


def template_of(packed: Any, repository: Repository | None = None) -> tuple[Any, list[Pointer]]:
    """Return `packed` with holes in place of pointers, and the pointers. No request.

    Raise `PointerError` if a dict with the key ``"payloadfs"`` is not what `pack` writes.
    """
    pointers: list[Pointer] = []

    def walk(part: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH + 1:
            raise PointerError("The packed value is nested too deeply.", kind="pointer-format")
        if isinstance(part, list):
            return [walk(item, depth + 1) for item in part]
        if not isinstance(part, dict):
            return part
        if _TAG not in part:
            return {key: walk(item, depth + 1) for key, item in part.items()}
        if part[_TAG] in ("payload", "pointer"):
            return _unwrapped(part, repository)
        pointers.append(Pointer.from_dict(part))
        return _Hole(len(pointers) - 1)

    return walk(packed, 0), pointers


def _unwrapped(packed: dict[str, Any], repository: Repository | None) -> Payload[Any] | Pointer:
    if packed.keys() != {_TAG, "pointer"}:
        raise PointerError(
            f"A packed {packed[_TAG]} must have the field 'pointer' and no other.", kind="pointer-format"
        )
    pointer = Pointer.from_dict(packed["pointer"])
    return pointer if packed[_TAG] == "pointer" else Payload.from_pointer(pointer, repository=repository)


def _filled(template: Any, objects: list[Any]) -> Any:
    """Return `template` with the objects in its holes."""
    if isinstance(template, _Hole):
        return objects[template.position]
    if type(template) is list:
        return [_filled(part, objects) for part in template]
    if type(template) is dict:
        return {key: _filled(part, objects) for key, part in template.items()}
    return template
