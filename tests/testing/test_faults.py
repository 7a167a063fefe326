"""The fault kit: each fault is what it says, to the byte, and calls of the system fail where the test says."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from payloadfs.testing import Fault, FaultProxy, disk_fault, fault_proxy

CONTENT = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    """Answers with what was sent, or with `CONTENT`."""

    protocol_version = "HTTP/1.1"
    received: list[bytes]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if len(body) < len(CONTENT):
            self.close_connection = True
            return
        type(self).received.append(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT))

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Print nothing about connections that were cut."""


@pytest.fixture
def received() -> list[bytes]:
    return []


@pytest.fixture
def proxy(received: list[bytes]) -> Iterator[FaultProxy]:
    handler = type("Noting", (Handler,), {"received": received})
    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with fault_proxy(f"http://127.0.0.1:{server.server_port}") as proxy:
            yield proxy
        server.shutdown()
        thread.join()


def _request(proxy: FaultProxy, method: str = "PUT", timeout_s: float = 60) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(proxy.endpoint_url.removeprefix("http://"), timeout=timeout_s)
    try:
        connection.request(method, "/a?b", CONTENT if method == "PUT" else None)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_nothing_is_changed_without_a_fault(proxy: FaultProxy, received: list[bytes], method: str) -> None:
    assert _request(proxy, method) == (200, CONTENT)
    assert received == [CONTENT] * (method == "PUT")
    sizes = [(one.method, one.target, one.size_bytes) for one in proxy.requests]
    assert sizes == [(method, "/a?b", len(CONTENT) * (method == "PUT"))]
    proxy.forget()
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("kind", "arrives"), [("drop-before", 0), ("drop-during", 0), ("drop-after", 0), ("lose-answer", 1)]
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_ends(proxy: FaultProxy, received: list[bytes], kind: str, arrives: int, reset: bool) -> None:
    affected = proxy.inject(Fault(kind, reset=reset), first=2, times=1)
    assert _request(proxy)[0] == 200
    with pytest.raises(ConnectionResetError if reset else (ConnectionError, http.client.BadStatusLine)):
        _request(proxy)
    assert _request(proxy)[0] == 200
    assert received == [CONTENT] * (2 + arrives)
    assert affected == proxy.requests[1:2]


@pytest.mark.parametrize(("kind", "arrives"), [("status", 0), ("lose-answer", 1)])
def test_an_answer_is_replaced(proxy: FaultProxy, received: list[bytes], kind: str, arrives: int) -> None:
    proxy.inject(Fault(kind, status=503))
    status, document = _request(proxy)
    assert (status, b"<Code>SlowDown</Code>" in document) == (503, True)
    assert len(received) == arrives


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize("reset", [False, True])
def test_an_answer_is_cut(proxy: FaultProxy, method: str, reset: bool) -> None:
    proxy.inject(Fault("cut", reset=reset))
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        _request(proxy, method)


@pytest.mark.parametrize("by", [-10, 10])
def test_a_wrong_length(proxy: FaultProxy, by: int) -> None:
    proxy.inject(Fault("length", by=by))
    if by < 0:
        assert _request(proxy) == (200, CONTENT[:by])
    else:
        with pytest.raises(http.client.IncompleteRead):
            _request(proxy)


@pytest.mark.parametrize(("kind", "method"), [("flip-request", "PUT"), ("flip-answer", "PUT"), ("flip-answer", "GET")])
def test_one_bit_is_flipped(proxy: FaultProxy, received: list[bytes], kind: str, method: str) -> None:
    proxy.inject(Fault(kind))
    _, body = _request(proxy, method)
    differences = [one ^ other for one, other in zip(body, CONTENT, strict=True)]
    assert sorted(differences)[-2:] == [0, 4]
    assert received == [body if kind == "flip-request" else CONTENT] * (method == "PUT")


def test_a_request_is_repeated_delayed_or_dripped(proxy: FaultProxy, received: list[bytes]) -> None:
    proxy.inject(Fault("repeat"))
    assert _request(proxy) == (200, CONTENT)
    assert received == [CONTENT] * 2
    for fault in (Fault("delay", pause_s=0.01), Fault("drip", pause_s=1e-6), Fault("drip-body", pause_s=1e-6)):
        proxy.inject(fault)
        assert _request(proxy) == (200, CONTENT)


@pytest.mark.parametrize("kind", ["deaf", "silence", "silence-body"])
def test_silence_lasts_until_the_client_or_the_proxy_ends_it(proxy: FaultProxy, kind: str) -> None:
    affected = proxy.inject(Fault(kind))
    with pytest.raises(TimeoutError):
        _request(proxy, timeout_s=0.2)
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            _request(proxy)
        except (OSError, http.client.HTTPException) as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while len(affected) < 2:
        threading.Event().wait(0.01)
    proxy.disconnect()
    thread.join()
    assert len(ended) == 1
    proxy.inject(None)
    assert _request(proxy) == (200, CONTENT)


def test_a_server_that_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with fault_proxy(f"http://127.0.0.1:{port}") as proxy, pytest.raises((OSError, http.client.HTTPException)):
        _request(proxy)


def test_calls_of_the_system_fail_where_the_test_says(tmp_path: Path) -> None:
    with disk_fault("mkdir", errno.EDQUOT, at=2) as fault:
        os.mkdir(tmp_path / "1")
        with pytest.raises(OSError, match="quota") as caught:
            os.mkdir(tmp_path / "2")
        os.mkdir(tmp_path / "3")
    assert (caught.value.errno, caught.value.filename) == (errno.EDQUOT, tmp_path / "2")
    assert (fault.calls, fault.failures) == (3, 1)
    assert sorted(os.listdir(tmp_path)) == ["1", "3"]
    file = os.open(tmp_path, os.O_RDONLY)
    with disk_fault("close", errno.EIO), pytest.raises(OSError, match="output"):
        os.close(file)
    with pytest.raises(OSError, match="descriptor"):
        os.close(file)


def test_a_process_is_killed_before_a_call(tmp_path: Path) -> None:
    program = "import os, sys\nfrom payloadfs.testing import disk_fault\nwith disk_fault('mkdir', None):\n    os.mkdir(sys.argv[1])"
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")]).returncode == -9
    assert os.listdir(tmp_path) == []
