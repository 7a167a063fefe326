"""A store in this process's memory, for tests and examples. Other processes see nothing of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from .._buffers import private_memory
from ..errors import IntegrityError, NotFoundError, StoreError
from ._base import Body, Fetched, ObjectInfo, collect

__all__ = ["MemoryStore"]

_Objects = dict[str, tuple[bytes, float]]
_roots: dict[str, _Objects] = {}
_writing = threading.Lock()


class MemoryStore:
    """Objects in a dictionary; all stores of one root in a process share them.

    Parameters
    ----------
    root : str
        Canonical ``memory://`` root.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._objects = _roots.setdefault(root, {})

    def put(self, key: str, body: Body) -> None:
        """Create the object `key` from `body`; see `Store.put`. One copy."""
        content = collect(key, body)
        with _writing:
            if key in self._objects:
                raise StoreError(f"There is an object under the key {key!r} already; it stays as it is.", kind="exists")
            self._objects[key] = content, time.time()

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return a copy of the object `key`; see `Store.get`."""
        content, _ = self._found(key)
        if len(content) != size_bytes:
            raise IntegrityError(f"The object {key!r} has {len(content)} bytes instead of {size_bytes}.", kind="size")
        buffer = private_memory(size_bytes)
        buffer[:] = content
        return Fetched(buffer)

    def info(self, key: str) -> ObjectInfo:
        """Return size and time of the object `key`."""
        content, modified_s = self._found(key)
        return ObjectInfo(key, len(content), modified_s)

    def delete(self, key: str) -> None:
        """Remove the object `key`; it is no error if there is none."""
        self._objects.pop(key, None)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key begins with `prefix`, ordered by key."""
        for key in sorted(self._objects):
            if key.startswith(prefix) and key in self._objects:
                yield self.info(key)

    def _found(self, key: str) -> tuple[bytes, float]:
        try:
            return self._objects[key]
        except KeyError:
            raise NotFoundError(f"There is no object under the key {key!r}.") from None
