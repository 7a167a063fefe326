"""Strict comparison: equal in every respect that a program could notice.

Stricter than ``==`` and than ``pandas.testing``: class, dtype, labels and their classes, kind of each
missing value, float bits, freq, levels, attrs, flags, memory order, writability, shared references.

Everything rests on `describe`, which says in plain text what an object is. A description does not
depend on the process, so what was loaded elsewhere can be described there and compared here: no
other serializer has to be trusted for the way back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from ._describe import Line, Walk

__all__ = ["Line", "assert_exact", "describe", "first_difference"]


def describe(obj: Any, *, path: str = "obj") -> Iterator[Line]:
    """Yield pairs of a place and a fact, in a fixed order, that say all that could be noticed of `obj`.

    Parameters
    ----------
    obj : object
        Anything. What is met a second time is described as the same as what was met first.
    path : str
        How to call the object.

    Examples
    --------
    >>> for place, fact in describe({"a": [1]}):
    ...     print(place, "is", fact)
    obj is dict
    len(obj) is 1
    obj.keys()[0] is 'a'
    obj['a'] is list
    len(obj['a']) is 1
    obj['a'][0] is int
    obj['a'][0] is 1
    """
    return Walk()(obj, path)


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
    difference = first_difference(describe(expected, path=path), describe(actual, path=path))
    if difference:
        raise AssertionError(difference)


def first_difference(expected: Iterator[Line], actual: Iterator[Line]) -> str | None:
    """Return in words where two descriptions part, or None if they are the same."""
    for left, right in itertools.zip_longest(expected, actual, fillvalue=("the end", "nothing more")):
        if left != right:
            if left[0] == right[0]:
                return f"{left[0]}: {right[1]:.200} instead of {left[1]:.200}"
            return f"{right[0]} ({right[1]:.200}) instead of {left[0]} ({left[1]:.200})"
    return None
