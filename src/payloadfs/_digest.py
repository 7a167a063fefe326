"""Digests: BLAKE3-256 by default, SHA-256 if configured (FIPS).

Both have 128 bits of collision resistance. A digest also says *what* was hashed, all bytes of the object
or the seal at its end (see `payloadfs._seal`), so that the two cannot be confused.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal, Protocol

from ._forks import on_fork
from ._threads import available_cores
from .errors import PointerError

Algorithm = Literal["b3", "s256"]
ALGORITHMS: tuple[Algorithm, ...] = ("b3", "s256")
DIGEST_BYTES = 32

_PATTERN = re.compile(r"(b3|s256)(-seal)?:([0-9a-f]{64})")
_PARALLEL_FROM_BYTES = 1024 * 1024
_BATCH_BYTES = 1024 * 1024
_MOST_BATCHES = 8

_lost_threads: list[bool] = []
"""Not empty in a forked child: BLAKE3's thread pool does not survive a fork, and waiting for it would hang."""


@on_fork
def _after_fork() -> None:
    _lost_threads.append(True)


class Hasher(Protocol):
    """A running hash, as `hasher` returns it."""

    def update(self, data: memoryview, /) -> object:
        """Hash `data` after everything before it."""
        ...

    def digest(self) -> bytes:
        """Return the digest of everything hashed so far: 32 bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest in a pointer: the hash of all bytes of the object or, if it is sealed, of the tail that holds its seal.

    Examples
    --------
    >>> str(Digest("s256", digest_of([b"abc"], "s256")))[:13]
    's256:ba7816bf'
    """

    algorithm: Algorithm
    value: bytes
    sealed: bool = False

    def __str__(self) -> str:
        return f"{self.algorithm}{'-seal' if self.sealed else ''}:{self.value.hex()}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest that `text` represents, or raise `PointerError`."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise PointerError(f"The pointer's digest is not valid: {text[:80]!r}.", kind="digest-format")
        algorithm: Algorithm = "b3" if match[1] == "b3" else "s256"
        return cls(algorithm, bytes.fromhex(match[3]), match[2] is not None)


def hasher(algorithm: Algorithm, *, all_cores: bool = False) -> Hasher:
    """Return a new hasher. With `all_cores`, BLAKE3 uses all cores for large pieces."""
    if algorithm == "s256":
        return hashlib.sha256()
    # Imported here, so that `import payloadfs` loads no compiled module.
    from blake3 import blake3

    max_threads = available_cores() if _lost_threads else blake3.AUTO
    return blake3(max_threads=max_threads if all_cores else 1)


def digest_of(parts: Iterable[bytes | memoryview], algorithm: Algorithm) -> bytes:
    """Return the digest of `parts`, joined: 32 bytes.

    Cost: one pass, no copy. BLAKE3 uses all cores for parts of 1 MiB and more.
    """
    views = [memoryview(part) for part in parts]
    return _digest_of(views, algorithm, all_cores=any(view.nbytes >= _PARALLEL_FROM_BYTES for view in views))


def digests_of(
    parts: Sequence[memoryview],
    algorithm: Algorithm,
    pieces: Callable[[memoryview], Iterable[memoryview]],
) -> list[bytes]:
    """Return the digest of each of `parts`, which `pieces` splits, for example to release memory that was hashed.

    Cost: one pass, no copy; all cores from 1 MiB on. BLAKE3 uses them within each large part. Small
    parts, and all parts with SHA-256, which cannot be split, are distributed among threads.
    """
    large_bytes = _PARALLEL_FROM_BYTES if algorithm == "b3" else float("inf")
    small = [(index, part) for index, part in enumerate(parts) if part.nbytes < large_bytes]
    digests = [
        b"" if part.nbytes < large_bytes else _digest_of(pieces(part), algorithm, all_cores=True) for part in parts
    ]

    def work(batch: list[tuple[int, memoryview]]) -> None:
        for index, part in batch:
            digests[index] = _digest_of(pieces(part), algorithm, all_cores=False)

    batches = list(_batches(small))
    if len(batches) < 2:
        work(small)
        return digests
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(available_cores(), thread_name_prefix="payloadfs-digest") as pool:
        list(pool.map(work, batches))
    return digests


def _digest_of(pieces: Iterable[memoryview], algorithm: Algorithm, *, all_cores: bool) -> bytes:
    state = hasher(algorithm, all_cores=all_cores)
    for piece in pieces:
        state.update(piece)
    return state.digest()


def _batches(parts: list[tuple[int, memoryview]]) -> Iterator[list[tuple[int, memoryview]]]:
    """Yield `parts` in groups large enough to be worth waking a thread."""
    batch, batch_bytes = [], 0
    for indexed in parts:
        batch.append(indexed)
        batch_bytes += indexed[1].nbytes
        if batch_bytes >= _BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch


class HashThread:
    """A second thread that hashes pieces in order while the caller continues.

    It is at most about 32 MiB behind, so that what it hashes is still in the cache. Waking a thread
    costs as much as hashing 100 KiB, so small pieces are passed to it in batches.
    """

    def __init__(self) -> None:
        self._batch: list[tuple[Hasher, memoryview]] = []
        self._batch_bytes = 0
        self._queue: SimpleQueue[list[tuple[Hasher, memoryview]]] = SimpleQueue()
        self._free = threading.Semaphore(_MOST_BATCHES)
        self._error: BaseException | None = None
        # A daemon, so that an iterator that was never closed does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="payloadfs-digest", daemon=True)
        self._thread.start()

    def update(self, state: Hasher, piece: memoryview) -> None:
        """Update `state` with `piece`, which must stay valid until `settle`."""
        self._batch.append((state, piece))
        self._batch_bytes += piece.nbytes
        if self._batch_bytes >= _BATCH_BYTES:
            self._send()

    def settle(self) -> None:
        """Wait until everything is hashed, or raise what the thread raised."""
        self._send()
        for _ in range(_MOST_BATCHES):
            self._free.acquire()
        self._free.release(_MOST_BATCHES)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread. Pieces that were not passed to it yet are not hashed."""
        self._queue.put([])
        self._thread.join()

    def _send(self) -> None:
        if not self._batch:
            return
        self._free.acquire()
        if self._error is not None:
            self._free.release()
            raise self._error
        self._queue.put(self._batch)
        self._batch, self._batch_bytes = [], 0

    def _run(self) -> None:
        while batch := self._queue.get():
            try:
                for state, piece in batch:
                    state.update(piece)
            except BaseException as error:  # noqa: BLE001  the caller raises it
                self._error = error
            finally:
                self._free.release()
