"""Many small objects at once, in one thread: many would queue for the interpreter's lock; see `docs/decisions/0017-small-loads-in-one-thread.md`."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from typing import Any

from .._base import Fetched
from ._line import Address, Line
from ._server import Idle, Server
from ._signature import path_of, signed_for
from ._target import S3Target

__all__ = ["SmallReads"]

_LOOK_S = 1.0
"""So often it is looked for connections on which nothing happens."""


class SmallReads:
    """Small objects on their way from one server; see `payloadfs.stores.SmallReads`.

    Parameters
    ----------
    target : S3Target
        The bucket and its server.
    prefix : str
        What keys lack to be names in the bucket.
    server : Server
        The same server.
    idle : Idle
        Connections to go on with, and for those that are left.

    Notes
    -----
    Cost: one GET for each object, one connection for each that is on its way. A server that says
    nothing at all in the time limit, or takes no connection, is asked for nothing more.
    """

    def __init__(self, target: S3Target, prefix: str, server: Server, idle: Idle[Line]) -> None:
        self._prefix, self._target, self._server, self._idle = prefix, target, server, idle
        self._addresses: list[Address] = []
        self._selector = selectors.DefaultSelector()
        self._busy: dict[int, Line] = {}
        self._free: dict[int, Line] = {}
        self._aside: list[Any] = []
        self._heard_s = self._looked_s = time.monotonic()
        self._is_lost = False
        self._bell, self._rope = socket.socketpair()
        for one in (self._bell, self._rope):
            one.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)

    @property
    def count(self) -> int:
        """How many are on their way."""
        return len(self._busy) + len(self._aside)

    def begin(self, ticket: Any, key: str, size_bytes: int) -> bool:
        """Ask for the object `key`; see `payloadfs.stores.SmallReads`."""
        request = None if self._is_lost else self._request(self._prefix + key, size_bytes)
        if request is None:
            return False
        try:
            line = self._line()
        except (OSError, ValueError):
            # Whoever asks next has the same trouble, and says what it is.
            self._is_lost = True
            return False
        try:
            line.begin(ticket, request, size_bytes)
            self._busy[line.number] = line
        except BaseException as error:
            self._drop(line)
            if not isinstance(error, OSError):
                raise
            return False
        return True

    def arrived(self, *, wait: bool = True) -> Iterator[tuple[Any, Fetched | None]]:
        """Yield what has come, for which it waits up to a second; see `payloadfs.stores.SmallReads`."""
        while self._aside:
            yield self._aside.pop(), None
        for key, _ in self._selector.select(_LOOK_S if wait else 0):
            if key.data is None:
                self._bell.recv(4096)
            elif (line := self._busy.get(key.fd)) is not None and line is key.data:
                yield from self._went_on(line)
            elif (line := self._free.get(key.fd)) is not None and line is key.data:
                # Nothing was asked: the server closes the connection.
                self._drop(line)
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            yield from self._silent(now_s)

    def wake(self) -> None:
        """Let `arrived` return, now or the next time. From any thread."""
        try:
            self._rope.send(b".")
        except BlockingIOError:
            # It has been told often enough.
            return

    def close(self) -> None:
        """Drop what is on its way, and leave the other connections to the next one."""
        for line in list(self._busy.values()):
            self._drop(line)
        for line in self._free.values():
            self._selector.unregister(line.number)
            self._idle.keep(line)
        self._free.clear()
        self._selector.close()
        self._bell.close()
        self._rope.close()

    def _request(self, name: str, size_bytes: int) -> bytes | None:
        """Return what is to be sent, or None if it is not such as HTTP can have."""
        path = path_of(self._target.bucket, name)
        # One byte more than there should be tells of an object that is too large.
        headers = {"host": self._server.place, "range": f"bytes=0-{size_bytes}"}
        try:
            full = signed_for(self._target, "GET", path, "", headers, ())
        except ValueError:
            return None
        lines = "".join(f"{name}: {value}\r\n" for name, value in full.items())
        if not lines.isascii() or not len(full) == lines.count("\r") == lines.count("\n"):
            return None
        return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("ascii")

    def _line(self) -> Line:
        if self._free:
            return self._free.popitem()[1]
        line = self._idle.take()
        if line is None:
            if not self._addresses:
                self._addresses = socket.getaddrinfo(self._server.host, self._server.port, type=socket.SOCK_STREAM)
            line = Line(self._server, self._addresses[0])
        self._selector.register(line.number, line.waits_for, line)
        return line

    def _went_on(self, line: Line) -> Iterator[tuple[Any, Fetched | None]]:
        try:
            came = self._step(line)
        except BaseException:
            # An interrupt: its answer may be half taken.
            self._drop(line)
            self._aside.append(line.ticket)
            raise
        if came is not None:
            yield came

    def _step(self, line: Line) -> tuple[Any, Fetched | None] | None:
        waited_for = line.waits_for
        try:
            content = line.go_on()
        except Exception as error:  # noqa: BLE001  whatever it is, the ordinary way meets it too, and says so
            return self._given_up(line, error)
        if line.waits_for != waited_for:
            self._selector.modify(line.number, line.waits_for, line)
        if content is None:
            return None
        self._heard_s = line.since_s
        if line.can_go_on:
            del self._busy[line.number]
            self._free[line.number] = line
        else:
            self._drop(line)
        return line.ticket, Fetched(content)

    def _silent(self, now_s: float) -> Iterator[tuple[Any, None]]:
        for line in list(self._busy.values()):
            limit_s = self._target.read_s if line.is_open else self._target.connect_s
            if now_s - line.since_s > limit_s:
                yield self._given_up(line, TimeoutError())

    def _given_up(self, line: Line, error: Exception) -> tuple[Any, None]:
        # While the server says nothing to anybody it is asked for no more; another address may be better.
        if self._heard_s < line.begun_s and (not line.is_open or isinstance(error, TimeoutError)):
            others = [one for one in self._addresses if one is not line.address]
            self._is_lost = line.is_open or not others
            self._addresses = others or self._addresses
        self._drop(line)
        return line.ticket, None

    def _drop(self, line: Line) -> None:
        self._selector.unregister(line.number)
        self._busy.pop(line.number, None)
        self._free.pop(line.number, None)
        line.close()
