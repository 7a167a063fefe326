"""The cache under attack: wrong bytes, full disks, planted files, killed processes, concurrent loads."""

import errno
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from payloadfs import _log as log
from payloadfs._buffers import FileMapping, private_memory
from payloadfs._seal import Encoded, Outgoing
from payloadfs.errors import ConfigError, IntegrityError, NotFoundError, StoreError
from payloadfs.stores import Fetched, _cache_quota
from payloadfs.stores import _cache as _cache_module
from payloadfs.stores._base import SupportsFiles
from payloadfs.stores._cache import Cache
from payloadfs.testing import disk_fault

LARGE = 1_500_000


class RemoteStore:
    """A store that counts gets and can delay them."""

    root = "s3://far"

    def __init__(self):
        self.objects, self.gets = {}, 0
        self.before = lambda: None

    def get(self, key, size_bytes):
        self.gets += 1
        self.before()
        buffer = private_memory(size_bytes)
        buffer[:] = self.objects[key]
        return Fetched(buffer)


class RemoteStoreIntoFiles(RemoteStore):
    def get_into(self, key, size_bytes, file):
        self.gets += 1
        self.before()
        content, half = self.objects[key], size_bytes // 2
        # Not in order.
        assert os.pwrite(file, content[half:], half) == size_bytes - half
        assert os.pwrite(file, content[:half], 0) == half


class Item:
    """An object in a remote store: the data of its pointer, and its bytes."""

    def __init__(self, store, content, *, data_from=None, algorithm="b3"):
        frames = [memoryview(content)] if data_from is None else [memoryview(b"S" * data_from), memoryview(content)]
        data = frozenset() if data_from is None else frozenset({1})
        outgoing = Outgoing(Encoded(frames, "bin", sealable=data_from is not None, data=data), algorithm)
        self.content = b"".join(outgoing)
        self.store, self.key = store, f"k{len(store.objects)}.bin"
        self.size_bytes, self.digest = outgoing.size_bytes, outgoing.digest
        store.objects[self.key] = self.content

    def load(self, cache, *, data=False):
        return cache.read(self.store, self.key, self.size_bytes, self.digest, data=data)


@pytest.fixture(params=[RemoteStore, RemoteStoreIntoFiles])
def store(request):
    return request.param()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def cache(path):
    return Cache(path)


@pytest.fixture(autouse=True)
def forget_warnings():
    log._already_warned.clear()


def copies(path):
    return sorted(entry for entry in path.glob("*/*") if entry.is_file())


def names(path):
    return [entry.name for entry in copies(path)]


def opened(path):
    """The paths that this process has open below a folder, once for each descriptor."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(os.readlink(link))
    return [name for name in links if name.startswith(f"{path}/") and os.path.isfile(name)]


def wait_for(condition):
    """Wait until a condition is true; pytest ends a test that hangs."""
    while not condition():
        time.sleep(0.01)


# --- purpose


@pytest.mark.parametrize("size_bytes", [1, 300, 64 * 1024, LARGE])
@pytest.mark.parametrize("algorithm", ["b3", "s256"])
def test_the_second_load_sends_no_request(store, cache, path, size_bytes, algorithm):
    item = Item(store, os.urandom(size_bytes), algorithm=algorithm)
    first = item.load(cache)
    assert store.gets == 1
    second = item.load(Cache(path))
    assert store.gets == 1
    assert first == second == item.content
    assert names(path) == [f"{algorithm}-{item.digest.value.hex()}-{size_bytes}"]


def test_sealed_objects(store, cache, path):
    item = Item(store, os.urandom(LARGE), data_from=1000)
    assert item.digest.sealed
    assert item.load(cache) == item.load(cache) == item.content
    assert store.gets == 1
    assert names(path)[0].startswith("b3-seal-")


@pytest.mark.parametrize("size_bytes", [300, LARGE])
def test_every_load_is_writable_and_private(store, cache, path, size_bytes):
    item = Item(store, os.urandom(size_bytes))
    for _ in range(3):
        buffer = item.load(cache)
        assert buffer == item.content
        buffer[:] = bytes(size_bytes)
    assert copies(path)[0].read_bytes() == item.content


def test_only_this_user_can_read_it(store, cache, path):
    old = os.umask(0)
    try:
        Item(store, b"x" * LARGE).load(cache)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(copies(path)[0].parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(copies(path)[0].stat().st_mode) == 0o600


def test_large_copies_are_mapped_and_data_is_not_hashed_again(cache, monkeypatch):
    item = Item(RemoteStoreIntoFiles(), os.urandom(LARGE), data_from=1000)
    item.load(cache)
    hashed = []
    monkeypatch.setattr("payloadfs._seal.digest_of", lambda parts, algorithm: hashed.extend(map(len, parts)))
    with pytest.raises(IntegrityError):  # the hash function is broken
        _cache_module.check(memoryview(item.content), item.digest, data=True)
    monkeypatch.undo()
    seen = []
    check = _cache_module.check
    monkeypatch.setattr(
        _cache_module, "check", lambda buffer, digest, *, data: (seen.append(data), check(buffer, digest, data=data))
    )
    buffer = item.load(cache)
    assert seen == [False]
    assert isinstance(buffer.obj, FileMapping)
    item.load(cache, data=True)
    assert seen == [False, True]


def test_empty_objects_are_not_kept(store, cache, path):
    assert Item(store, b"").load(cache) is None
    assert not path.exists()


def test_which_stores_write_files():
    assert isinstance(RemoteStoreIntoFiles(), SupportsFiles)
    assert not isinstance(RemoteStore(), SupportsFiles)


# --- wrong bytes


@pytest.mark.parametrize("at", [0, 700_000, -1])
@pytest.mark.parametrize("data_from", [None, 1000])
def test_wrong_bytes_are_never_named(store, cache, path, at, data_from):
    item = Item(store, os.urandom(LARGE), data_from=data_from)
    wrong = bytearray(item.content)
    wrong[at] ^= 1
    store.objects[item.key] = bytes(wrong)
    with pytest.raises(IntegrityError):
        item.load(cache)
    assert copies(path) == []
    store.objects[item.key] = item.content
    assert item.load(cache) == item.content


def flip(file, at):
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [lambda f: flip(f, 10), lambda f: flip(f, -1), lambda f: os.truncate(f, 9)])
@pytest.mark.parametrize("data_from", [None, 1000])
def test_a_corrupt_copy_is_fetched_again_once(store, cache, path, caplog, harm, data_from):
    item = Item(store, os.urandom(LARGE), data_from=data_from)
    item.load(cache)
    harm(copies(path)[0])
    assert item.load(cache) == item.content
    assert store.gets == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert item.load(cache) == item.content
    assert store.gets == 2
    harm(copies(path)[0])
    store.objects[item.key] = bytes(item.size_bytes)
    with pytest.raises(IntegrityError):
        item.load(cache)
    # Wrong bytes are fetched again once.
    assert store.gets == 4
    assert copies(path) == []


def test_wrong_data_is_detected_by_full_checks_or_if_others_could_write(store, cache, path):
    item = Item(store, os.urandom(LARGE), data_from=1000)
    item.load(cache)
    flip(copies(path)[0], 700_000)
    assert item.load(cache) != item.content  # as said in docs/explanation/trust.md
    assert item.load(cache, data=True) == item.content
    flip(copies(path)[0], 700_000)
    copies(path)[0].chmod(0o620)
    assert item.load(cache) == item.content
    assert store.gets == 3


def test_copies_from_a_previous_boot_are_checked_in_full(store, path, monkeypatch):
    good, bad = (Item(store, os.urandom(LARGE), data_from=1000) for _ in range(2))
    for item in (good, bad):
        item.load(Cache(path))
    (lost,) = (copy for copy in copies(path) if bad.digest.value.hex() in copy.name)
    flip(lost, 700_000)
    monkeypatch.setattr(_cache_module, "_boot_id", lambda: "0" * 16)
    cache = Cache(path)
    assert good.load(cache) == good.content
    assert store.gets == 2
    assert bad.load(cache) == bad.content
    assert store.gets == 3
    assert {copy.parent.name for copy in copies(path)} == {"0" * 16}
    assert len(copies(path)) == 2


@pytest.mark.parametrize("is_local", [True, False])
def test_data_is_always_checked_without_a_boot_id_or_on_a_shared_disk(store, path, monkeypatch, is_local):
    monkeypatch.setattr(_cache_module, "_boot_id", lambda: "shared")
    monkeypatch.setattr(Cache, "is_local", is_local)
    item = Item(store, os.urandom(LARGE), data_from=1000)
    item.load(Cache(path))
    assert copies(path)[0].parent.name == "shared"
    assert item.load(Cache(path)) == item.content
    assert store.gets == 1
    flip(copies(path)[0], 700_000)
    assert item.load(Cache(path)) == item.content
    assert store.gets == 2


@pytest.mark.parametrize("size_bytes", [300, LARGE])
def test_an_incomplete_copy_of_a_killed_process_is_overwritten(store, cache, path, size_bytes):
    item, other = Item(store, os.urandom(size_bytes)), Item(store, b"x")
    other.load(cache)
    copies(path)[0].with_name(f".b3-{item.digest.value.hex()}-{size_bytes}").write_bytes(bytes(2 * size_bytes))
    assert item.load(cache) == item.content
    assert item.load(cache) == item.content
    assert store.gets == 2
    assert len(copies(path)) == 2


# --- a private folder


@pytest.mark.parametrize("mode", [0o770, 0o702])
@pytest.mark.parametrize("inner", [False, True])
def test_a_folder_that_others_can_write_is_refused(store, cache, path, mode, inner):
    item = Item(store, b"x" * LARGE)
    item.load(cache)
    folder = copies(path)[0].parent if inner else path
    folder.chmod(mode)
    for one in (item, Item(store, b"new")):
        with pytest.raises(ConfigError, match=r"chmod go-w.*PAYLOADFS_CACHE") as caught:
            one.load(cache)
        assert caught.value.kind == "cache-folder"
    assert store.gets == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_another_user_is_refused(store, cache, path):
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to another user, or other users can write to it"):
        Item(store, b"x").load(cache)


def test_a_folder_below_one_that_others_can_write_is_checked_in_full(store, path):
    path.parent.chmod(0o777)
    item = Item(store, os.urandom(LARGE), data_from=1000)
    item.load(Cache(path))
    flip(copies(path)[0], 700_000)
    assert item.load(Cache(path)) == item.content
    assert store.gets == 2


@pytest.mark.parametrize("plant", [lambda p, t: p.symlink_to(t), lambda p, t: os.mkfifo(p), lambda p, t: os.link(t, p)])
def test_what_is_planted_instead_of_a_copy_is_removed(store, cache, path, tmp_path, plant):
    item = Item(store, os.urandom(LARGE), data_from=1000)
    item.load(cache)
    (copy,) = copies(path)
    copy.unlink()
    target = tmp_path / "target"
    target.write_bytes(bytes(item.size_bytes))
    plant(copy, target)
    assert item.load(cache) == item.content
    assert store.gets == 2
    assert stat.S_ISREG(copy.lstat().st_mode)
    assert target.read_bytes() == bytes(item.size_bytes)


def test_a_link_instead_of_a_folder_is_not_followed(store, cache, path, tmp_path, caplog):
    item = Item(store, b"x" * LARGE)
    item.load(cache)
    folder = copies(path)[0].parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    other = Item(store, b"y" * LARGE)
    assert other.load(cache) is None
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1
    assert len(caplog.records) == 1


def test_a_planted_link_is_not_filled(store, cache, path, tmp_path):
    item = Item(store, b"x" * LARGE)
    item.load(cache)
    (copy,) = copies(path)
    copy.unlink()
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    copy.with_name(f".{copy.name}").symlink_to(target)
    assert item.load(cache) is None
    assert target.read_bytes() == b"mine"


# --- a disk that fails


@pytest.mark.parametrize("broken", ["fallocate", "write", "rename", "open"])
def test_a_disk_that_fails_costs_the_copy_not_the_load(path, caplog, broken):
    store, cache = RemoteStore(), Cache(path)
    items = [Item(store, bytes([n]) * LARGE) for n in range(3)]
    items[0].load(cache)
    with disk_fault(broken, errno.ENOSPC, times=None):
        for item in items[1:]:
            assert item.load(cache) is None
    assert len(copies(path)) == 1
    (record,) = caplog.records
    assert "No space left" in record.message
    assert "PAYLOADFS_CACHE" in record.message
    if broken == "fallocate":
        assert store.gets == 1  # an object that does not fit is not fetched into the cache
    assert items[1].load(cache) == items[1].content


def test_a_file_instead_of_the_folder(store, path):
    path.write_text("mine")
    assert Item(store, b"x").load(Cache(path)) is None
    assert path.read_text() == "mine"


def test_a_folder_that_is_removed_meanwhile(store, cache, path):
    import shutil

    store.before = lambda: shutil.rmtree(path)
    assert Item(store, b"x" * LARGE).load(cache) is None
    store.before = lambda: None
    item = Item(store, b"y" * LARGE)
    assert item.load(cache) == item.content
    assert len(copies(path)) == 1


# --- the size limit


def test_the_least_recently_used_copy_is_evicted_first(store, path):
    cache = Cache(path, 950_000)
    items = [Item(store, os.urandom(90_000)) for _ in range(10)]
    for item in items:
        item.load(cache)
    assert store.gets == 10
    now = time.time()
    for age, item in enumerate(items):
        (copy,) = (copy for copy in copies(path) if item.digest.value.hex() in copy.name)
        os.utime(copy, (now - 100 + age, now - 100 + age))
    items[0].load(cache)  # used: now the youngest
    Item(store, os.urandom(90_000)).load(cache)
    here = {item.key for item in items if any(item.digest.value.hex() in name for name in names(path))}
    # 11 copies of 90 kB exceed the limit, and 9 are the most that fit in nine tenths of it.
    assert here == {item.key for item in items} - {"k1.bin", "k2.bin"}
    assert len(copies(path)) == 9


def test_the_limit_is_never_exceeded(store, path):
    bound, most = 600_000, []
    caches = [Cache(path, bound) for _ in range(4)]
    items = [Item(store, os.urandom(20_000 + 4_000 * n)) for n in range(30)]
    done = threading.Event()

    def watch():
        is_last = False
        while not is_last:
            is_last = done.is_set()
            # Nothing is added or removed while the total is locked; a complete copy may be renamed.
            sizes = {}
            with _cache_quota.file_lock(str(path / "total"), 10, keep=True) as file:
                assert file is not None
                for entry in path.glob("*/*"):
                    with suppress(FileNotFoundError):
                        facts = entry.stat()
                        sizes[facts.st_ino] = facts.st_size
            total = sum(sizes.values())
            most.append(total)
            time.sleep(0.001)

    def work(n):
        for step in range(40):
            item = items[(n * 7 + step * (n + 1)) % len(items)]
            assert item.load(caches[n]) in (None, item.content)

    path.mkdir(mode=0o700)
    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    done.set()
    watcher.join()
    assert bound // 2 < max(most) <= bound
    assert 0 < sum(copy.stat().st_size for copy in copies(path)) <= bound


def test_objects_larger_than_the_limit_are_not_kept(store, path):
    cache = Cache(path, 1_000_000)
    small = Item(store, b"x" * 1000)
    small.load(cache)
    assert Item(store, b"x" * LARGE).load(cache) is None
    assert store.gets == 1
    assert len(copies(path)) == 1


def test_the_default_limit_is_half_of_the_free_space(store, path, monkeypatch):
    room = Cache(path).quota
    free = [30 * 1024**3]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, free[0]))
    assert room.limit_bytes(0) == 10 * 1024**3
    free[0] = 8 * 1024**3
    assert room.limit_bytes(0) == 4 * 1024**3
    assert room.limit_bytes(8 * 1024**3) == 8 * 1024**3


def test_mapped_copies_can_be_evicted(path):
    store = RemoteStoreIntoFiles()
    cache = Cache(path, 2_000_000)
    item = Item(store, os.urandom(LARGE), data_from=1000)
    item.load(cache)
    first = item.load(cache)
    first[0] ^= 255
    Item(store, os.urandom(LARGE)).load(cache)
    assert not any(item.digest.value.hex() in name for name in names(path))
    assert first[0] == item.content[0] ^ 255
    assert first[1:] == item.content[1:]


def test_bytes_reserved_but_never_written_are_recovered(store, path):
    cache = Cache(path, 1_000_000)
    items = [Item(store, os.urandom(90_000)) for _ in range(5)]
    for item in items:
        item.load(cache)
    assert cache.quota.reserve("b3-killed", 450_000)  # and then the process was killed
    Item(store, os.urandom(90_000)).load(cache)
    assert len(copies(path)) == 6


def test_a_damaged_total_is_written_again(store, path):
    cache = Cache(path, 1_000_000)
    for content in (b"", b"abc", b"\xff" * 8):
        Item(store, os.urandom(90_000)).load(cache)
        (path / "total").write_bytes(content)
    Item(store, os.urandom(90_000)).load(cache)
    assert len(copies(path)) == 4
    assert int.from_bytes((path / "total").read_bytes(), "little") == sum(
        copy.size_bytes for copy in cache.quota.copies()
    )


def test_clear_removes_copies_and_nothing_else(store, cache, path):
    items = [Item(store, os.urandom(90_000)) for _ in range(3)]
    mapped = [item.load(cache) for item in items]
    others = [path / "mine.txt", copies(path)[0].with_name("mine.txt"), path / "b3-x", path / "sub" / names(path)[0]]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("mine")
    assert cache.quota.clear() == (3, 3 * 90_112)
    assert all(other.read_text() == "mine" for other in others)
    assert not list(path.glob("[0-9a-f]*/b3-*"))
    assert mapped == [item.content for item in items]
    assert cache.quota.clear() == (0, 0)


def test_evict(store, cache, path):
    item, other = (Item(store, os.urandom(100)) for _ in range(2))
    item.load(cache)
    other.load(cache)
    cache.evict(item.size_bytes, item.digest)
    cache.evict(item.size_bytes, item.digest)
    assert len(copies(path)) == 1
    item.load(cache)
    assert store.gets == 3


# --- concurrent loads


def test_threads_fetch_once(store, path):
    item = Item(store, os.urandom(LARGE))
    store.before = lambda: time.sleep(0.2)
    with ThreadPoolExecutor(10) as pool:
        loaded = list(pool.map(lambda _: item.load(Cache(path)), range(10)))
    assert loaded == [item.content] * 10
    assert store.gets == 1
    assert len(copies(path)) == 1


def test_a_failed_fetch_does_not_delay_others(store, cache, path):
    item = Item(store, os.urandom(LARGE))

    def fail():
        wait_for(lambda: len(opened(path)) == 5)
        raise StoreError("The server is gone.", transient=True)

    store.before = fail

    def attempt(_):
        try:
            return item.load(cache)
        except StoreError:
            return "failed"

    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(attempt, range(5)))
    assert sorted(map(str, outcomes)) == ["None"] * 4 + ["failed"]
    assert copies(path) == []


def test_waiting_is_bounded(store, cache, path, monkeypatch):
    monkeypatch.setattr(_cache_module, "_WAIT_S", 0.2)
    item, fetching, free = Item(store, b"x" * 1000), threading.Event(), threading.Event()
    store.before = lambda: fetching.set() or free.wait(60)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(item.load, cache)
        assert fetching.wait(60)
        assert item.load(cache) is None
        free.set()
        assert slow.result() == item.content


def test_waiting_lasts_as_long_as_the_other_process_makes_progress(store, cache, path, monkeypatch):
    monkeypatch.setattr(_cache_module, "_WAIT_S", 0.01)
    item, checks, progress = Item(store, os.urandom(LARGE)), [], _cache_module._progress

    def progress_before_each_check(folder, name):
        with suppress(FileNotFoundError):
            os.utime(name, ns=(0, len(checks)), dir_fd=folder)
        checks.append(name)
        return progress(folder, name)

    monkeypatch.setattr(_cache_module, "_progress", progress_before_each_check)
    store.before = lambda: wait_for(lambda: len(checks) > 20)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: item.load(cache), range(2))) == [item.content] * 2
    assert store.gets == 1


def test_a_missing_object_leaves_no_copy(store, cache, path):
    item = Item(store, b"x" * LARGE)

    def miss():
        raise NotFoundError("There is none.")

    store.before = miss
    with pytest.raises(NotFoundError):
        item.load(cache)
    assert copies(path) == []


FILLER = """
import os, sys, time
sys.path[:0] = {paths!r}
from test_cache import RemoteStore, RemoteStoreIntoFiles, Item
from payloadfs.stores._cache import Cache
from pathlib import Path
import threading
store = {store}()
item = Item(store, b"x" * {size})
fetching = threading.Event()
def before():
    fetching.set()
    time.sleep(1000)
store.before = before
threading.Thread(target=item.load, args=[Cache(Path({path!r}))], daemon=True).start()
fetching.wait()
# The child outlives this process, and is forked while another thread holds the lock.
child = os.fork() if {forks} else 0
if {forks} and child == 0:
    time.sleep(1000)
print(child, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("forks", [False, True])
def test_a_killed_process_releases_its_lock(store, cache, path, forks):
    item = Item(store, b"x" * LARGE)
    code = FILLER.format(
        paths=[str(Path(__file__).parent)], store=type(store).__name__, size=LARGE, path=str(path), forks=forks
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = 0
    try:
        child = int(process.stdout.readline())
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(item.load, cache) for _ in range(3)]
            time.sleep(0.2)
            assert not any(job.done() for job in waiting)
            process.send_signal(signal.SIGKILL)
            assert [job.result(timeout=60) for job in waiting] == [item.content] * 3
    finally:
        process.kill()
        if child:
            os.kill(child, signal.SIGKILL)
        process.communicate()
    assert store.gets == 1
    assert names(path) == [f"b3-{item.digest.value.hex()}-{LARGE}"]


def test_leftovers_of_killed_processes_are_removed_and_incomplete_copies_count(store, path):
    cache, free = Cache(path, 400_000), threading.Event()
    first = Item(store, os.urandom(90_000))
    first.load(cache)
    folder = copies(path)[0].parent
    left = folder / f".b3-{'0' * 64}-90000"
    left.write_bytes(b"half")
    item, fetching = Item(store, os.urandom(200_000)), threading.Event()
    store.before = lambda: fetching.set() or free.wait(60)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(item.load, cache)
        assert fetching.wait(60)
        coming = [copy.size_bytes for copy in cache.quota.copies() if copy.is_incomplete]
        assert coming == [200_704]
        assert not left.exists()
        # 92 kB here, 201 kB coming: 201 kB more do not fit, whichever copy is evicted.
        (path / "total").unlink()
        assert not cache.quota.reserve("b3-another", 350_000)
        free.set()
        assert slow.result() == item.content


def test_a_forked_child_uses_the_cache(cache, path):
    store = RemoteStore()
    item = Item(store, os.urandom(LARGE))
    item.load(cache)
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            fresh = Item(store, b"child" * 1000)
            os._exit(0 if item.load(cache) == item.content and fresh.load(cache) == fresh.content else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(copies(path)) == 2
