"""Requests to an S3 server: s3fs's coroutines, started from any thread, waited for, and stopped."""

from __future__ import annotations

import asyncio
import io
import mmap
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from ..._buffers import ByteRange
from ...errors import ConfigError, StoreError
from .._base import Body
from .._errors import Border, s3_code
from .._transfer import MIB, PAUSES_S, jitter, parts, split, wrong_size

__all__ = ["Calls", "Job"]

_RANGES_AT_ONCE = 8
_READ_BYTES = MIB
_STOP_S = 5.0

# aiohttp wants larger bodies as files, and botocore asks the server's leave (Expect: 100-continue)
# before it sends a file: a round trip that only a small body would notice.
_BARE_BODY_BYTES = MIB

_CONFIG: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 12,
    # What may be asked again we ask again; of a server that says nothing, one time limit is enough.
    "retries": {"total_max_attempts": 1},
    "max_pool_connections": 32,
    # payloadfs has digests of its own, and Ceph and old MinIO refuse botocore's checksum trailers.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


class Job:
    """A coroutine on the file system's loop.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        It runs in a thread of its own.
    work : callable
        Makes the coroutine.
    translate : callable
        Makes our error of a foreign one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Callable[[], Awaitable[Any]],
        translate: Callable[[Exception], Exception],
    ) -> None:
        self._translate = translate
        self._ended = threading.Event()
        self._future = asyncio.run_coroutine_threadsafe(self._watched(work), loop)

    async def _watched(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        finally:
            self._ended.set()

    def result(self, *, stoppable: bool = True) -> Any:
        """Wait for the result. An interrupt of the wait stops the job, if it is `stoppable`."""
        try:
            return self._future.result()
        except Exception as error:
            ours = self._translate(error)
            if ours is error:
                raise
            raise ours from error
        except BaseException:
            if stoppable:
                self.stop()
            raise

    def failed(self) -> bool:
        """Wait for the end and return whether it was an error."""
        return self._future.cancelled() or self._future.exception() is not None

    def stop(self) -> None:
        """Cancel the job and wait until it has ended; nothing if it has."""
        if self._future.cancel():
            self._ended.wait(_STOP_S)


class Calls:
    """Requests about one bucket.

    Parameters
    ----------
    bucket : str
        Its name.
    options : mapping
        For `s3fs.S3FileSystem`.
    border : Border
        Translates errors.
    """

    one_put_bytes = 16 * MIB
    part_bytes = 16 * MIB
    parts_at_once = copies_at_once = 4

    def __init__(self, bucket: str, options: Mapping[str, Any], border: Border) -> None:
        self._bucket = bucket
        self._options = dict(options)
        self._border = border
        # By process: connections and their thread don't survive a fork, and must not be closed there.
        self._filesystems: dict[int, Any] = {}

    def filesystem(self) -> Any:
        """Return this process's s3fs file system. No request."""
        found = self._filesystems.get(os.getpid())
        return found or self._filesystems.setdefault(os.getpid(), _new_filesystem(self._options))

    def begin(self, operation: str, key: str, method: str, **arguments: Any) -> Job:
        """Start one request and return without waiting for it."""
        filesystem = self.filesystem()
        return self._job(operation, key, lambda: self._ask(filesystem, method, **arguments))

    def call(self, operation: str, key: str, method: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and return its answer."""
        answer: dict[str, Any] = self.begin(operation, key, method, **arguments).result()
        return answer

    def parts(self, body: Body, part_bytes: int) -> Iterator[io.BytesIO | bytearray]:
        """Yield the parts of `body`, each byte copied once."""
        for part in parts(body, part_bytes):
            yield bytearray(part.getbuffer()) if body.size_bytes <= _BARE_BODY_BYTES else part

    def read(self, key: str, name: str, buffer: memoryview) -> None:
        """Fill `buffer` with the object `name`, which must have exactly its size; `key` is for messages.

        One GET if it is missing or small; else one per range, at most eight at once.
        """
        filesystem = self.filesystem()
        self._job("get", key, lambda: self._read(filesystem, _Source(key, name, buffer.nbytes), buffer)).result()

    def read_into(self, key: str, name: str, size_bytes: int, file: int) -> None:
        """Write the object `name` into the descriptor `file`, through a mapping of it; requests as for `read`."""
        mapped = memoryview(mmap.mmap(file, size_bytes) if size_bytes else b"")
        self.read(key, name, mapped)

    def read_range(self, key: str, name: str, part: ByteRange, size_bytes: int, buffer: memoryview) -> None:
        """Fill `buffer` with one part of the object `name`, which should have `size_bytes` bytes. One GET."""
        filesystem, source = self.filesystem(), _Source(key, name, size_bytes)

        async def work() -> None:
            await self._fill(filesystem, source, part, buffer, await self._open(filesystem, source, part))

        self._job("compare", key, work).result()

    def _job(self, operation: str, key: str, work: Callable[[], Awaitable[Any]]) -> Job:
        return Job(self.filesystem().loop, work, lambda error: self._border.translate(error, operation, key))

    async def _ask(self, filesystem: Any, method: str, **arguments: Any) -> Any:
        for pause_s in (*PAUSES_S, None):
            if hasattr(arguments.get("Body"), "seek"):
                arguments["Body"].seek(0)
            try:
                return await filesystem._call_s3(method, Bucket=self._bucket, **arguments)
            except Exception as error:
                if pause_s is None or self._border.translate(error, "ask", "").kind not in ("connection-lost", "busy"):
                    raise
            await asyncio.sleep(jitter(pause_s))
        raise AssertionError("The last attempt returns or raises.")

    async def _read(self, filesystem: Any, source: _Source, buffer: memoryview) -> None:
        first, *others = split(source.size_bytes)
        # Alone until it is answered: a missing object costs one request, not eight.
        answer = await self._open(filesystem, source, first)
        window = asyncio.Semaphore(_RANGES_AT_ONCE - 1)

        async def read(part: ByteRange) -> None:
            async with window:
                answer = await self._open(filesystem, source, part)
                await self._fill(filesystem, source, part, buffer[part.start : part.stop], answer)

        tasks = [asyncio.create_task(read(part)) for part in others]
        try:
            await self._fill(filesystem, source, first, buffer[first.start : first.stop], answer)
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, filesystem: Any, source: _Source, part: ByteRange) -> Any:
        """Ask for `part`, and in the last one for a byte more; None if the object ends before it."""
        last = part.stop if part.stop == source.size_bytes else part.stop - 1
        try:
            answer = await self._ask(filesystem, "get_object", Key=source.name, Range=f"bytes={part.start}-{last}")
        except Exception as error:
            if s3_code(error) in ("InvalidRange", "416"):
                return None
            raise
        if part.size_bytes < source.size_bytes and "ContentRange" not in answer:
            answer["Body"].close()
            raise StoreError(
                f"The server gave all of {source.key!r} where a part was asked for.", kind="ranges-unsupported"
            )
        return answer

    async def _fill(self, filesystem: Any, source: _Source, part: ByteRange, buffer: memoryview, answer: Any) -> None:
        filled = await self._drained(filesystem, source, part, buffer, answer)
        if filled > buffer.nbytes:
            raise wrong_size(source.key, source.size_bytes, "more")
        if filled < buffer.nbytes:
            raise wrong_size(source.key, source.size_bytes, f"at most {part.start + filled}")

    async def _drained(self, filesystem: Any, source: _Source, part: ByteRange, buffer: memoryview, answer: Any) -> int:
        for pause_s in (*PAUSES_S, None):
            try:
                return await _drain(answer, buffer)
            except Exception as error:
                if pause_s is None or self._border.translate(error, "get", source.key).kind != "connection-lost":
                    raise
            await asyncio.sleep(jitter(pause_s))
            answer = await self._open(filesystem, source, part)
        raise AssertionError("The last attempt returns or raises.")


class _Source:
    """The object that is read: its key, its name in the bucket, the size that it should have."""

    __slots__ = ("key", "name", "size_bytes")

    def __init__(self, key: str, name: str, size_bytes: int) -> None:
        self.key, self.name, self.size_bytes = key, name, size_bytes


async def _drain(answer: Any, buffer: memoryview) -> int:
    """Copy the answer's bytes into `buffer`; return how many there were, one more than fit at most."""
    if answer is None:
        return 0
    filled = 0
    stream = answer["Body"]
    try:
        while filled <= buffer.nbytes:
            chunk = await stream.read(min(_READ_BYTES, buffer.nbytes + 1 - filled))
            if not chunk:
                break
            fitting = chunk[: buffer.nbytes - filled] if filled + len(chunk) > buffer.nbytes else chunk
            buffer[filled : filled + len(fitting)] = fitting
            filled += len(chunk)
    finally:
        stream.close()
    return filled


def _new_filesystem(options: Mapping[str, Any]) -> Any:
    try:
        import s3fs
    except ImportError as error:
        raise ConfigError("S3 needs s3fs: pip install 'payloadfs[s3]'.", kind="missing-package") from error
    config = {**_CONFIG, **options.get("config_kwargs", {})}
    region = options.get("region") or options.get("region_name")
    client = {**({"region_name": region} if region else {}), **options.get("client_kwargs", {})}
    given = {name: value for name, value in options.items() if name not in ("region", "region_name")}
    settings = {
        **given,
        "client_kwargs": client,
        "config_kwargs": config,
        "use_listings_cache": False,
        "asynchronous": False,
    }
    try:
        filesystem = s3fs.S3FileSystem(**settings, skip_instance_cache=True)
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"The storage options for S3 are not right: {error}.", kind="options") from error
    # s3fs's own attempts multiply with botocore's: five by five against a dead server.
    filesystem.retries = 1
    return filesystem
