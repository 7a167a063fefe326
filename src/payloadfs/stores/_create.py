"""Making an object appear whole or not at all, and never over another one, whoever sends the requests."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from .._buffers import ByteRange
from ..errors import IntegrityError, NotFoundError, StoreError
from ._base import Body
from ._transfer import MIB, PAUSES_S, jitter, parts

__all__ = ["Creation", "ObjectCalls", "ObjectJob"]

_COMPARED_BYTES = 16 * MIB
_MOST_PARTS = 10_000


class ObjectJob(Protocol):
    """A request under way."""

    def result(self, *, stoppable: bool = True) -> Any: ...

    def failed(self) -> bool: ...

    def stop(self) -> None: ...


class ObjectCalls(Protocol):
    """Requests about one bucket, named and answered as botocore does; errors are ours."""

    one_put_bytes: int
    part_bytes: int
    parts_at_once: int
    copies_at_once: int
    """As `parts_at_once`, for a body that is not stable, whose parts take memory of their own."""

    def parts(self, body: Body, part_bytes: int) -> Iterator[Any]:
        """Yield `body` in parts of `part_bytes` bytes, as `call` takes them for ``Body``."""
        ...

    def begin(self, operation: str, key: str, method: str, **arguments: Any) -> ObjectJob: ...

    def call(self, operation: str, key: str, method: str, **arguments: Any) -> dict[str, Any]: ...

    def read(self, key: str, name: str, buffer: memoryview) -> None:
        """Fill `buffer` with the object `name`, which must have exactly its size; `key` is for messages."""
        ...

    def read_into(self, key: str, name: str, size_bytes: int, file: int) -> None:
        """Write the object `name`, which must have `size_bytes` bytes, into the descriptor `file`."""
        ...

    def read_range(self, key: str, name: str, part: ByteRange, size_bytes: int, buffer: memoryview) -> None:
        """Fill `buffer` with one part of the object `name`, which should have `size_bytes` bytes."""
        ...


class Creation:
    """One object on its way into a bucket.

    Parameters
    ----------
    calls : ObjectCalls
        Sends the requests.
    key, name : str
        The object's key, for messages, and its name in the bucket.
    body : Body
        Its bytes.
    """

    def __init__(self, calls: ObjectCalls, key: str, name: str, body: Body) -> None:
        self._calls, self._key, self._name, self._body = calls, key, name, body

    def run(self) -> None:
        """Create the object; see `ObjectStore.put`."""
        small = self._body.size_bytes <= self._calls.one_put_bytes
        for pause_s in (*PAUSES_S, None):
            try:
                self._put_small() if small else self._put_large()
            except StoreError as error:
                if error.kind != "conflict" or pause_s is None:
                    raise
                time.sleep(jitter(pause_s))
            else:
                return

    def _put_small(self) -> None:
        (part,) = self._calls.parts(self._body, self._calls.one_put_bytes)
        self._create("put_object", Body=part)

    def _put_large(self) -> None:
        part_bytes = max(self._calls.part_bytes, -(-self._body.size_bytes // _MOST_PARTS))
        stable = getattr(self._body, "stable", False)
        at_once = self._calls.parts_at_once if stable else self._calls.copies_at_once
        begun = self._calls.begin("put", self._key, "create_multipart_upload", Key=self._name)
        jobs: deque[ObjectJob] = deque()
        tags: list[str] = []
        created = False
        try:
            # Not stopped by an interrupt: without its id the upload could not be aborted.
            upload = {"UploadId": begun.result(stoppable=False)["UploadId"]}
            for number, part in enumerate(self._calls.parts(self._body, part_bytes), 1):
                jobs.append(self._begin_part(number, part, upload))
                # The part that is collected next counts too.
                while len(jobs) >= at_once:
                    tags.append(jobs.popleft().result()["ETag"])
            tags += [job.result()["ETag"] for job in jobs]
            listed = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
            created = self._create("complete_multipart_upload", MultipartUpload={"Parts": listed}, **upload)
        finally:
            if not created:
                self._abort(begun, jobs)

    def _begin_part(self, number: int, part: Any, upload: dict[str, str]) -> ObjectJob:
        return self._calls.begin(
            "put", self._key, "upload_part", Key=self._name, PartNumber=number, Body=part, **upload
        )

    def _abort(self, begun: ObjectJob, jobs: deque[ObjectJob]) -> None:
        """Leave no part behind. If that fails, the error on its way says so too."""
        reason = sys.exception()
        # A part that arrives after the abort would stay.
        for job in jobs:
            job.stop()
        if begun.failed():
            return
        upload = {"UploadId": begun.result()["UploadId"]}
        try:
            self._calls.call("put", self._key, "abort_multipart_upload", Key=self._name, **upload)
        except StoreError as error:
            if error.kind == "upload-gone":
                return
            if reason is None:
                raise
            reason.add_note(f"Parts of it are left in an open multipart upload, which could not be aborted: {error}")

    def _create(self, method: str, **arguments: Any) -> bool:
        """Make the object appear. False if it was there already, with the very bytes of the body."""
        try:
            self._calls.call("put", self._key, method, Key=self._name, IfNoneMatch="*", **arguments)
        except StoreError as error:
            if error.kind not in ("exists", "upload-gone") or not self._is_there():
                raise
            return False
        return True

    def _is_there(self) -> bool:
        start = 0
        try:
            for part in parts(self._body, _COMPARED_BYTES):
                # Not getbuffer: collected as garbage together, file and view can crash Python 3.12.
                wanted = part.getvalue()
                held = memoryview(bytearray(len(wanted)))
                span = ByteRange(start, start + held.nbytes)
                self._calls.read_range(self._key, self._name, span, self._body.size_bytes, held)
                if held != wanted:
                    return False
                start = span.stop
        except (NotFoundError, IntegrityError):
            return False
        return True
