"""The cache of a repository: requests to a real server are counted, and many processes load at the same time."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import fsspec
import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import payloadfs
from payloadfs import ConfigError, IntegrityError, NotFoundError, Repository
from payloadfs.testing import assert_exact, fault_proxy

READER = """
import hashlib, sys, numpy, payloadfs
line = sys.stdin.readline()
print("ready", flush=True)
sys.stdin.readline()
value = payloadfs.Payload.from_json(line).value
assert value.flags.writeable
print(hashlib.sha256(value.tobytes()).hexdigest(), flush=True)
"""


class RemoteFileSystem(MemoryFileSystem):
    """A file system that payloadfs considers remote, and that counts reads."""

    protocol = "remote"
    store, pseudo_dirs, reads = {}, [""], []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("remote://"))

    def open(self, path, mode="rb", **options):
        if mode == "rb":
            self.reads.append(path)
        return super().open(path, mode, **options)


@pytest.fixture
def remote():
    fsspec.register_implementation("remote", RemoteFileSystem, clobber=True)
    RemoteFileSystem.store.clear()
    RemoteFileSystem.reads.clear()
    return "remote://place/runs"


@pytest.fixture
def cache_folder(clean_environment):
    return clean_environment / ".cache" / "payloadfs"


@pytest.fixture
def behind_proxy(payloadfs_seaweedfs):
    with fault_proxy(payloadfs_seaweedfs.endpoint_url) as proxy:
        yield proxy, replace(payloadfs_seaweedfs, endpoint_url=proxy.endpoint_url)


@pytest.mark.s3
@pytest.mark.parametrize(
    "obj", [{"a": [1, None]}, pd.DataFrame({"a": [1.5, None], "s": ["x", None]}), np.arange(4_000_000)]
)
def test_the_second_load_costs_no_request(payloadfs_seaweedfs, behind_proxy, obj):
    proxy, server = behind_proxy
    repository = Repository(f"s3://{payloadfs_seaweedfs.bucket()}", server.storage_options())
    pointer = repository.save(obj)
    proxy.forget()
    assert_exact(obj, repository.load(pointer))
    first = [request.method for request in proxy.requests]
    assert first == ["GET"] * len(first)
    assert len(first) == 1 or pointer.size_bytes > 16 * 1024 * 1024
    assert_exact(obj, repository.load(pointer))
    assert_exact(obj, Repository(repository.root, server.storage_options(), verify="full").load(pointer))
    assert len(proxy.requests) == len(first)


def load_concurrently(server, proxy, size_bytes, processes):
    values = np.random.default_rng(1).integers(0, 256, size_bytes, dtype=np.uint8)
    repository = Repository(f"s3://{server.bucket()}", server.storage_options(), cache="off")
    pointer = repository.save(values)
    proxy.forget()
    repository.load(pointer)
    alone = len(proxy.requests)
    proxy.forget()
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | server.environment(),
        )
        for _ in range(processes)
    ]
    try:
        for reader in readers:
            reader.stdin.write(pointer.to_json() + "\n")
            reader.stdin.flush()
        for reader in readers:
            assert reader.stdout.readline() == "ready\n"
        for reader in readers:
            reader.stdin.write("go\n")
            reader.stdin.flush()
        digests = [reader.communicate()[0].strip() for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    assert digests == [hashlib.sha256(values.tobytes()).hexdigest()] * processes
    assert [request.method for request in proxy.requests] == ["GET"] * alone


@pytest.mark.s3
def test_ten_processes_cost_one_download(behind_proxy):
    proxy, server = behind_proxy
    load_concurrently(server, proxy, 50_000_000, 10)


@pytest.mark.s3
@pytest.mark.long
@pytest.mark.timeout(600)
def test_ten_processes_cost_one_download_of_500_mb(behind_proxy):
    proxy, server = behind_proxy
    load_concurrently(server, proxy, 500_000_000, 10)


@pytest.mark.parametrize("obj", [b"x" * 1000, {"a": np.arange(300_000)}])
def test_which_calls_use_the_cache(remote, cache_folder, obj):
    repository = Repository(remote)
    pointer = repository.save(obj)
    assert not cache_folder.exists()  # what is saved here is loaded elsewhere
    for _ in range(3):
        assert_exact(obj, repository.load(pointer))
        assert len(RemoteFileSystem.reads) == 1
    (copy,) = cache_folder.glob("*/b3*")
    assert oct(cache_folder.stat().st_mode)[-3:] == "700"
    # A read of the stored bytes goes to the store, not to the cache.
    repository.read(pointer)
    assert len(RemoteFileSystem.reads) == 2
    repository.read(pointer, full=False)
    assert len(RemoteFileSystem.reads) == 2
    repository.delete(pointer)
    assert not copy.exists()
    with pytest.raises(NotFoundError):
        repository.load(pointer)


def test_a_changed_object_is_detected_by_the_next_process_that_fetches_it(remote, cache_folder):
    repository = Repository(remote)
    pointer = repository.save(b"x" * 1000)
    name = next(name for name in RemoteFileSystem.store if name.endswith(pointer.key))
    RemoteFileSystem.store[name].seek(10)
    RemoteFileSystem.store[name].write(b"y")
    with pytest.raises(IntegrityError):
        repository.load(pointer)
    assert list(cache_folder.glob("*/*")) == []


@pytest.mark.parametrize("settings", [{"cache": "off"}, {"cache_bytes": 0}])
def test_off(remote, cache_folder, settings):
    repository = Repository(remote, **settings)
    pointer = repository.save([1])
    for count in (1, 2):
        repository.load(pointer)
        assert len(RemoteFileSystem.reads) == count
    repository.delete(pointer)
    assert not cache_folder.exists()


@pytest.mark.parametrize("url", ["memory://near", "near"])
def test_local_stores_have_no_cache(url, cache_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    repository = Repository(url)
    repository.load(repository.save(np.arange(300_000)))
    assert not cache_folder.exists()


def test_another_folder_and_limit(remote, cache_folder, tmp_path):
    repository = Repository(remote, cache=tmp_path / "near", cache_bytes=50_000)
    for obj in (b"x" * 20_000, b"y" * 20_000, b"z" * 20_000, b"w" * 60_000):
        assert repository.load(repository.save(obj)) == obj
    assert sum(copy.stat().st_size for copy in (tmp_path / "near").glob("*/b3*")) <= 50_000
    assert not cache_folder.exists()


def test_signature_and_policy_are_checked_first(remote, cache_folder):
    pointer = Repository(remote).save([1])
    Repository(remote).load(pointer)
    with pytest.raises(payloadfs.SignatureError):
        Repository(remote).load(pointer.replaced(size_bytes=pointer.size_bytes + 1))
    with pytest.raises(payloadfs.PolicyError):
        Repository("remote://elsewhere").load(pointer)
    with pytest.raises(payloadfs.PolicyError):
        Repository(remote, max_bytes=1).load(pointer)


def test_a_folder_open_to_others(remote, cache_folder):
    repository = Repository(remote)
    pointer = repository.save([1])
    repository.load(pointer)
    cache_folder.chmod(0o777)
    with pytest.raises(ConfigError, match="PAYLOADFS_CACHE") as caught:
        repository.load(pointer)
    assert caught.value.pointer == pointer
