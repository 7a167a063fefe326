"""A store in the memory of this process, for tests and examples. Other processes cannot see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from .._buffers import private_memory
from ..errors import IntegrityError, NotFoundError
from ._base import Body, Fetched, ObjectInfo, collect, exists_error

_Objects = dict[str, tuple[bytes, float]]
_roots: dict[str, _Objects] = {}
_writing = threading.Lock()


class MemoryStore:
    """Objects in a dictionary, which all stores with the same root in a process share."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._objects = _roots.setdefault(root, {})

    def put(self, key: str, body: Body) -> None:
        """Create the object `key` from `body`; see `Store.put`. One copy."""
        content = collect(key, body)
        with _writing:
            if key in self._objects:
                raise exists_error(self.root, key)
            self._objects[key] = content, time.time()

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return a copy of the object `key`; see `Store.get`."""
        content, _ = self._entry(key)
        if len(content) != size_bytes:
            raise IntegrityError(f"Object {key!r} has {len(content)} bytes, not {size_bytes}.", kind="size")
        try:
            buffer = private_memory(size_bytes)
        except (OSError, MemoryError) as error:
            from ._errors import unexpected

            raise unexpected(error, f"Cannot get {key!r} in {self.root}: {error}.") from error
        buffer[:] = content
        return Fetched(buffer)

    def info(self, key: str) -> ObjectInfo:
        """Return the size and time of the object `key`."""
        content, modified_s = self._entry(key)
        return ObjectInfo(key, len(content), modified_s)

    def delete(self, key: str) -> None:
        """Delete the object `key`, if it exists."""
        self._objects.pop(key, None)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix`, in the order of their keys."""
        for key in sorted(self._objects):
            if key.startswith(prefix) and key in self._objects:
                yield self.info(key)

    def _entry(self, key: str) -> tuple[bytes, float]:
        try:
            return self._objects[key]
        except KeyError:
            raise NotFoundError(f"Object {key!r} in {self.root} not found.") from None
