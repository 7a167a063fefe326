"""Bits that are flipped on the way to a server which verifies what it receives: never a pointer to wrong bytes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from payloadfs.errors import StoreError
from payloadfs.stores import open_store
from payloadfs.testing import PiecesBody
from payloadfs.testing.servers import S3Server

pytestmark = pytest.mark.s3
MIB = 1024 * 1024
MARK = b"damage starts here: "


class Damaging:
    """A proxy that flips one bit behind `MARK` in the next `times` bodies that contain it."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname, parts.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.times = 0
        self.done = 0
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        for one in list(self._sockets):
            with contextlib.suppress(OSError):  # the other side closed it first
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream)
            self._sockets += [client, server]
            for source, target, damages in ((client, server, True), (server, client, False)):
                self._threads.append(threading.Thread(target=self._pass, args=(source, target, damages)))
                self._threads[-1].start()

    def _pass(self, source: socket.socket, target: socket.socket, damages: bool) -> None:
        with contextlib.suppress(OSError):  # either side went away
            while chunk := source.recv(256 * 1024):
                if damages and self.times and (at := chunk.find(MARK)) >= 0:
                    self.times -= 1
                    self.done += 1
                    changed = bytearray(chunk)
                    changed[at] ^= 0x04
                    chunk = bytes(changed)
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def damaging(payloadfs_seaweedfs: S3Server) -> Iterator[Damaging]:
    proxy = Damaging(payloadfs_seaweedfs.endpoint_url)
    yield proxy
    proxy.close()


def content_of(size_bytes: int) -> bytes:
    # The mark is at many places, so that some reads of the proxy contain it whole.
    block = MARK + os.urandom(4096)
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
@pytest.mark.parametrize("size_bytes", [1000, 3 * MIB, 40 * MIB])
@pytest.mark.parametrize("times", [1, 1_000_000])
def test_a_flipped_bit_never_leads_to_a_wrong_object(
    payloadfs_seaweedfs: S3Server, damaging: Damaging, size_bytes: int, transport: str, times: int
) -> None:
    options = {**payloadfs_seaweedfs.storage_options(), "endpoint_url": damaging.endpoint_url}
    root = f"s3://{payloadfs_seaweedfs.bucket()}"
    store = open_store(root, options, transport=transport)
    content = content_of(size_bytes)
    damaging.times = times
    if times > 1:
        with pytest.raises(StoreError) as caught:
            store.put("a.bin", PiecesBody([content]))
        assert (caught.value.kind, caught.value.transient) == ("checksum", True)
        assert list(store.list()) == []
    else:
        store.put("a.bin", PiecesBody([content]))
        assert bytes(store.get("a.bin", size_bytes).buffer) == content
    assert damaging.done
