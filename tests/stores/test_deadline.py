"""Servers that are dead, silent, dripping or dying: each operation, over each transport, ends in one error."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from payloadfs import BatchError, Key, KeyRing, Repository
from payloadfs.errors import StoreError
from payloadfs.stores import Store, open_store
from payloadfs.testing import PiecesBody
from payloadfs.testing.servers import S3Server

from .answering import Answering, give, part

MIB = 1024 * 1024
CONTENT = os.urandom(40 * MIB)
UPLOAD = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
TIMEOUT_S = 0.6
PATIENT_S = 3.0
"""Time limit of operations that must succeed, on a busy machine too."""

OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "put small": lambda store: store.put("a.bin", PiecesBody([b"small"])),
    "put": lambda store: store.put("a.bin", PiecesBody([CONTENT[: 3 * MIB]])),
    "put in parts": lambda store: store.put("a.bin", PiecesBody([CONTENT])),
    "get small": lambda store: store.get("a.bin", 10),
    "get": lambda store: store.get("a.bin", 3 * MIB),
    "get in ranges": lambda store: store.get("a.bin", len(CONTENT)),
    "info": lambda store: store.info("a.bin"),
    "delete": lambda store: store.delete("a.bin"),
    "list": lambda store: list(store.list()),
}


class Dripping(Answering):
    """A server that sends one byte at a time, for ever."""

    def __init__(self, before: Callable[[socket.socket, str, str, str], bool] = lambda *_: False) -> None:
        super().__init__()
        self.is_closing = threading.Event()

        def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
            if before(client, verb, target, wanted):
                return
            client.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not self.is_closing.wait(0.05):
                client.sendall(b"x")

        self.answer = answer

    def close(self) -> None:
        self.is_closing.set()
        super().close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payloadfs.stores._retry.PAUSES_S", (0.01, 0.01, 0.01))


@pytest.fixture(params=["obstore", "fsspec"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _open(endpoint_url: str, transport: str, timeout_s: float = TIMEOUT_S) -> Store:
    options = S3Server(endpoint_url).storage_options()
    return open_store("s3://bucket", options, transport=transport, timeout_s=timeout_s)


def _fails(operation: Callable[[Store], Any], store: Store) -> StoreError:
    with pytest.raises(StoreError) as caught:
        operation(store)
    assert caught.value.transient
    return caught.value


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_accepts_and_does_nothing(transport: str, operation: str) -> None:
    """It does not even read, so that a large body cannot be sent."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        store = _open(f"http://127.0.0.1:{listener.getsockname()[1]}", transport)
        assert _fails(OPERATIONS[operation], store).kind == "timeout"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_drips_its_headers(transport: str, operation: str) -> None:
    server = Dripping()
    try:
        assert _fails(OPERATIONS[operation], _open(server.endpoint_url, transport)).kind == "timeout"
    finally:
        server.close()


@pytest.mark.parametrize("operation", ["put in parts", "get in ranges", "put", "get small"])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_server_that_falls_silent_under_way(transport: str, operation: str, after: int) -> None:
    """It answers the first requests only. Nothing can be cleaned up there either."""

    def before(client: socket.socket, verb: str, target: str, wanted: str) -> bool:
        if len(server.seen) > after:
            return False
        if verb == "POST":
            give(client, 200, UPLOAD)
        elif verb == "GET":
            part(client, wanted, CONTENT, cut=5)
        else:
            give(client, 404 if verb == "HEAD" else 503)
        return True

    server = Dripping(before)
    try:
        _fails(OPERATIONS[operation], _open(server.endpoint_url, transport))
    finally:
        server.close()


def test_a_body_that_drips_from_a_server_that_is_alive() -> None:
    """Through s3fs a body is limited by its size only, at 64 KiB per second."""
    is_closing = threading.Event()

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if verb == "HEAD":
            give(client, 404)
            return
        part(client, wanted, CONTENT, cut=1)
        while not is_closing.wait(0.05):
            client.sendall(b"x")

    server = Answering()
    server.answer = answer
    try:
        assert _fails(OPERATIONS["get in ranges"], _open(server.endpoint_url, "obstore")).kind == "timeout"
    finally:
        is_closing.set()
        server.close()


def test_a_slow_upload_to_a_server_that_is_alive_is_no_error() -> None:
    """It takes much longer than the time limit, and nothing shows that it proceeds."""

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if verb == "HEAD":
            give(client, 404)
        else:
            time.sleep(2 * PATIENT_S)
            give(client, 200)

    server = Answering()
    server.answer = answer
    try:
        _open(server.endpoint_url, "obstore", PATIENT_S).put("a.bin", PiecesBody([CONTENT[: 3 * MIB]]))
        assert "HEAD" in server.count()
    finally:
        server.close()


def test_many_operations_share_the_news(transport: str, tmp_path: Any) -> None:
    """Forty objects, four at once: each waits, or knows already, so all end after about one time limit."""
    server = Answering()
    try:
        repository = Repository(
            "s3://bucket",
            S3Server(server.endpoint_url).storage_options(),
            keys=KeyRing([Key(b"k" * 32)]),
            transport=transport,
            timeout=3,
            inline_bytes=0,
            cache=tmp_path,
        )
        with pytest.raises(BatchError) as caught:
            repository.save_many(range(40), max_concurrency=4)
        assert {error.kind for error in caught.value.failed.values()} == {"timeout"}  # type: ignore[attr-defined]
        assert len(caught.value.failed) == 40
        # By requests, not by the clock. Without the news there would be forty.
        assert len(server.seen) < 12
    finally:
        server.close()


def test_a_caller_that_is_alone_can_try_again_at_once(transport: str) -> None:
    server = Answering()
    try:
        store = _open(server.endpoint_url, transport, PATIENT_S)
        _fails(OPERATIONS["get small"], store)
        server.answer = lambda client, verb, target, wanted: part(client, wanted, CONTENT[:10])
        assert store.get("a.bin", 10).buffer == CONTENT[:10]
    finally:
        server.close()


def test_the_news_is_forgotten_when_the_server_answers(transport: str) -> None:
    server = Answering()
    try:
        store = _open(server.endpoint_url, transport, PATIENT_S)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: _fails(OPERATIONS["info"], store), range(4)))
        server.answer = lambda client, verb, target, wanted: part(client, wanted, CONTENT[:10])
        time.sleep(PATIENT_S / 10)
        assert store.get("a.bin", 10).buffer == CONTENT[:10]
    finally:
        server.close()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Threads of transfers that were given up end soon after their server is gone; pytest ends a test that hangs."""
    before = set(threading.enumerate())
    yield
    while [t for t in set(threading.enumerate()) - before if t.name.startswith("payloadfs-")]:
        time.sleep(0.01)
