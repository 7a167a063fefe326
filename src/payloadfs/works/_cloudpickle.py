"""Pickles with code that cannot be imported elsewhere, which keep the name of its source file."""

from __future__ import annotations

import io
import types
from collections import ChainMap
from collections.abc import Callable
from functools import cache
from typing import Any


def dumps(value: Any) -> bytes:
    """Pickle `value` with cloudpickle. Code objects keep their file name, so that tracebacks show it."""
    with io.BytesIO() as file:
        _pickler_class()(file, protocol=5).dump(value)
        return file.getvalue()


@cache
def _pickler_class() -> Any:
    import cloudpickle

    # cloudpickle itself replaces the file name with "<dynamic-code>".
    dispatch_table: Any = cloudpickle.Pickler.dispatch_table
    reduce = dispatch_table[types.CodeType]
    overrides: dict[Any, Any] = {
        types.CodeType: lambda code: (_rebuild_code, (code.co_filename, *reduce(code)[:2])),
    }
    return type("Pickler", (cloudpickle.Pickler,), {"dispatch_table": ChainMap(overrides, dispatch_table)})


def _rebuild_code(filename: str, make: Callable[..., types.CodeType], args: tuple[Any, ...]) -> types.CodeType:
    return make(*args).replace(co_filename=filename)
