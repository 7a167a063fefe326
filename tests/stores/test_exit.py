"""Operations while the program ends: in a thread that outlives the main one, and in an exit handler."""

from __future__ import annotations

import subprocess
import sys

import pytest

from payloadfs.testing.servers import S3Server

pytestmark = pytest.mark.s3

PROGRAM = """
import atexit, sys, threading
from payloadfs import PayloadError
from payloadfs.stores import open_store
from payloadfs.testing import PiecesBody

url, endpoint, key, secret, transport, when = sys.argv[1:]
store = open_store(url, {"endpoint_url": endpoint, "key": key, "secret": secret}, transport=transport)
content = bytes(range(256)) * (20 << 12)

def late():
    if when == "thread":
        threading.main_thread().join()
    for number, size_bytes in enumerate((10, 3 << 20, 20 << 20)):
        try:
            store.put(f"{number}.bin", PiecesBody([content[:size_bytes]]))
            print(store.get(f"{number}.bin", size_bytes).buffer == content[:size_bytes])
        except PayloadError as error:
            print(error.kind)

if when == "thread":
    threading.Thread(target=late).start()
else:
    atexit.register(late)
"""


@pytest.mark.parametrize("when", ["thread", "atexit"])
@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_it_works_or_is_one_error(payloadfs_moto: S3Server, transport: str, when: str) -> None:
    server = payloadfs_moto
    arguments = [f"s3://{server.bucket()}", server.endpoint_url, server.key, server.secret, transport, when]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
    lines = done.stdout.split()
    assert len(lines) == 3
    # Not tried again either.
    assert set(lines) <= {"True", "exiting"}
    if transport == "obstore":
        assert lines == ["True"] * 3
