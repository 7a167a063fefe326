"""Objects in GCS and Azure through obstore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .._buffers import ByteRange
from .._urls import scheme_of
from ..errors import ConfigError, StoreError
from ._base import Body
from ._create import ObjectCalls, ObjectJob
from ._errors import Border
from ._forks import obstore_is_lost
from ._object_store import ObjectStore
from ._obstore_calls import ObstoreCalls, client_options
from ._obstore_options import client_config
from ._reads import into_buffer, into_file
from ._retry import Patience
from ._transfer import MIB, ropes

__all__ = ["ObstoreStore", "open_obstore_store"]

_CONNECT_S, _READ_S = 5.0, 10.0
_SMALL_BYTES = 4 * MIB
_SLOWEST = MIB
"""Bytes a second: obstore counts the time in which a body is sent as silence of the server."""

_NO_LIMIT = 1 << 62
_SECRET_PARTS = frozenset({"account_key", "client_secret", "sas_key"})
_LISTED_AT_ONCE = 1_000


def open_obstore_store(root: str, storage_options: Mapping[str, Any] | None = None) -> ObstoreStore:
    """Return the store at the canonical ``gs`` or ``az`` URL `root`. No request is sent.

    Raises
    ------
    ConfigError
        An option can't be, or obstore is not installed.
    """
    store = ObstoreStore(root, storage_options)
    store._direct.check()
    return store


class ObstoreStore(ObjectStore):
    """Objects under one bucket or container and path.

    Parameters
    ----------
    root : str
        Canonical URL.
    storage_options : mapping, optional
        As gcsfs and adlfs take them. Pickling the store pickles them, secrets too.

    Notes
    -----
    ``put`` costs one PUT, create-only, whatever the size: obstore can't complete an upload in parts
    create-only. A body that is not stable is held in memory. ``get`` costs one GET up to 16 MiB,
    beyond it one per 8 to 32 MiB; bytes are copied once, into their final place. Safe to use from
    many threads. In a process forked from one that had loaded obstore every call is an error.
    """

    def __init__(self, root: str, storage_options: Mapping[str, Any] | None = None) -> None:
        super().__init__(root)
        self._options = dict(storage_options or {})
        self._direct = _Calls(root, self._bucket, self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        return ObstoreStore, (self._root, self._options)

    @property
    def _calls(self) -> ObjectCalls:
        if obstore_is_lost():
            raise StoreError(
                "obstore does not survive a fork: start processes by spawn, or set transport to fsspec.", kind="forked"
            )
        return self._direct

    def _listed(self, prefix: str) -> Iterator[dict[str, Any]]:
        folder = (self._prefix + prefix).rpartition("/")[0]
        for entry in self._direct.listed(prefix, folder):
            if entry["Key"].startswith(self._prefix + prefix):
                yield entry


class _Calls:
    """Requests about one bucket or container; see `payloadfs.stores._create.ObjectCalls`."""

    one_put_bytes = part_bytes = _NO_LIMIT
    parts_at_once = copies_at_once = 1

    def __init__(self, root: str, bucket: str, options: Mapping[str, Any]) -> None:
        self._root, self._bucket = root, bucket
        self._config = client_config(root, options)
        parts = {name: self._config[name] for name in _SECRET_PARTS & self._config.keys()}
        self._patience = Patience(Border(root, {"options": options, "parts": parts}))
        self._obstore = self._with_limit(_READ_S)

    def check(self) -> None:
        """Return if the options are such as obstore takes."""
        try:
            from obstore.exceptions import BaseError
        except ImportError as error:
            extra = scheme_of(self._root)
            raise ConfigError(
                f"This needs obstore: pip install 'payloadfs[{extra}]'.", kind="missing-package"
            ) from error
        try:
            _ = self._obstore.client
        except (BaseError, OSError, TypeError, ValueError):
            # Not chained: the text may hold an option's value.
            raise ConfigError(f"The storage options for {self._root} are not right.", kind="options") from None

    def parts(self, body: Body, part_bytes: int) -> Iterator[list[memoryview]]:
        """Yield the parts of `body` as rows of slices. Nothing is copied if the body is stable."""
        return ropes(body, part_bytes)

    def begin(self, operation: str, key: str, method: str, **arguments: Any) -> ObjectJob:
        """Never asked for: objects are made by one request."""
        raise NotImplementedError(method)

    def call(self, operation: str, key: str, method: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and return its answer, named as botocore does."""
        import obstore

        name = arguments["Key"]
        if method == "put_object":
            self._put(key, name, arguments["Body"])
        elif method == "delete_object":
            self._patience.tried(operation, key, lambda: obstore.delete(self._obstore.client, name))
        else:
            meta = self._patience.tried(operation, key, lambda: obstore.head(self._obstore.client, name))
            return {"ContentLength": meta["size"], "LastModified": meta["last_modified"]}
        return {}

    def listed(self, prefix: str, folder: str) -> Iterator[dict[str, Any]]:
        """Yield what lies in `folder` and below, as botocore does; `prefix` is for messages."""
        import obstore

        pages = iter(obstore.list(self._obstore.client, folder or None, chunk_size=_LISTED_AT_ONCE))
        while page := self._patience.tried("list", prefix, lambda: next(pages, None)):
            for meta in page:
                yield {"Key": meta["path"], "Size": meta["size"], "LastModified": meta["last_modified"]}

    def read(self, key: str, name: str, buffer: memoryview) -> None:
        """Fill `buffer` with the object `name`; see `ObstoreCalls.read`. Each byte is copied once."""
        self._obstore.read(key, name, buffer.nbytes, into_buffer(buffer))

    def read_into(self, key: str, name: str, size_bytes: int, file: int) -> None:
        """Write the object `name` into the descriptor `file`; see `ObstoreCalls.read`."""
        self._obstore.read(key, name, size_bytes, into_file(file))

    def read_range(self, key: str, name: str, part: ByteRange, size_bytes: int, buffer: memoryview) -> None:
        """Fill `buffer` with one part of the object `name`. One GET."""
        self._obstore.read_range(key, name, part, size_bytes, into_buffer(buffer, part.start))

    def _put(self, key: str, name: str, pieces: list[memoryview]) -> None:
        size_bytes = sum(piece.nbytes for piece in pieces)
        if size_bytes <= _SMALL_BYTES:
            self._obstore.create(key, name, b"".join(pieces))
        else:
            self._with_limit(_READ_S + size_bytes / _SLOWEST).create(key, name, pieces)

    def _with_limit(self, read_s: float) -> ObstoreCalls:
        make = _gs_client if scheme_of(self._root) == "gs" else _az_client
        return ObstoreCalls(lambda: make(self._bucket, self._config, read_s), self._patience)


def _gs_client(bucket: str, config: Any, read_s: float) -> Any:
    from obstore.store import GCSStore

    options: Any = client_options(config.get("base_url", ""), _CONNECT_S, read_s)
    return GCSStore(bucket, config=config, client_options=options, retry_config={"max_retries": 0})


def _az_client(container: str, config: Any, read_s: float) -> Any:
    from obstore.store import AzureStore

    options: Any = client_options(config.get("endpoint", ""), _CONNECT_S, read_s)
    return AzureStore(container, config=config, client_options=options, retry_config={"max_retries": 0})
