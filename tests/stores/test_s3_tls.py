"""Everything once more over TLS, in front of a server that checks signatures."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from payloadfs.errors import StoreError
from payloadfs.stores import Store, open_store
from payloadfs.testing import Fault, FaultProxy, PiecesBody, StoreTests, fault_proxy
from payloadfs.testing.servers import S3Server

pytestmark = pytest.mark.s3
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def front(payloadfs_seaweedfs: S3Server, authority: trustme.CA) -> Iterator[FaultProxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with fault_proxy(payloadfs_seaweedfs.endpoint_url, context) as front:
        yield front


@pytest.fixture
def options(front: FaultProxy, payloadfs_seaweedfs: S3Server, authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    found = {**payloadfs_seaweedfs.storage_options(), "endpoint_url": front.endpoint_url}
    return {**found, "client_kwargs": {"region_name": "us-east-1", "verify": str(tmp_path / "ca.pem")}}


class TlsTests(StoreTests):
    transport = "obstore"

    @pytest.fixture
    def store(self, options: dict[str, Any], payloadfs_seaweedfs: S3Server) -> Store:
        self.options = options
        return open_store(f"s3://{payloadfs_seaweedfs.bucket()}/p", options, transport=self.transport)

    def make_another(self, store: Store) -> Store:
        return open_store(store.root, self.options, transport=self.transport)


class TestThroughObstore(TlsTests):
    pass


@pytest.mark.sweep
class TestThroughS3fs(TlsTests):
    transport = "fsspec"


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_large_objects_in_parts_and_ranges(
    options: dict[str, Any], payloadfs_seaweedfs: S3Server, transport: str, tmp_path: Path
) -> None:
    store = open_store(f"s3://{payloadfs_seaweedfs.bucket()}", options, transport=transport)
    content = os.urandom(40 * MIB + 3)
    store.put("a.bin", PiecesBody([content]))
    assert store.get("a.bin", len(content)).buffer == content
    with (tmp_path / "a.bin").open("w+b") as file:
        file.truncate(len(content))
        store.get_into("a.bin", len(content), file.fileno())
    assert (tmp_path / "a.bin").read_bytes() == content


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
@pytest.mark.parametrize("size_bytes", [10, 20 * MIB])
def test_a_server_that_nobody_vouches_for(
    options: dict[str, Any], payloadfs_seaweedfs: S3Server, tmp_path: Path, size_bytes: int, transport: str
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    store = open_store(f"s3://{payloadfs_seaweedfs.bucket()}", options, transport=transport)
    for attempt in (
        lambda: store.put("a.bin", PiecesBody([bytes(size_bytes)])),
        lambda: store.get("a.bin", size_bytes),
        lambda: store.info("a.bin"),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert (caught.value.kind, caught.value.transient) == ("certificate", False)
        assert "AWS_CA_BUNDLE" in str(caught.value)


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
@pytest.mark.parametrize("size_bytes", [1000, 3 * MIB, 40 * MIB])
def test_bits_that_are_flipped_behind_tls(
    options: dict[str, Any], front: FaultProxy, payloadfs_seaweedfs: S3Server, size_bytes: int, transport: str
) -> None:
    """As by a load balancer that ends TLS."""
    store = open_store(f"s3://{payloadfs_seaweedfs.bucket()}", options, transport=transport)
    content = os.urandom(size_bytes)
    damaged = front.inject(Fault("flip-request"), matching=lambda one: one.method == "PUT", times=1)
    store.put("a.bin", PiecesBody([content]))
    assert store.get("a.bin", size_bytes).buffer == content
    assert damaged
    front.inject(Fault("flip-request"), matching=lambda one: one.method == "PUT")
    with pytest.raises(StoreError) as caught:
        store.put("b.bin", PiecesBody([content]))
    assert caught.value.kind == "checksum"
