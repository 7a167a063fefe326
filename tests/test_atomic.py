"""Atomic files, and locks between threads, processes and forked children."""

import os
import threading

import pytest

from payloadfs._atomic import atomic_file, file_lock


def test_a_file_appears_only_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "file"
    with atomic_file(str(path), replace=False) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("replace", [True, False])
def test_an_error_in_the_block_changes_nothing(tmp_path, replace):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), atomic_file(str(path), replace=replace) as file:
        file.write("not bytes")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_an_existing_file_is_overwritten_only_with_replace(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(FileExistsError), atomic_file(str(path), replace=False) as file:
        file.write(b"after")
    assert path.read_bytes() == b"before"
    with atomic_file(str(path), replace=True) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("keep", [True, False])
def test_a_lock_excludes_other_threads(tmp_path, keep):
    path = str(tmp_path / "lock")
    held = []

    def try_to_lock():
        with file_lock(path, 0.0, keep=keep) as file:
            held.append(file is not None)

    with file_lock(path, 0.0, keep=keep):
        thread = threading.Thread(target=try_to_lock)
        thread.start()
        thread.join()
    try_to_lock()
    assert held == [False, True]
    assert os.path.exists(path) == keep


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    path = str(tmp_path / "lock")
    reader, writer = os.pipe()
    with file_lock(path, 0.0, keep=True):
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)  # until the parent has closed its end
            os._exit(0)
    try:
        with file_lock(path, 0.0, keep=True) as file:
            assert file is not None
    finally:
        os.close(writer)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.close(reader)
