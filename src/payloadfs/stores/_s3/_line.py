"""One connection to an S3 server that never waits: it opens, sends a request and receives the answer as the server goes on."""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Generator
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from ..._buffers import private_memory
from ._server import Server

__all__ = ["Address", "Line", "OtherAnswerError"]

_CHUNK_BYTES = 128 * 1024
_MOST_HEAD_BYTES = 16 * 1024
_GOOD = re.compile(rb"http/1\.1 20[06][ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*(?=\r\n)")
_CLOSES = re.compile(rb"\r\nconnection:[^\r]*\bclose\b")

Address = tuple[Any, Any, int, str, Any]
"""Where a socket is to connect to, as `socket.getaddrinfo` gives it."""


class OtherAnswerError(Exception):
    """The answer is not simply the object that was asked for."""


class Line:
    """One connection, and what arrives on it.

    Parameters
    ----------
    server : Server
        Whom to connect to.
    address : tuple
        Where it is.

    Attributes
    ----------
    number : int
        The connection's file descriptor.
    waits_for : int
        The event of `selectors` after which `go_on` has something to do.
    ticket : object
        What `begin` was given.
    begun_s, since_s : float
        When it was, and when something last happened here (seconds, monotonic).
    is_open : bool
        Whether the server has taken the connection.
    can_go_on : bool
        Whether another request may be sent on it.

    Notes
    -----
    Where the system or TLS has no room for a whole request, or the answer is anything but a plain
    success of the right length, that is an error: others do it again, and do it thoroughly.
    """

    def __init__(self, server: Server, address: Address) -> None:
        family, kind, protocol, _, place = address
        self._sock = socket.socket(family, kind, protocol)
        self.number = self._sock.fileno()
        self.address = address
        self.is_open, self.can_go_on = False, True
        self.ticket: Any = None
        self.begun_s = self.since_s = time.monotonic()
        self._request, self._size_bytes = b"", 0
        self._got, self._body_at = bytearray(), 0
        self._opening = self._opened(server, place)
        self._not_yet: tuple[type[Exception], ...] = (BlockingIOError,)
        try:
            self.waits_for = next(self._opening)
        except BaseException:
            self._sock.close()
            raise

    def begin(self, ticket: Any, request: bytes, size_bytes: int) -> None:
        """Send `request`, now or once the connection is open, for an object of `size_bytes`."""
        self.ticket, self._request, self._size_bytes = ticket, request, size_bytes
        self._got, self._body_at = bytearray(), 0
        self.begun_s = self.since_s = time.monotonic()
        if self.is_open:
            self._send()

    def go_on(self) -> memoryview | None:
        """Do what there is to do after an event, and return the object if all of it is here.

        Raises
        ------
        OtherAnswerError, OSError
            It will not come on this connection, which is of no more use.
        """
        if self.is_open:
            return self._object() if self._received() else None
        self._open_further()
        return None

    def close(self) -> None:
        """Close the connection. Nothing is said to the server."""
        self._opening.close()
        self._sock.close()

    def _open_further(self) -> None:
        self.waits_for = next(self._opening, EVENT_READ)
        self.since_s = time.monotonic()
        if self.is_open:
            self._send()

    def _opened(self, server: Server, place: Any) -> Generator[int, None, None]:
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._sock.connect_ex(place)
        if code in (0, errno.EINPROGRESS):
            yield EVENT_WRITE
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if server.is_secure:
            yield from self._secured(server)
        # Here and not where this has ended, which it also has after an error: nothing may be sent in the open then.
        self.is_open = True

    def _secured(self, server: Server) -> Generator[int, None, None]:
        from ssl import SSLWantReadError, SSLWantWriteError

        self._not_yet = (SSLWantReadError, SSLWantWriteError)
        secure = server.tls.wrap_socket(self._sock, server_hostname=server.host, do_handshake_on_connect=False)
        self._sock = secure
        while True:
            try:
                secure.do_handshake()
            except SSLWantReadError:
                yield EVENT_READ
            except SSLWantWriteError:
                yield EVENT_WRITE
            else:
                return

    def _send(self) -> None:
        if self._sock.send(self._request) != len(self._request):
            raise BlockingIOError("no room for a request")

    def _received(self) -> bool:
        """Take what is there, and return whether that was anything."""
        try:
            # More than a record of TLS: it keeps nothing back that the system would not tell of.
            chunk = self._sock.recv(_CHUNK_BYTES)
        except self._not_yet:
            return False
        if not chunk:
            raise ConnectionAbortedError("the answer ended early")
        self._got += chunk
        self.since_s = time.monotonic()
        return True

    def _object(self) -> memoryview | None:
        if not self._body_at and not self._has_head():
            return None
        here_bytes = len(self._got) - self._body_at
        if here_bytes > self._size_bytes:
            raise OtherAnswerError("more than was said")
        if here_bytes < self._size_bytes:
            return None
        memory = private_memory(self._size_bytes)
        memory[:] = memoryview(self._got)[self._body_at :]
        return memory

    def _has_head(self) -> bool:
        """Return whether the head is here; raise if it is not that of the object."""
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            if len(self._got) > _MOST_HEAD_BYTES:
                raise OtherAnswerError("a long head")
            return False
        head = bytes(self._got[: end + 2]).lower()
        lengths = _LENGTH.findall(head)
        if not _GOOD.match(head) or b"\r\ntransfer-encoding:" in head or lengths != [b"%d" % self._size_bytes]:
            raise OtherAnswerError("not the object")
        self.can_go_on = not _CLOSES.search(head)
        self._body_at = end + 4
        return True
