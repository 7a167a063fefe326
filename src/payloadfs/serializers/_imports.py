"""First imports of packages while many threads load objects.

Python has one lock per module. Two threads that enter a package with circular imports (pandas,
polars, scikit-learn) by different modules can wait for each other, and then Python breaks the
deadlock by giving one of them a half-imported package. Therefore only one thread at a time imports
here, and each package starts with its top module.
"""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import AbstractContextManager
from typing import Any

from .._forks import on_fork

_lock = threading.RLock()


@on_fork
def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


def import_lock() -> AbstractContextManager[Any]:
    """Return the lock that the importing thread holds."""
    return _lock


def import_all(packages: tuple[str, ...]) -> None:
    """Import `packages`, one thread at a time, or raise `ImportError`. Those that are imported cost a look-up each."""
    for package in packages:
        if not _is_imported(package):
            import_module(package)


def import_module(name: str) -> None:
    """Import the module `name` after its top package, one thread at a time, unless it is imported already."""
    top = name.partition(".")[0]
    if _is_imported(top) and _is_imported(name):
        return
    with _lock:
        importlib.import_module(top)
        if name in sys.modules:
            return  # some packages put modules there that the import system does not find
        importlib.import_module(name)


def _is_imported(name: str) -> bool:
    """Return whether the module `name` is completely imported."""
    module = sys.modules.get(name)
    if module is None:
        return False
    return not getattr(getattr(module, "__spec__", None), "_initializing", False)
