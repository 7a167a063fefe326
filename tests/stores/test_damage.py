"""Bits that are flipped on the way to a server which verifies what it receives: never a pointer to wrong bytes."""

from __future__ import annotations

import os

import pytest

from payloadfs.errors import StoreError
from payloadfs.stores import open_store
from payloadfs.testing import Fault, PiecesBody, fault_proxy
from payloadfs.testing.servers import S3Server

pytestmark = pytest.mark.s3
MIB = 1024 * 1024


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
@pytest.mark.parametrize("size_bytes", [1000, 3 * MIB, 40 * MIB])
@pytest.mark.parametrize("times", [1, None])
def test_a_flipped_bit_never_leads_to_a_wrong_object(
    payloadfs_seaweedfs: S3Server, size_bytes: int, transport: str, times: int | None
) -> None:
    root, content = f"s3://{payloadfs_seaweedfs.bucket()}", os.urandom(size_bytes)
    with fault_proxy(payloadfs_seaweedfs.endpoint_url) as proxy:
        options = {**payloadfs_seaweedfs.storage_options(), "endpoint_url": proxy.endpoint_url}
        store = open_store(root, options, transport=transport)
        damaged = proxy.inject(Fault("flip-request"), matching=lambda one: one.method == "PUT", times=times)
        if times is None:
            with pytest.raises(StoreError) as caught:
                store.put("a.bin", PiecesBody([content]))
            assert (caught.value.kind, caught.value.transient) == ("checksum", True)
            assert list(store.list()) == []
        else:
            store.put("a.bin", PiecesBody([content]))
            assert store.get("a.bin", size_bytes).buffer == content
        assert damaged
