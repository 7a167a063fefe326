"""Encryption at rest, as it is on the wire: by options and by variables, small and large objects alike."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from payloadfs.stores import Store, open_store
from payloadfs.testing import PiecesBody
from payloadfs.testing.servers import S3Server

from .answering import Answering, give, part

MIB = 1024 * 1024
CONTENT = os.urandom(40 * MIB)
KEY = b"k" * 32
KEY_BASE64 = base64.b64encode(KEY).decode()
KEY_MD5 = base64.b64encode(hashlib.md5(KEY, usedforsecurity=False).digest()).decode()
UPLOAD = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
DONE = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"

OPTIONS: dict[str, dict[str, Any]] = {
    "SSE-S3": {"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}},
    "KMS": {"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"}},
    "SSE-C": {
        "s3_additional_kwargs": {
            "SSECustomerAlgorithm": "AES256",
            "SSECustomerKey": KEY_BASE64,
            "SSECustomerKeyMD5": KEY_MD5,
        }
    },
    "SSE-C, as bytes": {"s3_additional_kwargs": {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}},
}
VARIABLES = {
    "SSE-S3": {"AWS_SERVER_SIDE_ENCRYPTION": "AES256"},
    "KMS": {"AWS_SERVER_SIDE_ENCRYPTION": "aws:kms", "AWS_SSE_KMS_KEY_ID": "key-1"},
    "SSE-C": {"AWS_SERVER_SIDE_ENCRYPTION": "sse-c", "AWS_SSE_CUSTOMER_KEY_BASE64": KEY_BASE64},
}
PREFIX = "x-amz-server-side-encryption"
HEADERS = {
    "SSE-S3": {PREFIX: "AES256"},
    "KMS": {PREFIX: "aws:kms", f"{PREFIX}-aws-kms-key-id": "key-1"},
    "SSE-C": {
        f"{PREFIX}-customer-algorithm": "AES256",
        f"{PREFIX}-customer-key": KEY_BASE64,
        f"{PREFIX}-customer-key-md5": KEY_MD5,
    },
}


@pytest.fixture
def server() -> Iterator[Answering]:
    server = Answering()

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if verb == "POST":
            give(client, 200, UPLOAD if "uploads" in target else DONE)
        elif verb == "GET":
            part(client, wanted, CONTENT)
        elif verb == "HEAD":
            give(client, 404)
        else:
            give(client, 200)

    server.answer = answer
    yield server
    server.close()


def _seen(server: Answering) -> list[tuple[str, str, dict[str, str]]]:
    return [(*seen[:2], headers) for seen, headers in zip(server.seen, server.headers, strict=True)]


CASES = [(kind, "options") for kind in OPTIONS]
CASES += [(kind, f"variables, {transport}") for kind in VARIABLES for transport in ("obstore", "fsspec")]


@pytest.mark.parametrize(("kind", "source"), CASES)
def test_every_request_that_needs_it_says_so(
    server: Answering, kind: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = S3Server(server.endpoint_url).storage_options()
    transport = source.partition(", ")[2] or "auto"
    if source == "options":
        options |= OPTIONS[kind]
    else:
        for name, value in VARIABLES[kind].items():
            monkeypatch.setenv(name, value)
    kind = kind.partition(",")[0]
    store: Store = open_store("s3://bucket", options, transport=transport)
    for size_bytes in (10, 3 * MIB, 40 * MIB):
        store.put(f"{size_bytes}.bin", PiecesBody([CONTENT[:size_bytes]]))
    for verb, target, headers in _seen(server):
        creates = (verb == "PUT" and "partNumber" not in target) or "uploads" in target
        # The key of the caller goes with each part too: the server does not keep it.
        if creates or (kind == "SSE-C" and verb == "PUT"):
            assert HEADERS[kind].items() <= headers.items(), (verb, target, headers)
    server.seen.clear()
    server.headers.clear()
    store.get("a.bin", len(CONTENT))
    if kind == "SSE-C":
        assert all(HEADERS[kind].items() <= headers.items() for verb, _, headers in _seen(server) if verb == "GET")
