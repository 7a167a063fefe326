"""The conformance kit on Azure's blob storage, through obstore, in front of Azurite (npm install azurite)."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payloadfs import Repository
from payloadfs.stores import Store, open_store
from payloadfs.testing import PiecesBody, StoreTests
from payloadfs.testing.servers import free_ports

MIB = 1024 * 1024
ACCOUNT, KEY = "payloadfs", base64.b64encode(b"a key for tests, known to anyone").decode()
PROGRAM = shutil.which("azurite-blob")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="azurite-blob is not on the path: npm install -g azurite")


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    with tempfile.TemporaryDirectory() as folder:
        command = [str(PROGRAM), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder]
        environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
        flags = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        process = subprocess.Popen(command + flags, env=environment, stdout=subprocess.DEVNULL)
        try:
            while True:
                assert process.poll() is None
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield {"connection_string": f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"}
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def root(options: dict[str, Any]) -> str:
    """Create a container and return its URL. obstore cannot create one, so the request is made here."""
    import urllib.request

    name = f"box-{uuid.uuid4().hex[:16]}"
    endpoint = options["connection_string"].partition("BlobEndpoint=")[2].rstrip(";")
    request = _signed_create(endpoint, name)
    with urllib.request.urlopen(request) as response:
        assert response.status == 201
    return f"az://{name}"


def _signed_create(endpoint: str, name: str) -> Any:
    import hashlib
    import hmac
    import urllib.request
    from email.utils import formatdate

    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
    resource = f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    text = "PUT\n\n\n\n\n\n\n\n\n\n\n\n" + headers + resource
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    return urllib.request.Request(
        f"{endpoint}/{name}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": "2021-08-06",
            "Authorization": f"SharedKey {ACCOUNT}:{signature}",
        },
    )


class TestAzurite(StoreTests):
    @pytest.fixture
    def store(self, root: str, options: dict[str, Any]) -> Store:
        self.options = options
        return open_store(f"{root}/some/path", options, transport="obstore")

    def make_another(self, store: Store) -> Store:
        return open_store(store.root, self.options, transport="obstore")

    @pytest.mark.parametrize("pieces", [2])
    def test_key_after_broken_body(self, store: Store, pieces: int) -> None:
        # Not for objects in parts: if one arrived, Azurite takes a blob without a committed part for an existing one.
        super().test_key_after_broken_body(store, pieces)


def test_large_objects_and_the_whole_way(root: str, options: dict[str, Any], tmp_path: Path) -> None:
    repository = Repository(root, options, cache="off", keys_file=tmp_path / "keys")
    for obj in (b"x" * 100, os.urandom(40 * MIB + 3), {"a": [1, 2]}):
        assert repository.load(repository.save(obj)) == obj
    store = repository.store
    store.put("a.bin", PiecesBody([bytes(20 * MIB)]))
    store.put("a.bin", PiecesBody([bytes(20 * MIB)]))
