"""Memory that is given back."""

import mmap

import pytest

from payloadfs.buffers import private_memory, spent

PAGE = mmap.PAGESIZE


@pytest.fixture
def mapped(tmp_path):
    path = tmp_path / "object"
    path.write_bytes(b"f" * 4 * PAGE)
    with path.open("rb") as file:
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def test_only_whole_pages_of_the_part_are_given_back():
    memory = private_memory(5 * PAGE)
    memory[:] = b"x" * memory.nbytes
    spent(memory[10 : 3 * PAGE + 10])
    assert bytes(memory) == b"x" * PAGE + bytes(2 * PAGE) + b"x" * 2 * PAGE


def test_a_part_of_a_part_is_found_where_it_lies():
    memory = private_memory(5 * PAGE)
    memory[:] = b"x" * memory.nbytes
    spent(memory[PAGE:][PAGE : 2 * PAGE])
    assert bytes(memory) == b"x" * 2 * PAGE + bytes(PAGE) + b"x" * 2 * PAGE


def test_less_than_a_page_stays():
    memory = private_memory(2 * PAGE)
    memory[:] = b"x" * memory.nbytes
    spent(memory[1 : PAGE + 1])
    spent(memory[:0])
    assert bytes(memory) == b"x" * 2 * PAGE


def test_pages_of_a_file_come_back_from_it(mapped):
    memory = memoryview(mapped)
    memory[0:1] = b"y"
    spent(memory[: 2 * PAGE])
    assert bytes(memory) == b"f" * 4 * PAGE


def test_other_memory_stays():
    memory = memoryview(bytearray(b"x" * 4 * PAGE))
    spent(memory)
    read_only = private_memory(4 * PAGE)
    read_only[:] = b"x" * read_only.nbytes
    spent(read_only.toreadonly())
    assert bytes(memory) == bytes(read_only) == b"x" * 4 * PAGE
