"""The conformance kit for stores: tests of what every store must do, to inherit from."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .._buffers import CHUNK_BYTES
from ..errors import IntegrityError, NotFoundError, PayloadError, StoreError
from ..stores import Store

__all__ = ["PiecesBody", "StoreTests"]

_MIB = 1024 * 1024
_THREADS = 16
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=-"


class PiecesBody:
    """A body that consists of `pieces`.

    Parameters
    ----------
    pieces : iterable of bytes-like
        Yielded one by one, in each iteration.
    size_bytes : int, optional
        Size that the body states. Default: the size of its pieces.

    Examples
    --------
    >>> body = PiecesBody([b"ab", b"c"])
    >>> body.size_bytes, b"".join(body)
    (3, b'abc')
    """

    def __init__(self, pieces: Iterable[bytes | memoryview], size_bytes: int | None = None) -> None:
        self._pieces = [memoryview(piece) for piece in pieces]
        self._size_bytes = sum(piece.nbytes for piece in self._pieces) if size_bytes is None else size_bytes

    @property
    def size_bytes(self) -> int:
        """Size that the body states."""
        return self._size_bytes

    def __iter__(self) -> Iterator[memoryview]:
        return iter(self._pieces)


class _BrokenBody(PiecesBody):
    """A body that raises an error instead of its last piece."""

    def __init__(self, pieces: Iterable[bytes | memoryview], error: BaseException) -> None:
        super().__init__(pieces)
        self._error = error

    def __iter__(self) -> Iterator[memoryview]:
        yield from self._pieces[:-1]
        raise self._error


def _content(size_bytes: int, seed: str = "") -> bytes:
    # No two parts are equal, so swapped parts are detected.
    return hashlib.shake_128(seed.encode()).digest(size_bytes)


def _body(content: bytes) -> PiecesBody:
    view = memoryview(content)
    return PiecesBody([view[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)])


def _concurrently(work: Callable[[int], Any]) -> list[Any]:
    """Run `work` in many threads that start together. Errors of payloadfs are returned as results."""
    start = threading.Barrier(_THREADS)

    def run(number: int) -> Any:
        start.wait()
        try:
            return work(number)
        except PayloadError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(run, range(_THREADS)))


class StoreTests:
    """Tests for a store. Inherit from this class, and define a fixture `store` that returns an empty store.

    Examples
    --------
    ::

        class TestMyStore(StoreTests):
            @pytest.fixture
            def store(self, tmp_path):
                return MyStore(tmp_path)
    """

    def make_another(self, store: Store) -> Store:
        """Return a second store on the root of `store`. Override it for a store that cannot be pickled."""
        another: Store = pickle.loads(pickle.dumps(store))
        return another

    @pytest.mark.parametrize("size_bytes", [0, 1, 63, 64, 65, _MIB, 40 * _MIB + 17])
    def test_put_and_get(self, store: Store, size_bytes: int) -> None:
        """Objects of any size are returned unchanged, and `info` returns their size."""
        content = _content(size_bytes)
        store.put("run/1.bin", _body(content))
        fetched = store.get("run/1.bin", size_bytes)
        assert fetched.buffer.nbytes == size_bytes
        # Not compared with ==: on a failure, the report about 40 MiB would take minutes.
        assert hashlib.sha256(fetched.buffer).digest() == hashlib.sha256(content).digest()
        assert store.info("run/1.bin").size_bytes == size_bytes

    def test_pieces_of_odd_sizes(self, store: Store) -> None:
        """The sizes of the pieces do not matter."""
        pieces = [_content(size, str(size)) for size in (1, 0, 4093, 7, 65_537, 0, 1_000_003, 3)]
        store.put("odd.bin", PiecesBody(pieces))
        content = b"".join(pieces)
        assert bytes(store.get("odd.bin", len(content)).buffer) == content

    def test_body_with_wrong_size(self, store: Store) -> None:
        """Nothing is stored if a body has more or fewer bytes than it states."""
        for size_bytes in (9, 11, 0):
            with pytest.raises(StoreError):
                store.put("wrong.bin", PiecesBody([b"0123456789"], size_bytes))
        assert list(store.list()) == []

    def test_reopen(self, store: Store) -> None:
        """Another store on the same root has the same objects and the same root."""
        store.put("shared.bin", PiecesBody([b"seen"]))
        another = self.make_another(store)
        assert another.root == store.root
        assert bytes(another.get("shared.bin", 4).buffer) == b"seen"

    def test_put_never_overwrites(self, store: Store) -> None:
        """An existing object is not overwritten, whatever store writes and whatever the size."""
        store.put("taken.bin", PiecesBody([b"first"]))
        for other in (b"other", b"", b"longer than the first"):
            for writer in (store, self.make_another(store)):
                with pytest.raises(StoreError) as caught:
                    writer.put("taken.bin", PiecesBody([other]))
                assert caught.value.kind == "exists"
        assert bytes(store.get("taken.bin", 5).buffer) == b"first"

    def test_missing(self, store: Store) -> None:
        """A missing object raises `NotFoundError`, which is a `FileNotFoundError`."""
        for size_bytes in (0, 3, 40 * _MIB):
            with pytest.raises(NotFoundError) as caught:
                store.get("run/none.bin", size_bytes)
            assert isinstance(caught.value, FileNotFoundError)
            assert "run/none.bin" in str(caught.value)
        with pytest.raises(NotFoundError):
            store.info("run/none.bin")

    @pytest.mark.parametrize(("actual", "expected"), [(10, 9), (10, 11), (10, 0), (0, 10), (10, 40 * _MIB)])
    def test_get_with_wrong_size(self, store: Store, actual: int, expected: int) -> None:
        """An object that is longer or shorter than expected is not returned."""
        store.put("sized.bin", PiecesBody([_content(actual)]))
        with pytest.raises(IntegrityError) as caught:
            store.get("sized.bin", expected)
        assert caught.value.kind == "size"

    @pytest.mark.parametrize("difference", [-1, 1])
    def test_get_large_with_wrong_size(self, store: Store, difference: int) -> None:
        """One byte more or less is detected in a large object too."""
        content = _content(17 * _MIB)
        store.put("large.bin", _body(content))
        with pytest.raises(IntegrityError):
            store.get("large.bin", len(content) + difference)

    def test_delete(self, store: Store) -> None:
        """A deleted object is gone, deleting it again is not an error, and its key can be used again."""
        store.put("gone/1.bin", PiecesBody([b"x"]))
        store.delete("gone/1.bin")
        store.delete("gone/1.bin")
        store.delete("never/there.bin")
        with pytest.raises(NotFoundError):
            store.get("gone/1.bin", 1)
        assert list(store.list()) == []
        store.put("gone/1.bin", PiecesBody([b"y"]))
        assert bytes(store.get("gone/1.bin", 1).buffer) == b"y"

    def test_list(self, store: Store) -> None:
        """Objects are listed in the order of their keys. A prefix need not end at a slash."""
        assert list(store.list()) == []
        keys = ["a-b/1.bin", "a/10.bin", "a/2.bin", "a/b/c.bin", "a=b.bin", "b/1.bin", "top.bin"]
        for key in reversed(keys):
            store.put(key, PiecesBody([key.encode()]))
        assert [info.key for info in store.list()] == keys
        assert [info.size_bytes for info in store.list()] == [len(key) for key in keys]
        for prefix in ("a", "a/", "a/1", "a/b/", "b/1.bin", "none", "a/none/", "t"):
            assert [info.key for info in store.list(prefix)] == [key for key in keys if key.startswith(prefix)], prefix

    def test_info(self, store: Store) -> None:
        """Size and time are those of a listing, and the time is plausible."""
        store.put("run/1.bin", PiecesBody([b"four"]))
        info = store.info("run/1.bin")
        assert (info.key, info.size_bytes) == ("run/1.bin", 4)
        assert 1_700_000_000 < info.modified_s < 4_000_000_000
        (listed,) = store.list()
        assert (listed.key, listed.size_bytes) == (info.key, info.size_bytes)
        assert abs(listed.modified_s - info.modified_s) < 2

    @pytest.mark.parametrize("size_bytes", [100, 17 * _MIB])
    def test_buffers_are_private(self, store: Store, size_bytes: int) -> None:
        """Changes to a fetched buffer affect neither the store nor other fetched buffers."""
        content = _content(size_bytes)
        store.put("private.bin", _body(content))
        one, two = store.get("private.bin", size_bytes).buffer, store.get("private.bin", size_bytes).buffer
        one[:50] = bytes(50)
        assert one[:51] == bytes(50) + content[50:51]
        assert two[:50] == store.get("private.bin", size_bytes).buffer[:50] == content[:50]

    @pytest.mark.parametrize("pieces", [2, 10])
    @pytest.mark.parametrize("error", [RuntimeError("half-way"), KeyboardInterrupt()])
    def test_broken_body(self, store: Store, pieces: int, error: BaseException) -> None:
        """If a body raises, its error is passed on, and nothing is visible."""
        piece = _content(CHUNK_BYTES)
        with pytest.raises(type(error)) as caught:
            store.put("half.bin", _BrokenBody([piece] * pieces, error))
        assert caught.value is error
        assert list(store.list()) == []
        with pytest.raises(NotFoundError):
            store.get("half.bin", CHUNK_BYTES)

    @pytest.mark.parametrize("pieces", [2, 10])
    def test_key_after_broken_body(self, store: Store, pieces: int) -> None:
        """If a body raises, its key can be used again."""
        with pytest.raises(RuntimeError):
            store.put("half.bin", _BrokenBody([_content(CHUNK_BYTES)] * pieces, RuntimeError("half-way")))
        store.put("half.bin", PiecesBody([b"whole"]))
        assert bytes(store.get("half.bin", 5).buffer) == b"whole"

    def test_many_threads(self, store: Store) -> None:
        """Many threads can put and get at the same time."""

        def work(number: int) -> bool:
            content = _content(50_000 + number, str(number))
            for turn in range(3):
                store.put(f"threads/{number}-{turn}.bin", _body(content))
                if bytes(store.get(f"threads/{number}-{turn}.bin", len(content)).buffer) != content:
                    return False
            return True

        assert _concurrently(work) == [True] * _THREADS

    def test_race_for_a_key(self, store: Store) -> None:
        """If many threads create one key with different bytes, exactly one succeeds, and its bytes are stored."""
        another = self.make_another(store)
        contents = [_content(1000, str(number)) for number in range(_THREADS)]
        results = _concurrently(lambda number: (store, another)[number % 2].put("race.bin", _body(contents[number])))
        winners = [number for number, result in enumerate(results) if result is None]
        assert len(winners) == 1, results
        assert {result.kind for result in results if result is not None} == {"exists"}
        assert bytes(store.get("race.bin", 1000).buffer) == contents[winners[0]]

    def test_every_allowed_key(self, store: Store) -> None:
        """All characters allowed in keys, and long keys, work."""
        keys = [_ALPHABET, "=a/-b/_c/d..e", "-", "x" * 150 + "/" + "y" * 150 + "/" + "z" * 150]
        for key in keys:
            store.put(key, PiecesBody([key.encode()]))
        for key in keys:
            assert bytes(store.get(key, len(key)).buffer) == key.encode()
        assert [info.key for info in store.list()] == sorted(keys)

    def test_errors_can_be_pickled(self, store: Store) -> None:
        """Errors of a store can be pickled with all their attributes."""
        store.put("taken.bin", PiecesBody([b"first"]))
        for attempt in (
            lambda: store.get("none.bin", 1),
            lambda: store.get("taken.bin", 1),
            lambda: store.put("taken.bin", PiecesBody([b"other"])),
        ):
            with pytest.raises(PayloadError) as caught:
                attempt()
            copy = pickle.loads(pickle.dumps(caught.value))
            assert type(copy) is type(caught.value)
            assert (str(copy), copy.kind) == (str(caught.value), caught.value.kind)
