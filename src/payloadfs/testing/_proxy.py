"""A proxy that counts requests. It forwards bytes unchanged, so signatures stay valid."""

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
        URL of the proxy.
    lose_answer : callable, optional
        Called with each request. If it returns True, the server receives and handles the request, but
        the connection to the client is closed instead of returning the response.
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
        """All requests so far, in the order of their arrival."""
        with self._lock:
            return list(self._requests)

    def forget(self) -> None:
        """Clear the list of requests."""
        with self._lock:
            self._requests.clear()

    def close(self) -> None:
        """Close all connections and wait for all threads."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            _shut_down(sock)
        for thread in self._threads:
            thread.join()
        for sock in sockets:
            sock.close()

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
                # As without the proxy: the client cannot connect.
                client.close()
                continue
            connection = _Connection(self, client, server)
            with self._lock:
                self._sockets |= {connection.client, connection.server}
            self._spawn(connection.forward_requests)
            self._spawn(connection.forward_responses)

    def record(self, request: Request) -> None:
        """Count `request`."""
        with self._lock:
            self._requests.append(request)


class _Connection:
    def __init__(self, proxy: CountingProxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.dropping = threading.Event()

    def forward_requests(self) -> None:
        """Forward requests, one after the other. Each is counted before the server receives it."""
        try:
            with self.client.makefile("rb") as stream:
                while head := _read_head(stream):
                    request = _parse(head)
                    self.proxy.record(request)
                    if self.proxy.lose_answer(request):
                        self.dropping.set()
                    self.server.sendall(head)
                    _forward_body(stream, self.server, request.size_bytes)
        except OSError:
            # One side closed its connection, so the other one is closed too.
            _shut_down(self.server)
        else:
            _shut_down(self.server)

    def forward_responses(self) -> None:
        """Forward bytes of responses as they arrive."""
        try:
            while chunk := self.server.recv(_CHUNK_BYTES):
                if self.dropping.is_set() and not chunk.startswith(b"HTTP/1.1 100"):
                    break
                self.client.sendall(chunk)
        except OSError:
            _shut_down(self.client)
        else:
            _shut_down(self.client)


def _read_head(stream: BinaryIO) -> bytes:
    lines = []
    while line := stream.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    return Request(method, target, -1 if chunked else int(headers.get("content-length", 0)))


def _forward_body(stream: BinaryIO, server: socket.socket, size_bytes: int) -> None:
    if size_bytes >= 0:
        _forward(stream, server, size_bytes)
        return
    while size_line := stream.readline():
        server.sendall(size_line)
        size = int(size_line.partition(b";")[0], 16)
        _forward(stream, server, size + 2)
        if size == 0:
            return


def _forward(stream: BinaryIO, server: socket.socket, size_bytes: int) -> None:
    while size_bytes:
        chunk = stream.read1(min(size_bytes, _CHUNK_BYTES))  # type: ignore[attr-defined]  # a BufferedReader
        if not chunk:
            return
        server.sendall(chunk)
        size_bytes -= len(chunk)


def _shut_down(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The other side closed it first.
        return


@contextmanager
def counting_proxy(upstream: str) -> Iterator[CountingProxy]:
    """Run a proxy for the server at the URL `upstream` until the block ends."""
    proxy = CountingProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
