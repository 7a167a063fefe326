"""What payloadfs asks of obstore: objects and parts of them, straight to their place, and small creations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .._buffers import ByteRange
from ..errors import StoreError
from ._reads import Reading, Sink
from ._retry import Patience
from ._transfer import MIB, wrong_size

__all__ = ["SMALL_BYTES", "ObstoreCalls", "client_options"]

SMALL_BYTES = MIB
"""Up to this size an object is read by one call, in one piece."""

_CHUNK_BYTES = MIB
_RANGE_NOT_SATISFIABLE = 416
_IDLE_S = 15
_LONGEST_S = 86_400


def client_options(endpoint: str, connect_s: float, read_s: float, ca_file: str | None = None) -> dict[str, Any]:
    """Return what obstore's HTTP client is to do. The only limits are on silence, never on a whole request."""
    from datetime import timedelta

    options: dict[str, Any] = {
        "allow_http": endpoint.startswith("http:"),
        "connect_timeout": timedelta(seconds=connect_s),
        "read_timeout": timedelta(seconds=read_s),
        "timeout": timedelta(seconds=_LONGEST_S),
        "pool_idle_timeout": timedelta(seconds=_IDLE_S),
    }
    if ca_file is not None:
        with open(ca_file, "rb") as file:
            options["root_certificate"] = file.read()
    return options


class ObstoreCalls:
    """Requests about one bucket or container.

    Parameters
    ----------
    make : callable
        Makes obstore's client, when first needed: obstore is imported there.
    patience : Patience
        Sends requests again, and translates errors.
    """

    def __init__(self, make: Callable[[], Any], patience: Patience) -> None:
        self._make = make
        self._made: Any = None
        self._patience = patience
        self._gives_ranges = True

    @property
    def client(self) -> Any:
        """Obstore's client. No request."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def create(self, key: str, name: str, content: bytes | list[memoryview]) -> None:
        """Make the object `name` of `content`, unless there is one. One PUT."""
        import obstore

        client = self.client
        self._patience.tried("put", key, lambda: obstore.put(client, name, content, mode="create", use_multipart=False))

    def read(self, key: str, name: str, size_bytes: int, sink: Sink) -> None:
        """Give the bytes of the object `name`, which must have `size_bytes`, to `sink`; `key` is for messages.

        One GET if it is missing or small; else one per range, at most eight at once.
        """
        if 0 < size_bytes <= SMALL_BYTES and self._gives_ranges:
            try:
                sink(0, self._patience.tried("get", key, lambda: self._small(key, name, size_bytes)))
            except StoreError as error:
                if error.kind != "ranges-unsupported":
                    raise
                self._gives_ranges = False
            else:
                return
        Reading(self._patience, _Source(self.client, key, name, size_bytes), sink).whole()

    def read_range(self, key: str, name: str, part: ByteRange, size_bytes: int, sink: Sink) -> None:
        """Give one part of the object `name`, which must have `size_bytes`, to `sink`. One GET."""
        Reading(self._patience, _Source(self.client, key, name, size_bytes), sink).part(part)

    def _small(self, key: str, name: str, size_bytes: int) -> memoryview:
        """Return the bytes of a small object by one call: after each a thread queues for the interpreter's lock."""
        import obstore

        try:
            # One byte more than there should be tells of an object that is too large.
            content = memoryview(obstore.get_range(self.client, name, start=0, end=size_bytes + 1))
        except Exception as error:
            if _is_unsatisfiable(error):
                raise wrong_size(key, size_bytes, "none") from None
            raise
        if content.nbytes != size_bytes:
            raise wrong_size(key, size_bytes, "more" if content.nbytes > size_bytes else str(content.nbytes))
        return content


def _is_unsatisfiable(error: Exception) -> bool:
    return f"status code: {_RANGE_NOT_SATISFIABLE}" in str(error)


class _Source:
    """An object through obstore's `client`; see `payloadfs.stores._reads.Source`."""

    def __init__(self, client: Any, key: str, name: str, size_bytes: int) -> None:
        self._client, self._name = client, name
        self.key, self.size_bytes = key, size_bytes

    def opened(self, part: ByteRange) -> Iterator[memoryview]:
        import obstore

        options: Any = {"range": (part.start, part.stop)} if part.size_bytes < self.size_bytes else None
        try:
            result = obstore.get(self._client, self._name, options=options)
        except Exception as error:
            if options and _is_unsatisfiable(error):
                raise wrong_size(self.key, self.size_bytes, f"at most {part.start}") from None
            raise
        if result.meta["size"] != self.size_bytes:
            raise wrong_size(self.key, self.size_bytes, str(result.meta["size"]))
        return map(memoryview, result.stream(min_chunk_size=_CHUNK_BYTES))
