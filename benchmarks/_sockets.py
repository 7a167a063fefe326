"""The lower limit of any S3 client: bare requests over two sockets, with and without the hashes of payloadfs."""

import mmap
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.client import HTTPConnection
from typing import Any

MIB = 1 << 20
Put = Callable[[str, memoryview], Any]
Get = Callable[[str, int], Any]


def sockets_and_hashes(endpoint: str, bucket: str, key: str, secret: str) -> tuple[Put, Get]:
    """Compute the hashes of payloadfs at minimum cost: SHA-256 of each part for the signature, a digest of all bytes."""
    from blake3 import blake3

    bare_put, bare_get = sockets(endpoint, bucket, key, secret)

    def put(name: str, data: memoryview) -> None:
        parts = [data[start : start + 8 * MIB] for start in range(0, data.nbytes, 8 * MIB)]
        with ThreadPoolExecutor(2) as pool:
            hashing = [pool.submit(call, part) for part in parts for call in (sha256, blake3)]
            bare_put(name, data)
            for job in hashing:
                job.result()

    def get(name: str, size_bytes: int) -> object:
        mapped = bare_get(name, size_bytes)
        blake3(mapped, max_threads=blake3.AUTO).digest()
        return mapped

    return put, get


def sockets(endpoint: str, bucket: str, key: str, secret: str) -> tuple[Put, Get]:
    place, step, streams = endpoint.partition("://")[2], 16 * MIB, 2

    def ask(verb: str, name: str, body: memoryview | None, start: int, stop: int, file: int) -> None:
        connection = HTTPConnection(place)
        headers = {"Range": f"bytes={start}-{stop - 1}"} if body is None else {}
        connection.request(verb, f"/{bucket}/{name}", body, headers)
        answer, scratch = connection.getresponse(), memoryview(bytearray(MIB))
        while count := answer.readinto(scratch):
            os.pwrite(file, scratch[:count], start)
            start += count
        connection.close()

    def all_of(verb: str, name: str, size_bytes: int, data: memoryview | None, file: int) -> None:
        starts = range(0, size_bytes, step)
        with ThreadPoolExecutor(streams) as pool:
            stops = [min(start + step, size_bytes) for start in starts]
            bodies = [None if data is None else data[start:stop] for start, stop in zip(starts, stops, strict=True)]
            jobs = [pool.submit(ask, verb, name, *job, file) for job in zip(bodies, starts, stops, strict=True)]
            for job in jobs:
                job.result()

    def get(name: str, size_bytes: int) -> object:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
            all_of("GET", name, size_bytes, None, file.fileno())
            return mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_COPY)

    return (lambda name, data: all_of("PUT", name, data.nbytes, data, -1)), get
