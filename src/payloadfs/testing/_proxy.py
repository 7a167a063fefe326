"""A proxy between a client and a server over HTTP that counts requests and injects the faults of a network.

It forwards all bytes unchanged unless a fault is chosen, so signatures stay valid.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

_CHUNK_BYTES = 256 * 1024
_UNTIL_CLOSED = 1 << 60
_CODES = {400: "InvalidRequest", 403: "AccessDenied", 404: "NoSuchKey", 409: "OperationAborted", 429: "TooManyRequests"}
_CODES |= {408: "RequestTimeout", 412: "PreconditionFailed", 501: "NotImplemented", 503: "SlowDown"}
_FIRST_FINAL, _NO_BODY = 200, (204, 304)

FaultKind = Literal[
    "drop-before",
    "drop-during",
    "drop-after",
    "status",
    "lose-answer",
    "cut",
    "length",
    "flip-request",
    "flip-answer",
    "repeat",
    "delay",
    "drip",
    "drip-body",
    "deaf",
    "silence",
    "silence-body",
]
"""See `Fault`."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its method, its path with query, and the size of its body (-1 if chunked)."""

    method: str
    target: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request and its answer.

    Parameters
    ----------
    kind : str
        The server does not receive the request:

        - ``"drop-before"``, ``"drop-after"``: the connection ends before, or after, the body was received.
        - ``"status"``: the answer is `status`, with an error document of S3.
        - ``"deaf"``: nothing more is read or sent. ``"silence"``: the request is read, and never answered.

        It receives a part: ``"drop-during"``: the connection ends after half of the body.

        It receives the whole request:

        - ``"lose-answer"``: in place of its answer the connection ends, or the client receives `status`.
        - ``"cut"``, ``"silence-body"``: after half of the body of the answer the connection ends, or nothing follows.
        - ``"length"``: the answer's ``Content-Length`` is `by` bytes more than its body. The connection ends after it.
        - ``"flip-request"``, ``"flip-answer"``: one bit in the middle of the body is changed.
        - ``"repeat"``: the server receives the request twice. The client receives the second answer.
        - ``"delay"``: the request is forwarded after `pause_s` seconds.
        - ``"drip"``, ``"drip-body"``: the answer, or only its body, arrives one byte each `pause_s` seconds.

        Faults of a body do not affect a request or an answer without one.

    reset : bool
        Where a connection ends: whether it is reset instead of closed.
    status : int
        Status of the answer that the proxy itself sends; 0 for none. Even with 200, the answer has an error document,
        as S3 sends it if a long request fails late.
    code : str
        S3's code in that document. Default: the usual one for `status`.
    by : int
        For ``"length"``; may be negative.
    pause_s : float
        For ``"delay"``, ``"drip"`` and ``"drip-body"``.

    Examples
    --------
    >>> Fault("status", status=503)
    Fault(kind='status', reset=False, status=503, code='SlowDown', by=0, pause_s=0.05)
    """

    kind: FaultKind
    reset: bool = False
    status: int = 0
    code: str = ""
    by: int = 0
    pause_s: float = 0.05

    def __post_init__(self) -> None:
        if self.status and not self.code:
            object.__setattr__(self, "code", _CODES.get(self.status, "InternalError"))


class FaultProxy:
    """A proxy between clients and one server, all on this machine.

    Parameters
    ----------
    upstream : str
        URL of the server, with plain HTTP.
    tls : ssl.SSLContext, optional
        With it, the proxy itself speaks HTTPS.

    Attributes
    ----------
    endpoint_url : str
        URL of the proxy.
    choose : callable
        Called with each `Request` in the thread of its connection; returns its `Fault`, or None. `inject` sets it.

    Notes
    -----
    One thread for each connection. A request is counted before the server receives it.
    """

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(upstream)
        self._tls = tls
        self._upstream = parts.hostname or "", parts.port or 80
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._open: set[_Connection] = set()
        self._closing = threading.Event()
        self.endpoint_url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.choose: Callable[[Request], Fault | None] = lambda _: None
        self._threads = [threading.Thread(target=self._accept, name="payloadfs-proxy", daemon=True)]
        self._threads[0].start()

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order of their arrival."""
        with self._lock:
            return list(self._requests)

    def forget(self) -> None:
        """Clear the list of requests."""
        with self._lock:
            self._requests.clear()

    def inject(
        self,
        fault: Fault | None,
        *,
        matching: Callable[[Request], bool] = lambda _: True,
        first: int = 1,
        times: int | None = None,
    ) -> list[Request]:
        """Apply `fault` to some of the following requests, instead of what was chosen before.

        Parameters
        ----------
        fault : Fault or None
            None: forward all requests unchanged.
        matching : callable
            Whether a `Request` counts.
        first : int
            The first one of them that is affected, from 1.
        times : int, optional
            How many are affected. Default: all that follow.

        Returns
        -------
        list of Request
            Those that were affected; it grows with each.
        """
        affected: list[Request] = []
        numbers = count(1)

        def choose(request: Request) -> Fault | None:
            with self._lock:
                if not matching(request) or (number := next(numbers)) < first:
                    return None
                if times is not None and number >= first + times:
                    return None
                affected.append(request)
                return fault

        self.choose = choose if fault is not None else lambda _: None
        return affected

    def disconnect(self) -> None:
        """Close all connections. New ones are accepted."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.shut_down()

    def close(self) -> None:
        """Accept no more connections, close all, and wait for all threads."""
        self._closing.set()
        _shut_down(self._listener)
        self._threads[0].join()
        self._listener.close()
        self.disconnect()
        for thread in self._threads:
            thread.join()

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
                self._open.add(connection)
            self._threads = [thread for thread in self._threads if thread.ident is None or thread.is_alive()]
            self._threads.append(threading.Thread(target=connection.serve, name="payloadfs-proxy", daemon=True))
            self._threads[-1].start()


@contextmanager
def fault_proxy(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[FaultProxy]:
    """Run a `FaultProxy` until the block ends."""
    proxy = FaultProxy(upstream, tls)
    try:
        yield proxy
    finally:
        proxy.close()


class _ClosedError(Exception):
    """The connection ends here; with `reset`, by a reset."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


@dataclass(slots=True)
class _Head:
    """The first line and headers of a request or an answer, as they arrived, and how long the body is (-1: chunked)."""

    raw: bytes
    size_bytes: int
    is_last: bool

    @property
    def line(self) -> list[str]:
        return self.raw.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)


class _Connection:
    """A connection of a client and its own one to the server: one request after the other."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._closing = threading.Event()

    def shut_down(self) -> None:
        """End both connections; the thread of `serve` closes them."""
        self._closing.set()
        _shut_down(self._client)
        _shut_down(self._server)

    def serve(self) -> None:
        """Forward requests and answers until one side closes its connection."""
        opened: list[BinaryIO | socket.socket] = []
        try:
            if self._proxy._tls is not None:
                self._client = self._proxy._tls.wrap_socket(self._client, server_side=True)
            from_client, from_server = self._client.makefile("rb"), self._server.makefile("rb")
            opened += [from_client, from_server]
            while self._has_next() and (head := _read_head(from_client, request=True)) is not None:
                self._handle(head, from_client, from_server)
        except _ClosedError as closed:
            if closed.reset:
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, ValueError, http.client.HTTPException):
            # One side closed its connection, so the other one is closed too.
            pass
        finally:
            for one in (*opened, self._client, self._server):
                with suppress(OSError):
                    one.close()
            with self._proxy._lock:
                self._proxy._open.discard(self)

    def _has_next(self) -> bool:
        """Wait until the client sends something, or the server closes its connection. Return whether it was the client."""
        if isinstance(self._client, ssl.SSLSocket) and self._client.pending():
            return True
        return self._client in select.select([self._client, self._server], [], [])[0]

    def _handle(self, head: _Head, from_client: BinaryIO, from_server: BinaryIO) -> None:
        method, target, _ = head.line
        request = Request(method, target, head.size_bytes)
        with self._proxy._lock:
            self._proxy._requests.append(request)
        fault = self._proxy.choose(request) or Fault("delay", pause_s=0)
        kind, body = fault.kind, _Body(from_client, head.size_bytes)
        if kind == "drop-before":
            raise _ClosedError(reset=fault.reset)
        if kind == "deaf":
            self._wait(None)
        if b"\r\nexpect: 100-continue" in head.raw.lower():
            self._client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if kind in ("drop-after", "status", "silence"):
            for _ in body:
                pass
            self._answer(method, fault)
            return
        if kind == "delay" and fault.pause_s:
            self._wait(fault.pause_s)
        sent = self._forward(head, body, fault)
        if kind == "repeat":
            self._discard_answer(method, from_server)
            self._server.sendall(sent)
        if kind == "lose-answer":
            self._discard_answer(method, from_server)
            self._answer(method, fault)
        else:
            self._return(method, from_server, fault)

    def _wait(self, pause_s: float | None) -> None:
        """Wait, forever if `pause_s` is None, but only as long as the client keeps its connection."""
        if pause_s is not None:
            self._closing.wait(pause_s)
            return
        # Peeked at, not read: a client that sends a body must see that nothing reads it. With TLS that is not possible,
        # and the connection lasts until the proxy closes it.
        while not self._closing.wait(0.02):
            is_readable = self._proxy._tls is None and select.select([self._client], [], [], 0)[0]
            if is_readable and not self._client.recv(1, socket.MSG_PEEK):
                break
        raise _ClosedError

    def _answer(self, method: str, fault: Fault) -> None:
        """Answer in place of the server."""
        if fault.kind == "silence":
            self._wait(None)
        if not fault.status:
            raise _ClosedError(reset=fault.reset)
        document = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
        fields = f"Content-Type: application/xml\r\nContent-Length: {len(document)}\r\n\r\n"
        answer = f"HTTP/1.1 {fault.status} Injected\r\n{fields}".encode()
        self._client.sendall(answer + document * (method != "HEAD"))

    def _forward(self, head: _Head, body: _Body, fault: Fault) -> bytes:
        """Send a request to the server, and return it if it has to be sent again."""
        sent = bytearray(head.raw)
        # A server that refuses the body may already have answered.
        with suppress(OSError):
            self._server.sendall(head.raw)
        for raw in body:
            chunk = _flipped(raw, body.middle) if fault.kind == "flip-request" else raw
            if fault.kind == "drop-during" and body.middle is not None:
                with suppress(OSError):
                    self._server.sendall(raw[: body.middle])
                raise _ClosedError(reset=fault.reset)
            with suppress(OSError):
                self._server.sendall(chunk)
            if fault.kind == "repeat":
                sent += raw
        if fault.kind == "drop-during":
            raise _ClosedError(reset=fault.reset)
        return bytes(sent)

    def _discard_answer(self, method: str, stream: BinaryIO) -> None:
        _, body = self._receive_head(method, stream)
        for _ in body:
            pass

    def _receive_head(self, method: str, stream: BinaryIO) -> tuple[_Head, _Body]:
        while (head := _read_head(stream, request=False)) is not None:
            if (status := int(head.line[1])) >= _FIRST_FINAL:
                has_body = method != "HEAD" and status not in _NO_BODY
                return head, _Body(stream, head.size_bytes if has_body else 0)
        raise _ClosedError

    def _return(self, method: str, stream: BinaryIO, fault: Fault) -> None:
        """Send the server's answer to the client."""
        head, body = self._receive_head(method, stream)
        pause_s = fault.pause_s if fault.kind in ("drip", "drip-body") else 0
        start = _restated(head, fault.by) if fault.kind == "length" else head.raw
        self._send(start, pause_s if fault.kind == "drip" else 0)
        for raw in body:
            chunk = _flipped(raw, body.middle) if fault.kind == "flip-answer" else raw
            if fault.kind in ("cut", "silence-body") and body.middle is not None:
                self._client.sendall(raw[: body.middle])
                if fault.kind == "silence-body":
                    self._wait(None)
                raise _ClosedError(reset=fault.reset)
            self._send(chunk, pause_s)
        if head.is_last or fault.kind == "length":
            raise _ClosedError

    def _send(self, chunk: bytes, pause_s: float) -> None:
        if not pause_s:
            self._client.sendall(chunk)
            return
        for position in range(len(chunk)):
            self._client.sendall(chunk[position : position + 1])
            if self._closing.wait(pause_s):
                raise _ClosedError


class _Body:
    """The body of a request or an answer: iterate over its raw pieces. `middle` is where its middle is in the last piece."""

    def __init__(self, stream: BinaryIO, size_bytes: int) -> None:
        self._stream = stream
        self.size_bytes = size_bytes
        self._passed, self._half = 0, size_bytes // 2 if size_bytes >= 0 else -1
        self.middle: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        if self.size_bytes >= 0:
            yield from self._pieces(self.size_bytes)
            return
        while size_line := self._stream.readline():
            yield size_line
            size = int(size_line.partition(b";")[0], 16)
            if self._half < 0:
                # The size of the body is not known, so the middle of the first chunk counts.
                self._half = size // 2
            if size:
                yield from self._pieces(size)
            yield self._stream.readline()
            if not size:
                return

    def _pieces(self, size_bytes: int) -> Iterator[bytes]:
        while size_bytes:
            piece: bytes = self._stream.read1(min(size_bytes, _CHUNK_BYTES))  # type: ignore[attr-defined]
            if not piece:
                if size_bytes > _UNTIL_CLOSED // 2:
                    return
                raise _ClosedError
            size_bytes -= len(piece)
            if self._passed <= self._half < self._passed + len(piece):
                self.middle = self._half - self._passed
            self._passed += len(piece)
            yield piece
            self.middle = None


def _read_head(stream: BinaryIO, *, request: bool) -> _Head | None:
    lines = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines.append(line)
    if not lines:
        return None
    fields = {name.lower(): value.strip().lower() for name, _, value in (one.partition(b":") for one in lines[1:])}
    is_last = fields.get(b"connection") == b"close"
    if fields.get(b"transfer-encoding") == b"chunked":
        size_bytes = -1
    else:
        size_bytes = int(fields.get(b"content-length", 0 if request else _UNTIL_CLOSED))
    return _Head(b"".join([*lines, b"\r\n"]), size_bytes, is_last or size_bytes == _UNTIL_CLOSED)


def _restated(head: _Head, by: int) -> bytes:
    """Return a head whose ``Content-Length`` is not that of its body."""
    lines = head.raw.split(b"\r\n")
    stated = b"Content-Length: %d" % max(0, head.size_bytes + by)
    return b"\r\n".join(stated if line.lower().startswith(b"content-length:") else line for line in lines)


def _flipped(chunk: bytes, position: int | None) -> bytes:
    changed = bytearray(chunk)
    if position is not None:
        changed[position] ^= 0x04
    return bytes(changed)


def _shut_down(sock: socket.socket) -> None:
    # The other side may have closed it first.
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
