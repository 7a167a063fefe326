"""Batches: results in order, bounded concurrency, every failure reported, no result lost."""

from __future__ import annotations

import contextvars
import faulthandler
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pandas as pd
import polars as pl
import pytest

import payloadfs
from payloadfs import BatchError, ConfigError, EncodeError, NotFoundError, Pointer, Repository
from payloadfs._batch import Batch


@pytest.fixture
def repository(tmp_path: Any) -> Repository:
    return Repository(tmp_path / "objects", fsync=False)


class Watched(Repository):
    """A repository that counts concurrent saves, the first of which wait for each other, and later ones end first."""

    def __init__(self, root: str, expected: int) -> None:
        super().__init__(root)
        self.expected, self.reached = expected, threading.Event()
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def save(self, obj: Any, **how: Any) -> Pointer:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now >= self.expected:
                self.reached.set()
        try:
            assert self.reached.wait(60)
            time.sleep(0.02 if obj % 2 else 0.001)
            return super().save(obj, **how)
        finally:
            with self.lock:
                self.now -= 1


@pytest.mark.parametrize("max_concurrency", [1, 3, 50])
def test_results_are_in_order_and_concurrency_is_bounded(max_concurrency: int) -> None:
    repository = Watched("memory://many/order", expected := min(max_concurrency, 10))
    pointers = repository.save_many(range(40), prefix="run", max_concurrency=max_concurrency)
    assert expected <= repository.most <= max_concurrency
    assert all(pointer.key.startswith("run/") for pointer in pointers)
    assert repository.load_many(pointers, max_concurrency=max_concurrency) == list(range(40))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("payloadfs-batch")]


def test_none_is_a_result(repository: Repository) -> None:
    assert repository.save_many([]) == []
    assert repository.load_many(iter(())) == []


def test_all_are_tried_and_nothing_is_lost(repository: Repository) -> None:
    objects = [1, (x for x in "a"), 3, (x for x in "b"), 5]
    with pytest.raises(BatchError) as caught:
        repository.save_many(objects, max_concurrency=2)
    error = caught.value
    assert {number: repository.load(pointer) for number, pointer in error.done.items()} == {0: 1, 2: 3, 4: 5}
    assert {number: type(one) for number, one in error.failed.items()} == {1: EncodeError, 3: EncodeError}
    assert list(error.exceptions) == list(error.failed.values())
    assert len(list(repository.list())) == 3

    pointers = [error.done[number] for number in (0, 2, 4)]
    repository.delete(pointers[1])
    with pytest.raises(BatchError) as caught:
        repository.load_many(pointers)
    assert caught.value.done == {0: 1, 2: 5}
    (missing,) = caught.value.exceptions
    assert isinstance(missing, NotFoundError)
    assert missing.pointer == pointers[1]


def test_an_exception_that_was_saved_is_a_result(repository: Repository) -> None:
    pointers = repository.save_many([ValueError("kept"), 2])
    first, second = repository.load_many(pointers)
    assert (repr(first), second) == ("ValueError('kept')", 2)


@pytest.mark.parametrize("max_concurrency", [0, -1, 1.0, True, "4", None])
def test_an_invalid_concurrency_is_refused_first(repository: Repository, max_concurrency: Any) -> None:
    def never() -> Iterator[Any]:
        raise AssertionError("asked for an object")
        yield

    for attempt in (repository.save_many, repository.load_many):
        with pytest.raises(ConfigError, match="max_concurrency") as caught:
            attempt(never(), max_concurrency=max_concurrency)
        assert caught.value.kind == "max-concurrency"


def test_objects_are_iterated_in_this_thread_and_released_when_saved(repository: Repository) -> None:
    alive: weakref.WeakSet[frozenset[int]] = weakref.WeakSet()
    most, threads = 0, set()

    def things() -> Iterator[frozenset[int]]:
        nonlocal most
        for number in range(60):
            threads.add(threading.get_ident())
            thing = frozenset({number})
            alive.add(thing)
            most = max(most, len(alive))
            yield thing
            del thing

    assert len(repository.save_many(things(), max_concurrency=4)) == 60
    assert threads == {threading.get_ident()}
    # Four being saved, one waiting, and those that a thread releases a moment later.
    assert most <= 4 + 1 + 4


def test_context_variables_are_passed_on(repository: Repository) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen = []

    def call(item: int) -> None:
        seen.append((variable.get(), payloadfs.default_repository().root))
        variable.set("changed by one")

    variable.set("outer")
    with payloadfs.using("memory://many/context"):
        Batch(call, "done", 3).run(range(9))
    assert set(seen) == {("outer", "memory://many/context")}
    assert variable.get() == "outer"


def test_an_error_in_the_iterable_reports_what_was_saved(repository: Repository) -> None:
    def objects() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        repository.save_many(objects())
    assert repository.load_many(vars(caught.value)["done"].values()) == [1, 2]


def test_an_exit_in_a_thread_is_not_lost(repository: Repository) -> None:
    class Exit:
        def __reduce__(self) -> Any:
            raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        repository.save_many([1, Exit(), 3])
    assert sorted(vars(caught.value)["done"]) == [0, 2]


@pytest.mark.parametrize("wait", ["for room", "for the end"])
def test_an_interrupt_starts_nothing_more_and_reports_what_was_saved(repository: Repository, wait: str) -> None:
    count, max_concurrency = (100, 2) if wait == "for room" else (4, 4)
    begun = []

    class Slow(Repository):
        def save(self, obj: Any, **how: Any) -> Pointer:
            begun.append(obj)
            if obj == 3:
                # A real signal, while the main thread waits.
                time.sleep(0.1)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.1)
            return super().save(obj, **how)

    # Test runners that work in parallel ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            Slow(repository.root).save_many(range(count), max_concurrency=max_concurrency)
    finally:
        signal.signal(signal.SIGINT, before)
    assert 3 in begun
    assert len(begun) <= 3 + 2 * max_concurrency
    done = vars(caught.value)["done"]
    assert sorted(done) == sorted(begun)
    assert {info.key for info in repository.list()} == {pointer.key for pointer in done.values()}


def test_batches_in_a_forked_child(repository: Repository) -> None:
    pointers = repository.save_many(range(20), max_concurrency=5)
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(100, exit=True)  # shows where a child hangs, before the test's own limit
        good = repository.load_many(repository.save_many(range(20))) == repository.load_many(pointers)
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("one", ["abc", b"abc", {"a": 1}, pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]})])
def test_one_object_is_not_a_batch(repository: Repository, one: Any) -> None:
    """Its characters, keys or columns would be saved in its place."""
    with pytest.raises(ConfigError, match=f"not one {type(one).__name__}. Nothing was saved"):
        repository.save_many(one)
    with pytest.raises(ConfigError, match="Nothing was loaded"):
        repository.load_many(one)
    assert list(repository.list()) == []
    assert len(repository.save_many(pd.Series([1, 2]))) == 2
