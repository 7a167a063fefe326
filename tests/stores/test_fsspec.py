"""The fsspec store: in memory (one atomic call), in a folder (staged, then moved), and its errors."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from payloadfs.errors import ConfigError, StoreError
from payloadfs.stores._base import Store
from payloadfs.stores._errors import ErrorTranslator
from payloadfs.stores._fsspec import FsspecStore, open_fsspec_store
from payloadfs.testing import PiecesBody, StoreTests


class TestMemory(StoreTests):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        root = f"memory://{uuid.uuid4().hex}/objects"
        yield open_fsspec_store(root)
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]

    def make_another(self, store: Store) -> Store:
        return open_fsspec_store(store.root)


class TestFolder(StoreTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return folder_store(tmp_path)

    def make_another(self, store: Store) -> Store:
        return folder_store(Path(store.root.removeprefix("file://")))

    @pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt()])
    def test_no_staged_file_is_left(self, store: Store, tmp_path: Path, error: BaseException) -> None:
        class Body(PiecesBody):
            def __iter__(self) -> Iterator[memoryview]:
                yield from super().__iter__()
                raise error

        with pytest.raises(type(error)):
            store.put("run/1.bin", Body([b"half"]))
        with pytest.raises(StoreError):
            store.put("run/1.bin", PiecesBody([b"half"], 100))
        store.put("run/1.bin", PiecesBody([b"whole"]))
        with pytest.raises(StoreError):
            store.put("run/1.bin", PiecesBody([b"other"]))
        assert os.listdir(tmp_path / ".staging") == []

    def test_objects_of_other_programs_are_visible_immediately(self, store: Store, tmp_path: Path) -> None:
        store.put("run/1.bin", PiecesBody([b"one"]))
        assert [info.key for info in store.list("run/")] == ["run/1.bin"]
        (tmp_path / "run" / "2.bin").write_bytes(b"two")
        assert [info.key for info in store.list("run/")] == ["run/1.bin", "run/2.bin"]

    def test_denied(self, store: FsspecStore, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(store._filesystem(), "open", refuse)
        with pytest.raises(StoreError) as caught:
            store.get("run/1.bin", 3)
        assert caught.value.kind == "denied"
        assert isinstance(caught.value.__cause__, PermissionError)


def folder_store(folder: Path) -> FsspecStore:
    return FsspecStore(folder.as_uri(), lambda: (LocalFileSystem(skip_instance_cache=True), str(folder)))


def test_it_is_a_store_and_refuses_to_be_pickled(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    assert isinstance(store, Store)
    with pytest.raises(TypeError, match="credentials"):
        pickle.dumps(store)


def test_a_new_file_system_after_a_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = folder_store(tmp_path)
    before = store._filesystem()
    assert store._filesystem() is before
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    after = store._filesystem()
    assert after is not before
    assert store._filesystem() is after


def test_unknown_scheme() -> None:
    with pytest.raises(ConfigError, match="the scheme 'nosuch' is not known"):
        open_fsspec_store("nosuch://place/path")
    with pytest.raises(ConfigError, match="a storage option for github:// is not valid"):
        open_fsspec_store("github://place", {"nosuch": 1})


def test_a_file_system_that_cannot_write() -> None:
    with pytest.raises(StoreError, match="the file system does not support the request") as caught:
        open_fsspec_store("http://127.0.0.1:1/path").put("key", PiecesBody([b"x"]))
    assert caught.value.kind == "unsupported"


def test_missing_package() -> None:
    with pytest.raises(ConfigError, match="gcsfs"):
        open_fsspec_store("gs://bucket/path")


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("login failed for password1234", "login failed for ***"),
        ("at http://me:pw@host/x", "at http://***@host/x"),
        ("GET http://host/x?X-Amz-Signature=abcdef&b=1", "X-Amz-Signature=***&b=1"),
        ("nested-token-1", "***"),
        ("region eu-west-1", "eu-west-1"),
    ],
)
def test_messages_hold_no_secrets(words: str, kept: str) -> None:
    options = {"secret": "password1234", "client_kwargs": {"region_name": "eu-west-1", "t": [b"nested-token-1"]}}
    error = ErrorTranslator("s3://b", options).translate(OSError(words), "get", "k")
    assert kept in str(error)
    assert not {"password1234", "me:pw", "abcdef", "nested-token-1"} & set(str(error).replace("=", " ").split())


@pytest.mark.parametrize(
    ("error", "transient"),
    [(ConnectionResetError(), True), (TimeoutError(), True), (OSError(28, "No space left"), False)],
)
def test_transient(error: Exception, transient: bool) -> None:
    ours = ErrorTranslator("x://y", {}).translate(error, "put", "k")
    assert isinstance(ours, StoreError)
    assert ours.transient is transient
