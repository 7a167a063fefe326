"""Signed requests to one S3 server, over connections that are kept; a body leaves from the memory it lies in."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from ...errors import StoreError
from .._answers import failure
from ._credentials import Credentials
from ._target import S3Target

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

__all__ = ["Answer", "Ticket", "Wire", "signed"]

_SEND_BYTES = 256 * 1024
"""A server has the time limit for each of these, not for a whole part: slow links are no fault."""

_IDLE_S = 15.0
_MOST_IDLE = 32
_SUCCESS = range(200, 300)

_Idle = dict[int, list[tuple["HTTPConnection", float]]]


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


def signed(
    verb: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    region: str,
    credentials: Credentials,
    now_s: float,
) -> dict[str, str]:
    """Return `headers` and the signature over them (AWS version 4).

    Parameters
    ----------
    verb, path, query : str
        As they are sent; the query's parts are sorted.
    headers : mapping
        In lower case, among them ``host`` and ``x-amz-content-sha256``.
    region : str
        Part of what is signed.
    credentials : Credentials
        Who signs.
    now_s : float
        Seconds, UTC.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    full = {**headers, "x-amz-date": stamp}
    if credentials.token:
        full["x-amz-security-token"] = credentials.token
    names = sorted(full)
    lines = "".join(f"{name}:{full[name]}\n" for name in names)
    request = "\n".join([verb, path, query, lines, ";".join(names), full["x-amz-content-sha256"]])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    who = f"{credentials.key}/{scope}"
    full["authorization"] = f"AWS4-HMAC-SHA256 Credential={who}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return full


class Wire:
    """Requests about one bucket. Safe to use from many threads and after a fork.

    Parameters
    ----------
    target : S3Target
        The bucket and its server.
    """

    def __init__(self, target: S3Target) -> None:
        self._target = target
        parts = urlsplit(target.endpoint)
        standard = {"http": 80, "https": 443}[parts.scheme]
        self._host, self._port = parts.hostname or "", parts.port or standard
        self._place = parts.netloc if self._port != standard else parts.netloc.partition(":")[0]
        self._context: Any = None
        # By process: a child must not write into its parent's connections.
        self._idle: _Idle = {}
        weakref.finalize(self, _close, self._idle)

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
        path = quote(f"/{self._target.bucket}/{name}" if name else f"/{self._target.bucket}", safe="/-_.~")
        line = "&".join(f"{_quoted(part)}={_quoted(query[part])}" for part in sorted(query))
        full = self._headers(verb, path, line, headers, pieces)
        full["content-length"] = str(sum(piece.nbytes for piece in pieces))
        connection, answer = self._answered(verb, f"{path}?{line}" if line else path, full, pieces, ticket)
        try:
            if answer.status not in _SUCCESS:
                raise failure(answer.status, answer.read().decode("utf-8", "replace"))
            yield answer
        finally:
            ticket.connection = None
            idle = self._idle.setdefault(os.getpid(), [])
            if answer.isclosed() and not answer.will_close and len(idle) < _MOST_IDLE:
                idle.append((connection, time.monotonic()))
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

    def _headers(
        self, verb: str, path: str, line: str, headers: Mapping[str, str], pieces: Iterable[memoryview]
    ) -> dict[str, str]:
        full = {"host": self._place, **headers}
        target = self._target
        if target.credentials is None:
            return full
        credentials = target.credentials()
        if credentials is None:
            raise no_credentials()
        full["x-amz-content-sha256"] = _hashed(pieces) if target.sign_bodies else "UNSIGNED-PAYLOAD"
        return signed(verb, path, line, full, target.region, credentials, time.time())

    def _take(self, ticket: Ticket) -> tuple[HTTPConnection, bool]:
        idle = self._idle.setdefault(os.getpid(), [])
        while idle:
            try:
                connection, since_s = idle.pop()
            except IndexError:
                break
            if time.monotonic() - since_s < _IDLE_S:
                ticket.connection = connection
                return connection, False
            connection.close()
        connection = self._made()
        ticket.connection = connection
        if ticket.stopped:
            raise ConnectionAbortedError("stopped")
        connection.connect()
        if connection.sock is not None:
            connection.sock.settimeout(self._target.read_s)
        return connection, True

    def _made(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        if self._target.endpoint.startswith("http:"):
            return HTTPConnection(self._host, self._port, timeout=self._target.connect_s)
        if self._context is None:
            import ssl

            self._context = ssl.create_default_context()
            if self._target.ca_file is not None:
                self._context.load_verify_locations(self._target.ca_file)
        return HTTPSConnection(self._host, self._port, timeout=self._target.connect_s, context=self._context)

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


def _close(idle: _Idle) -> None:
    for held in idle.values():
        while held:
            held.pop()[0].close()


def no_credentials() -> StoreError:
    """Return the error for a server that wants to know who asks."""
    return StoreError(
        "No S3 credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
        "or pass key and secret in storage_options.",
        kind="no-credentials",
    )


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _hashed(pieces: Iterable[memoryview]) -> str:
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()
