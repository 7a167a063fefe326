"""S3 through both transports: the conformance kit on two servers and in a forked child, credentials, listings."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payloadfs.errors import ConfigError, PayloadError, StoreError
from payloadfs.stores import Store, SupportsFiles, open_store
from payloadfs.testing import PiecesBody, StoreTests
from payloadfs.testing.servers import S3Server

MIB = 1024 * 1024
TRANSPORTS = ["obstore", "fsspec"]
FORKED = "TEST_FORKED_SERVER"


class S3Tests(StoreTests):
    transport = "obstore"

    def open(self, server: S3Server, path: str = "") -> Store:
        self.options = server.storage_options()
        return open_store(f"s3://{server.bucket()}{path}", self.options, transport=self.transport)

    def make_another(self, store: Store) -> Store:
        return open_store(store.root, self.options, transport=self.transport)


class TestMotoThroughObstore(S3Tests):
    @pytest.fixture
    def store(self, payloadfs_moto: S3Server) -> Store:
        return self.open(payloadfs_moto)


class TestMotoThroughS3fs(S3Tests):
    transport = "fsspec"

    @pytest.fixture
    def store(self, payloadfs_moto: S3Server) -> Store:
        return self.open(payloadfs_moto, "/some/path")


@pytest.mark.s3
class TestSeaweedFSThroughObstore(S3Tests):
    @pytest.fixture
    def store(self, payloadfs_seaweedfs: S3Server) -> Store:
        return self.open(payloadfs_seaweedfs, "/p")


@pytest.mark.s3
class TestSeaweedFSThroughS3fs(S3Tests):
    transport = "fsspec"

    @pytest.fixture
    def store(self, payloadfs_seaweedfs: S3Server) -> Store:
        return self.open(payloadfs_seaweedfs)


@pytest.mark.skipif(FORKED not in os.environ, reason="only in the child of test_the_kit_in_a_forked_child")
class TestForked(S3Tests):
    transport = "auto"

    @pytest.fixture
    def store(self) -> Store:
        store = self.open(S3Server(**json.loads(os.environ[FORKED])))
        assert store.transport == "fsspec"  # type: ignore[attr-defined]
        return store


@pytest.mark.skipif(sys.platform == "darwin", reason="fork is unsafe there")
def test_the_kit_in_a_forked_child(payloadfs_moto: S3Server) -> None:
    program = f"""
import os, sys, obstore, payloadfs.stores._obstore
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
import pytest
code = pytest.main([{__file__!r}, "-k", "TestForked", "-q", "-p", "no:cacheprovider", "-n0", "-W", "ignore", "-rN"])
sys.stdout.flush()
os._exit(code)
"""
    server = {"endpoint_url": payloadfs_moto.endpoint_url, "key": payloadfs_moto.key, "secret": payloadfs_moto.secret}
    environment = {**os.environ, FORKED: json.dumps(server)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(payloadfs_moto: S3Server, transport: str) -> Store:
    return open_store(f"s3://{payloadfs_moto.bucket()}/p", payloadfs_moto.storage_options(), transport=transport)


def test_it_is_a_store_that_writes_files(store: Store) -> None:
    assert isinstance(store, Store)
    assert isinstance(store, SupportsFiles)


def test_secrets_appear_neither_in_repr_nor_in_errors(
    payloadfs_moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    secret = payloadfs_moto.secret

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(f"wrong: {secret}")

    for transport in TRANSPORTS:
        store = open_store("s3://bucket", payloadfs_moto.storage_options(), transport=transport)
        assert secret not in repr(store)
        with monkeypatch.context() as patch:
            patch.setattr(obstore, "head", fail)
            if transport == "fsspec":
                patch.setattr(store._filesystem(), "info", fail)  # type: ignore[attr-defined]
            with pytest.raises(StoreError) as caught:
                store.info("a.bin")
        assert secret not in str(caught.value)


def test_the_usual_aws_variables_are_enough(
    payloadfs_moto: S3Server, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    for name, value in payloadfs_moto.environment().items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{payloadfs_moto.bucket()}", None, transport=transport)
    store.put("a.bin", PiecesBody([b"a"]))
    assert bytes(store.get("a.bin", 1).buffer) == b"a"


def test_no_credentials(
    payloadfs_moto: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, transport: str
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = open_store("s3://bucket", {"endpoint_url": payloadfs_moto.endpoint_url}, transport=transport)
    for attempt in (
        lambda: store.get("a.bin", 1),
        lambda: store.put("a.bin", PiecesBody([b"a"])),
        lambda: store.put("a.bin", PiecesBody([bytes(2 * MIB)])),
        lambda: store.info("a.bin"),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID") as caught:
            attempt()
        assert caught.value.kind == "no-credentials"


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match=r"pip install 'payloadfs\[s3\]'"):
        open_store("s3://bucket", transport="fsspec")


def test_options_of_the_user_win() -> None:
    options = {"config_kwargs": {"read_timeout": 3}, "use_listings_cache": True}
    filesystem = open_store("s3://bucket", options, transport="fsspec")._filesystem()  # type: ignore[attr-defined]
    assert filesystem.config_kwargs["read_timeout"] == 3
    assert filesystem.config_kwargs["connect_timeout"] == 5
    assert filesystem.dircache.use_listings_cache is False


def test_a_listing_of_several_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payloadfs.stores._obstore._PAGE_OBJECTS", 3)
    keys = [f"run/{number:02}.bin" for number in range(7)]
    for key in keys:
        store.put(key, PiecesBody([b"x"]))
    assert [info.key for info in store.list("run/")] == keys


def test_keys_of_other_programs_are_listed(payloadfs_moto: S3Server, transport: str) -> None:
    bucket = payloadfs_moto.bucket()
    names = ["a b/ü.txt", "run/%41.bin", "run/x+y", "run/é", "z"]
    with payloadfs_moto.client() as client:
        for name in names:
            client.put_object(Bucket=bucket, Key=name, Body=b"x")
    store = open_store(f"s3://{bucket}", payloadfs_moto.storage_options(), transport=transport)
    assert [info.key for info in store.list()] == sorted(names)


def _work_in_child(store: Store, answers: Any) -> None:
    try:
        answers.put(bytes(store.get("a.bin", 6).buffer))
    except PayloadError as error:
        answers.put(error.kind)


@pytest.mark.skipif(sys.platform == "darwin", reason="fork is unsafe there")
def test_a_store_that_was_opened_before_a_fork(store: Store, transport: str) -> None:
    store.put("a.bin", PiecesBody([b"before"]))
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=_work_in_child, args=(store, answers))
    child.start()
    # A repository opens another store in the child; a bare one can only say so.
    assert answers.get(timeout=60) == ("forked" if transport == "obstore" else b"before")
    child.join(60)
    assert child.exitcode == 0
    answers.close()
    answers.join_thread()
    assert bytes(store.get("a.bin", 6).buffer) == b"before"


def test_the_same_bytes_again_are_a_success(store: Store) -> None:
    for pieces in ([b"same"], [b"x" * MIB] * 33, [b""]):
        key = f"{len(pieces)}-{len(pieces[0])}.bin"
        store.put(key, PiecesBody(pieces))
        store.put(key, PiecesBody(pieces))
        for others in ([*pieces[:-1], b"y" * (len(pieces[-1]) or 1)], [*pieces, b"z"], pieces[:-1]):
            if b"".join(others) == b"".join(pieces):
                continue
            with pytest.raises(StoreError) as caught:
                store.put(key, PiecesBody(others))
            assert caught.value.kind == "exists"
        size_bytes = sum(map(len, pieces))
        assert bytes(store.get(key, size_bytes).buffer) == b"".join(pieces)


@pytest.mark.parametrize("size_bytes", [0, 1, 20 * MIB])
def test_straight_into_a_file(store: Store, tmp_path: Path, size_bytes: int) -> None:
    assert isinstance(store, SupportsFiles)
    content = os.urandom(size_bytes)
    store.put("a.bin", PiecesBody([content]))
    with (tmp_path / "a.bin").open("w+b") as file:
        file.truncate(size_bytes)
        file.seek(size_bytes // 2)  # the position does not matter
        store.get_into("a.bin", size_bytes, file.fileno())
    assert (tmp_path / "a.bin").read_bytes() == content


def test_encryption_variables_count_for_small_and_large_objects(
    payloadfs_moto: S3Server, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "AES256")
    bucket = payloadfs_moto.bucket()
    store = open_store(f"s3://{bucket}", payloadfs_moto.storage_options(), transport=transport)
    store.put("small.bin", PiecesBody([b"a"]))
    store.put("large.bin", PiecesBody([bytes(MIB)] * 40))
    with payloadfs_moto.client() as client:
        for key in ("small.bin", "large.bin"):
            assert client.head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "AES256"


@pytest.fixture
def environment_of_others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Variables that obstore reads by itself, as users of delta-rs and polars set them."""
    for name, value in {
        "AWS_CONDITIONAL_PUT": "disabled",
        "AWS_S3_EXPRESS": "true",
        "AWS_CHECKSUM_ALGORITHM": "crc32",
        "AWS_DISABLE_TAGGING": "maybe",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_ALLOW_INVALID_CERTIFICATES": "true",
        "AWS_PROXY_URL": "http://127.0.0.1:9",
        "AWS_TIMEOUT": "1ms",
        "AWS_BUCKET": "another",
        "AWS_COPY_IF_NOT_EXISTS": "x",
        "AWS_REQUEST_PAYER": "perhaps",
    }.items():
        monkeypatch.setenv(name, value)
    return


@pytest.mark.usefixtures("environment_of_others")
def test_variables_of_other_programs_change_nothing(store: Store) -> None:
    for key, content in (("small.bin", b"a"), ("large.bin", bytes(17 * MIB))):
        store.put(key, PiecesBody([content]))
        assert store.get(key, len(content)).buffer == content
        with pytest.raises(StoreError) as caught:
            store.put(key, PiecesBody([b"other"]))
        assert caught.value.kind == "exists"
