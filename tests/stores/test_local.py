"""The local store: the conformance kit, and what is specific to folders."""

import contextlib
import errno
import gc
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from payloadfs._buffers import CHUNK_BYTES, FileMapping
from payloadfs._seal import Encoded, Outgoing
from payloadfs._urls import canonical_root
from payloadfs.errors import NotFoundError, StoreError
from payloadfs.stores import _local, open_store
from payloadfs.testing import PiecesBody, StoreTests, disk_fault

LARGE = 300_000


class TestLocal(StoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        return open_store(canonical_root(tmp_path / "objects"))

    def make_another(self, store):
        return open_store(store.root)


class TestLocalWithoutUnnamedFiles(TestLocal):
    """As on NFS and macOS: objects are written under a temporary name, then linked."""

    @pytest.fixture(autouse=True)
    def no_unnamed_files(self, monkeypatch):
        monkeypatch.setattr(_local, "_UNNAMED", None)


class TestLocalWithoutFsync(TestLocal):
    @pytest.fixture
    def store(self, tmp_path):
        return open_store(canonical_root(tmp_path / "objects"), fsync=False)


class TestMemory(StoreTests):
    @pytest.fixture
    def store(self):
        # Roots of a process share their objects, and an id() comes again once its object is gone.
        return open_store(f"memory://kit-{uuid.uuid4().hex}")

    def make_another(self, store):
        return open_store(store.root)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "objects"


@pytest.fixture
def store(folder):
    return open_store(canonical_root(folder))


def put(store, key="run/a.bin", content=b"x" * LARGE):
    store.put(key, PiecesBody([content]))
    return key


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_other_users_cannot_read_or_list(store, folder, umask):
    before = os.umask(umask)
    try:
        put(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "run/a.bin").stat().st_mode) == 0o600


def test_private_files_are_mapped_and_owner_only(store):
    fetched = store.get(put(store), LARGE)
    assert fetched.owner_only
    assert isinstance(fetched.buffer.obj, FileMapping)


@pytest.mark.parametrize("what", ["folder", "scope", "file"])
def test_what_other_users_can_write_is_not_mapped_or_trusted(store, folder, what):
    put(store)
    {"folder": folder, "scope": folder / "run", "file": folder / "run/a.bin"}[what].chmod(0o777)
    fetched = store.get("run/a.bin", LARGE)
    assert not fetched.owner_only
    (folder / "run/a.bin").write_bytes(b"")
    assert bytes(fetched.buffer) == b"x" * LARGE  # a mapping would have died of SIGBUS


def test_a_second_name_of_the_file_is_not_trusted(store, folder, tmp_path):
    put(store)
    os.link(folder / "run/a.bin", tmp_path / "other")
    assert not store.get("run/a.bin", LARGE).owner_only


def test_a_folder_below_one_that_other_users_can_write_is_not_trusted(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    store = open_store(canonical_root(tmp_path / "open/objects"))
    assert not store.get(put(store), LARGE).owner_only


def test_a_network_file_system_is_not_mapped(store, folder, monkeypatch):
    put(store)
    monkeypatch.setattr(_local, "file_system_type", lambda path: "nfs4")
    fetched = _local.LocalStore(store.root).get("run/a.bin", LARGE)
    (folder / "run/a.bin").write_bytes(b"")
    assert bytes(fetched.buffer) == b"x" * LARGE


def test_a_planted_link_to_a_file_is_refused(store, folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * LARGE)
    put(store)
    (folder / "run/b.bin").symlink_to(secret)
    with pytest.raises(StoreError) as caught:
        store.get("run/b.bin", LARGE)
    assert caught.value.kind == "link"
    assert [info.key for info in store.list()] == ["run/a.bin"]


def test_a_planted_link_to_a_folder_is_refused(store, folder, tmp_path):
    put(store)
    (tmp_path / "elsewhere").mkdir()
    (folder / "other").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError) as caught:
        put(store, "other/a.bin")
    assert caught.value.kind == "link"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_above_the_root_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    # canonical_root would have resolved it, but the root in a pointer can be any path.
    store = open_store(f"file://{tmp_path}/link/objects".replace("//objects", "/objects"))
    (tmp_path / "real/objects").mkdir()
    with pytest.raises(StoreError) as caught:
        store.get("a.bin", 1)
    assert caught.value.kind == "link"


def test_a_planted_fifo_does_not_hang(store, folder):
    put(store)
    os.mkfifo(folder / "run/fifo.bin")
    with pytest.raises(StoreError) as caught:
        store.get("run/fifo.bin", 1)
    assert caught.value.kind == "not-a-file"


def test_a_root_that_was_replaced_is_opened_again(store, folder, tmp_path):
    put(store, content=b"old" * 100_000)
    folder.rename(tmp_path / "aside")
    with pytest.raises(NotFoundError):
        store.get("run/a.bin", LARGE)
    put(store, content=b"new" * 100_000)
    assert bytes(store.get("run/a.bin", LARGE).buffer[:3]) == b"new"
    assert (tmp_path / "aside/run/a.bin").read_bytes()[:3] == b"old"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_root_that_became_a_link_is_refused(store, folder, tmp_path):
    put(store)
    folder.rename(tmp_path / "aside")
    (tmp_path / "evil").mkdir()
    folder.symlink_to(tmp_path / "evil")
    for attempt in (lambda: store.get("run/a.bin", LARGE), lambda: put(store, "run/b.bin")):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.kind == "link"
    assert list((tmp_path / "evil").iterdir()) == []


def test_a_folder_above_that_became_a_link_is_refused(tmp_path):
    store = open_store(canonical_root(tmp_path / "above/objects"))
    put(store)
    (tmp_path / "above").rename(tmp_path / "aside")
    (tmp_path / "evil/objects").mkdir(parents=True)
    (tmp_path / "above").symlink_to(tmp_path / "evil")
    with pytest.raises(StoreError) as caught:
        store.get("run/a.bin", LARGE)
    assert caught.value.kind == "link"


def test_permissions_of_the_root_are_checked_each_time(store, folder):
    put(store)
    assert store.get("run/a.bin", LARGE).owner_only
    folder.chmod(0o777)
    assert not store.get("run/a.bin", LARGE).owner_only
    folder.chmod(0o700)
    assert store.get("run/a.bin", LARGE).owner_only


def test_a_root_below_an_open_folder_stays_untrusted(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    store = open_store(canonical_root(tmp_path / "open/objects"))
    put(store)
    for _ in range(3):
        assert not store.get("run/a.bin", LARGE).owner_only


def test_no_descriptor_leaks(tmp_path):
    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = count()
    stores = [open_store(canonical_root(tmp_path / str(number))) for number in range(20)]
    for store in stores:
        for turn in range(10):
            put(store, f"run/{turn}.bin", b"x")
            store.get(f"run/{turn}.bin", 1)
            with pytest.raises(NotFoundError):
                store.get("run/none.bin", 1)
            with pytest.raises(NotFoundError):
                store.get("none/none.bin", 1)
    assert count() == before + len(stores)
    for number, store in enumerate(stores):
        (tmp_path / str(number)).rename(tmp_path / f"aside-{number}")
        put(store, "run/a.bin", b"x")
    assert count() == before + len(stores)
    del store
    stores.clear()
    assert count() == before


def test_a_root_that_is_swapped_continuously(store, folder, tmp_path):
    """Each put and get sees one folder or the other, whole; no descriptor is closed under another thread."""
    other = tmp_path / "other"
    for path, letter in ((folder, b"a"), (other, b"b")):
        put(open_store(canonical_root(path)), content=letter * LARGE)
    swapping = threading.Event()

    def swap():
        while not swapping.is_set():
            folder.rename(tmp_path / "middle")
            other.rename(folder)
            (tmp_path / "middle").rename(other)

    def read():
        seen, turns = set(), 0
        # On a busy machine, many turns may all fall between two renames, when there is no folder.
        while turns < 300 or len(seen) < 2:
            turns += 1
            with contextlib.suppress(NotFoundError):
                content = bytes(store.get("run/a.bin", LARGE).buffer)
                assert content in (b"a" * LARGE, b"b" * LARGE)
                seen.add(content[:1])
        return seen

    with ThreadPoolExecutor(5) as pool:
        swapper = pool.submit(swap)
        readers = [pool.submit(read) for _ in range(4)]
        seen = set.union(*(reader.result() for reader in readers))
        swapping.set()
        swapper.result()
    assert seen == {b"a", b"b"}


def test_a_forked_child_uses_the_store(store):
    put(store)
    child = os.fork()
    if not child:
        try:
            put(store, "run/child.bin")
            store._opened = None  # closes the child's descriptor only
            os._exit(store.get("run/a.bin", LARGE).buffer.nbytes != LARGE)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.get("run/child.bin", LARGE).owner_only


def test_a_store_can_be_pickled(store):
    put(store)
    copy = pickle.loads(pickle.dumps(store))
    assert copy.get("run/a.bin", LARGE).owner_only


@pytest.mark.parametrize("failing", ["write", "fsync", "link", "fallocate"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("unnamed", [True, False])
def test_a_failing_disk_leaves_nothing(store, folder, monkeypatch, failing, number, unnamed):
    put(store, "run/before.bin")
    if not unnamed:
        monkeypatch.setattr(_local, "_UNNAMED", None)
    with disk_fault(failing, number), pytest.raises(StoreError) as caught:
        put(store, content=b"x" * 2_000_000)
    assert caught.value.transient is (number in (errno.ENOSPC, errno.EDQUOT))
    assert os.strerror(number) in str(caught.value)
    assert sorted(path.name for path in (folder / "run").iterdir()) == ["before.bin"]
    put(store, content=b"x" * 2_000_000)  # the key can be used again


def test_space_is_reserved_only_where_the_system_can_do_it(store, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    put(store, content=b"x" * 2_000_000)
    assert store.info("run/a.bin").size_bytes == 2_000_000


def test_small_pieces_are_written_in_few_calls(store, monkeypatch):
    calls, real = [], os.writev
    monkeypatch.setattr(_local.os, "writev", lambda file, pieces: calls.append(len(pieces)) or real(file, pieces))
    small = [bytes([number % 256]) * 700 for number in range(3000)]
    put_pieces = [*small, b"z" * 1_000_000, *small]
    store.put("run/a.bin", PiecesBody(put_pieces))
    whole = b"".join(put_pieces)
    assert bytes(store.get("run/a.bin", len(whole)).buffer) == whole
    assert len(calls) < 10


@pytest.mark.parametrize("most_bytes", [7, 1000, 70_000])
def test_a_short_write_is_continued(store, monkeypatch, most_bytes):
    def short(file, pieces):
        left, calls[0] = most_bytes, calls[0] + 1
        for piece in pieces:
            done = os.write(file, piece[:left])
            left -= done
            if not left:
                break
        return most_bytes - left

    calls = [0]
    monkeypatch.setattr(_local.os, "writev", short)
    pieces = [bytes(range(256)) * 40, b"", b"x", b"", bytes(100_000), b"y" * 1000, b"", b"z" * 999]
    store.put("run/a.bin", PiecesBody(pieces))
    whole = b"".join(pieces)
    assert bytes(store.get("run/a.bin", len(whole)).buffer) == whole
    assert calls[0] >= len(whole) // most_bytes


WRITER = """
import sys, time
from payloadfs.stores import open_store
class Slow:
    size_bytes = 50_000_000
    def __iter__(self):
        for _ in range(50):
            yield memoryview(bytes(1_000_000))
            print("piece", flush=True)
store = open_store(sys.argv[1], fsync=False)
for number in range(1000):
    store.put(f"run/{number}.bin", Slow())
"""


def kill_a_writer(store, after_pieces):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, store.root], stdout=subprocess.PIPE)
    for _ in range(after_pieces):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()


@pytest.mark.parametrize("after_pieces", [1, 25, 49, 75])
def test_kill_9_leaves_no_incomplete_object(store, folder, after_pieces):
    kill_a_writer(store, after_pieces)
    for info in store.list():
        assert info.size_bytes == 50_000_000
    assert not [path for path in (folder / "run").iterdir() if path.stat().st_size != 50_000_000]


@pytest.mark.long
def test_kill_9_at_many_moments(store, folder):
    for round_ in range(200):
        kill_a_writer(store, 1 + round_ % 60)
        for info in store.list():
            assert info.size_bytes == 50_000_000
            store.delete(info.key)
        assert list((folder / "run").iterdir()) == []


def test_the_root_may_be_removed_and_created_again(store, folder):
    put(store)
    (folder / "run/a.bin").unlink()
    (folder / "run").rmdir()
    folder.rmdir()
    with pytest.raises(NotFoundError):
        store.get("run/a.bin", LARGE)
    assert list(store.list()) == []
    put(store)
    assert store.info("run/a.bin").modified_s == (folder / "run/a.bin").stat().st_mtime


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_without_write_permission(tmp_path):
    (tmp_path / "objects").mkdir(mode=0o755)
    (tmp_path / "objects").chmod(0o755)
    code = (
        "import os, sys; os.setuid(65534)\n"
        "from payloadfs.stores import open_store; from payloadfs.testing import PiecesBody\n"
        "from payloadfs.errors import StoreError\n"
        "try: open_store(sys.argv[1]).put('a.bin', PiecesBody([b'x']))\n"
        "except StoreError as error: print(error.kind, error)"
    )
    for path in [tmp_path, *tmp_path.parents][:-1]:
        if path.stat().st_uid == os.geteuid() and len(path.parts) > 2:
            path.chmod(path.stat().st_mode | 0o011)
    done = subprocess.run([sys.executable, "-c", code, f"file://{tmp_path}/objects"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("another user cannot run this interpreter: " + done.stderr.splitlines()[-1])
    assert done.stdout.startswith("denied Permission denied: cannot put 'a.bin'")


def test_large_objects_are_written_in_whole_chunks(tmp_path, monkeypatch):
    """The file then uses the largest pages of the system."""
    ends, writev = [0], os.writev

    def noted(descriptor, pieces):
        ends.append(ends[-1] + writev(descriptor, pieces))
        return ends[-1] - ends[-2]

    monkeypatch.setattr(os, "writev", noted)
    frames = [memoryview(bytes(size)) for size in (1216, 9 * 1024 * 1024, 48, 9 * 1024 * 1024)]
    outgoing = Outgoing(Encoded(frames, "bin", sealable=True, data=frozenset({1, 3})), "b3")
    open_store(canonical_root(tmp_path / "objects")).put("k.bin", outgoing)
    assert [end for end in ends[:-1] if end % CHUNK_BYTES] == []
    assert ends[-1] == outgoing.size_bytes > 4 * CHUNK_BYTES


def test_a_folder_that_cannot_be_created_is_not_a_missing_object(tmp_path):
    """As below /proc, where the error is the one for a missing file."""
    store = open_store(canonical_root(tmp_path / "objects"))
    with disk_fault("mkdir", errno.ENOENT, times=None), pytest.raises(StoreError, match=r"Cannot put 'run/a\.bin' in"):
        store.put("run/a.bin", PiecesBody([b"x"]))
