"""Everything once more over TLS, in front of a server that checks signatures."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from payloadfs.errors import StoreError
from payloadfs.stores import Store, open_store
from payloadfs.testing import PiecesBody, StoreTests
from payloadfs.testing.servers import S3Server

pytestmark = pytest.mark.s3
MIB = 1024 * 1024


class Front:
    """Takes TLS off and passes all bytes on, both ways."""

    def __init__(self, upstream: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(upstream)
        self._upstream, self._context = (parts.hostname, parts.port), context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.endpoint_url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        self._is_closed = True
        shut(self._listener)
        self._accepting.join()
        self._listener.close()
        for one in list(self._sockets):
            shut(one)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(raw,)))
            self._threads[-1].start()

    def _serve(self, raw: socket.socket) -> None:
        with raw:
            raw.settimeout(20)
            try:
                client = self._context.wrap_socket(raw, server_side=True)
            except OSError:
                # Whoever asks does not trust us.
                return
        with client, socket.create_connection(self._upstream) as server:
            client.settimeout(None)
            self._sockets += [client, server]
            # Not a thread for each way: one of TLS's connections is for one thread at a time.
            with contextlib.suppress(OSError):  # either side went away
                while not self._is_closed and self._passed(client, server):
                    continue

    def _passed(self, client: ssl.SSLSocket, server: socket.socket) -> bool:
        ready = [client] if client.pending() else select.select([client, server], [], [])[0]
        for source in ready:
            chunk = source.recv(256 * 1024)
            if not chunk:
                return False
            (server if source is client else client).sendall(chunk)
        return True


def shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was first
        one.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def front(payloadfs_seaweedfs: S3Server, authority: trustme.CA) -> Iterator[Front]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    front = Front(payloadfs_seaweedfs.endpoint_url, context)
    yield front
    front.close()


@pytest.fixture
def options(front: Front, payloadfs_seaweedfs: S3Server, authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
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
