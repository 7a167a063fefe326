"""The S3 store before a server that answers oddly: an error behind a 200, a body cut off, no ranges, another order."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from payloadfs.errors import StoreError
from payloadfs.stores import Store, open_store
from payloadfs.testing import PiecesBody
from payloadfs.testing.servers import S3Server

MIB = 1024 * 1024

_ERROR = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
_UPLOAD = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"


class _Odd(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _OddServer

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen[self.command, self.path.partition("?")[2].partition("=")[0]] += 1
        self.server.answer(self, body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def give(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length is not None

    def log_message(self, *_: Any) -> None:
        return


class _OddServer(ThreadingHTTPServer):
    daemon_threads = False
    answer: Callable[[_Odd, bytes], None]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Odd)
        self.seen: Counter[tuple[str, str]] = Counter()


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[_OddServer]:
    monkeypatch.setattr("payloadfs.stores._retry.PAUSES_S", (0.01, 0.01))
    # Idle connections would keep the server's threads until the client's end.
    monkeypatch.setattr(_Odd, "timeout", 0.5)
    server = _OddServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(odd: _OddServer) -> Store:
    return open_store(
        "s3://bucket", S3Server(f"http://127.0.0.1:{odd.server_port}").storage_options(), transport="fsspec"
    )


def test_an_error_behind_a_200_is_a_failure(odd: _OddServer, store: Store) -> None:
    def answer(request: _Odd, _: bytes) -> None:
        if request.command == "POST":
            request.give(200, _UPLOAD if request.path.endswith("?uploads") else _ERROR)
        else:
            request.give(204 if request.command == "DELETE" else 200, ETag='"e"')

    odd.answer = answer
    with pytest.raises(StoreError) as caught:
        store.put("large.bin", PiecesBody([bytes(33 * MIB)]))
    assert (caught.value.kind, caught.value.transient) == ("busy", True)
    # Each attempt aborts its own upload.
    assert odd.seen["DELETE", "uploadId"] == odd.seen["POST", "uploads"] == 3


def test_a_body_cut_off_is_read_again(odd: _OddServer, store: Store) -> None:
    cuts = [3, 0]

    def answer(request: _Odd, _: bytes) -> None:
        if cuts:
            request.give(206, b"0123456789"[: cuts.pop(0)], length=10)
        else:
            request.give(206, b"0123456789")

    odd.answer = answer
    assert bytes(store.get("a.bin", 10).buffer) == b"0123456789"
    assert odd.seen.total() == 3
    cuts += [1] * 99
    with pytest.raises(StoreError) as caught:
        store.get("a.bin", 10)
    assert (caught.value.kind, caught.value.transient) == ("connection-lost", True)
    assert odd.seen.total() == 6


def test_a_server_without_ranges(odd: _OddServer, store: Store) -> None:
    odd.answer = lambda request, _: request.give(200, b"whole")
    assert bytes(store.get("small.bin", 5).buffer) == b"whole"

    def answer(request: _Odd, _: bytes) -> None:
        request.give(200, bytes(17 * MIB))

    odd.answer = answer
    with pytest.raises(StoreError) as caught:
        store.get("large.bin", 17 * MIB)
    assert caught.value.kind == "ranges-unsupported"
    assert odd.seen.total() == 2


def test_a_listing_folder_by_folder_comes_out_by_key(odd: _OddServer, store: Store) -> None:
    keys = ["a", "a/1", "a/b", "a/b/1", "a/b-1", "a-b/1", "a.b", "b/1", "c"]

    def answer(request: _Odd, _: bytes) -> None:
        time = "<LastModified>2026-01-01T00:00:00Z</LastModified>"
        listed = "".join(f"<Contents><Key>{key}</Key><Size>1</Size>{time}</Contents>" for key in keys)
        request.give(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>".encode())

    odd.answer = answer
    assert [info.key for info in store.list()] == sorted(keys)
