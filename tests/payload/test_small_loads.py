"""Many small loads in one thread: the same results, errors and promises as one thread for each."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from payloadfs import (
    BatchError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    Payload,
    Pointer,
    PolicyError,
    Repository,
    SignatureError,
    StoreError,
    aio,
)
from payloadfs.stores import open_cache
from payloadfs.stores._cache_quota import alone
from payloadfs.testing.servers import S3Server

from ..stores.answering import Answering, give, part

ANSWERS = {b"missing": b"<Error><Code>NoSuchKey</Code></Error>", b"busy": b"<Error><Code>SlowDown</Code></Error>"}


class World:
    """Objects that are saved in a folder and loaded from a server, which gives them as they lie there."""

    def __init__(self, folder: Path, server: Answering, **settings: Any) -> None:
        self.folder, self.server = folder, server
        self.near = Repository(folder, fsync=False)
        options = {**S3Server(server.endpoint_url).storage_options(), "config_kwargs": {"read_timeout": 2}}
        options["client_kwargs"] = {"region_name": "us-east-1"}
        self.options = {"storage_options": options, "moved": {self.near.root: "s3://bucket/p"}, **settings}
        self.far = Repository("s3://bucket/p", **self.options)
        self.lock, self.now, self.most, self.delay_s = threading.Lock(), 0, 0, 0.0
        self.before: Callable[[socket.socket, str, str], bool] = lambda *_: False
        server.answer = self._answer

    def save(self, *objects: Any) -> list[Pointer]:
        return [self.near.save(obj) for obj in objects]

    def path(self, pointer: Pointer) -> Path:
        return self.folder / pointer.key

    def asked(self) -> Counter[str]:
        """Return how often each key was asked for."""
        return Counter(target.removeprefix("/bucket/p/") for _, target, _ in self.server.seen)

    def _answer(self, client: socket.socket, verb: str, target: str, wanted: str) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.delay_s)
        with self.lock:
            # It counts as on its way until its answer is, which can't be seen from here to the byte.
            self.now -= 1
        path = self.folder / target.removeprefix("/bucket/p/")
        content = path.read_bytes() if path.exists() else None
        if self.before(client, target, wanted):
            return
        if content is None:
            give(client, 404, ANSWERS[b"missing"])
        elif wanted and int(wanted[6:].partition("-")[0]) >= len(content):
            give(client, 416)
        else:
            part(client, wanted, content)


@pytest.fixture(params=["off", "on"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("payloadfs.stores._retry.PAUSES_S", (0.01, 0.01, 0.01))
    server = Answering()
    yield World(tmp_path / "far", server, cache="off" if request.param == "off" else tmp_path / "cache")
    server.close()


without_cache = pytest.mark.parametrize("world", ["off"], indirect=True)


def no_threads() -> bool:
    return not [one for one in threading.enumerate() if one.name.startswith("payloadfs-many")]


def test_small_ones_cost_one_request_and_no_thread(world: World) -> None:
    objects = [{"number": number} for number in range(100)] + [np.arange(number) for number in range(50)]
    pointers = world.save(*objects)
    seen = set()

    def watched() -> Iterator[Pointer]:
        for pointer in pointers:
            seen.update(thread.name for thread in threading.enumerate())
            yield pointer

    loaded = world.far.load_many(watched(), max_concurrency=9)
    assert all(map(np.array_equal, loaded, objects))
    assert not [name for name in seen if name.startswith("payloadfs-many")]
    assert world.asked() == Counter(pointer.key for pointer in pointers)
    assert world.server.connections <= 9
    again = world.far.load_many(reversed(pointers))
    assert all(map(np.array_equal, again, reversed(objects)))
    times = 1 if world.far.settings.cache else 2
    assert set(world.asked().values()) == {times}


def test_every_kind_at_once(world: World, tmp_path: Path) -> None:
    objects: list[Any] = [{"number": number, "text": "x" * number} for number in range(40)]
    objects[5] = os.urandom(300_000)  # not small
    objects[6] = os.urandom(2_000_000)
    objects[7] = b"y" * 65_000
    pointers = world.save(*objects)
    elsewhere = Repository(tmp_path / "elsewhere")
    pointers[10] = elsewhere.save("elsewhere")
    objects[10] = "elsewhere"
    far = Repository("s3://bucket/p", allowed_roots=[elsewhere.root], **world.options)
    world.path(pointers[20]).unlink()
    for number, change in ((21, lambda old: old[:-1]), (22, lambda old: old + b"x"), (23, lambda old: b"?" + old[1:])):
        path = world.path(pointers[number])
        content = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(change(content))
    with pytest.raises(BatchError) as caught:
        far.load_many(pointers, max_concurrency=7)
    error = caught.value
    bad = {20: NotFoundError, 21: IntegrityError, 22: IntegrityError, 23: IntegrityError}
    assert {number: type(one) for number, one in error.failed.items()} == bad
    assert all(error.failed[number].pointer == pointers[number] for number in bad)  # type: ignore[attr-defined]
    assert error.failed[21].kind == error.failed[22].kind == "size"  # type: ignore[attr-defined]
    assert error.done == {number: obj for number, obj in enumerate(objects) if number not in bad}
    assert list(error.done) == sorted(error.done)
    asked = world.asked()
    assert all(asked[pointers[number].key] == 1 for number in error.done if number not in (5, 6, 10))
    assert pointers[10].key not in asked
    assert no_threads()


class Thread:
    """Becomes the name of the thread in which it is decoded."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes

    def __reduce__(self) -> Any:
        return here, (b"x" * self.size_bytes,)


def here(_: bytes) -> str:
    return threading.current_thread().name.rpartition("_")[0]


def test_what_is_not_small_is_decoded_in_threads_that_wake_this_one(world: World) -> None:
    pointers = world.save(*(Thread(size_bytes) for size_bytes in (100, 60_000, 70_000, 200_000, 2_000_000) * 4))
    started_s = time.monotonic()
    assert world.far.load_many(pointers, max_concurrency=1) == ["", "", *["payloadfs-many"] * 3] * 4
    # Without being woken it would look once a second.
    assert time.monotonic() - started_s < 6


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("max_concurrency", [1, 2, 8])
def test_no_more_are_on_their_way_than_may(world: World, max_concurrency: int, busy: bool) -> None:
    refused: set[str] = set()

    def before(client: socket.socket, target: str, wanted: str) -> bool:
        if not busy or target in refused:
            return False
        refused.add(target)
        give(client, 503, ANSWERS[b"busy"])
        return True

    world.before, world.delay_s = before, 0.003
    objects = [os.urandom(100_000 if number % 3 == 0 else 10) for number in range(60)]
    assert world.far.load_many(world.save(*objects), max_concurrency=max_concurrency) == objects
    assert min(max_concurrency, 2) <= world.most <= max_concurrency


def test_a_pointer_that_may_not_be_resolved_costs_no_request(world: World) -> None:
    good, forged, outside = world.save(1, 2, 3)
    forged = dataclasses.replace(forged, created_s=forged.created_s + 1)
    outside = world.near.save(3)
    repository = Repository("s3://bucket/p", **{**world.options, "moved": {world.near.root: "s3://other/p"}})
    with pytest.raises(BatchError) as caught:
        repository.load_many([outside])
    assert isinstance(caught.value.failed[0], PolicyError)
    with pytest.raises(BatchError) as caught:
        world.far.load_many([forged, good, "no pointer"])  # type: ignore[list-item]
    assert caught.value.done == {1: 1}
    assert isinstance(caught.value.failed[0], SignatureError)
    assert isinstance(caught.value.failed[2], AttributeError | TypeError)
    assert world.asked() == {good.key: 1}


def test_an_error_in_decoding_is_that_of_its_object(world: World) -> None:
    pointers = world.save({"a": 1}, np.arange(3), {"b": 2})
    damaged = Repository("s3://bucket/p", pickle="never", **world.options)
    with pytest.raises(BatchError) as caught:
        damaged.load_many([*pointers, *world.save(Path("x"))])
    assert 3 in caught.value.failed
    assert 1 in caught.value.done


def test_busy_and_broken_answers_are_asked_for_again(world: World) -> None:
    refused: set[str] = set()

    def before(client: socket.socket, target: str, wanted: str) -> bool:
        with world.lock:
            again = target in refused
            refused.add(target)
        if again:
            return False
        if len(refused) % 2:
            give(client, 503, ANSWERS[b"busy"])
        else:
            client.shutdown(socket.SHUT_RDWR)
        return True

    world.before = before
    assert world.far.load_many(world.save(*range(40)), max_concurrency=6) == list(range(40))
    assert set(world.asked().values()) == {2}


@without_cache
def test_any_mixture_of_faults_gives_the_right_objects_or_an_error(world: World) -> None:
    objects = [os.urandom(random.Random(number).randrange(1, 70_000)) for number in range(150)]
    pointers = world.save(*objects)
    chance = random.Random(5)

    def before(client: socket.socket, target: str, wanted: str) -> bool:
        with world.lock:
            fault = chance.choice(["none"] * 12 + ["cut", "busy", "drop", "late", "flip", "short", "other"])
        content = (world.folder / target.removeprefix("/bucket/p/")).read_bytes()
        if fault == "cut":
            part(client, wanted, content, cut=len(content) // 2)
            client.shutdown(socket.SHUT_RDWR)
        elif fault == "drop":
            client.shutdown(socket.SHUT_RDWR)
        elif fault == "busy":
            give(client, 503, ANSWERS[b"busy"])
        elif fault == "flip":
            part(client, wanted, bytes([content[0] ^ 1]) + content[1:])
        elif fault == "short":
            part(client, wanted, content[:-1])
        elif fault == "other":
            give(client, 206, os.urandom(len(content)))
        else:
            time.sleep(0.02 if fault == "late" else 0)
            return False
        return True

    world.before = before
    for turn in range(4):
        try:
            done = dict(enumerate(world.far.load_many(pointers, max_concurrency=[3, 50, 10, 1][turn])))
            failed: dict[int, Exception] = {}
        except BatchError as error:
            done, failed = error.done, error.failed
        assert all(done[number] == objects[number] for number in done)
        assert {type(one) for one in failed.values()} <= {IntegrityError, StoreError}
        assert sorted([*done, *failed]) == list(range(150))
        assert len(done) > 75


def test_an_interrupt_begins_nothing_more_and_tells_what_was_loaded(world: World) -> None:
    pointers, sent = world.save(*range(100)), threading.Lock()

    def before(client: socket.socket, target: str, wanted: str) -> bool:
        if len(world.server.seen) >= 30 and sent.acquire(blocking=False):
            # A real signal, while the main thread waits.
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.05)
        return False

    world.before = before
    # Test runners that work in parallel ignore the signal.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            world.far.load_many(pointers, max_concurrency=4)
    finally:
        signal.signal(signal.SIGINT, previous)
    done = vars(caught.value)["done"]
    assert done == {number: number for number in done}
    assert 20 < len(done) <= len(world.server.seen) < 45
    assert world.far.load_many(pointers) == list(range(100))


class Exits:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit(3)",)


@pytest.mark.parametrize("exits", [{1}, {0, 1, 2}, {3}])
@pytest.mark.parametrize("max_concurrency", [2, 50])
def test_an_exit_while_decoding_is_not_lost(world: World, max_concurrency: int, exits: set[int]) -> None:
    pointers = world.save(*(Exits() if number in exits else number for number in range(4)))
    with pytest.raises(SystemExit) as caught:
        world.far.load_many(pointers, max_concurrency=max_concurrency)
    done = vars(caught.value)["done"]
    assert done == {number: number for number in done}
    # It ends everything, but for what is on its way.
    assert max_concurrency == 2 or set(done) == set(range(4)) - exits
    assert world.far.load_many(pointers[-1:] if 3 not in exits else pointers[:1])


def test_what_cannot_be_checked_is_one_error_of_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pointers = world.save(*range(10))

    def missing(buffer: memoryview, digest: Any, *, data: bool) -> None:
        if digest == pointers[4].digest:
            raise ModuleNotFoundError("blake3")

    monkeypatch.setattr("payloadfs.stores._checked_reads.check", missing)
    with pytest.raises(BatchError) as caught:
        world.far.load_many(pointers, max_concurrency=3)
    assert {number: type(one) for number, one in caught.value.failed.items()} == {4: ModuleNotFoundError}
    assert len(caught.value.done) == 9


def test_a_listener_that_fails_is_one_error_of_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pointers = world.save(*range(10))

    def listen(verb: str, pointer: Pointer, started_s: float) -> None:
        if pointer == pointers[4]:
            raise ZeroDivisionError

    monkeypatch.setattr("payloadfs.small_loads.log_done", listen)
    with pytest.raises(BatchError) as caught:
        world.far.load_many(pointers, max_concurrency=3)
    assert (list(caught.value.failed), len(caught.value.done)) == ([4], 9)


def test_a_child_that_leaves_in_between_takes_nothing_along(world: World) -> None:
    pointers, statuses = world.save(*range(30)), []

    def forking() -> Iterator[Pointer]:
        for number, pointer in enumerate(pointers):
            if number == 12:
                child = os.fork()
                if child == 0:
                    os.environ["LEAVES"] = "yes"
                    raise SystemExit
                statuses.append(os.waitpid(child, 0)[1])
            yield pointer

    started_s = time.monotonic()
    try:
        loaded = world.far.load_many(forking(), max_concurrency=5)
    except SystemExit:
        os._exit(7)
    assert loaded == list(range(30))
    assert statuses == [7 << 8]
    assert time.monotonic() - started_s < 1.5
    assert set(world.asked().values()) == {1}


@pytest.mark.parametrize("world", ["on"], indirect=True)
def test_what_is_near_keeps_nobody_else_waiting(world: World) -> None:
    far, near = world.save(*range(5)), world.save(*({"near": number} for number in range(200)))
    world.far.load_many(near)
    begun_s: dict[str, float] = {}
    world.before = lambda client, target, wanted: bool(begun_s.setdefault(target, time.monotonic()) * 0)

    def slowly() -> Iterator[Pointer]:
        for number, pointer in enumerate([*far, *near]):
            time.sleep(0.005 if number > 5 else 0)
            yield pointer

    started_s = time.monotonic()
    world.far.load_many(slowly(), max_concurrency=10)
    assert max(begun_s.values()) - started_s < 0.5
    assert time.monotonic() - started_s > 0.9


@pytest.mark.parametrize("world", ["on"], indirect=True)
def test_nobody_waits_for_who_counts_copies(world: World, tmp_path: Path) -> None:
    world.far.load_many(world.save("first"))
    pointers = world.save(*range(40))
    with alone(str(tmp_path / "cache" / "room"), 0, keep=True):
        started_s = time.monotonic()
        assert world.far.load_many(pointers, max_concurrency=10) == list(range(40))
        # Once is tried, for a moment.
        assert time.monotonic() - started_s < 1.5
    assert world.far.load_many(pointers, max_concurrency=10) == list(range(40))
    assert len([path for path in (tmp_path / "cache").rglob("b3*") if path.is_file()]) == 41


@pytest.mark.parametrize("world", ["on"], indirect=True)
def test_alike_objects_count_once_in_the_cache(world: World, tmp_path: Path) -> None:
    pointers = world.save(*["same"] * 10)
    assert world.far.load_many(pointers) == ["same"] * 10
    assert int.from_bytes((tmp_path / "cache" / "room").read_bytes(), "little") == 16 * 1024


@pytest.mark.parametrize("world", ["on"], indirect=True)
def test_copies_are_checked_in_full(world: World, tmp_path: Path) -> None:
    (pointer,) = world.save(np.arange(2000))
    world.far.load_many([pointer])
    (copy,) = (path for path in (tmp_path / "cache").rglob("b3*") if path.is_file())
    content = bytearray(copy.read_bytes())
    content[8000] ^= 1
    copy.write_bytes(content)
    assert (world.far.load_many([pointer])[0] == np.arange(2000)).all()
    assert set(world.asked().values()) == {2}


@pytest.mark.parametrize("world", ["on"], indirect=True)
def test_copies_from_before_the_machine_started_are_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pointers = world.save(*range(5))
    world.far.load_many(pointers)
    monkeypatch.setattr("payloadfs.stores._cache._start_of_machine", lambda: "0" * 16)
    open_cache.cache_clear()
    for _ in range(2):
        assert world.far.load_many(pointers) == list(range(5))
    assert set(world.asked().values()) == {1}
    open_cache.cache_clear()


def test_an_error_of_the_pointers_themselves_tells_what_was_loaded(world: World) -> None:
    def pointers() -> Iterator[Pointer]:
        yield from world.save(*range(10))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        world.far.load_many(pointers(), max_concurrency=3)
    assert vars(caught.value)["done"] == {number: number for number in range(10)}


variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


class Sees:
    def __init__(self, value: int = 0) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return seen, ()


def seen() -> Sees:
    found = Sees(variable.get())
    variable.set(99)
    return found


def test_context_variables_come_along_and_stay_apart(world: World) -> None:
    variable.set(7)
    pointers = world.save(*(Sees() for _ in range(5)))
    assert [one.value for one in world.far.load_many(pointers)] == [7] * 5
    assert variable.get() == 7


class Nested:
    """Loads another object while it is loaded itself."""

    inner: Payload[Any]

    def __init__(self, inner: Payload[Any], far: Any = None) -> None:
        self.inner = inner

    def __getstate__(self) -> Any:
        return self.inner.to_json()

    def __setstate__(self, state: Any) -> None:
        self.inner = Payload.from_json(state, repository=HERE[0]).value


HERE: list[Repository] = []


def test_a_decoder_may_load_what_is_on_its_way(world: World) -> None:
    HERE[:] = [world.far]
    started_s = time.monotonic()
    inner = world.near.save({"inner": 1})
    outer = world.save(*(Nested(Payload.from_pointer(inner)) for _ in range(10)))
    many = world.far.load_many([*outer, inner, *outer, inner], max_concurrency=5)
    assert [one.inner if isinstance(one, Nested) else one for one in many] == [{"inner": 1}] * 22
    assert time.monotonic() - started_s < 20
    HERE.clear()


def test_results_share_no_memory_and_a_view_is_read_only(world: World) -> None:
    (pointer,) = world.save(np.arange(1000))
    one, two = world.far.load_many([pointer, pointer])
    one[:] = 0
    assert two[5] == 5
    assert world.far.load(pointer)[5] == 5
    (view,) = world.far.load_many([pointer], view=True)
    assert not view.flags.writeable


def test_a_subclass_that_loads_in_its_own_way_is_asked(world: World) -> None:
    class Own(Repository):
        def load(self, pointer: Pointer, *, view: bool = False) -> Any:
            return "own", super().load(pointer, view=view)

    assert Own("s3://bucket/p", **world.options).load_many(world.save(1, 2)) == [("own", 1), ("own", 2)]


def test_each_load_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    pointers = world.save(1, "x" * 100_000, 3)
    with caplog.at_level(logging.DEBUG, "payloadfs"):
        world.far.load_many(pointers)
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("loaded")]
    assert len(told) == 3


def test_without_credentials_each_load_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payloadfs.stores._s3._target.fixed", lambda *_: lambda: None)
    far = Repository("s3://bucket/p", **world.options)
    with pytest.raises(BatchError) as caught:
        far.load_many(world.save(1, 2))
    assert {one.kind for one in caught.value.failed.values()} == {"no-credentials"}  # type: ignore[attr-defined]
    assert not world.server.seen


def test_a_root_that_cannot_be_opened_keeps_nobody_from_others(tmp_path: Path) -> None:
    near = Repository(tmp_path / "near")
    broken = Repository("s3://bucket", storage_options={"nonsense": 1}, transport="obstore", allowed_roots=[near.root])
    assert broken.load_many([near.save(1)]) == [1]
    moved = Repository(
        "s3://bucket", storage_options={"nonsense": 1}, transport="obstore", root_aliases={near.root: "s3://bucket"}
    )
    with pytest.raises(BatchError) as caught:
        moved.load_many([near.save(1)])
    assert isinstance(caught.value.failed[0], ConfigError)


def test_many_threads_may_load_many(world: World) -> None:
    pointers = world.save(*range(60))
    wrong = []

    def work() -> None:
        for _ in range(3):
            if world.far.load_many(pointers, max_concurrency=5) != list(range(60)):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong
    assert asyncio.run(aio.load_many(pointers, repository=world.far)) == list(range(60))


@pytest.mark.parametrize("world", ["on"], indirect=True)
def test_copies_that_were_changed_are_fetched_again(world: World, tmp_path: Path) -> None:
    pointers = world.save(*({"number": number} for number in range(20)))
    objects = world.far.load_many(pointers)
    copies = [path for path in (tmp_path / "cache").rglob("b3*") if path.is_file()]
    assert len(copies) == 20
    for path in copies[:5]:
        path.write_bytes(b"!" + path.read_bytes()[1:])
    copies[5].write_bytes(b"")
    world.server.seen.clear()
    assert world.far.load_many(pointers) == objects
    assert len(world.server.seen) == 6
    world.server.seen.clear()
    assert world.far.load_many(pointers) == objects
    assert not world.server.seen


@pytest.mark.parametrize("world", ["on"], indirect=True)
def test_wrong_bytes_do_not_get_into_the_cache(world: World, tmp_path: Path) -> None:
    (pointer,) = world.save({"a": 1})
    path = world.path(pointer)
    path.chmod(0o600)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    with pytest.raises(BatchError) as caught:
        world.far.load_many([pointer])
    assert isinstance(caught.value.failed[0], IntegrityError)
    assert not [path for path in tmp_path.joinpath("cache").rglob("b3*") if path.is_file()]


@pytest.mark.parametrize("world", ["on"], indirect=True)
def test_a_cache_that_fails_or_is_full_is_no_error(world: World, tmp_path: Path) -> None:
    pointers = world.save(*range(10))
    full = Repository("s3://bucket/p", **{**world.options, "cache_bytes": 40_000})
    assert full.load_many(pointers) == list(range(10))
    assert full.load_many(pointers) == list(range(10))
    (tmp_path / "file").write_bytes(b"")
    broken = Repository("s3://bucket/p", **{**world.options, "cache": tmp_path / "file" / "cache"})
    assert broken.load_many(pointers) == list(range(10))
    world.far.load_many(pointers)
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(BatchError) as caught:
        world.far.load_many(pointers)
    assert {one.kind for one in caught.value.failed.values()} == {"cache-folder"}  # type: ignore[attr-defined]
