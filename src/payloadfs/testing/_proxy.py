"""A proxy that counts requests. It passes bytes on unchanged, so signatures stay valid."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

__all__ = ["CountingProxy", "Request", "counting_proxy"]

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its method, its path with query, and the size of its body (-1 if chunked)."""

    method: str
    target: str
    size_bytes: int


class CountingProxy:
    """A proxy between one client and one server, both on this machine.

    Parameters
    ----------
    upstream : str
        URL of the server.

    Attributes
    ----------
    endpoint_url : str
        Where the proxy listens.
    lose_answer : callable, optional
        Asked about each request. Where it says True, the server gets the request and does its
        work, and the client gets a closed connection for an answer.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname or "", parts.port or 80
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._sockets: set[socket.socket] = {self._listener}
        self._threads: list[threading.Thread] = []
        self.endpoint_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lose_answer: Callable[[Request], bool] = lambda _: False
        self._spawn(self._accept)

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order in which they began."""
        with self._lock:
            return list(self._requests)

    def forget(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self._requests.clear()

    def close(self) -> None:
        """Close all connections and wait for all threads."""
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            _shut(one)
        for thread in self._threads:
            thread.join()
        for one in sockets:
            one.close()

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="payloadfs-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._upstream)
            except OSError:
                # As the client would see it without us: nobody is there.
                client.close()
                continue
            connection = _Connection(self, client, server)
            with self._lock:
                self._sockets |= {connection.client, connection.server}
            self._spawn(connection.send_requests)
            self._spawn(connection.send_answers)

    def record(self, request: Request) -> None:
        """Count `request`."""
        with self._lock:
            self._requests.append(request)


class _Connection:
    def __init__(self, proxy: CountingProxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.losing = threading.Event()

    def send_requests(self) -> None:
        """Pass requests on, from head to head; each is counted before the server sees it."""
        try:
            with self.client.makefile("rb") as stream:
                while head := _head(stream):
                    request = _parsed(head)
                    self.proxy.record(request)
                    if self.proxy.lose_answer(request):
                        self.losing.set()
                    self.server.sendall(head)
                    _pass_body(stream, self.server, request.size_bytes)
        except OSError:
            # Either side went away: so does the other.
            _shut(self.server)
        else:
            _shut(self.server)

    def send_answers(self) -> None:
        """Pass bytes back as they come."""
        try:
            while chunk := self.server.recv(_CHUNK_BYTES):
                if self.losing.is_set() and not chunk.startswith(b"HTTP/1.1 100"):
                    break
                self.client.sendall(chunk)
        except OSError:
            _shut(self.client)
        else:
            _shut(self.client)


def _head(stream: BinaryIO) -> bytes:
    lines = []
    while line := stream.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _parsed(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    return Request(method, target, -1 if chunked else int(headers.get("content-length", 0)))


def _pass_body(stream: BinaryIO, server: socket.socket, size_bytes: int) -> None:
    if size_bytes >= 0:
        _pass(stream, server, size_bytes)
        return
    while size_line := stream.readline():
        server.sendall(size_line)
        size = int(size_line.partition(b";")[0], 16)
        _pass(stream, server, size + 2)
        if size == 0:
            return


def _pass(stream: BinaryIO, server: socket.socket, size_bytes: int) -> None:
    while size_bytes:
        chunk = stream.read1(min(size_bytes, _CHUNK_BYTES))  # type: ignore[attr-defined]  # a BufferedReader
        if not chunk:
            return
        server.sendall(chunk)
        size_bytes -= len(chunk)


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The other side was first.
        return


@contextmanager
def counting_proxy(upstream: str) -> Iterator[CountingProxy]:
    """Run a proxy in front of the server at the URL `upstream`; it ends with the block."""
    proxy = CountingProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
