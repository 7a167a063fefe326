"""Answers that are not those of an object store, or not of one that knows conditions: no pointer, no short listing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from payloadfs import IntegrityError, Key, KeyRing, Repository
from payloadfs import _log as log
from payloadfs.errors import PayloadError, StoreError
from payloadfs.stores import Store, open_store
from payloadfs.testing import PiecesBody
from payloadfs.testing.servers import S3Server

from .answering import Answering, give, part

MIB = 1024 * 1024
CONTENT = os.urandom(33 * MIB)
SIZES = [10, 3 * MIB, 33 * MIB]
PAGE = b"<html><head><title>Welcome</title></head><body><p>Please log in.</p></body></html>"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    monkeypatch.setattr("payloadfs.stores._retry.PAUSES_S", (0.01, 0.01, 0.01))
    server = Answering()
    yield server
    server.close()


@pytest.fixture(params=["obstore", "fsspec"])
def store(request: pytest.FixtureRequest, server: Answering) -> Store:
    options = S3Server(server.endpoint_url).storage_options()
    return open_store("s3://bucket/p", options, transport=request.param, timeout_s=3)


def portal(status: int, body: bytes = PAGE) -> Callable[[socket.socket, str, str, str], None]:
    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client.sendall(head if verb == "HEAD" else head + body)

    return answer


@pytest.mark.parametrize("body", [PAGE, b"", b'{"status": "ok"}', b"<Error><Code>SlowDown</Code></Error>"])
@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_page_is_not_a_stored_object(server: Answering, store: Store, size_bytes: int, body: bytes) -> None:
    server.answer = portal(200, body)
    with pytest.raises(PayloadError):
        store.put("a.bin", PiecesBody([CONTENT[:size_bytes]]))


def entry(key: str) -> str:
    return (
        f"<Contents><Key>p/{key}</Key><Size>1</Size><ETag>e</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
    )


def page(keys: list[str], more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    return f"<ListBucketResult>{more}{''.join(map(entry, keys))}</ListBucketResult>".encode()


MORE = "<IsTruncated>true</IsTruncated>"
WRONG = {
    "a page": PAGE,
    "nothing": b"",
    "other XML": b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>",
    "cut off": page(["a", "b", "c"])[:-60],
    "more, but not where": page(["a"], MORE),
    "an empty place": page(["a"], f"{MORE}<NextContinuationToken></NextContinuationToken>"),
    "no end": page(["a"], f"{MORE}<NextContinuationToken>same</NextContinuationToken>"),
    "not said whether there is more": page(["a"], ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_listing_is_complete_or_an_error(server: Answering, store: Store, name: str) -> None:
    server.answer = lambda client, *_: give(client, 200, WRONG[name])
    with pytest.raises(StoreError):
        list(store.list())


def test_a_second_page_that_is_wrong(server: Answering, store: Store) -> None:
    first = page(["a"], f"{MORE}<NextContinuationToken>t</NextContinuationToken>")

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        give(client, 200, PAGE if "continuation-token" in target else first)

    server.answer = answer
    with pytest.raises(StoreError):
        list(store.list())


def unconditional(server: Answering, objects: dict[str, bytes]) -> Callable[[socket.socket, str, str, str], None]:
    """A server that answers 501 to conditions, as Backblaze B2 and Alibaba OSS do, and keeps keys."""

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        name = target.partition("?")[0]
        if "if-none-match" in server.request.headers:
            give(
                client, 501, b"<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>"
            )
        elif verb == "HEAD":
            give(client, 200 if name in objects else 404, Last_Modified="Wed, 12 Oct 2022 17:50:00 GMT")
        elif verb == "POST":
            started = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
            done = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
            if "uploads" not in target:
                objects[name] = b""
            give(client, 200, started if "uploads" in target else done)
        elif verb == "GET":
            give(client, 200, page([]))
        else:
            if verb == "PUT" and "partNumber" not in target:
                objects[name] = b""
            give(client, 204 if verb == "DELETE" else 200)

    return answer


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_server_that_refuses_conditions(
    server: Answering, store: Store, size_bytes: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_already_warned", set())
    objects: dict[str, bytes] = {}
    server.answer = unconditional(server, objects)
    for key in ("a.bin", "b.bin"):
        store.put(key, PiecesBody([CONTENT[:size_bytes]]))
    assert list(objects) == ["/bucket/p/a.bin", "/bucket/p/b.bin"]
    # obstore sends no condition with the parts of a large object.
    is_said = size_bytes < 33 * MIB or "FsspecStore" in repr(store)
    assert sum("conditional" in record.message for record in caplog.records) == is_said
    server.seen.clear()
    with pytest.raises(StoreError) as caught:
        store.put("a.bin", PiecesBody([CONTENT[:size_bytes]]))
    assert (caught.value.kind, caught.value.transient) == ("exists", False)
    assert "PUT" not in server.count()


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_many_first_objects_on_a_server_that_refuses_conditions(server: Answering, transport: str) -> None:
    """All of them send the condition before the first response says that the server does not know it."""
    store = open_store(
        "s3://bucket/p", S3Server(server.endpoint_url).storage_options(), transport=transport, timeout_s=90
    )
    threads, objects = 8, dict[str, bytes]()
    everyone, without = threading.Barrier(threads), unconditional(server, objects)

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if "if-none-match" in server.request.headers:
            with contextlib.suppress(threading.BrokenBarrierError):
                everyone.wait(2)  # through fsspec, two of the keys may share a lock
        without(client, verb, target, wanted)

    server.answer = answer
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda number: store.put(f"{number}.bin", PiecesBody([b"x"])), range(threads)))
    assert sorted(objects) == [f"/bucket/p/{number}.bin" for number in range(threads)]


@pytest.mark.parametrize("size_bytes", SIZES)
def test_every_upload_has_a_checksum_as_object_lock_demands(server: Answering, store: Store, size_bytes: int) -> None:
    bare = []

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        headers = server.request.headers
        if verb == "PUT" and not any(
            n.startswith(("x-amz-checksum-", "content-md5", "x-amz-trailer")) for n in headers
        ):
            bare.append(target)
        unconditional(server, {})(client, verb, target, wanted)

    server.answer = answer
    store.put("a.bin", PiecesBody([CONTENT[:size_bytes]]))
    assert bare == []


def test_a_server_that_does_not_say_when_an_object_was_written(server: Answering, store: Store) -> None:
    server.answer = lambda client, verb, target, wanted: (
        give(client, 200, b"", 10) if verb == "HEAD" else part(client, wanted, CONTENT[:10])
    )
    info = store.info("a.bin")
    assert (info.size_bytes, info.modified_s) == (10, float("inf"))
    assert store.get("a.bin", 10).buffer == CONTENT[:10]


def damaging(content: bytes, times: int) -> Callable[[socket.socket, str, str, str], None]:
    left = [times]

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if verb == "PUT":
            give(client, 200)
            return
        sent = bytearray(content)
        if left[0]:
            left[0] -= 1
            sent[len(sent) // 2] ^= 4
        part(client, wanted, bytes(sent))

    return answer


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("size_bytes", [1000, 2 * MIB])
def test_bytes_that_are_damaged_on_the_way_are_fetched_once_more(
    server: Answering, transport: str, cached: bool, size_bytes: int, tmp_path: Any
) -> None:
    repository = Repository(
        "s3://bucket/p",
        S3Server(server.endpoint_url).storage_options(),
        keys=KeyRing([Key(b"k" * 32)]),
        transport=transport,
        cache=tmp_path if cached else "off",
    )
    content = CONTENT[:size_bytes]
    server.answer = damaging(content, 1)
    pointer = repository.save(content)
    assert repository.load(pointer) == content
    assert server.count()["GET"] == 2
    assert repository.load(pointer) == content
    assert server.count()["GET"] == (2 if cached else 3)
    server.answer, server.seen[:] = damaging(content, 9), []
    with pytest.raises(IntegrityError):
        repository.read(pointer)
    assert server.count()["GET"] == 2


def test_a_size_that_is_wrong_once(server: Answering) -> None:
    options = S3Server(server.endpoint_url).storage_options()
    repository = Repository("s3://bucket/p", options, keys=KeyRing([Key(b"k" * 32)]), cache="off")
    content = b"x" * 1000
    cuts = [content[:-5]]

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        give(client, 200) if verb == "PUT" else part(client, wanted, cuts.pop() if cuts else content)

    server.answer = answer
    assert repository.load(repository.save("x" * 1000)) == "x" * 1000
