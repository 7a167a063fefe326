"""What interrupted saves leave behind: found by name, removed after the grace period, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from payloadfs import Key, KeyRing, Repository
from payloadfs._keys import new_key
from payloadfs.retention import collect
from payloadfs.stores._fsspec import FsspecStore
from payloadfs.testing.servers import S3Server

KEYS = KeyRing([Key(b"k" * 32)])
DAY_S = 86_400
PROGRAM = """
import os, sys
from fsspec.implementations.local import LocalFileSystem
from payloadfs._keys import new_key
from payloadfs.stores import _local, open_store
from payloadfs.stores._fsspec import FsspecStore
from payloadfs.testing import PiecesBody

class Killed(PiecesBody):
    def __iter__(self):
        yield memoryview(b"x" * (3 << 20))
        os._exit(9)

kind, folder = sys.argv[1:]
if kind == "named":
    _local._UNNAMED = None
    store = open_store(f"file://{folder}")
else:
    store = FsspecStore(f"sftp://h{folder}", lambda: (LocalFileSystem(skip_instance_cache=True), folder))
store.put(new_key("run/1", "bin"), Killed([], 6 << 20))
"""


def _kill(kind: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, kind, str(folder)], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _in_a_day(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let everything in `folder` be two days older."""
    for path in folder.rglob("*"):
        if path.is_file():
            st = path.stat()
            os.utime(path, (st.st_atime - 2 * DAY_S, st.st_mtime - 2 * DAY_S))


@pytest.mark.parametrize("kind", ["named", "staged"])
def test_files_of_killed_saves(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "objects"
    repository = Repository(folder, keys=KEYS, cache="off", inline_bytes=0)
    pointer = repository.save("live")
    _kill(kind, folder)
    # Of another program, whatever it is.
    (folder / ".payloadfs-notes").write_text("mine")
    (folder / ".hidden").write_text("mine")
    if kind == "staged":
        store = FsspecStore(repository.root, lambda: (LocalFileSystem(skip_instance_cache=True), str(folder)))
        repository._stores[os.getpid()]._own = store
    before = _files(folder)
    assert len(before) == 4
    assert collect(dry_run=False, repository=repository).leftovers == 0
    assert _files(folder) == before
    _in_a_day(monkeypatch, folder)
    assert collect(repository=repository).leftovers == 1
    assert _files(folder) == before
    assert collect(dry_run=False, repository=repository).leftovers == 1
    assert _files(folder) == [".hidden", ".payloadfs-notes", pointer.key]
    assert repository.load(pointer) == "live"


def test_half_copies_in_the_cache(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "objects", keys=KEYS, cache=tmp_path / "cache")
    inner = tmp_path / "cache" / "0123456789abcdef"
    inner.mkdir(parents=True)
    (inner / f".b3-{'0' * 64}-1000").write_bytes(b"half")
    (inner / f"b3-{'1' * 64}-4").write_bytes(b"full")
    collect(repository=repository)
    assert len(_files(inner)) == 2
    collect(dry_run=False, repository=repository)
    assert _files(inner) == [f"b3-{'1' * 64}-4"]


def _uploads(client: Any, bucket: str) -> list[str]:
    return sorted(upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


@pytest.mark.s3
@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_open_uploads(payloadfs_seaweedfs: S3Server, transport: str) -> None:
    """Also those whose id no client ever learned, because the answer was lost."""
    server, bucket = payloadfs_seaweedfs, payloadfs_seaweedfs.bucket()
    repository = Repository(
        f"s3://{bucket}/p", server.storage_options(), keys=KEYS, transport=transport, cache="off", inline_bytes=0
    )
    pointer = repository.save("live")
    ours, foreign, outside = f"p/{new_key('run/1', 'bin')}", "p/backup.tar", new_key(None, "bin")
    with server.client() as client:
        for key in (ours, ours, foreign, outside):
            client.create_multipart_upload(Bucket=bucket, Key=key)
        assert collect(dry_run=False, repository=repository).leftovers == 0
        assert collect(dry_run=False, grace="1h", repository=repository).leftovers == 0
        time.sleep(2.1)
        assert collect(grace="1s", repository=repository).leftovers == 2
        assert len(_uploads(client, bucket)) == 4
        assert collect(dry_run=False, grace="1s", repository=repository).leftovers == 2
        assert _uploads(client, bucket) == sorted([foreign, outside])
    assert repository.load(pointer) == "live"


@pytest.mark.s3
@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_lifecycle_rules_are_set_and_others_are_kept(
    payloadfs_moto: S3Server, transport: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    import payloadfs
    from payloadfs.cli import main

    bucket = payloadfs_moto.bucket()
    options = json.dumps(payloadfs_moto.storage_options())
    monkeypatch.setenv("PAYLOADFS_STORAGE_OPTIONS", options)
    monkeypatch.setenv("PAYLOADFS_TRANSPORT", transport)
    monkeypatch.setenv("PAYLOADFS_URL", f"s3://{bucket}/p")
    payloadfs.save("x", expires="7d")
    other = {"ID": "other", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    with payloadfs_moto.client() as client:
        assert main(["lifecycle"]) == 0
        for rules in ([], [other]):
            if rules:
                client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
            for _ in range(2):
                assert main(["lifecycle", "--apply"]) == 0
            found = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
            expected = ["payloadfs-abandoned-uploads", "payloadfs-ttl-7d", *(rule["ID"] for rule in rules)]
            assert sorted(rule["ID"] for rule in found) == sorted(expected)
    capsys.readouterr()
