"""Objects in S3, and in everything that speaks S3, through obstore and signed requests or through s3fs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._base import SmallReads
from .._create import ObjectCalls
from .._errors import Border
from .._forks import obstore_is_lost
from .._object_store import ObjectStore

if TYPE_CHECKING:
    from ._direct import DirectCalls
    from ._s3fs import Calls

__all__ = ["S3Store", "open_s3_store"]


def open_s3_store(root: str, storage_options: Mapping[str, Any] | None = None, transport: str = "fsspec") -> S3Store:
    """Return the store at the canonical URL `root`. No request is sent.

    Parameters
    ----------
    root : str
        ``s3://bucket`` or ``s3://bucket/path``.
    storage_options : mapping, optional
        As s3fs takes them: ``key``, ``secret``, ``token``, ``anon``, ``endpoint_url``,
        ``client_kwargs``, ``config_kwargs`` and so on. The ``AWS_*`` variables work without any.
    transport : {"fsspec", "obstore"}
        As `chosen_transport` says.

    Raises
    ------
    ConfigError
        s3fs is not installed, or an option can't be.
    """
    store = S3Store(root, storage_options, transport)
    if transport == "fsspec":
        store._through_s3fs.filesystem()
    return store


class S3Store(ObjectStore):
    """Objects under one bucket and path of an S3 server.

    Parameters
    ----------
    root : str
        Canonical URL.
    storage_options : mapping, optional
        For `s3fs.S3FileSystem`. Where it does not say otherwise, a server is given 5 s to accept a
        connection and 10 to 12 s to go on with an answer. Pickling the store pickles the options,
        secrets too.
    transport : {"fsspec", "obstore"}
        What the bytes go through.

    Notes
    -----
    ``put`` costs one PUT up to 16 MiB, create-only on servers that know ``If-None-Match``; beyond,
    a multipart upload. Through obstore nothing is copied beyond 1 MiB if the body is stable, else
    at most 24 MiB are held at a time; through s3fs everything is copied once, four parts of 16 MiB
    at a time. ``get`` costs one GET up to 16 MiB, beyond it one per 8 to 32 MiB; bytes are copied
    once at most, into their final place. Nothing is asked beforehand and nothing is cached. Safe to use
    from many threads and after a fork: the child of a process that had loaded obstore uses s3fs.
    """

    def __init__(self, root: str, storage_options: Mapping[str, Any] | None = None, transport: str = "fsspec") -> None:
        super().__init__(root)
        self._options = dict(storage_options or {})
        self._transport = transport
        environment = {name: os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")}
        self._border = Border(root, {**environment, "options": self._options})
        self._s3fs: Calls | None = None
        self._direct: DirectCalls | None = None
        if transport == "obstore":
            from ._direct import DirectCalls
            from ._target import s3_target

            self._direct = DirectCalls(s3_target(root, self._options), self._border)

    def __reduce__(self) -> tuple[Any, ...]:
        return S3Store, (self._root, self._options, self._transport)

    def small_reads(self) -> SmallReads | None:
        """Return who reads many small objects in one thread; see `SupportsSmallReads`."""
        return (
            self._direct.small_reads(self._prefix) if self._direct is not None and self._calls is self._direct else None
        )

    @property
    def _calls(self) -> ObjectCalls:
        return self._through_s3fs if self._direct is None or obstore_is_lost() else self._direct

    @property
    def _through_s3fs(self) -> Calls:
        if self._s3fs is None:
            from ._s3fs import Calls

            self._s3fs = Calls(self._bucket, self._options, self._border)
        return self._s3fs
