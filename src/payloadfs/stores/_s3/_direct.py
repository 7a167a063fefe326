"""Requests to an S3 server without s3fs: small objects through obstore, all else signed and sent here.

obstore can't complete a multipart upload create-only, and copies what it sends and receives; see
`docs/decisions/0013-obstore-and-signed-requests.md` and `0016-large-reads-from-the-socket.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..._buffers import ByteRange
from .._answers import AnswerError, no_ranges
from .._base import Body
from .._errors import Border
from .._obstore_calls import SMALL_BYTES, ObstoreCalls, client_options
from .._reads import Reading, Sink, into_buffer, into_file
from .._retry import Patience
from .._transfer import MIB, ropes, wrong_size
from ._line import Line
from ._requests import answered, requested
from ._server import Idle, Server
from ._signature import no_credentials
from ._small_reads import SmallReads
from ._target import S3Target
from ._wire import Ticket, Wire

if TYPE_CHECKING:
    from http.client import HTTPResponse

__all__ = ["DirectCalls"]

_STOP_S = 5.0
_MOST_LINES = 64
_CREDENTIALS_S = 540
_SCRATCH_BYTES = 256 * 1024
_RANGE_NOT_SATISFIABLE = 416


_Room = Callable[[int], memoryview]
"""Gives memory for the bytes of an object from one of them on."""


class _Job:
    """A request in a thread of its own."""

    def __init__(self, work: Callable[[Ticket], dict[str, Any]]) -> None:
        self._ticket = Ticket()
        self._ended = threading.Event()
        self._value: dict[str, Any] = {}
        self._error: BaseException | None = None
        threading.Thread(target=self._run, args=(work,), name="payloadfs-s3", daemon=True).start()

    def _run(self, work: Callable[[Ticket], dict[str, Any]]) -> None:
        try:
            self._value = work(self._ticket)
        except BaseException as error:  # noqa: BLE001  # raised where the result is asked for
            self._error = error
        finally:
            self._ended.set()

    def result(self, *, stoppable: bool = True) -> dict[str, Any]:
        """Wait for the result. An interrupt of the wait stops the request, if it is `stoppable`."""
        try:
            self._ended.wait()
        except BaseException:
            if stoppable:
                self.stop()
            raise
        if self._error is not None:
            raise self._error
        return self._value

    def failed(self) -> bool:
        """Wait for the end and return whether it was an error."""
        self._ended.wait()
        return self._error is not None

    def stop(self) -> None:
        """Break the request off and wait until it has ended; nothing if it has."""
        self._ticket.stop()
        self._ended.wait(_STOP_S)


class DirectCalls:
    """Requests about one bucket; see `payloadfs.stores._create.ObjectCalls`.

    Parameters
    ----------
    target : S3Target
        The bucket and its server.
    border : Border
        Translates errors.
    """

    one_put_bytes = 16 * MIB
    part_bytes = 8 * MIB
    parts_at_once, copies_at_once = 7, 3

    def __init__(self, target: S3Target, border: Border) -> None:
        self._target = target
        self._patience = Patience(border)
        self._server = Server(target)
        self._wire = Wire(target, self._server)
        self._lines: Idle[Line] = Idle(_MOST_LINES)
        self._obstore = ObstoreCalls(lambda: _client(target), self._patience)

    def parts(self, body: Body, part_bytes: int) -> Iterator[list[memoryview]]:
        """Yield the parts of `body` as rows of slices. Nothing is copied if the body is stable."""
        return ropes(body, part_bytes)

    def begin(self, operation: str, key: str, method: str, **arguments: Any) -> _Job:
        """Start one request and return without waiting for it."""
        return _Job(lambda ticket: self._asked(operation, key, method, arguments, ticket))

    def call(self, operation: str, key: str, method: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and return its answer."""
        if method == "put_object":
            pieces = arguments["Body"]
            if sum(piece.nbytes for piece in pieces) <= SMALL_BYTES:
                self._with_credentials().create(key, arguments["Key"], b"".join(pieces))
                return {}
        return self._asked(operation, key, method, arguments, Ticket())

    def read(self, key: str, name: str, buffer: memoryview) -> None:
        """Fill `buffer` with the object `name`; see `Reading.whole`. Each byte is copied once."""
        if buffer.nbytes <= SMALL_BYTES:
            self._with_credentials().read(key, name, buffer.nbytes, into_buffer(buffer))
        else:
            self._read_large(key, name, buffer.nbytes, lambda: _place(buffer, 0), _in_place)

    def read_into(self, key: str, name: str, size_bytes: int, file: int) -> None:
        """Write the object `name` into the descriptor `file`; see `Reading.whole`."""
        self._read_large(key, name, size_bytes, _scratch, into_file(file))

    def read_range(self, key: str, name: str, part: ByteRange, size_bytes: int, buffer: memoryview) -> None:
        """Fill `buffer` with one part of the object `name`. One GET."""
        source = _Source(self._wire, key, name, size_bytes, lambda: _place(buffer, part.start))
        Reading(self._patience, source, _in_place).part(part)

    def small_reads(self, prefix: str) -> SmallReads:
        """Return who reads many small objects, whose keys lack `prefix`, in one thread."""
        return SmallReads(self._target, prefix, self._server, self._lines)

    def _read_large(self, key: str, name: str, size_bytes: int, rooms: Callable[[], _Room], sink: Sink) -> None:
        Reading(self._patience, _Source(self._wire, key, name, size_bytes, rooms), sink).whole()

    def _with_credentials(self) -> ObstoreCalls:
        # Asked here, since an error in obstore's own question would come back as words.
        if self._target.credentials is not None and self._target.credentials() is None:
            raise no_credentials()
        return self._obstore

    def _asked(
        self, operation: str, key: str, method: str, arguments: Mapping[str, Any], ticket: Ticket
    ) -> dict[str, Any]:
        request = requested(method, arguments)
        return self._patience.tried(
            operation, key, lambda: answered(method, self._wire.ask(*request, ticket)), lambda: ticket.stopped
        )


def _place(buffer: memoryview, first: int) -> _Room:
    """Return where bytes go that are to be in `buffer`, which stands for the object from its byte `first` on."""
    return lambda start: buffer[start - first : start - first + MIB]


def _in_place(start: int, chunk: memoryview) -> None:
    """Take a chunk that was received where it belongs."""


def _scratch() -> _Room:
    """Return where bytes go that only pass through: always the same memory, which stays in the core's cache."""
    memory = memoryview(bytearray(_SCRATCH_BYTES))
    return lambda _: memory


class _Source:
    """An object through `wire`; see `payloadfs.stores._reads.Source`."""

    def __init__(self, wire: Wire, key: str, name: str, size_bytes: int, rooms: Callable[[], _Room]) -> None:
        self._wire, self._name, self._rooms = wire, name, rooms
        self.key, self.size_bytes = key, size_bytes

    def opened(self, part: ByteRange) -> Iterator[memoryview]:
        """Ask for `part`, and return its bytes if the object has the right size."""
        partial = part.size_bytes < self.size_bytes
        headers = {"range": f"bytes={part.start}-{part.stop - 1}"} if partial else {}
        try:
            answering = ExitStack()
            answer = answering.enter_context(self._wire.opened("GET", self._name, {}, headers, (), Ticket()))
        except AnswerError as error:
            if partial and error.args[0] == _RANGE_NOT_SATISFIABLE:
                raise wrong_size(self.key, self.size_bytes, f"at most {part.start}") from None
            raise
        with ExitStack() as unless_right:
            unless_right.push(answering)
            self._check(answer, part if partial else None)
            unless_right.pop_all()
        return _chunks(answering, answer, part.start, self._rooms())

    def _check(self, answer: HTTPResponse, part: ByteRange | None) -> None:
        size: str | None = answer.getheader("content-length")
        if part is not None:
            given, _, size = (answer.getheader("content-range") or "").partition("/")
            if not given.startswith(f"bytes {part.start}-"):
                raise no_ranges()
        if size is not None and size != str(self.size_bytes):
            raise wrong_size(self.key, self.size_bytes, size)


def _chunks(answering: ExitStack, answer: HTTPResponse, start: int, room: _Room) -> Iterator[memoryview]:
    """Yield what arrives in the memory that `room` gives for it."""
    with answering:
        while count := answer.readinto(memory := room(start)):
            yield memory[:count]
            start += count


def _client(target: S3Target) -> Any:
    """Return obstore's client for `target`. Reads certificates if there are any of the user's own; no request."""
    from obstore.store import S3Store

    source = target.credentials

    def credentials() -> Any:
        found = source() if source else None
        if found is None:
            raise no_credentials()
        return {
            "access_key_id": found.key,
            "secret_access_key": found.secret,
            "token": found.token,
            # botocore renews well before this.
            "expires_at": datetime.now(UTC) + timedelta(seconds=_CREDENTIALS_S),
        }

    config: Any = {
        "region": target.region,
        "endpoint": target.endpoint,
        "skip_signature": source is None,
        "unsigned_payload": not target.sign_bodies,
        "virtual_hosted_style_request": False,
    }
    options: Any = client_options(target.endpoint, target.connect_s, target.read_s, target.ca_file)
    return S3Store(
        target.bucket,
        config=config,
        client_options=options,
        retry_config={"max_retries": 0},
        credential_provider=credentials if source else None,
    )
