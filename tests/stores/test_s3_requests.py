"""How many requests each call costs, counted in front of a real server, and that dead servers are one error."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from payloadfs.errors import NotFoundError, StoreError
from payloadfs.stores import Store, open_store
from payloadfs.testing import Fault, FaultProxy, PiecesBody, Request, fault_proxy
from payloadfs.testing.servers import S3Server, free_ports

MIB = 1024 * 1024

pytestmark = pytest.mark.s3


@pytest.fixture(params=["fsspec", "obstore"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def proxy(payloadfs_seaweedfs: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(payloadfs_seaweedfs.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def bucket(payloadfs_seaweedfs: S3Server) -> str:
    return payloadfs_seaweedfs.bucket()


@pytest.fixture
def store(payloadfs_seaweedfs: S3Server, proxy: FaultProxy, bucket: str, transport: str) -> Store:
    behind = replace(payloadfs_seaweedfs, endpoint_url=proxy.endpoint_url)
    return open_store(f"s3://{bucket}", behind.storage_options(), transport=transport)


def _methods(proxy: FaultProxy) -> list[str]:
    methods = [request.method for request in proxy.requests]
    proxy.forget()
    return methods


def _open_uploads(server: S3Server, bucket: str) -> list[str]:
    with server.client() as client:
        return [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


@pytest.mark.parametrize("size_bytes", [0, 1, MIB, MIB + 1, 16 * MIB])
def test_small_objects_cost_one_request_each_way(store: Store, proxy: FaultProxy, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    for key in ("cold.bin", "warm.bin"):
        store.put(key, PiecesBody([content]))
        assert [(request.method, request.size_bytes) for request in proxy.requests] == [("PUT", size_bytes)]
        proxy.forget()
        assert store.get(key, size_bytes).buffer == content
        assert _methods(proxy) == ["GET"]


@pytest.mark.parametrize("size_bytes", [0, 1, 16 * MIB, 100 * MIB])
def test_a_missing_object_costs_one_request(store: Store, proxy: FaultProxy, size_bytes: int) -> None:
    with pytest.raises(NotFoundError):
        store.get("none.bin", size_bytes)
    assert _methods(proxy) == ["GET"]


def test_info_delete_and_list_cost_one_request(store: Store, proxy: FaultProxy) -> None:
    store.put("a.bin", PiecesBody([b"a"]))
    proxy.forget()
    store.info("a.bin")
    assert _methods(proxy) == ["HEAD"]
    assert len(list(store.list())) == 1
    assert _methods(proxy) == ["GET"]
    store.delete("a.bin")
    assert _methods(proxy) == ["DELETE"]


def test_large_objects(store: Store, proxy: FaultProxy, transport: str) -> None:
    content = os.urandom(40 * MIB + 17)
    seen = []
    # A request that a busy server fails is sent again.
    for key in ("1.bin", "2.bin", "3.bin"):
        store.put(key, PiecesBody([content]))
        saving = Counter(_methods(proxy))
        assert store.get(key, len(content)).buffer == content
        seen.append((saving, Counter(_methods(proxy))))
    expected = {"HEAD": 1, "POST": 2, "PUT": 6} if transport == "obstore" else {"POST": 2, "PUT": 3}
    assert (expected, {"GET": 3}) in seen


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt()])
def test_a_failing_large_put_leaves_no_upload(
    store: Store, payloadfs_seaweedfs: S3Server, bucket: str, error: BaseException, transport: str
) -> None:
    seen: list[str] = []

    class Body(PiecesBody):
        def __iter__(self) -> Iterator[memoryview]:
            yield from super().__iter__()
            seen.extend(_open_uploads(payloadfs_seaweedfs, bucket))
            raise error

    with pytest.raises(type(error)):
        store.put("half.bin", Body([bytes(5 * MIB)] * 9))
    # s3fs is given the whole body at once.
    assert seen == (["half.bin"] if transport == "obstore" else [])
    assert _open_uploads(payloadfs_seaweedfs, bucket) == []
    # The same bytes twice: the second upload is not completed, and not left open.
    for _ in range(2):
        store.put("twice.bin", PiecesBody([bytes(33 * MIB)]))
    with pytest.raises(StoreError):
        store.put("twice.bin", PiecesBody([b"x" * (33 * MIB)]))
    assert _open_uploads(payloadfs_seaweedfs, bucket) == []


@pytest.mark.parametrize("size_bytes", [10, 20 * MIB])
def test_a_lost_answer_is_no_failure(store: Store, proxy: FaultProxy, size_bytes: int) -> None:
    def creates(request: Request) -> bool:
        method, target = request.method, request.target
        return "uploadId" in target if method == "POST" else "?" not in target and method == "PUT"

    lost = proxy.inject(Fault("lose-answer"), matching=creates, times=1)
    content = os.urandom(size_bytes)
    store.put("mine.bin", PiecesBody([content]))
    assert len(lost) == 1
    assert store.get("mine.bin", size_bytes).buffer == content


@pytest.mark.parametrize("wrong", [{"secret": "not-the-secret"}, {"key": "not-the-key"}])
def test_wrong_credentials(payloadfs_seaweedfs: S3Server, bucket: str, wrong: dict[str, str], transport: str) -> None:
    store = open_store(f"s3://{bucket}", {**payloadfs_seaweedfs.storage_options(), **wrong}, transport=transport)
    for attempt in (lambda: store.get("a", 1), lambda: store.put("a", PiecesBody([b"a"])), lambda: store.info("a")):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert (caught.value.kind, caught.value.transient) == ("denied", False)


def test_missing_bucket(payloadfs_seaweedfs: S3Server, transport: str) -> None:
    store = open_store("s3://no-such-bucket-here/x", payloadfs_seaweedfs.storage_options(), transport=transport)
    for attempt in (
        lambda: store.get("a", 1),
        lambda: store.put("a", PiecesBody([b"a"])),
        lambda: store.put("a", PiecesBody([bytes(17 * MIB)])),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreError, match="does not exist") as caught:
            attempt()
        assert caught.value.kind == "no-bucket"


@pytest.mark.parametrize("size_bytes", [1, 17 * MIB])
def test_a_dead_server_gives_one_error_soon(size_bytes: int, transport: str) -> None:
    (port,) = free_ports(1)
    store = open_store("s3://bucket", S3Server(f"http://127.0.0.1:{port}").storage_options(), transport=transport)
    for attempt in (lambda: store.put("a", PiecesBody([bytes(size_bytes)])), lambda: store.get("a", size_bytes)):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.transient


def test_a_server_that_never_answers_gives_one_error_in_bounded_time(store: Store, proxy: FaultProxy) -> None:
    proxy.inject(Fault("silence"))
    with pytest.raises(StoreError) as caught:
        store.get("a", 1)
    assert (caught.value.kind, caught.value.transient) == ("timeout", True)
