"""Many small objects in one thread: a plain success is taken, and whatever else comes is left to the ordinary way."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from payloadfs.stores._s3 import S3Store, open_s3_store
from payloadfs.stores._s3._line import Line
from payloadfs.stores._s3._small_reads import SmallReads
from payloadfs.testing.servers import S3Server

from .answering import Answering, give, part

CONTENT = os.urandom(70_000)
Answer = Callable[[socket.socket, str, str, str], None]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["http", "https"])
def server(
    request: pytest.FixtureRequest, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Answering]:
    monkeypatch.setattr("payloadfs.stores._retry.PAUSES_S", (0.01, 0.01, 0.01))
    context = None
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    server = Answering(context)
    server.answer = lambda client, verb, target, wanted: part(client, wanted, CONTENT[: size_of(target)])
    yield server
    server.close()


@pytest.fixture
def options(server: Answering, authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    found = {**S3Server(server.endpoint_url).storage_options(), "config_kwargs": {"read_timeout": 1}}
    return {**found, "client_kwargs": {"region_name": "us-east-1", "verify": str(tmp_path / "ca.pem")}}


@pytest.fixture
def store(options: dict[str, Any]) -> S3Store:
    return open_s3_store("s3://bucket/p", options, "obstore")


def size_of(target: str) -> int:
    return int(target.rpartition("-")[2])


def reading(store: S3Store) -> SmallReads:
    reads = store.small_reads()
    assert reads is not None
    return reads


def read(store: S3Store, sizes: list[int], at_once: int = 10) -> dict[int, bytes | None]:
    """Return what comes of objects of these sizes, or None where that is left to others."""
    reads, came = reading(store), {}
    try:
        for number, size_bytes in enumerate(sizes):
            if not reads.begin(number, f"{number}-{size_bytes}", size_bytes):
                came[number] = None
            while reads.count == at_once:
                came.update({ticket: one and bytes(one.buffer) for ticket, one in reads.arrived()})
        while reads.count:
            came.update({ticket: one and bytes(one.buffer) for ticket, one in reads.arrived()})
    finally:
        reads.close()
    return came


def test_each_is_asked_for_once_and_connections_are_kept(server: Answering, store: S3Store) -> None:
    sizes = [1, 2, 4095, 4096, 4097, 16384, 65536, *range(100, 193)]
    for _ in range(3):
        server.seen.clear()
        assert read(store, sizes) == {number: CONTENT[:size] for number, size in enumerate(sizes)}
        assert Counter(server.seen) == Counter(
            ("GET", f"/bucket/p/{number}-{size}", f"bytes=0-{size}") for number, size in enumerate(sizes)
        )
    assert server.connections == 10


def test_bytes_are_of_the_callers_own(store: S3Store, server: Answering) -> None:
    reads = reading(store)
    for number in range(2):
        reads.begin(number, "same-5000", 5000)
    came = {}
    while reads.count:
        came.update(reads.arrived())
    first, second = came[0], came[1]
    assert first is not None
    assert second is not None
    first.buffer[:] = bytes(5000)
    assert second.buffer == CONTENT[:5000]
    reads.close()


@pytest.mark.parametrize("chunk", [1, 7, 300])
def test_an_answer_that_comes_bit_by_bit(server: Answering, store: S3Store, chunk: int) -> None:
    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        body = CONTENT[: size_of(target)]
        text = f"HTTP/1.1 206 Partial Content\r\ncontent-LENGTH:{len(body)} \r\n\r\n".encode() + body
        for start in range(0, len(text), chunk):
            client.sendall(text[start : start + chunk])
            time.sleep(0.0005)

    server.answer = answer
    assert read(store, [1, 40, 90]) == {0: CONTENT[:1], 1: CONTENT[:40], 2: CONTENT[:90]}


def raw(text: bytes, *, close: bool = False) -> Answer:
    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        client.sendall(text)
        if close:
            client.shutdown(socket.SHUT_RDWR)

    return answer


def endless(client: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side has enough
        client.sendall(b"HTTP/1.1 206 X\r\n")
        while True:
            client.sendall(b"x: y\r\n" * 1000)


OTHER: dict[str, Answer] = {
    "missing": lambda client, *_: give(client, 404, b"<Error><Code>NoSuchKey</Code></Error>"),
    "missing, with as many bytes": lambda client, *_: give(client, 404, b"0123456789"),
    "denied": lambda client, *_: give(client, 403),
    "busy": lambda client, *_: give(client, 503),
    "elsewhere": lambda client, *_: give(client, 307, Location="http://127.0.0.1:9/"),
    "unsatisfiable": lambda client, *_: give(client, 416),
    "nothing": lambda client, *_: give(client, 204),
    "larger": lambda client, verb, target, wanted: part(client, wanted, CONTENT[:11]),
    "larger, without ranges": lambda client, *_: give(client, 200, CONTENT[:1000]),
    "smaller": lambda client, verb, target, wanted: part(client, wanted, CONTENT[:9]),
    "more than was said": raw(b"HTTP/1.1 206 X\r\nContent-Length: 10\r\n\r\n0123456789ab"),
    "cut off": raw(b"HTTP/1.1 206 X\r\nContent-Length: 10\r\n\r\n01234", close=True),
    "cut off in the head": raw(b"HTTP/1.1 206 X\r\nContent-Le", close=True),
    "closed": raw(b"", close=True),
    "no length": raw(b"HTTP/1.1 200 X\r\n\r\n0123456789", close=True),
    "two lengths": raw(b"HTTP/1.1 206 X\r\nContent-Length: 10\r\nContent-Length: 2\r\n\r\n0123456789"),
    "no number": raw(b"HTTP/1.1 206 X\r\nContent-Length: +10\r\n\r\n0123456789"),
    "in chunks": raw(b"HTTP/1.1 206 X\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"),
    "in chunks, with a length": raw(
        b"HTTP/1.1 206 X\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"
    ),
    "in chunks, with a length that fits": raw(
        b"HTTP/1.1 206 X\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n"
    ),
    "of an older kind": raw(b"HTTP/1.0 200 X\r\nContent-Length: 10\r\n\r\n0123456789"),
    "first something else": raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 X\r\nContent-Length: 10\r\n\r\n0123456789"),
    "no HTTP": raw(b"220 mail.example ESMTP\r\n\r\n"),
    "an endless head": lambda client, *_: endless(client),
    "closed, as it says": raw(b"HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", close=True),
}


@pytest.mark.parametrize("what", OTHER)
def test_whatever_else_comes_is_left_to_others(server: Answering, store: S3Store, what: str) -> None:
    good = server.answer

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        (OTHER[what] if size_of(target) == 10 else good)(client, verb, target, wanted)

    server.answer = answer
    came = read(store, [10, 20, 10, 30, *range(40, 60)], at_once=3)
    assert came == {0: None, 1: CONTENT[:20], 2: None, 3: CONTENT[:30]} | {n - 36: CONTENT[:n] for n in range(40, 60)}
    # Nothing of that answer is taken for the next one.
    assert read(store, [20, 30], at_once=1) == {0: CONTENT[:20], 1: CONTENT[:30]}


@pytest.mark.parametrize("how", ["close", "Close", "keep-alive, close"])
def test_a_server_that_closes_after_each_answer(server: Answering, store: S3Store, how: str) -> None:
    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        give(client, 206, CONTENT[: size_of(target)], Connection=how)
        client.shutdown(socket.SHUT_RDWR)

    server.answer = answer
    sizes = list(range(50, 80))
    assert read(store, sizes, at_once=4) == {number: CONTENT[:size] for number, size in enumerate(sizes)}
    assert server.connections == len(sizes)


def test_connections_that_were_closed_meanwhile_are_no_error(server: Answering, store: S3Store) -> None:
    good = server.answer

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        good(client, verb, target, wanted)
        client.shutdown(socket.SHUT_RDWR)

    server.answer = answer
    rights = [CONTENT[:size] for size in (10, 20, 30)]
    for _ in range(3):
        came = read(store, [10, 20, 30], at_once=1)
        time.sleep(0.05)
        # Whether we or the other side was first is chance.
        assert [one or right for one, right in zip(came.values(), rights, strict=True)] == rights


def test_one_that_is_stuck_keeps_no_other_waiting(server: Answering, store: S3Store) -> None:
    good = server.answer
    server.answer = lambda client, verb, target, wanted: (
        time.sleep(0.1 if size_of(target) != 10 else 5),
        good(client, verb, target, wanted),
    )[0]
    started_s = time.monotonic()
    sizes = [10, *range(100, 125)]
    assert read(store, sizes, at_once=2) == {
        number: None if size == 10 else CONTENT[:size] for number, size in enumerate(sizes)
    }
    assert time.monotonic() - started_s < 4.5


def test_a_silent_server_is_asked_for_nothing_more(server: Answering, store: S3Store) -> None:
    server.answer = lambda *_: None
    started_s = time.monotonic()
    assert read(store, [10] * 100, at_once=5) == dict.fromkeys(range(100))
    assert len(server.seen) == 5
    assert time.monotonic() - started_s < 4


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = open_s3_store("s3://bucket", S3Server(f"http://127.0.0.1:{port}").storage_options(), "obstore")
    assert read(store, [10] * 20, at_once=3) == dict.fromkeys(range(20))
    store = open_s3_store("s3://bucket", S3Server("http://no.such.host.invalid").storage_options(), "obstore")
    assert read(store, [10] * 20, at_once=3) == dict.fromkeys(range(20))


def test_the_first_address_may_be_a_dead_one(
    server: Answering, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.endpoint_url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()[1]
    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    found = [(*kind, ("127.0.0.1", one)) for one in (dead, port)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    came = read(open_s3_store("s3://bucket", options, "obstore"), [20] * 10, at_once=2)
    assert came == {0: None, 1: None} | dict.fromkeys(range(2, 10), CONTENT[:20])


@pytest.mark.parametrize("server", ["https"], indirect=True)
def test_a_certificate_of_somebody_else(server: Answering, options: dict[str, Any], tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert read(open_s3_store("s3://bucket", options, "obstore"), [10] * 3) == dict.fromkeys(range(3))
    assert not server.seen


def test_a_bell_from_another_thread(server: Answering, store: S3Store) -> None:
    reads = reading(store)
    started_s = time.monotonic()
    for _ in range(100_000):
        reads.wake()
    assert list(reads.arrived()) == []
    assert time.monotonic() - started_s < 0.9
    reads.close()


def test_nothing_stays_open(server: Answering, options: dict[str, Any]) -> None:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    store = open_s3_store("s3://bucket", options, "obstore")
    good = server.answer
    before = count()
    assert all(read(store, [10] * 5, at_once=5).values())
    theirs = server.connections
    # One end is ours, the other the server's.
    assert count() <= before + 2 * theirs
    for what in ("larger", "in chunks", "busy"):
        server.answer = OTHER[what]
        read(store, [10] * 20, at_once=5)
    server.answer = good
    reads = reading(store)
    for number in range(5):
        reads.begin(number, "x-10", 10)
    reads.close()
    del store, reads
    until_s = time.monotonic() + 5
    while count() > before + server.connections and time.monotonic() < until_s:
        time.sleep(0.01)
    assert count() <= before + server.connections


def test_a_forked_child_has_connections_of_its_own(server: Answering, store: S3Store) -> None:
    sizes = list(range(20, 40))
    right = {number: CONTENT[:size] for number, size in enumerate(sizes)}
    assert read(store, sizes, at_once=3) == right
    child = os.fork()
    if child == 0:
        reads = store._direct.small_reads("p/")  # type: ignore[union-attr]
        store.small_reads = lambda: reads  # type: ignore[method-assign]
        os._exit(0 if read(store, sizes, at_once=3) == right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert server.connections == 6
    assert read(store, sizes, at_once=3) == right
    assert server.connections == 6


class Interrupted(BaseException):
    """As an interrupt, and nothing else."""


def reads_with(options: dict[str, Any]) -> SmallReads:
    return reading(open_s3_store("s3://bucket/p", options, "obstore"))


@pytest.mark.parametrize("server", ["https"], indirect=True)
@pytest.mark.parametrize("error", [Interrupted, ValueError, MemoryError])
@pytest.mark.parametrize("where", ["load_verify_locations", "wrap_socket", "do_handshake"])
def test_nothing_is_sent_in_the_open_after_an_error_while_it_opens(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: type[BaseException], where: str
) -> None:
    """A server that speaks no TLS sees what arrives."""
    got: list[bytes] = []

    def fail(*_: Any, **__: Any) -> None:
        raise error

    def listen() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(0.3)
                with contextlib.suppress(OSError):
                    while chunk := client.recv(1000):
                        got.append(chunk)

    monkeypatch.setattr(ssl.SSLSocket if where == "do_handshake" else ssl.SSLContext, where, fail)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=listen)
    thread.start()
    reads = reads_with({**options, "endpoint_url": f"https://127.0.0.1:{listener.getsockname()[1]}"})
    came: list[Any] = []
    for number in range(3):
        reads.begin(number, "x-10", 10)
    until_s = time.monotonic() + 10
    while reads.count and time.monotonic() < until_s:
        with contextlib.suppress(Interrupted):
            for one in reads.arrived():
                came.append(one)
    reads.close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    assert sorted(came) == [(0, None), (1, None), (2, None)]
    assert not got


@pytest.mark.parametrize("nth", [3, 12])
@pytest.mark.parametrize("name", ["_send", "_received", "_object", "_has_head", "close"])
def test_an_interrupt_anywhere_leaves_the_others_and_itself_whole(
    server: Answering, store: S3Store, monkeypatch: pytest.MonkeyPatch, name: str, nth: int
) -> None:
    original, left = getattr(Line, name), [nth]

    def interrupted(line: Line) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted
        return original(line)

    monkeypatch.setattr(Line, name, interrupted)
    reads, came, count = reading(store), {}, 0
    started_s = time.monotonic()
    while len(came) < 30:
        try:
            while count < 30 and reads.count < 5:
                count += 1
                reads.begin(count - 1, f"{count - 1}-{count}", count)
            for ticket, one in reads.arrived():
                came[ticket] = one and bytes(one.buffer)
        except Interrupted:
            if count - 1 not in {line.ticket for line in reads._busy.values()} and count - 1 not in reads._aside:
                came.setdefault(count - 1, None)  # it was not begun
    monkeypatch.undo()
    reads.close()
    assert all(one in (None, CONTENT[: number + 1]) for number, one in came.items())
    assert len([one for one in came.values() if one is None]) <= 1
    # Nobody waited for something that had come already.
    assert time.monotonic() - started_s < 0.9
    # Who is not closed says so now.
    del reads
    gc.collect()


def test_a_fork_while_it_opens_keeps_nobody_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    options = S3Server(f"http://127.0.0.1:{port}").storage_options()
    reads = reads_with(options)
    assert reads.begin(1, "x-10", 10)
    child = os.fork()
    if child == 0:
        time.sleep(3)
        os._exit(0)
    assert list(reads.arrived()) == [(1, None)]
    started_s = time.monotonic()
    for _ in range(2):
        assert list(reads.arrived()) == []
    # Each waited its second.
    assert time.monotonic() - started_s > 1.5
    reads.close()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("given", "value"),
    [("token", "a\nb"), ("token", "a\r\nx: y"), ("key", "a…"), ("token", "…"), ("key", "a\ud800"), ("secret", "…")],
)
def test_what_http_cannot_carry_is_left_to_others(
    server: Answering, options: dict[str, Any], given: str, value: str
) -> None:
    wanted = read(open_s3_store("s3://bucket/p", {**options, given: value}, "obstore"), [10] * 2)
    if given == "secret":
        # It is not sent.
        assert wanted == dict.fromkeys(range(2), CONTENT[:10])
    else:
        assert wanted == dict.fromkeys(range(2))
        assert not server.seen


@pytest.mark.parametrize("host", ["a" * 70 + ".invalid", "a..b", ".a.b"])
def test_a_host_that_can_be_none(host: str) -> None:
    store = open_s3_store("s3://bucket", S3Server(f"http://{host}").storage_options(), "obstore")
    assert read(store, [10] * 2) == dict.fromkeys(range(2))
