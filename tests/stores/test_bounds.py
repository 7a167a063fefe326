"""What a store does when a library panics, a pointer lies about a size, or a writer nests folders without end."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from payloadfs import BatchError, IntegrityError, NotFoundError, PayloadError, Repository, StoreError, aio
from payloadfs._urls import canonical_root
from payloadfs.cli import main
from payloadfs.stores import OpenStores, Store, open_store
from payloadfs.stores._fsspec import FsspecStore, open_fsspec_store
from payloadfs.stores._local import LocalStore
from payloadfs.testing import PiecesBody
from payloadfs.testing.servers import S3Server

from .answering import Answering, give, part

MIB = 1024 * 1024


class Panic(BaseException):
    """As ``pyo3_runtime.PanicException``, which Rust libraries raise."""


INTERRUPTS = [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError()]
OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "put": lambda store: store.put("run/new.bin", PiecesBody([b"new"])),
    "get": lambda store: store.get("run/a.bin", 1),
    "get large": lambda store: store.get("run/a.bin", 3 * MIB),
    "info": lambda store: store.info("run/a.bin"),
    "delete": lambda store: store.delete("run/a.bin"),
    "list": lambda store: list(store.list()),
}


@pytest.fixture
def server() -> Iterator[Answering]:
    server = Answering()
    yield server
    server.close()


def obstore_with(error: BaseException, patch: pytest.MonkeyPatch) -> Store:
    import obstore

    def fail(*_: Any, **__: Any) -> None:
        raise error

    for name in ("put", "get", "get_range", "head", "delete", "list"):
        patch.setattr(obstore, name, fail)
    patch.setattr("botocore.client.BaseClient._make_api_call", fail)
    return open_store("s3://bucket", S3Server("http://127.0.0.1:9").storage_options(), transport="obstore")


def fsspec_with(error: BaseException, patch: pytest.MonkeyPatch, *, atomic: bool) -> Store:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    filesystem = LocalFileSystem(skip_instance_cache=True)
    filesystem.protocol = "memory" if atomic else "file"
    for name in ("pipe_file", "cat_file", "open", "info", "rm_file", "ls", "makedirs", "mv"):
        patch.setattr(filesystem, name, fail)
    return FsspecStore("sftp://host/objects", lambda: (filesystem, "/objects"))


STORES: dict[str, Callable[[BaseException, pytest.MonkeyPatch], Store]] = {
    "obstore": obstore_with,
    "fsspec, atomic": lambda error, patch: fsspec_with(error, patch, atomic=True),
    "fsspec, staged": lambda error, patch: fsspec_with(error, patch, atomic=False),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", STORES)
def test_whatever_a_library_raises_is_one_error(kind: str, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [Panic("index out of bounds"), MemoryError(), RecursionError("too deep"), KeyError("name")]
    for error in errors:
        with monkeypatch.context() as patch, pytest.raises(StoreError) as caught:
            OPERATIONS[operation](STORES[kind](error, patch))
        assert caught.value.__cause__ is error
        assert caught.value.kind == ("panic" if isinstance(error, Panic) else "store")
        assert type(error).__name__ in caught.value.message


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", STORES)
def test_interrupts_pass(kind: str, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in INTERRUPTS:
        with monkeypatch.context() as patch, pytest.raises(type(error)) as caught:
            OPERATIONS[operation](STORES[kind](error, patch))
        assert caught.value is error


def test_odd_entries_of_a_file_system_are_an_error_of_the_store(tmp_path: Path) -> None:
    filesystem: Any = LocalFileSystem(skip_instance_cache=True)
    store = FsspecStore("sftp://host/objects", lambda: (filesystem, str(tmp_path)))
    for entry in ({}, {"name": f"{tmp_path}/a"}, {"name": f"{tmp_path}/a", "type": "file", "size": None}):
        filesystem.ls, filesystem.info = (lambda *_, entry=entry, **__: [entry]), (lambda *_, entry=entry, **__: entry)
        with pytest.raises(StoreError):
            list(store.list())
        with pytest.raises(StoreError):
            store.info("a")


class Panicking(Repository):
    """A repository whose load panics for one pointer."""

    def load(self, pointer: Any, *, view: bool = False, context: str | None = None) -> Any:
        value = super().load(pointer, view=view, context=context)
        if value == 1:
            raise Panic("in the library")
        return value


def test_a_panic_fails_one_object_of_a_batch(tmp_path: Path) -> None:
    repository = Panicking(tmp_path)
    pointers = repository.save_many(range(4))
    with pytest.raises(BatchError, match="Panic: in the library") as caught:
        repository.load_many(pointers)
    assert caught.value.done == {0: 0, 2: 2, 3: 3}
    assert caught.value.failed[1].kind == "panic"  # type: ignore[attr-defined]
    with pytest.raises(BatchError):
        asyncio.run(aio.load_many(pointers, repository=repository))
    with pytest.raises(PayloadError) as single:
        asyncio.run(aio.load(pointers[1], repository=repository))
    assert single.value.kind == "panic"


def test_a_panic_is_one_line_at_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise Panic("in the library")

    monkeypatch.setattr(Repository, "list", fail)
    assert main(["ls"]) == 1
    assert capsys.readouterr().err == "payloadfs: A library failed unexpectedly: Panic: in the library\n"
    monkeypatch.setattr(Repository, "list", lambda *_: sys.exit(9))
    with pytest.raises(SystemExit):
        main(["ls"])


LIES = [2 * MIB, 300 * MIB, 2**40, 2**53 - 1]


def lie_stores(server: Answering, tmp_path: Path) -> dict[str, Store]:
    """Return stores with an object ``a.bin`` of 10 bytes."""

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if verb == "HEAD":
            give(client, 200, b"", 10, Last_Modified="Wed, 12 Oct 2022 17:50:00 GMT", Accept_Ranges="bytes")
        elif wanted and int(wanted.removeprefix("bytes=").split("-")[0]) >= 10:
            give(client, 416, b"<Error><Code>InvalidRange</Code></Error>")
        else:
            part(client, wanted, b"0123456789")

    server.answer = answer
    options = S3Server(server.endpoint_url).storage_options()
    memory = open_fsspec_store(f"memory://{uuid.uuid4().hex}")
    memory.put("a.bin", PiecesBody([b"0123456789"]))
    (tmp_path / "a.bin").write_bytes(b"0123456789")
    filesystem = LocalFileSystem(skip_instance_cache=True)
    return {
        "obstore": open_store("s3://bucket", options, transport="obstore"),
        "s3fs": open_store("s3://bucket", options, transport="fsspec"),
        "http": open_fsspec_store(server.endpoint_url),
        "memory": memory,
        "staged": FsspecStore("sftp://host/x", lambda: (filesystem, str(tmp_path))),
    }


def test_a_lie_about_a_size_is_an_integrity_error_and_costs_no_memory(
    server: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = lie_stores(server, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    allocated: list[int] = []
    allocate = sys.modules["payloadfs.stores._ranges"].private_memory
    monkeypatch.setattr(
        "payloadfs.stores._ranges.private_memory", lambda size: allocated.append(size) or allocate(size)
    )
    for name, store in stores.items():
        for size_bytes in LIES:
            server.seen.clear()
            with pytest.raises(IntegrityError) as caught:
                store.get("a.bin", size_bytes)
            assert caught.value.kind == "size", name
            assert len(server.seen) <= 1, (name, size_bytes, server.seen)
    # A staged file is read from its start, so up to 256 MiB its memory, which nothing fills, comes first.
    assert [size for size in allocated if size > 2 * MIB] == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_a_server_that_confirms_the_lie(server: Answering) -> None:
    """There is no such memory: one error, inside the tree."""
    size_bytes = 2**53 - 1

    def answer(client: socket.socket, verb: str, target: str, wanted: str) -> None:
        if verb == "HEAD":
            give(client, 200, b"", size_bytes, Last_Modified="Wed, 12 Oct 2022 17:50:00 GMT")
            return
        start, stop = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        give(client, 206, b"x" * (stop - start + 1), Content_Range=f"bytes {start}-{stop}/{size_bytes}")

    server.answer = answer
    options = S3Server(server.endpoint_url).storage_options()
    for transport in ("obstore", "fsspec"):
        store = open_store("s3://bucket", options, transport=transport)
        with pytest.raises(StoreError, match="Cannot allocate memory"):
            store.get("a.bin", size_bytes)


def test_a_lie_through_the_repository(server: Answering, tmp_path: Path) -> None:
    for store in lie_stores(server, tmp_path).values():
        repository = Repository("memory://lies")
        pointer = repository.save(b"x" * 1000)
        lie = pointer.replaced(key="a.bin", size_bytes=2**53 - 1).signed(repository.keys)
        repository._stores[os.getpid()]._own = store
        for attempt in (repository.load, repository.read):
            with pytest.raises(PayloadError):
                attempt(lie)
        with pytest.raises(BatchError):
            repository.load_many([lie, lie])


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with 1,200 folders within one another, each with a file."""
    nest(tmp_path / "runs", 1200)
    yield tmp_path
    # What pytest itself removes folders with is recursive.
    subprocess.run(["rm", "-r", str(tmp_path / "runs")], check=True)


def nest(folder: Path, depth: int) -> None:
    folder.mkdir()
    opened = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("n", 0o700, dir_fd=opened)
        inner = os.open("n", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = inner
        os.close(os.open("f", os.O_CREAT, 0o600, dir_fd=opened))
    os.close(opened)


def test_nested_folders_are_listed_without_recursion(nested: Path) -> None:
    tmp_path, filesystem = nested, LocalFileSystem(skip_instance_cache=True)
    stores: list[Store] = [
        open_store(canonical_root(tmp_path)),
        FsspecStore("sftp://host/x", lambda: (filesystem, str(tmp_path))),
    ]
    keys = sorted("runs/" + "n/" * depth + "f" for depth in range(1, 1200))
    for store in stores:
        # No key has more than 512 characters, so what is deeper is not an object.
        assert [info.key for info in store.list()] == [key for key in keys if len(key) <= 512]
    repository = Repository(tmp_path)
    assert len(list(repository.list())) == len(list(stores[0].list()))
    assert main(["ls", "--url", str(tmp_path)]) == main(["runs", "--store", str(tmp_path)]) == 0


def test_many_folders_are_listed_in_order_with_few_descriptors(tmp_path: Path) -> None:
    for number in range(1500):
        (tmp_path / f"run-{number}").mkdir()
        (tmp_path / f"run-{number}" / "a").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").touch()
    store = open_store(canonical_root(tmp_path))
    before = descriptors()
    listing, keys = store.list(), []
    for info in listing:
        keys.append(info.key)
        assert len(os.listdir("/proc/self/fd")) <= before + 3
    assert keys == sorted(keys)
    assert len(keys) == 1501
    del listing
    assert descriptors() == before + 1


def test_what_is_deleted_during_a_listing_is_left_out(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1", "c/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = open_store(canonical_root(tmp_path)).list()
    assert next(listing).key == "a/1"
    (tmp_path / "a/2").unlink()
    (tmp_path / "b/1").unlink()
    (tmp_path / "b").rmdir()
    assert [info.key for info in listing] == ["c/1"]


@pytest.mark.parametrize("target", ["other folder", "same folder", "nothing"])
def test_every_operation_refuses_a_root_that_was_replaced_by_a_link(tmp_path: Path, target: str) -> None:
    folder, aside = tmp_path / "objects", tmp_path / "aside"
    stores = [open_store(canonical_root(folder)) for _ in range(2)]
    stores[0].put("run/a.bin", PiecesBody([b"a"]))
    folder.rename(aside)
    evil = {"other folder": tmp_path / "evil", "same folder": aside, "nothing": tmp_path / "none"}[target]
    if target == "other folder":
        (evil / "run").mkdir(parents=True)
        (evil / "run/a.bin").write_bytes(b"a")
    folder.symlink_to(evil)
    # The first store has opened the folder before.
    for number, store in enumerate(stores):
        for name, operation in OPERATIONS.items():
            with pytest.raises(StoreError) as caught:
                operation(store)
            assert caught.value.kind == "link", (name, number)
    assert (aside / "run/a.bin").read_bytes() == b"a"


def test_a_folder_that_becomes_a_link_during_a_listing_is_not_followed(tmp_path: Path) -> None:
    objects, evil = tmp_path / "objects", tmp_path / "evil"
    for name in ("a/1", "b/1"):
        (objects / name).parent.mkdir(parents=True, exist_ok=True)
        (objects / name).touch()
    evil.mkdir()
    (evil / "secret").touch()
    listing = open_store(canonical_root(objects)).list()
    assert next(listing).key == "a/1"
    (objects / "b/1").unlink()
    (objects / "b").rmdir()
    (objects / "b").symlink_to(evil)
    with pytest.raises(StoreError) as caught:
        list(listing)
    assert caught.value.kind == "link"


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_pointers_to_many_roots_cause_few_descriptors(tmp_path: Path) -> None:
    pointers = [Repository(tmp_path / str(number)).save(number) for number in range(100)]
    reader = Repository(tmp_path / "own", allowed_roots=[tmp_path])
    own = reader.save("own")
    before = descriptors()
    assert reader.load_many(pointers) == list(range(100))
    assert descriptors() <= before + 32
    assert reader.load(pointers[0]) == 0
    assert reader.load(own) == "own"
    for number in range(300):
        missing = pointers[0].replaced(root=canonical_root(tmp_path / f"none/{number}")).signed(reader.keys)
        with pytest.raises(NotFoundError):
            reader.load(missing)
    assert descriptors() <= before + 32
    stores = reader._stores[os.getpid()]
    assert len(stores._others) == 32
    assert not any("none" in root for root in stores._others)


def test_a_store_that_is_dropped_stays_open_for_who_uses_it(tmp_path: Path) -> None:
    """Threads use each store while others open a hundred more."""
    roots = [canonical_root(tmp_path / str(number)) for number in range(100)]
    for number, root in enumerate(roots):
        open_store(root).put("a.bin", PiecesBody([str(number).encode() * 200_000]))
    stores, before = OpenStores("memory://own"), descriptors()
    start = threading.Barrier(4)

    def use(first: int) -> None:
        start.wait()
        for turn in range(200):
            number = (first * 25 + turn * 7) % 100
            store = stores.get(roots[number], lambda root=roots[number]: LocalStore(root))  # type: ignore[misc]
            content = str(number).encode() * 200_000
            assert store.get("a.bin", len(content)).buffer == content

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(4)))
    assert descriptors() <= before + 32
    opened = stores.get(roots[0], lambda: LocalStore(roots[0]))
    assert stores.get(roots[0], lambda: pytest.fail("opened again")) is opened
