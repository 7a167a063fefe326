"""What stores of whole objects share: S3 and those that are like it, whoever sends the requests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any

from .._buffers import private_memory
from ..errors import NotFoundError
from ._base import Body, Fetched, ObjectInfo
from ._create import Creation, ObjectCalls

__all__ = ["ObjectStore"]


class ObjectStore(ABC):
    """Objects under one bucket and path.

    Parameters
    ----------
    root : str
        Canonical URL.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._bucket, _, path = root.partition("://")[2].partition("/")
        self._prefix = f"{path}/" if path else ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._root!r})"

    @property
    @abstractmethod
    def _calls(self) -> ObjectCalls:
        """Who sends the requests, in this process."""

    @property
    def root(self) -> str:
        """Canonical URL of the store."""
        return self._root

    def put(self, key: str, body: Body) -> None:
        """Create the object `key`; see `Store.put`. It appears whole or not at all.

        If there is an object already that has exactly these bytes, the call succeeds: the answer
        to its own earlier attempt may have been lost.

        Raises
        ------
        StoreError
            ``kind="exists"``: there is another object, which stays as it is. Otherwise nothing
            was created, unless the connection was lost (``transient``) between the server's work
            and its answer; to put the same bytes again is safe.
        """
        Creation(self._calls, key, self._prefix + key, body).run()

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`; see `Store.get`. A missing object costs one GET."""
        buffer = private_memory(size_bytes)
        self._calls.read(key, self._prefix + key, buffer)
        return Fetched(buffer)

    def get_into(self, key: str, size_bytes: int, file: int) -> None:
        """Write the bytes of the object `key` into the descriptor `file`; see `SupportsFiles`. Requests as for `get`."""
        self._calls.read_into(key, self._prefix + key, size_bytes, file)

    def info(self, key: str) -> ObjectInfo:
        """Return size and time of the object `key`; see `Store.info`. One HEAD."""
        head = self._calls.call("look up", key, "head_object", Key=self._prefix + key)
        return ObjectInfo(key, head["ContentLength"], head["LastModified"].timestamp())

    def delete(self, key: str) -> None:
        """Remove the object `key`, if there is one. One DELETE."""
        try:
            self._calls.call("delete", key, "delete_object", Key=self._prefix + key)
        except NotFoundError:
            return

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key begins with `prefix`, ordered by key. One request per 1,000.

        Holds the objects of one folder in memory: S3 lists by key, but some servers list folder by
        folder, where ``run/1`` comes before ``run-2/1``. Marks of empty folders are left out.
        """
        # Whatever comes later is in this entry of the prefix's folder, or in one after it.
        depth = len(self._prefix) + prefix.rfind("/") + 1
        held: list[tuple[str, ObjectInfo]] = []
        for entry in self._listed(prefix):
            key = entry["Key"].removeprefix(self._prefix)
            least = entry["Key"][len(self._prefix) : depth] + entry["Key"][depth:].partition("/")[0]
            while held and held[0][0] < least:
                yield heappop(held)[1]
            heappush(held, (key, ObjectInfo(key, entry["Size"], entry["LastModified"].timestamp())))
        while held:
            yield heappop(held)[1]

    def _listed(self, prefix: str) -> Iterator[dict[str, Any]]:
        page: dict[str, Any] = {"IsTruncated": True}
        while page.get("IsTruncated"):
            token = {"ContinuationToken": page["NextContinuationToken"]} if "NextContinuationToken" in page else {}
            page = self._calls.call("list", prefix, "list_objects_v2", Prefix=self._prefix + prefix, **token)
            yield from (entry for entry in page.get("Contents", ()) if not entry["Key"].endswith("/"))
