"""Through obstore: a server that answers wrongly, slowly, or not at all."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from payloadfs._buffers import LazyFrame
from payloadfs._seal import Encoded, Outgoing
from payloadfs.errors import IntegrityError, StoreError
from payloadfs.stores import Store, open_store
from payloadfs.testing import PiecesBody
from payloadfs.testing.servers import S3Server

from .answering import Answering, give, part

MIB = 1024 * 1024
UPLOAD = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
DONE = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
ERROR = b"<Error><Code>SlowDown</Code><Message>Please</Message></Error>"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    monkeypatch.setattr("payloadfs.stores._retry.PAUSES_S", (0.01, 0.01, 0.01))
    server = Answering()
    yield server
    server.close()


@pytest.fixture
def store(server: Answering) -> Store:
    options = S3Server(server.endpoint_url).storage_options()
    return open_store("s3://bucket", {**options, "config_kwargs": {"read_timeout": 1}}, transport="obstore")


@pytest.fixture
def patient_store(server: Answering) -> Store:
    """Return a store for tests that count requests: on a busy machine, a limit would add some."""
    return open_store(
        "s3://bucket", S3Server(server.endpoint_url).storage_options(), transport="obstore", timeout_s=900
    )


CONTENT = os.urandom(20 * MIB)


@pytest.mark.parametrize(("size_bytes", "cut"), [(10, 3), (20 * MIB, 5 * MIB + 3)])
def test_a_body_cut_off_goes_on_where_it_broke(server: Answering, store: Store, size_bytes: int, cut: int) -> None:
    content, cuts = CONTENT[:size_bytes], [cut]

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        first = wanted == "" or wanted.startswith("bytes=0-")
        part(client, wanted, content, cut=cuts[0] if cuts and first else None)
        if cuts and first:
            cuts.pop()
            client.shutdown(socket.SHUT_RDWR)

    server.answer = answer
    assert store.get("a.bin", size_bytes).buffer == content
    asked = sorted(int(wanted[6:].partition("-")[0] or 0) for _, _, wanted in server.seen)
    if size_bytes == 10:
        assert asked == [0, 0]
    else:
        # What had arrived in pieces of 1 MiB is not fetched again.
        assert asked == [0, asked[1], 10 * MIB]
        assert 3 * MIB < asked[1] <= 5 * MIB + 3


def test_a_body_cut_off_each_time_is_an_error(server: Answering, store: Store) -> None:
    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        give(client, 206 if wanted else 200, b"", 10, Content_Range="bytes 0-9/10")
        client.shutdown(socket.SHUT_RDWR)

    server.answer = answer
    with pytest.raises(StoreError) as caught:
        store.get("a.bin", 10)
    assert (caught.value.kind, caught.value.transient) == ("connection-lost", True)
    assert server.count() == {"GET": 4}


@pytest.mark.parametrize("size_bytes", [10, 20 * MIB])
def test_a_busy_server_is_asked_again(server: Answering, patient_store: Store, size_bytes: int) -> None:
    store = patient_store
    refused: set[tuple[str, str, str]] = set()

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if (verb, target, wanted) not in refused:
            refused.add((verb, target, wanted))
            give(client, 503, ERROR)
        elif verb == "POST":
            give(client, 200, UPLOAD if target.endswith("?uploads=") else DONE)
        elif verb == "HEAD":
            give(client, 404)
        elif verb == "PUT":
            give(client, 200)
        else:
            part(client, wanted, CONTENT[:size_bytes])

    server.answer = answer
    store.put("a.bin", PiecesBody([CONTENT[:size_bytes]]))
    assert store.get("a.bin", size_bytes).buffer == CONTENT[:size_bytes]
    assert set(Counter(server.seen).values()) == {2}
    server.answer = lambda client, *_: give(client, 503, ERROR)
    for attempt in (
        lambda: store.put("a.bin", PiecesBody([CONTENT[:size_bytes]])),
        lambda: store.get("a.bin", size_bytes),
        lambda: store.info("a.bin"),
        lambda: list(store.list()),
    ):
        server.seen.clear()
        with pytest.raises(StoreError) as caught:
            attempt()
        assert (caught.value.kind, caught.value.transient) == ("busy", True)
        assert len(server.seen) == 4


def test_one_stuck_range_is_asked_for_again(server: Answering, store: Store) -> None:
    stuck: list[str] = []

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if wanted.startswith("bytes=0-"):
            part(client, wanted, CONTENT)
        elif not stuck:
            stuck.append(wanted)
        else:
            part(client, wanted, CONTENT)

    server.answer = answer
    assert store.get("a.bin", len(CONTENT)).buffer == CONTENT
    assert Counter(wanted for _, _, wanted in server.seen)[stuck[0]] == 2


@pytest.mark.parametrize("size_bytes", [10, 2 * MIB, 20 * MIB])
def test_a_silent_server_is_one_error_after_one_limit(server: Answering, store: Store, size_bytes: int) -> None:
    body = PiecesBody([CONTENT[:size_bytes]])
    for attempt in (lambda: store.put("a.bin", body), lambda: store.get("a.bin", size_bytes)):
        server.seen.clear()
        with pytest.raises(StoreError) as caught:
            attempt()
        assert (caught.value.kind, caught.value.transient) == ("timeout", True)
        # The second one only asks whether the server is alive.
        assert [verb for verb, _, _ in server.seen[1:]] in ([], ["HEAD"])


def test_a_server_that_falls_silent_within_a_body(server: Answering, store: Store) -> None:
    server.answer = lambda client, verb, target, wanted: part(client, wanted, CONTENT, cut=5)
    with pytest.raises(StoreError) as caught:
        store.get("a.bin", len(CONTENT))
    assert caught.value.kind == "timeout"


def test_a_part_that_fails_aborts_the_upload(server: Answering, store: Store) -> None:
    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if verb == "HEAD":
            give(client, 404)
        elif verb == "POST":
            give(client, 200, UPLOAD)
        elif "partNumber=2" in target:
            give(client, 403, b"<Error><Code>AccessDenied</Code></Error>")
        else:
            give(client, 204 if verb == "DELETE" else 200)

    server.answer = answer
    with pytest.raises(StoreError) as caught:
        store.put("a.bin", PiecesBody([CONTENT]))
    assert caught.value.kind == "denied"
    assert [target for verb, target, _ in server.seen if verb == "DELETE"] == ["/bucket/a.bin?uploadId=u1"]


def test_a_writer_without_permission_to_list_saves_large_objects(server: Answering, store: Store) -> None:
    """Amazon answers 403 to a HEAD of a missing object then."""

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if verb == "HEAD":
            give(client, 403)
        elif verb == "POST":
            give(client, 200, UPLOAD if target.endswith("?uploads=") else DONE)
        else:
            give(client, 200)

    server.answer = answer
    store.put("a.bin", PiecesBody([CONTENT]))
    assert server.count() == {"HEAD": 1, "POST": 2, "PUT": 3}


def test_an_error_behind_a_200_is_a_failure(server: Answering, store: Store) -> None:
    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        body = UPLOAD if target.endswith("?uploads=") else ERROR
        status = {"DELETE": 204, "HEAD": 404}.get(verb, 200)
        give(client, status, body if verb == "POST" else b"")

    server.answer = answer
    with pytest.raises(StoreError) as caught:
        store.put("a.bin", PiecesBody([CONTENT]))
    assert caught.value.kind == "busy"
    assert server.count()["DELETE"] == 1


def test_a_refusal_before_all_was_sent_is_understood(server: Answering, store: Store) -> None:
    server.close()
    listener = socket.create_server(("127.0.0.1", int(server.endpoint_url.rpartition(":")[2])))

    def refuse() -> None:
        client, _ = listener.accept()
        listener.close()
        with client:
            client.recv(100)
            give(client, 403, b"<Error><Code>AccessDenied</Code></Error>", Connection="close")
            time.sleep(0.3)
        # Closed with bytes unread: the client's next send is refused, its answer lies there.

    thread = threading.Thread(target=refuse)
    thread.start()
    try:
        with pytest.raises(StoreError) as caught:
            store.put("a.bin", PiecesBody([CONTENT[: 10 * MIB]]))
    finally:
        thread.join()
    assert caught.value.kind == "denied"


def test_a_server_without_ranges(server: Answering, store: Store) -> None:
    server.answer = lambda client, verb, target, wanted: give(client, 200, CONTENT[:5], len(CONTENT) if wanted else 5)
    assert bytes(store.get("small.bin", 5).buffer) == CONTENT[:5]
    with pytest.raises(StoreError) as caught:
        store.get("large.bin", len(CONTENT))
    assert caught.value.kind == "ranges-unsupported"


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_size_that_only_the_answers_tell(server: Answering, store: Store, difference: int) -> None:
    """The object was exchanged while it was read: its first range had the right size, another has not."""

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        changed = CONTENT[:difference] if difference < 0 else CONTENT + b"x"
        part(client, wanted, CONTENT if wanted.startswith("bytes=0-") else changed)

    server.answer = answer
    with pytest.raises(IntegrityError) as caught:
        store.get("a.bin", len(CONTENT))
    assert caught.value.kind == "size"


def test_a_part_that_begins_elsewhere(server: Answering, store: Store) -> None:
    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        part(client, f"bytes=0-{last - first}", CONTENT)

    server.answer = answer
    with pytest.raises(StoreError) as caught:
        store.get("a.bin", len(CONTENT))
    assert caught.value.kind == "ranges-unsupported"


def test_a_range_past_the_end(server: Answering, store: Store) -> None:
    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if wanted.startswith("bytes=0-"):
            part(client, wanted, CONTENT)
        else:
            give(client, 416, b"<Error><Code>InvalidRange</Code></Error>")

    server.answer = answer
    with pytest.raises(IntegrityError):
        store.get("a.bin", len(CONTENT))


@pytest.fixture(params=["fsspec", "obstore"])
def real(request: pytest.FixtureRequest, payloadfs_moto: S3Server) -> Store:
    return open_store(f"s3://{payloadfs_moto.bucket()}/p", payloadfs_moto.storage_options(), transport=request.param)


def test_a_body_that_uses_its_memory_again(real: Store) -> None:
    """Pieces of such a body are void when the next one is asked for, so they can't be sent from where they lie."""
    scratch = bytearray(MIB)

    def pieces() -> Iterator[memoryview]:
        for start in range(0, len(CONTENT), MIB):
            scratch[:] = CONTENT[start : start + MIB]
            yield memoryview(scratch)
        scratch[:] = bytes(MIB)

    frame = LazyFrame(len(CONTENT), pieces)
    outgoing = Outgoing(Encoded([frame], "bin"), "b3")
    assert not outgoing.stable
    real.put("a.bin", outgoing)
    assert real.get("a.bin", len(CONTENT)).buffer == CONTENT


def test_memory_of_a_large_put_is_bounded(payloadfs_moto: S3Server) -> None:
    """Beyond the object itself, a put of 192 MiB holds seven parts, counted by the kernel."""
    import subprocess

    program = """
import sys, pathlib
from payloadfs._seal import Encoded, Outgoing
from payloadfs.stores import open_store
def mib(what):
    (line,) = [l for l in pathlib.Path("/proc/self/status").read_text().splitlines() if l.startswith(what)]
    return int(line.split()[1]) / 1024
store = open_store(sys.argv[1], {"endpoint_url": sys.argv[2], "key": "k", "secret": "ssssssss"}, transport="obstore")
data = memoryview(bytearray(b"x") * (192 << 20))
store.put("warm.bin", Outgoing(Encoded([data[: 17 << 20]], "bin"), "b3"))
before = mib("VmRSS")
pathlib.Path("/proc/self/clear_refs").write_text("5")
store.put("a.bin", Outgoing(Encoded([data], "bin"), "b3"))
print(mib("VmHWM") - before)
"""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux")
    command = [sys.executable, "-c", program, f"s3://{payloadfs_moto.bucket()}", payloadfs_moto.endpoint_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Six parts of 8 MiB are on their way, and one is being filled.
    assert float(done.stdout) < 64


def test_what_an_existing_object_was_compared_with_can_be_collected(real: Store) -> None:
    real.put("a.bin", PiecesBody([CONTENT[:1000]]))
    for size_bytes in (500, 2000) * 3:
        with pytest.raises(StoreError) as caught:
            real.put("a.bin", PiecesBody([CONTENT[:size_bytes]]))
        assert caught.value.kind == "exists"
        del caught
        # Cycles of errors and frames: from 3.12 on, a view of a file in memory did not survive that.
        gc.collect()
