"""Strict comparison: equal in every respect that a program could notice.

Stricter than ``==`` and than ``pandas.testing``: class, dtype, labels and their classes, kind of each
missing value, float bits, freq, levels, attrs, flags, memory order, writability, shared references.
"""

from __future__ import annotations

import struct
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["assert_exact"]

_ATOMS = (type(None), bool, int, str, bytes, bytearray, range, type, type(Ellipsis))


def assert_exact(expected: Any, actual: Any, *, path: str = "obj") -> None:
    """Raise `AssertionError` that names the first place where `actual` differs from `expected`.

    Parameters
    ----------
    expected, actual : object
        What was saved and what came back.
    path : str
        How to call the object in the message.

    Examples
    --------
    >>> assert_exact({"a": [1]}, {"a": [True]})
    Traceback (most recent call last):
    AssertionError: obj['a'][0]: bool instead of int
    """
    for place, left, right in _differences(expected, actual, path, {}):
        raise AssertionError(f"{place}: {_short(right)} instead of {_short(left)}")


_Difference = tuple[str, Any, Any]
_Seen = dict[int, tuple[Any, Any]]


def _differences(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    if type(a) is not type(b):
        yield path, _Word(type(a)), _Word(type(b))
        return
    if isinstance(a, _ATOMS):
        if a != b:
            yield path, a, b
        return
    if isinstance(a, float):
        if struct.pack("d", a) != struct.pack("d", b):
            yield path, a, b
        return
    if id(a) in seen:
        # The same object twice must come back as the same object twice.
        if seen[id(a)][1] is not b:
            yield path, _Word("a shared reference"), _Word("another object")
        return
    # Both are kept, or a passing object's id would be given to the next one.
    seen[id(a)] = a, b
    yield from _comparer(a)(a, b, path, seen)


def _comparer(obj: Any) -> Callable[..., Iterator[_Difference]]:
    known: list[tuple[str, str, Callable[..., Iterator[_Difference]]]] = [
        ("pandas", "DataFrame", _frames),
        ("pandas", "Series", _series),
        ("pandas", "Index", _indexes),
        ("pandas.api.extensions", "ExtensionArray", _extension_arrays),
        ("numpy", "ndarray", _arrays),
        ("pyarrow", "Table", _arrow),
        ("pyarrow", "RecordBatch", _arrow),
        ("polars", "DataFrame", _polars),
        ("polars", "Series", _polars),
    ]
    for module, name, compare in known:
        cls = getattr(sys.modules.get(module), name, None)
        if cls is not None and isinstance(obj, cls):
            return compare
    if isinstance(obj, dict):
        return _dicts
    if isinstance(obj, (list, tuple)):
        return _sequences
    return _functions if isinstance(obj, types.FunctionType) else _others


def _dicts(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    yield from _differences(list(a), list(b), f"{path}.keys()", {})
    for key in a:
        if key in b:
            yield from _differences(a[key], b[key], f"{path}[{key!r}]", seen)


def _sequences(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    if len(a) != len(b):
        yield f"len({path})", len(a), len(b)
    for number, (left, right) in enumerate(zip(a, b, strict=False)):
        yield from _differences(left, right, f"{path}[{number}]", seen)


def _functions(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    for name in ("co_code", "co_consts", "co_names", "co_varnames"):
        if getattr(a.__code__, name) != getattr(b.__code__, name):
            yield f"{path}.__code__.{name}", _Word("the same"), _Word("another")
    cells = [[cell.cell_contents for cell in function.__closure__ or ()] for function in (a, b)]
    yield from _differences(cells[0], cells[1], f"{path}.__closure__", seen)


def _others(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    if hasattr(a, "__dict__"):
        yield from _differences(vars(a), vars(b), f"vars({path})", seen)
    elif a is not b and a != b:
        yield path, a, b


def _arrays(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    for name in ("dtype", "shape"):
        if getattr(a, name) != getattr(b, name):
            yield f"{path}.{name}", getattr(a, name), getattr(b, name)
            return
    if repr(a.dtype.metadata or None) != repr(b.dtype.metadata or None):
        yield f"{path}.dtype.metadata", a.dtype.metadata, b.dtype.metadata
    for flag in ("writeable", "f_contiguous") if a.flags.forc else ("writeable",):
        if getattr(a.flags, flag) != getattr(b.flags, flag):
            yield f"{path}.flags.{flag}", getattr(a.flags, flag), getattr(b.flags, flag)
    if a.dtype.hasobject:
        yield from _differences(a.ravel().tolist(), b.ravel().tolist(), f"{path}.ravel()", seen)
    elif a.tobytes() != b.tobytes():
        yield f"{path}.tobytes()", a, b


def _frames(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    yield from _indexes(a.columns, b.columns, f"{path}.columns", seen)
    yield from _indexes(a.index, b.index, f"{path}.index", seen)
    yield from _facts(a, b, path)
    if a.shape != b.shape:
        yield f"{path}.shape", a.shape, b.shape
        return
    for number in range(a.shape[1]):
        yield from _values(a.iloc[:, number], b.iloc[:, number], f"{path}.iloc[:, {number}]", seen)


def _series(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    yield from _differences(a.name, b.name, f"{path}.name", {})
    yield from _indexes(a.index, b.index, f"{path}.index", seen)
    yield from _facts(a, b, path)
    yield from _values(a, b, path, seen)


def _facts(a: Any, b: Any, path: str) -> Iterator[_Difference]:
    yield from _differences(dict(a.attrs), dict(b.attrs), f"{path}.attrs", {})
    if a.flags.allows_duplicate_labels != b.flags.allows_duplicate_labels:
        yield f"{path}.flags", a.flags, b.flags


def _indexes(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    if type(a) is not type(b):
        yield path, _Word(type(a)), _Word(type(b))
        return
    yield from _differences(list(a.names), list(b.names), f"{path}.names", {})
    left, right = getattr(a, "freq", None), getattr(b, "freq", None)
    if left != right or type(left) is not type(right):
        yield f"{path}.freq", left, right
    if hasattr(a, "levels"):
        for number, (one, other) in enumerate(zip(a.levels, b.levels, strict=True)):
            yield from _indexes(one, other, f"{path}.levels[{number}]", seen)
        for number, (one, other) in enumerate(zip(a.codes, b.codes, strict=True)):
            if one.tolist() != other.tolist() or one.dtype != other.dtype:
                yield f"{path}.codes[{number}]", one, other
        return
    if hasattr(a, "step") and (a.start, a.stop, a.step) != (b.start, b.stop, b.step):
        yield path, a, b
    yield from _values(a, b, path, seen)


def _values(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    """Compare the values of two series or indexes; what pandas hands out is read-only anyway."""
    if a.dtype != b.dtype or repr(a.dtype) != repr(b.dtype) or type(a.dtype) is not type(b.dtype):
        yield f"{path}.dtype", a.dtype, b.dtype
        return
    zone, other = getattr(a.dtype, "tz", None), getattr(b.dtype, "tz", None)
    if type(zone) is not type(other) or repr(zone) != repr(other):
        yield f"{path}.dtype.tz", zone, other
    if hasattr(a.dtype, "str"):
        one, two = a.to_numpy(), b.to_numpy()
        if one.dtype.hasobject:
            yield from _differences(one.tolist(), two.tolist(), path, seen)
        elif one.tobytes() != two.tobytes():
            yield path, one, two
        return
    yield from _extension_arrays(a.array, b.array, f"{path}.array", seen)


def _extension_arrays(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    if type(a) is not type(b) or repr(a.dtype) != repr(b.dtype):
        yield path, a.dtype, b.dtype
    elif hasattr(a, "categories"):
        yield from _indexes(a.categories, b.categories, f"{path}.categories", seen)
        if a.ordered != b.ordered or a.codes.tolist() != b.codes.tolist() or a.codes.dtype != b.codes.dtype:
            yield path, a, b
    elif hasattr(a, "_mask"):
        kept = ~a._mask
        if a._mask.tobytes() != b._mask.tobytes() or a._data[kept].tobytes() != b._data[kept].tobytes():
            yield path, a, b
    else:
        yield from _differences(list(a), list(b), path, {})


def _arrow(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    if not a.schema.equals(b.schema, check_metadata=True):
        yield f"{path}.schema", a.schema, b.schema
    elif a.num_rows != b.num_rows:
        yield f"{path}.num_rows", a.num_rows, b.num_rows
    else:
        yield from _differences(a.to_pylist(), b.to_pylist(), f"{path}.to_pylist()", {})


def _polars(a: Any, b: Any, path: str, seen: _Seen) -> Iterator[_Difference]:
    left, right = (x if hasattr(x, "schema") else x.to_frame() for x in (a, b))
    if list(left.schema.items()) != list(right.schema.items()):
        yield f"{path}.schema", left.schema, right.schema
    else:
        yield from _differences(left.rows(), right.rows(), f"{path}.rows()", {})


class _Word:
    def __init__(self, word: Any) -> None:
        self.word = word.__name__ if isinstance(word, type) else str(word)


def _short(obj: Any) -> str:
    return obj.word if isinstance(obj, _Word) else f"{obj!r:.200}"
