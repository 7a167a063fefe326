"""Objects in S3, and in everything that speaks S3, through s3fs."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from typing import Any

from ..buffers import ByteRange, private_memory
from ..errors import IntegrityError, NotFoundError, StoreError
from ._base import Body, Fetched, ObjectInfo
from ._foreign import Border
from ._s3_calls import PAUSES_S, Calls, Job, jitter
from ._transfer import MIB, parts

__all__ = ["S3Store", "open_s3_store"]

_ONE_PUT_BYTES = 16 * MIB
_PART_BYTES = 16 * MIB
_MOST_PARTS = 10_000
_PARTS_AT_ONCE = 4

# aiohttp wants larger bodies as files, and botocore asks the server's leave (Expect: 100-continue)
# before it sends a file: a round trip that only a small body would notice.
_BARE_BODY_BYTES = MIB


def open_s3_store(root: str, storage_options: Mapping[str, Any] | None = None) -> S3Store:
    """Return the store at the canonical URL `root`. No request is sent.

    Parameters
    ----------
    root : str
        ``s3://bucket`` or ``s3://bucket/path``.
    storage_options : mapping, optional
        As s3fs takes them: ``key``, ``secret``, ``token``, ``anon``, ``endpoint_url``,
        ``client_kwargs``, ``config_kwargs`` and so on. The ``AWS_*`` variables work without any.

    Raises
    ------
    ConfigError
        s3fs is not installed, or an option can't be.
    """
    store = S3Store(root, storage_options)
    store._calls.filesystem()
    return store


class S3Store:
    """Objects under one bucket and path of an S3 server.

    Parameters
    ----------
    root : str
        Canonical URL.
    storage_options : mapping, optional
        For `s3fs.S3FileSystem`. Where it does not say otherwise, a server is given 5 s to accept a
        connection and 20 s to answer, twice. Pickling the store pickles the options, secrets too.

    Notes
    -----
    ``put`` costs one PUT and one copy up to 16 MiB, create-only on servers that know
    ``If-None-Match``; beyond, a multipart upload that holds four parts in memory at most. ``get``
    costs one GET up to 16 MiB, beyond it one per 8 to 16 MiB; bytes are copied once, into their
    final place. Nothing is asked beforehand and nothing is cached. Safe to use from many threads
    and after a fork.
    """

    def __init__(self, root: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._root = root
        self._options = dict(storage_options or {})
        bucket, _, path = root.partition("://")[2].partition("/")
        self._bucket, self._prefix = bucket, f"{path}/" if path else ""
        environment = {name: os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")}
        self._calls = Calls(bucket, self._options, Border(root, {**environment, "options": self._options}))

    def __repr__(self) -> str:
        return f"S3Store({self._root!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return S3Store, (self._root, self._options)

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
        for pause_s in (*PAUSES_S, None):
            try:
                self._put_small(key, body) if body.size_bytes <= _ONE_PUT_BYTES else self._put_large(key, body)
            except StoreError as error:
                if error.kind != "conflict" or pause_s is None:
                    raise
                time.sleep(jitter(pause_s))
            else:
                return

    def get(self, key: str, size_bytes: int) -> Fetched:
        """Return the bytes of the object `key`; see `Store.get`. A missing object costs one GET."""
        buffer = private_memory(size_bytes)
        self._calls.read("get", key, self._prefix + key, buffer)
        return Fetched(buffer)

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

    def _put_small(self, key: str, body: Body) -> None:
        (part,) = parts(body, _ONE_PUT_BYTES)
        bare = body.size_bytes <= _BARE_BODY_BYTES
        self._create(key, body, "put_object", Body=bytearray(part.getbuffer()) if bare else part)

    def _put_large(self, key: str, body: Body) -> None:
        part_bytes = max(_PART_BYTES, -(-body.size_bytes // _MOST_PARTS))
        name = self._prefix + key
        begun = self._calls.begin("put", key, "create_multipart_upload", Key=name)
        jobs: deque[Job] = deque()
        tags: list[str] = []
        created = False
        try:
            # Not stopped by an interrupt: without its id the upload could not be aborted.
            upload = {"UploadId": begun.result(stoppable=False)["UploadId"]}
            for number, part in enumerate(parts(body, part_bytes), 1):
                jobs.append(
                    self._calls.begin("put", key, "upload_part", Key=name, PartNumber=number, Body=part, **upload)
                )
                # The part that is collected next counts too.
                while len(jobs) >= _PARTS_AT_ONCE:
                    tags.append(jobs.popleft().result()["ETag"])
            tags += [job.result()["ETag"] for job in jobs]
            listed = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
            created = self._create(key, body, "complete_multipart_upload", MultipartUpload={"Parts": listed}, **upload)
        finally:
            if not created:
                self._abort(key, begun, jobs)

    def _abort(self, key: str, begun: Job, jobs: deque[Job]) -> None:
        """Leave no part behind. If that fails, the error on its way says so too."""
        reason = sys.exception()
        # A part that arrives after the abort would stay.
        for job in jobs:
            job.stop()
        if begun.failed():
            return
        try:
            self._calls.call(
                "put", key, "abort_multipart_upload", Key=self._prefix + key, UploadId=begun.result()["UploadId"]
            )
        except StoreError as error:
            if error.kind == "no-upload":
                return
            if reason is None:
                raise
            reason.add_note(f"Parts of it are left in an open multipart upload, which could not be aborted: {error}")

    def _create(self, key: str, body: Body, method: str, **arguments: Any) -> bool:
        """Make the object appear. False if it was there already, with the very bytes of `body`."""
        try:
            self._calls.call("put", key, method, Key=self._prefix + key, IfNoneMatch="*", **arguments)
        except StoreError as error:
            if error.kind not in ("exists", "no-upload") or not self._holds(key, body):
                raise
            return False
        return True

    def _holds(self, key: str, body: Body) -> bool:
        start = 0
        try:
            for part in parts(body, _PART_BYTES):
                wanted = part.getbuffer()
                held = memoryview(bytearray(wanted.nbytes))
                span = ByteRange(start, start + held.nbytes)
                self._calls.read_range(key, self._prefix + key, span, body.size_bytes, held)
                if held != wanted:
                    return False
                start = span.stop
        except (NotFoundError, IntegrityError):
            return False
        return True
