"""Awaitable versions: same results and errors, the loop keeps running, and cancelling leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import payloadfs
from payloadfs import BatchError, EncodeError, NotFoundError, Payload, Pointer, Repository, StoreError, aio


@pytest.fixture
def repository(tmp_path: Any) -> Repository:
    return Repository(tmp_path / "objects", fsync=False)


class Slow(Repository):
    """A repository whose saves wait for `go`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.begun, self.go = threading.Event(), threading.Event()

    def save(self, obj: Any, **how: Any) -> Pointer:
        self.begun.set()
        assert self.go.wait(60)
        return super().save(obj, **how)

    async def has_begun(self) -> None:
        while not self.begun.is_set():
            await asyncio.sleep(0.001)


def test_results_are_those_of_the_synchronous_calls(repository: Repository) -> None:
    async def main() -> None:
        pointer = await aio.save([1], repository=repository, prefix="run")
        assert pointer.key.startswith("run/")
        assert await aio.load(pointer, repository=repository) == repository.load(pointer) == [1]
        payload = Payload({"a": 1}, repository=repository)
        assert (await aio.value(payload), payload.is_saved) == ({"a": 1}, True)
        pointers = await aio.save_many(range(100), repository=repository, prefix="many", max_concurrency=7)
        assert repository.load_many(pointers) == list(range(100))
        assert await aio.load_many(iter(pointers), repository=repository, max_concurrency=50) == list(range(100))
        assert await aio.load_many([], repository=repository) == []
        array = await aio.save(__import__("numpy").ones(3), repository=repository)
        assert not (await aio.load(array, repository=repository, view=True)).flags.writeable
        assert not (await aio.load_many([array], repository=repository, view=True))[0].flags.writeable

    asyncio.run(main())


def test_errors_are_those_of_the_synchronous_calls(repository: Repository) -> None:
    async def main() -> None:
        with pytest.raises(EncodeError):
            await aio.save((x for x in "a"), repository=repository)
        pointer = repository.save(1)
        repository.delete(pointer)
        with pytest.raises(NotFoundError):
            await aio.load(pointer, repository=repository)
        with pytest.raises(BatchError) as caught:
            await aio.save_many([1, (x for x in "a"), 3], repository=repository)
        assert (sorted(caught.value.done), sorted(caught.value.failed)) == ([0, 2], [1])

        def objects() -> Iterator[int]:
            yield 1
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as broken:
            await aio.save_many(objects(), repository=repository)
        assert repository.load_many(vars(broken.value)["done"].values()) == [1]

    asyncio.run(main())


def test_settings_and_context_variables_are_passed_on() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    class Seen:
        def __reduce__(self) -> Any:
            return int, (variable.get(),)

    async def one(number: int) -> list[Any]:
        variable.set(number)
        with payloadfs.using(f"memory://aio/{number}"):
            pointer = await aio.save([Seen()])
            assert pointer.root == f"memory://aio/{number}"
            (several,) = await aio.save_many([[Seen()]])
            return [*(await aio.load(pointer)), *(await aio.load_many([several]))[0]]

    async def main() -> list[list[Any]]:
        return await asyncio.gather(*map(one, range(30)))

    assert asyncio.run(main()) == [[number, number] for number in range(30)]


def test_the_loop_keeps_running(tmp_path: Any) -> None:
    repository = Slow(tmp_path / "objects")

    async def main() -> None:
        saving = [
            aio.save(1, repository=repository),
            aio.save_many([2, 3, 4], repository=repository, max_concurrency=2),
        ]
        tasks = [asyncio.ensure_future(one) for one in saving]
        await repository.has_begun()
        # Only a loop that is running can release them.
        repository.go.set()
        await asyncio.gather(*tasks)

    asyncio.run(asyncio.wait_for(main(), 20))
    assert len(list(repository.list())) == 4


def settled(repository: Repository) -> list[Any]:
    """Return what is stored once all background calls have ended."""
    for pool in list(aio._pool.values()):
        pool.shutdown()
    aio._pool.clear()
    return list(repository.list())


@pytest.mark.parametrize("many", [False, True])
def test_cancelling_takes_effect_immediately_and_leaves_nothing(tmp_path: Any, many: bool) -> None:
    repository = Slow(tmp_path / "objects", fsync=False)
    asked = []

    def objects() -> Iterator[int]:
        for number in range(50):
            asked.append(number)
            yield number

    async def main() -> None:
        saving = (
            aio.save_many(objects(), repository=repository, max_concurrency=3)
            if many
            else aio.save(1, repository=repository)
        )
        task = asyncio.ensure_future(saving)
        await repository.has_begun()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The save cannot end before `go` is set, which is later: so the task did not wait for it.
        assert not repository.go.is_set()

    asyncio.run(main())
    assert len(asked) <= 4
    repository.go.set()
    assert settled(repository) == []


def test_cancelling_a_finished_save_leaves_nothing(repository: Repository) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(aio.save(1, repository=repository))
        await asyncio.sleep(0)
        while not list(repository.list()):
            # The loop is blocked here, so it cannot notice that the save has ended.
            time.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert settled(repository) == []


def test_a_failed_deletion_is_logged(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow(repository.root)

    def refuse(self: Repository, pointer: Pointer) -> None:
        raise StoreError("Refused.")

    monkeypatch.setattr(Slow, "delete", refuse)

    async def main() -> None:
        task = asyncio.ensure_future(aio.save(1, repository=slow))
        await slow.has_begun()
        task.cancel()

    asyncio.run(main())
    slow.go.set()
    with caplog.at_level(logging.WARNING, "payloadfs"):
        (left,) = settled(slow)
    assert left.key in caplog.text


def test_a_cancelled_value_leaves_the_payload_usable(tmp_path: Any) -> None:
    repository = Slow(tmp_path / "objects", fsync=False)
    payload = Payload([1], repository=repository)

    async def main() -> None:
        task = asyncio.ensure_future(aio.value(payload))
        await repository.has_begun()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    repository.go.set()
    assert len(settled(repository)) == 1
    assert payload.value == [1]
    assert len(list(repository.list())) == 1


def test_threads_are_bounded_and_end(repository: Repository) -> None:
    most = 0

    async def main() -> None:
        nonlocal most

        async def one(number: int) -> None:
            nonlocal most
            await aio.save(number, repository=repository)
            most = max(most, threading.active_count())

        before = threading.active_count()
        await asyncio.gather(*map(one, range(500)))
        assert most <= before + aio._MAX_THREADS
        await aio.load_many(
            await aio.save_many(range(100), repository=repository, max_concurrency=20), repository=repository
        )

    asyncio.run(main())
    settled(repository)
    names = ("payloadfs-aio", "payloadfs-batch")
    ours = [thread for thread in threading.enumerate() if thread.name.startswith(names)]
    for thread in ours:
        # They were asked to end, and no call waited for them.
        thread.join(60)
    assert not [thread for thread in ours if thread.is_alive()]


def test_a_forked_child_has_its_own_threads(repository: Repository) -> None:
    asyncio.run(aio.save(1, repository=repository))
    child = os.fork()
    if child == 0:
        pointers = asyncio.run(aio.save_many([1, 2], repository=repository))
        good = asyncio.run(aio.load(asyncio.run(aio.save([3], repository=repository)), repository=repository)) == [3]
        os._exit(0 if good and len(pointers) == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    settled(repository)


INTERRUPTED = """
import asyncio, os, signal, sys, threading, time
from payloadfs import Repository, aio

class Slow(Repository):
    def save(self, obj, **how):
        pointer = super().save(obj, **how)
        if obj == 5:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return pointer

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    asyncio.run(aio.save_many(range(10_000), repository=Slow(sys.argv[1], fsync=False), max_concurrency=4))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_the_program_and_leaves_nothing(repository: Repository, tmp_path: Any) -> None:
    folder = str(tmp_path / "objects")
    command = [sys.executable, "-c", INTERRUPTED, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
    assert list(repository.list()) == []


@pytest.mark.parametrize("count", [100, 2000])
def test_a_cancelled_load_many_starts_nothing_more(tmp_path: Any, count: int) -> None:
    begun, go = [], threading.Event()

    class Waits(Repository):
        def load(self, pointer: Pointer, *, view: bool = False, context: str | None = None) -> Any:
            begun.append(pointer)
            assert go.wait(60)
            return super().load(pointer, view=view)

    repository = Waits(tmp_path / "objects", fsync=False)
    pointers = repository.save_many(range(count))

    async def main() -> None:
        task = asyncio.ensure_future(aio.load_many(pointers, repository=repository, max_concurrency=3))
        while len(begun) < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(begun) == 3
        go.set()

    asyncio.run(main())
    settled(repository)
    assert len(begun) == 3
