"""What is specific to one platform. Most of it needs the plug-in of `tests.platforms` that simulates it."""

import errno
import ntpath
import os
import subprocess
import sys
import types

import pytest

import payloadfs
from payloadfs import _atomic, _urls
from payloadfs.errors import ConfigError, IntegrityError, StoreError
from payloadfs.stores import open_store
from payloadfs.testing import PiecesBody

SIMULATED = os.environ.get("SIMULATED_PLATFORM")
darwin = pytest.mark.skipif(SIMULATED != "darwin", reason="only with -p tests.platforms.darwin")
win32 = pytest.mark.skipif(SIMULATED != "win32", reason="only with -p tests.platforms.win32")


def test_the_simulation_reaches_payloadfs_and_child_processes_only():
    code = "import payloadfs, os; from payloadfs import _atomic; print(_atomic.sys.platform, hasattr(os, 'fork'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [SIMULATED or sys.platform, "True"]
    assert _atomic.sys.platform == (SIMULATED or sys.platform)


@darwin
@pytest.mark.parametrize("refused", [None, errno.ENOTSUP, errno.EIO])
def test_macos_flushes_the_cache_of_the_drive(tmp_path, monkeypatch, refused):
    """Where the file system cannot do that, fsync is called instead; other errors are raised."""
    commands, synced = [], []

    def control(_file, command, *_):
        commands.append(command)
        if refused:
            raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(_atomic.fcntl, "fcntl", control)
    monkeypatch.setattr(_atomic.os, "fsync", synced.append)
    store = open_store(f"file://{tmp_path}/root")
    if refused == errno.EIO:
        with pytest.raises(StoreError):
            store.put("a/1.bin", PiecesBody([b"1"]))
        assert [*store.list()] == []
    else:
        store.put("a/1.bin", PiecesBody([b"1"]))
        assert bytes(store.get("a/1.bin", 1).buffer) == b"1"
    assert set(commands) == {_atomic.fcntl.F_FULLFSYNC}
    assert bool(synced) == (refused == errno.ENOTSUP)


@darwin
def test_macos_reports_the_file_system(tmp_path):
    from payloadfs.stores import _dirfd

    assert _dirfd.file_system_type(str(tmp_path)) == "apfs"


@win32
def test_windows_ignores_a_cache_and_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr("payloadfs._log._already_warned", set())
    for _ in range(2):
        assert payloadfs.Repository("memory://x", cache="/some/folder").settings.cache is None
    assert [record.message for record in caplog.records].count(
        "Remote objects are not cached on Windows: the setting 'cache' is ignored."
    ) == 1


@win32
def test_windows_waits_for_a_program_that_has_the_file_open(tmp_path):
    import threading

    store = open_store(f"file://{tmp_path}/root")
    store.put("a/1.bin", PiecesBody([b"1"]))
    scanner = open(tmp_path / "root/a/1.bin", "rb")  # noqa: SIM115
    threading.Timer(0.2, scanner.close).start()
    store.delete("a/1.bin")
    assert [*store.list()] == []
    store.put("a/2.bin", PiecesBody([b"2"]))
    with open(tmp_path / "root/a/2.bin", "rb"), pytest.raises(StoreError, match="Permission denied"):
        store.delete("a/2.bin")


@win32
def test_windows_refuses_folders_that_are_links(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "other")
    store = open_store(f"file://{tmp_path}/root")
    with pytest.raises(StoreError, match="is a link") as caught:
        store.put("a/1.bin", PiecesBody([b"1"]))
    assert caught.value.kind == "link"
    assert os.listdir(tmp_path / "other") == []
    (tmp_path / "other" / "1.bin").write_bytes(b"1")
    assert [*store.list()] == []


@win32
def test_windows_hashes_every_byte_of_a_local_object(tmp_path):
    repository = payloadfs.Repository(tmp_path / "root", inline_bytes=0)
    pointer = repository.save(b"x" * 1_000_000)
    path = next((tmp_path / "root").rglob("*.bin"))
    content = bytearray(path.read_bytes())
    content[500_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        repository.load(pointer)


@pytest.fixture
def windows_paths(monkeypatch):
    names = {name: getattr(os, name) for name in ("fsencode", "fsdecode", "fspath", "PathLike")}
    monkeypatch.setattr(_urls, "os", types.SimpleNamespace(path=ntpath, **names))
    monkeypatch.setattr(_urls, "sys", types.SimpleNamespace(platform="win32"))


@pytest.mark.parametrize(
    "url", ["C:\\data\\My Files", "c:/data/My Files", "file:///C:/data/My Files", "file:///c%3A/data/My%20Files/"]
)
def test_roots_on_a_drive(windows_paths, url):
    root = _urls.canonical_root(url)
    assert root == "file:///C%3A/data/My%20Files"
    assert _urls.local_path(root) == "C:/data/My Files"
    assert _urls.root_problem(root) is None


@pytest.mark.parametrize("url", ["\\\\server\\share\\x", "//server/share/x", "file:////server/share/x", "\\\\?\\C:\\x"])
def test_network_shares_are_refused(windows_paths, url):
    with pytest.raises(ConfigError, match="network share"):
        _urls.canonical_root(url)
