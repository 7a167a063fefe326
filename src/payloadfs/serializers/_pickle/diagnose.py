"""Search for the part of an object that cannot be pickled: the path in an `EncodeError`."""

from __future__ import annotations

import contextlib
import gc
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..._typenames import loaded_class, top_package
from .classes import list_slots, read_slots

_MAX_DEPTH = 50


def find_unpicklable(obj: Any, dump: Callable[[Any], Any]) -> tuple[str, Any]:
    """Return path and value of the innermost part of `obj` for which `dump` raises, as it did for `obj`.

    Cost: dumps each sibling on the way down once. Only called after a failure.
    """
    path, seen = "obj", {id(obj)}
    for _ in range(_MAX_DEPTH):
        failing = next(
            ((step, part) for step, part in _list_parts(obj) if id(part) not in seen and _fails(dump, part)), None
        )
        if failing is None:
            break
        path, obj = path + failing[0], failing[1]
        seen.add(id(obj))
    return path, obj


def _list_parts(obj: Any) -> list[tuple[str, Any]]:
    parts: list[tuple[str, Any]] = []
    # If listing the parts fails midway, the parts before the failure still count.
    with contextlib.suppress(Exception):
        parts.extend(_iter_parts(obj))
    return parts


def _fails(dump: Callable[[Any], Any], child: Any) -> bool:
    try:
        dump(child)
    except Exception:  # noqa: BLE001  any failure is the answer
        return True
    return False


def _iter_parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of `obj`, each with the expression that reaches it."""
    if isinstance(obj, Mapping):
        yield from ((f"[{key!r:.60}]", value) for key, value in obj.items())
    elif isinstance(obj, (list, tuple)):
        yield from ((f"[{index}]", value) for index, value in enumerate(obj))
    elif isinstance(obj, (set, frozenset)):
        yield from ((f".element({value!r:.60})", value) for value in obj)
    elif isinstance(obj, types.FunctionType):
        yield from _captured(obj)
    elif isinstance(obj, types.MethodType):
        yield ".__self__", obj.__self__
    elif isinstance(obj, loaded_class("pandas.DataFrame")):
        yield from ((f".{name}", getattr(obj, name)) for name in ("attrs", "columns", "index"))
        yield from ((f"[{label!r:.60}]", list(obj.iloc[:, pos])) for pos, label in enumerate(obj.columns))
    elif isinstance(obj, (loaded_class("pandas.Series"), loaded_class("pandas.Index"))):
        yield from ((f".{name}", getattr(obj, name)) for name in ("attrs", "name", "index") if hasattr(obj, name))
        yield from ((f"[{pos}]", cell) for pos, cell in enumerate(obj))
    elif isinstance(obj, loaded_class("numpy.ndarray")):
        yield from ((f".ravel()[{pos}]", cell) for pos, cell in enumerate(obj.ravel()) if obj.dtype.hasobject)
    elif top_package(type(obj)) != "polars" and not (
        isinstance(obj, types.ModuleType) and sys.modules.get(obj.__name__) is obj
    ):
        yield from ((f".{name}", value) for name, value in getattr(obj, "__dict__", {}).items())
        yield from ((f".{name}", value) for name, value in read_slots(obj, list_slots(type(obj).__mro__)).items())


def _captured(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f".<captured {name}>", cell.cell_contents
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f".<global {name}>", function.__globals__[name]


def contains(obj: Any, part: Any) -> bool:
    """Return whether `obj` refers to the object `part`, directly or through others.

    Cost: visits every object that `obj` refers to, except through modules, classes and globals.
    """
    seen, level = {id(obj)}, [obj]
    while level:
        if any(item is part for item in level):
            return True
        found = {id(child): child for item in level for child in _referents(item) if id(child) not in seen}
        seen.update(found)
        level = list(found.values())
    return False


def _referents(obj: Any) -> list[Any]:
    if isinstance(obj, (types.ModuleType, type)):
        return []
    if isinstance(obj, types.FunctionType):
        return [*(obj.__closure__ or ()), *(obj.__defaults__ or ()), obj.__kwdefaults__, obj.__dict__]
    return gc.get_referents(obj)
