"""Pickles that take along code which can't be imported elsewhere, and remember where it was written."""

from __future__ import annotations

import io
import types
from collections import ChainMap
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["dumps"]


def dumps(value: Any) -> bytes:
    """Return `value` pickled by cloudpickle. Its code keeps the name of its file, so that tracebacks tell it."""
    with io.BytesIO() as file:
        _pickler()(file, protocol=5).dump(value)
        return file.getvalue()


@cache
def _pickler() -> Any:
    import cloudpickle

    # cloudpickle puts "<dynamic-code>" for the file.
    table: Any = cloudpickle.Pickler.dispatch_table
    reduce = table[types.CodeType]
    own: dict[Any, Any] = {types.CodeType: lambda code: (_made, (code.co_filename, *reduce(code)[:2]))}
    return type("Pickler", (cloudpickle.Pickler,), {"dispatch_table": ChainMap(own, table)})


def _made(filename: str, make: Callable[..., types.CodeType], arguments: tuple[Any, ...]) -> types.CodeType:
    return make(*arguments).replace(co_filename=filename)
