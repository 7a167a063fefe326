"""Memory whose pages are released."""

import mmap
import random

import pytest

from payloadfs._buffers import CHUNK_BYTES, FileMapping, forget_pages, private_memory, read_once, release_pages

PAGE = mmap.PAGESIZE


@pytest.fixture
def mapped(tmp_path):
    path = tmp_path / "object"
    path.write_bytes(b"f" * 4 * PAGE)
    with path.open("rb") as file:
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def test_only_whole_pages_are_released():
    memory = private_memory(5 * PAGE)
    memory[:] = b"x" * memory.nbytes
    release_pages(memory[10 : 3 * PAGE + 10])
    assert bytes(memory) == b"x" * PAGE + bytes(2 * PAGE) + b"x" * 2 * PAGE


def test_a_slice_of_a_slice_releases_the_right_pages():
    memory = private_memory(5 * PAGE)
    memory[:] = b"x" * memory.nbytes
    release_pages(memory[PAGE:][PAGE : 2 * PAGE])
    assert bytes(memory) == b"x" * 2 * PAGE + bytes(PAGE) + b"x" * 2 * PAGE


def test_less_than_a_page_is_not_released():
    memory = private_memory(2 * PAGE)
    memory[:] = b"x" * memory.nbytes
    release_pages(memory[1 : PAGE + 1])
    release_pages(memory[:0])
    assert bytes(memory) == b"x" * 2 * PAGE


def test_released_pages_of_a_file_are_read_again(mapped):
    memory = memoryview(mapped)
    memory[0:1] = b"y"
    release_pages(memory[: 2 * PAGE])
    assert bytes(memory) == b"f" * 4 * PAGE


def test_other_memory_is_not_released():
    memory = memoryview(bytearray(b"x" * 4 * PAGE))
    release_pages(memory)
    read_only = private_memory(4 * PAGE)
    read_only[:] = b"x" * read_only.nbytes
    release_pages(read_only.toreadonly())
    assert bytes(memory) == bytes(read_only) == b"x" * 4 * PAGE


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE / 1e6


@pytest.mark.parametrize("start", [0, 100, PAGE])
def test_a_mapped_file_is_read_without_staying_in_memory(tmp_path, start):
    content, path = random.Random(3).randbytes(5 * CHUNK_BYTES + 1000), tmp_path / "object"
    path.write_bytes(content)
    with path.open("rb") as file:
        memory = memoryview(FileMapping(file.fileno(), 0, access=mmap.ACCESS_COPY))[start:]
    before, most, at = resident_mb(), 0.0, start
    for piece in read_once(memory):
        assert piece == content[at : at + piece.nbytes]
        at, most = at + piece.nbytes, max(most, resident_mb())
    assert at == len(content)
    assert most - before < 3 * CHUNK_BYTES / 1e6
    assert memory == content[start:]
    memory[5] ^= 1
    assert memory[5] == content[start + 5] ^ 1


def test_other_memory_is_read_in_one_piece(mapped):
    for memory in (private_memory(3 * CHUNK_BYTES), memoryview(b"x" * 2 * CHUNK_BYTES), memoryview(mapped)):
        assert [piece.nbytes for piece in read_once(memory)] == [memory.nbytes]
    memory = private_memory(3 * CHUNK_BYTES)
    memory[:] = b"x" * memory.nbytes
    assert b"".join(read_once(memory)) == bytes(memory) == b"x" * memory.nbytes


def test_forgotten_pages_are_read_again(tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 64)
    with (tmp_path / "file").open("rb") as file:
        buffer = memoryview(FileMapping(file.fileno(), 0, access=mmap.ACCESS_COPY))
    before = bytes(buffer)
    forget_pages(buffer[100:200])
    assert bytes(buffer) == before
    private = memoryview(bytearray(b"x"))
    forget_pages(private)
    assert bytes(private) == b"x"
