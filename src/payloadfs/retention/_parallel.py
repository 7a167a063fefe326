"""Many requests at the same time, over streams of any length."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_THREADS = 16
_AHEAD = 64


def in_parallel(call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``call(item)`` for each of `items`, in order; sixteen run at the same time.

    At most 64 items are taken ahead, so memory does not depend on their number. The first exception
    ends the iteration, after the calls that are running.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(_THREADS, "payloadfs-retention") as pool:
        running: deque[Future[R]] = deque(pool.submit(call, item) for item in islice(remaining, _AHEAD))
        try:
            while running:
                result = running.popleft().result()
                running.extend(pool.submit(call, item) for item in islice(remaining, 1))
                yield result
        finally:
            for job in running:
                job.cancel()
