"""Local files: names that reach the disk, file systems without links or without /proc, folders of a group."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from payloadfs import Key, KeyRing
from payloadfs.errors import StoreError
from payloadfs.signing import write_keys
from payloadfs.stores import Store, open_store
from payloadfs.testing import PiecesBody, StoreTests, disk_fault


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of folders and files in the order in which they were synced."""
    paths: list[str] = []
    real = os.fsync

    def fsync(file: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{file}"))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_every_new_name_is_synced(tmp_path: Path, synced: list[str]) -> None:
    root = tmp_path / "a" / "b" / "root"
    open_store(f"file://{root}").put("x/y/1.bin", PiecesBody([b"1"]))
    folders = [str(tmp_path), f"{tmp_path}/a", f"{tmp_path}/a/b", str(root), f"{root}/x", f"{root}/x/y"]
    assert set(folders) <= set(synced)
    # The object's own name comes last.
    assert synced[-1] == f"{root}/x/y"


def test_names_of_other_writers_are_synced_too(tmp_path: Path, synced: list[str]) -> None:
    """They may have been killed before they could, or do without."""
    root = tmp_path / "root"
    open_store(f"file://{root}", fsync=False).put("x/y/1.bin", PiecesBody([b"1"]))
    assert synced == []
    store = open_store(f"file://{root}")
    store.put("x/y/2.bin", PiecesBody([b"2"]))
    assert {str(tmp_path), str(root), f"{root}/x", f"{root}/x/y"} <= set(synced)
    synced.clear()
    store.put("x/y/3.bin", PiecesBody([b"3"]))
    # Once is enough: now only the object and its folder.
    assert len(synced) == 2
    assert synced[1] == f"{root}/x/y"


def test_a_folder_that_was_deleted_and_created_again_is_synced(tmp_path: Path, synced: list[str]) -> None:
    """It may have the same inode."""
    store = open_store(f"file://{tmp_path}/root")
    for number in range(2):
        synced.clear()
        store.put(f"x/{number}.bin", PiecesBody([b"1"]))
        assert f"{tmp_path}/root" in synced
        store.delete(f"x/{number}.bin")
        os.rmdir(tmp_path / "root" / "x")


def test_the_memory_of_synced_folders_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payloadfs.stores._local._MAX_DURABLE", 3)
    store = open_store(f"file://{tmp_path}/root")
    for number in range(10):
        store.put(f"{number}/1.bin", PiecesBody([b"1"]))
    assert len(store._durable) <= 3  # type: ignore[attr-defined]


def test_a_save_that_fails_after_the_link_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/root")
    store.put("x/1.bin", PiecesBody([b"1"]))
    with disk_fault("fsync", errno.EIO, times=None, matching=lambda file: stat.S_ISDIR(os.fstat(file).st_mode)):
        with pytest.raises(StoreError):
            store.put("x/2.bin", PiecesBody([b"2"]))
        assert [info.key for info in store.list()] == ["x/1.bin"]
        with (
            disk_fault("unlink", errno.EIO, times=None),
            pytest.raises(StoreError, match="was created") as caught,
        ):
            store.put("x/3.bin", PiecesBody([b"3"]))
    assert caught.value.kind == "not-durable"


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def no_links(request: pytest.FixtureRequest) -> Iterator[None]:
    with disk_fault("link", request.param, times=None):
        yield


@pytest.mark.usefixtures("no_links")
class TestWithoutLinks(StoreTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        yield open_store(f"file://{tmp_path}/root", fsync=False)
        assert [path for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


@pytest.mark.usefixtures("no_links")
def test_keys_are_written_without_links(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", KeyRing([Key(b"k" * 32)]), replace=False)
    assert os.listdir(tmp_path) == ["keys"]


@pytest.mark.usefixtures("no_links")
def test_without_links_and_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    store = open_store(f"file://{tmp_path}/root", fsync=False)
    store.put("1.bin", PiecesBody([b"1"]))
    with pytest.raises(StoreError) as caught:
        store.put("1.bin", PiecesBody([b"2"]))
    assert caught.value.kind == "exists"


def test_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith("/proc") and real(path))
    store = open_store(f"file://{tmp_path}/root", fsync=False)
    links: list[str] = []
    link = os.link
    monkeypatch.setattr(os, "link", lambda source, *a, **k: (links.append(source), link(source, *a, **k)))
    store.put("1.bin", PiecesBody([b"1"]))
    assert bytes(store.get("1.bin", 1).buffer) == b"1"
    assert not links[0].startswith("/proc")


@pytest.mark.parametrize(
    ("mode", "umask", "folder_mode", "file_mode"),
    [
        (0o2775, 0o002, 0o2770, 0o640),
        (0o2770, 0o022, 0o2750, 0o640),
        (0o2755, 0o002, 0o2750, 0o640),
        (0o2775, 0o077, 0o2700, 0o600),
        (0o775, 0o002, 0o700, 0o600),
        (0o700, 0o002, 0o700, 0o600),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_folders_of_a_group(
    tmp_path: Path,
    mode: int,
    umask: int,
    folder_mode: int,
    file_mode: int,
    named: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if named:
        monkeypatch.setattr("payloadfs.stores._local._UNNAMED", None)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    before = os.umask(umask)
    try:
        for root in (shared, shared / "root"):
            open_store(f"file://{root}").put("2026/x/1.bin", PiecesBody([b"1"]))
    finally:
        os.umask(before)
    for root in (shared, shared / "root"):
        for folder in (root / "2026", root / "2026" / "x"):
            assert stat.S_IMODE(folder.stat().st_mode) == folder_mode, folder
        assert stat.S_IMODE((root / "2026" / "x" / "1.bin").stat().st_mode) == file_mode
    assert stat.S_IMODE((shared / "root").stat().st_mode) == folder_mode


def test_many_writers_without_links(tmp_path: Path, no_links: None) -> None:
    """Exactly one of them creates the object, and it is whole whenever it is visible."""
    stores = [open_store(f"file://{tmp_path}/root", fsync=False) for _ in range(8)]
    for turn in range(20):
        start = threading.Barrier(8)

        def put(number: int, turn: int = turn, start: threading.Barrier = start) -> str:
            start.wait()
            try:
                stores[number].put(f"{turn}.bin", PiecesBody([bytes([number]) * 100_000]))
            except StoreError as error:
                return error.kind
            return "won"

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(put, range(8))) == ["exists"] * 7 + ["won"]
        content = bytes(stores[0].get(f"{turn}.bin", 100_000).buffer)
        assert len(set(content)) == 1
