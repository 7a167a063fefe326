"""Credentials that expire and are renewed are seen by a store that is open."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from payloadfs.errors import StoreError
from payloadfs.stores import Store, open_store
from payloadfs.testing import PiecesBody

from .answering import Answering, give, part

EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
MIB = 1024 * 1024
CONTENT = bytes(20 * MIB)


@pytest.fixture
def server() -> Iterator[Answering]:
    server = Answering()

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        key = re.search("Credential=([^/]+)/", server.request.headers.get("authorization", ""))
        if key is None or key[1] != "renewed":
            give(client, 403, b"" if verb == "HEAD" else EXPIRED)
        elif "list-type" in target:
            give(client, 200, EMPTY)
        elif verb == "GET":
            part(client, wanted, CONTENT)
        else:
            give(client, 204 if verb == "DELETE" else 200, Last_Modified="Wed, 12 Oct 2022 17:50:00 GMT")

    server.answer = answer
    yield server
    server.close()


def _write(where: str, key: str, home: Path, patch: pytest.MonkeyPatch) -> None:
    if where == "variables":
        patch.setenv("AWS_ACCESS_KEY_ID", key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    else:
        text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n"
        (home / "aws-credentials").write_text(text)


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
@pytest.mark.parametrize("where", ["variables", "file"])
@pytest.mark.parametrize("operation", ["put", "put in one go", "info", "get", "list", "delete"])
def test_renewed_credentials_are_seen(
    server: Answering, transport: str, where: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path.home()
    _write(where, "expired", home, monkeypatch)
    operations = {
        "put": lambda store: store.put("a.bin", PiecesBody([b"a"])),
        "put in one go": lambda store: store.put("a.bin", PiecesBody([CONTENT[: 3 * MIB]])),
        "info": lambda store: store.info("a.bin"),
        "get": lambda store: store.get("a.bin", len(CONTENT)),
        "list": lambda store: list(store.list()),
        "delete": lambda store: store.delete("a.bin"),
    }
    options = {"endpoint_url": server.endpoint_url, "region": "us-east-1"}
    store: Store = open_store("s3://bucket", options, transport=transport)
    with pytest.raises(StoreError) as caught:
        operations[operation](store)
    assert caught.value.kind == "denied"
    count = len(server.seen)
    with pytest.raises(StoreError):
        operations[operation](store)
    # Nothing changed, so nothing was sent twice.
    assert len(server.seen) - count <= count
    _write(where, "renewed", home, monkeypatch)
    operations[operation](store)
