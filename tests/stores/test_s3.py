"""The S3 store against two servers, and against one that fails in ways that real ones seldom do."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from typing import Any

import pytest

from payloadfs.errors import ConfigError, NotFoundError, StoreError
from payloadfs.stores._base import Store
from payloadfs.stores._s3 import S3Store, open_s3_store
from payloadfs.testing import PiecesBody, StoreTests
from payloadfs.testing.servers import S3Server

MIB = 1024 * 1024


class TestMoto(StoreTests):
    @pytest.fixture
    def store(self, payloadfs_moto: S3Server) -> Store:
        return open_s3_store(f"s3://{payloadfs_moto.bucket()}/some/path", payloadfs_moto.storage_options())


@pytest.mark.s3
class TestSeaweedFSThroughObstore(StoreTests):
    @pytest.fixture
    def store(self, payloadfs_seaweedfs: S3Server) -> Store:
        return open_s3_store(f"s3://{payloadfs_seaweedfs.bucket()}/p", payloadfs_seaweedfs.storage_options(), "obstore")


class TestMotoThroughObstore(StoreTests):
    @pytest.fixture
    def store(self, payloadfs_moto: S3Server) -> Store:
        return open_s3_store(f"s3://{payloadfs_moto.bucket()}", payloadfs_moto.storage_options(), "obstore")


@pytest.mark.s3
class TestSeaweedFS(StoreTests):
    @pytest.fixture
    def store(self, payloadfs_seaweedfs: S3Server) -> Store:
        return open_s3_store(f"s3://{payloadfs_seaweedfs.bucket()}", payloadfs_seaweedfs.storage_options())


@pytest.fixture
def store(payloadfs_moto: S3Server) -> S3Store:
    return open_s3_store(f"s3://{payloadfs_moto.bucket()}", payloadfs_moto.storage_options())


def test_it_is_a_store(store: S3Store) -> None:
    assert isinstance(store, Store)


def test_secrets_show_neither_in_repr_nor_in_errors(payloadfs_moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_s3_store(f"s3://{payloadfs_moto.bucket()}", payloadfs_moto.storage_options())
    assert payloadfs_moto.secret not in repr(store)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(f"wrong: {payloadfs_moto.secret}")

    monkeypatch.setattr(store._through_s3fs.filesystem(), "_call_s3", fail)
    with pytest.raises(StoreError) as caught:
        store.info("a.bin")
    assert payloadfs_moto.secret not in str(caught.value)


@pytest.mark.parametrize("transport", ["fsspec", "obstore"])
def test_ordinary_aws_variables_are_enough(
    payloadfs_moto: S3Server, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    for name, value in payloadfs_moto.environment().items():
        monkeypatch.setenv(name, value)
    store = open_s3_store(f"s3://{payloadfs_moto.bucket()}", None, transport)
    store.put("a.bin", PiecesBody([b"a"]))
    assert bytes(store.get("a.bin", 1).buffer) == b"a"


@pytest.mark.parametrize("transport", ["fsspec", "obstore"])
def test_no_credentials(
    payloadfs_moto: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, transport: str
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = open_s3_store("s3://bucket", {"endpoint_url": payloadfs_moto.endpoint_url}, transport)
    for attempt in (
        lambda: store.get("a.bin", 1),
        lambda: store.put("a.bin", PiecesBody([b"a"])),
        lambda: store.put("a.bin", PiecesBody([bytes(2 * MIB)])),
        lambda: store.info("a.bin"),
    ):
        with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID") as caught:
            attempt()
        assert caught.value.kind == "no-credentials"


def test_without_s3fs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match=r"pip install 'payloadfs\[s3\]'"):
        open_s3_store("s3://bucket")


def test_options_of_the_user_win() -> None:
    store = open_s3_store("s3://bucket", {"config_kwargs": {"read_timeout": 3}, "use_listings_cache": True})
    filesystem = store._through_s3fs.filesystem()
    assert filesystem.config_kwargs["read_timeout"] == 3
    assert filesystem.config_kwargs["connect_timeout"] == 5
    assert filesystem.dircache.use_listings_cache is False


def test_a_listing_of_several_pages(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"run/{number:02}.bin" for number in range(7)]
    for key in keys:
        store.put(key, PiecesBody([b"x"]))
    call = store._calls.call
    monkeypatch.setattr(store._calls, "call", lambda *names, **arguments: call(*names, **{**arguments, "MaxKeys": 3}))
    assert [info.key for info in store.list("run/")] == keys


def _get_in_child(store: S3Store, answers: Any) -> None:
    answers.put(bytes(store.get("a.bin", 6).buffer))


@pytest.mark.skipif(sys.platform == "darwin", reason="fork is unsafe there")
def test_after_a_fork(store: S3Store) -> None:
    store.put("a.bin", PiecesBody([b"before"]))
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=_get_in_child, args=(store, answers))
    child.start()
    assert answers.get(timeout=30) == b"before"
    child.join(30)
    assert child.exitcode == 0
    answers.close()
    answers.join_thread()
    assert bytes(store.get("a.bin", 6).buffer) == b"before"


def test_the_same_bytes_again_are_a_success(store: S3Store) -> None:
    for pieces in ([b"same"], [b"x" * MIB] * 33):
        key = f"{len(pieces)}.bin"
        store.put(key, PiecesBody(pieces))
        store.put(key, PiecesBody(pieces))
        for others in ([*pieces[:-1], b"y" * len(pieces[-1])], [*pieces, b"z"], pieces[:-1]):
            with pytest.raises(StoreError) as caught:
                store.put(key, PiecesBody(others))
            assert caught.value.kind == "exists"
        size_bytes = sum(map(len, pieces))
        assert bytes(store.get(key, size_bytes).buffer) == b"".join(pieces)


class _Answers:
    """Stands for s3fs's `_call_s3`: for some calls it raises what is planned, before or after the real call."""

    def __init__(self, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real = store._through_s3fs.filesystem()._call_s3
        self.before: dict[str, list[Exception]] = {}
        self.after: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        monkeypatch.setattr(store._through_s3fs.filesystem(), "_call_s3", self)

    async def __call__(self, method: str, **arguments: Any) -> Any:
        self.calls.append(method)
        if self.before.get(method):
            raise self.before[method].pop(0)
        answer = await self.real(method, **arguments)
        if self.after.get(method):
            raise self.after[method].pop(0)
        return answer


def _answer(code: str, status: int) -> OSError:
    from botocore.exceptions import ClientError

    answer = {"Error": {"Code": code, "Message": "so it is"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = OSError("flattened")
    error.__cause__ = ClientError(answer, "Operation")
    return error


@pytest.fixture
def answers(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> _Answers:
    monkeypatch.setattr("payloadfs.stores._s3._s3fs.PAUSES_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr("payloadfs.stores._create.PAUSES_S", (0.01, 0.01, 0.01))
    return _Answers(store, monkeypatch)


def test_a_conflict_is_tried_again(store: S3Store, answers: _Answers) -> None:
    answers.before["put_object"] = [_answer("ConditionalRequestConflict", 409)]
    store.put("a.bin", PiecesBody([b"a"]))
    assert answers.calls == ["put_object"] * 2
    answers.before["put_object"] = [_answer("ConditionalRequestConflict", 409) for _ in range(9)]
    with pytest.raises(StoreError) as caught:
        store.put("b.bin", PiecesBody([b"a"]))
    assert (caught.value.kind, caught.value.transient) == ("conflict", True)
    assert len(answers.before["put_object"]) == 5


@pytest.mark.parametrize("size_bytes", [1, 17 * MIB])
def test_a_busy_server_is_asked_again(store: S3Store, answers: _Answers, size_bytes: int) -> None:
    for method in ("put_object", "upload_part", "get_object"):
        answers.before[method] = [_answer("SlowDown", 503)]
    pieces = [os.urandom(size_bytes)]
    store.put("a.bin", PiecesBody(pieces))
    assert store.get("a.bin", size_bytes).buffer == pieces[0]
    answers.before["get_object"] = [_answer("InternalError", 500) for _ in range(99)]
    with pytest.raises(StoreError) as caught:
        store.get("a.bin", size_bytes)
    assert (caught.value.kind, caught.value.transient) == ("busy", True)


def test_a_lost_answer_to_our_own_create(store: S3Store, answers: _Answers) -> None:
    answers.after["put_object"] = [_answer("PreconditionFailed", 412)]
    store.put("small.bin", PiecesBody([b"a"]))
    for code, status in (("PreconditionFailed", 412), ("NoSuchUpload", 404)):
        answers.after["complete_multipart_upload"] = [_answer(code, status)]
        store.put(f"{status}.bin", PiecesBody([b"a" * MIB] * 17))
    answers.before["complete_multipart_upload"] = [_answer("NoSuchUpload", 404)]
    with pytest.raises(StoreError) as caught:
        store.put("lost.bin", PiecesBody([b"a" * MIB] * 17))
    assert caught.value.kind == "upload-gone"


def test_an_upload_that_can_not_be_aborted_is_told(store: S3Store, answers: _Answers) -> None:
    answers.before["upload_part"] = [_answer("AccessDenied", 403)]
    answers.before["abort_multipart_upload"] = [_answer("AccessDenied", 403)]
    with pytest.raises(StoreError) as caught:
        store.put("a.bin", PiecesBody([b"a" * MIB] * 17))
    assert caught.value.kind == "denied"
    assert "could not be aborted" in "".join(pickle.loads(pickle.dumps(caught.value)).__notes__)


def test_an_interrupt_of_a_waiting_put_stops_it(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio
    import signal
    import threading

    ended = threading.Event()

    async def hang(*_: Any, **__: Any) -> None:
        try:
            await asyncio.sleep(0.3)
            # A real signal: it ends the main thread's wait, which interrupt_main would not.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            ended.set()

    # Test runners that work in parallel ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(store._through_s3fs.filesystem(), "_call_s3", hang)
            with pytest.raises(KeyboardInterrupt):
                store.put("a.bin", PiecesBody([b"a"]))
            assert ended.is_set()
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(NotFoundError):
        store.info("a.bin")
