"""Signed requests to one S3 server, over connections that are kept; a body leaves from the memory it lies in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from .._answers import failure
from ._server import Idle, Server
from ._signature import path_of, query_of, signed_for
from ._target import S3Target

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

__all__ = ["Answer", "Ticket", "Wire"]

_SEND_BYTES = 256 * 1024
"""A server has the time limit for each of these, not for a whole part: slow links are no fault."""

_MOST_IDLE = 32
_SUCCESS = range(200, 300)


class Answer(NamedTuple):
    """A success: its headers (names in lower case) and its body."""

    headers: Mapping[str, str]
    body: str


class Ticket:
    """Leave to go on with a request, which another thread may take back."""

    def __init__(self) -> None:
        self.stopped = False
        self.connection: HTTPConnection | None = None

    def stop(self) -> None:
        """Break off what is under way, and begin nothing more."""
        self.stopped = True
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            try:
                sock.shutdown(2)
            except OSError:
                # It had ended by itself.
                return


class Wire:
    """Requests about one bucket. Safe to use from many threads and after a fork.

    Parameters
    ----------
    target : S3Target
        The bucket and its server.
    server : Server
        The same server.
    """

    def __init__(self, target: S3Target, server: Server) -> None:
        self._target, self._server = target, server
        self._idle: Idle[HTTPConnection] = Idle(_MOST_IDLE)

    def ask(
        self,
        verb: str,
        name: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        pieces: Sequence[memoryview],
        ticket: Ticket,
    ) -> Answer:
        """Send one request and return its answer.

        Parameters
        ----------
        verb, name : str
            The name of an object in the bucket, or nothing for the bucket itself.
        query, headers : mapping
            Headers in lower case.
        pieces : sequence of memoryview
            The body. Sent as it lies; over http it is read twice, for the signature.
        ticket : Ticket
            To stop it.

        Raises
        ------
        AnswerError, OSError, HTTPException
            No success, or no answer. As they come: whoever asked translates them.
        """
        with self.opened(verb, name, query, headers, pieces, ticket) as answer:
            return Answer(_named(answer), answer.read().decode("utf-8", "replace"))

    @contextmanager
    def opened(
        self,
        verb: str,
        name: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        pieces: Sequence[memoryview],
        ticket: Ticket,
    ) -> Iterator[HTTPResponse]:
        """Send one request as `ask` does and give its answer, whose body is still to be read.

        The connection is kept if all of the body was.
        """
        path, line = path_of(self._target.bucket, name), query_of(query)
        full = signed_for(self._target, verb, path, line, {"host": self._server.place, **headers}, pieces)
        full["content-length"] = str(sum(piece.nbytes for piece in pieces))
        connection, answer = self._answered(verb, f"{path}?{line}" if line else path, full, pieces, ticket)
        try:
            if answer.status not in _SUCCESS:
                raise failure(answer.status, answer.read().decode("utf-8", "replace"))
            yield answer
        finally:
            ticket.connection = None
            if answer.isclosed() and not answer.will_close:
                self._idle.keep(connection)
            else:
                # An answer that ends with its connection holds the socket by itself.
                answer.close()
                connection.close()

    def _answered(
        self, verb: str, target: str, headers: Mapping[str, str], pieces: Sequence[memoryview], ticket: Ticket
    ) -> tuple[HTTPConnection, HTTPResponse]:
        # Here, since it loads ssl: a small save or load does without.
        from http.client import HTTPException

        while True:
            connection, is_fresh = self._take(ticket)
            try:
                return connection, self._exchange(connection, verb, target, headers, pieces)
            except BaseException as error:
                connection.close()
                ticket.connection = None
                # The server may have closed a connection while nobody used it; of a fresh one it's an answer.
                if is_fresh or ticket.stopped or not isinstance(error, (ConnectionError, HTTPException)):
                    raise

    def _take(self, ticket: Ticket) -> tuple[HTTPConnection, bool]:
        connection = self._idle.take()
        if connection is not None:
            ticket.connection = connection
            return connection, False
        ticket.connection = connection = self._made()
        if ticket.stopped:
            raise ConnectionAbortedError("stopped")
        connection.connect()
        if connection.sock is not None:
            connection.sock.settimeout(self._target.read_s)
        return connection, True

    def _made(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        host, port, limit_s = self._server.host, self._server.port, self._target.connect_s
        if self._server.is_secure:
            return HTTPSConnection(host, port, timeout=limit_s, context=self._server.tls)
        return HTTPConnection(host, port, timeout=limit_s)

    def _exchange(
        self,
        connection: HTTPConnection,
        verb: str,
        target: str,
        headers: Mapping[str, str],
        pieces: Iterable[memoryview],
    ) -> HTTPResponse:
        connection.request(verb, target, headers=dict(headers))
        try:
            for piece in pieces:
                for start in range(0, piece.nbytes, _SEND_BYTES):
                    connection.send(piece[start : start + _SEND_BYTES])
        except (BrokenPipeError, ConnectionResetError) as error:
            # The server had enough of it. Its answer, if there is one, says why.
            answer = connection.getresponse()
            if answer.status in _SUCCESS:
                raise error from None
            answer.will_close = True
            return answer
        return connection.getresponse()


def _named(answer: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}
