"""Garbage collection: histories of saves, references, lifetimes and wrong clocks, against a model."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from payloadfs import ConfigError, Key, KeyRing, Payload, Pointer, PolicyError, Repository, StoreError
from payloadfs.retention import collect, references_in, remove
from payloadfs.stores import ObjectInfo

KEYS = KeyRing([Key(b"k" * 32)])
DAY_S = 86_400


class Clock:
    """Time of the store, and of writers whose clocks are off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store_s, self.off_s = time.time(), 0.0
        monkeypatch.setattr(time, "time", lambda: self.store_s + self.off_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def repository(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Repository whose store has its own clock."""
    repository = Repository(tmp_path / "objects", keys=KEYS, fsync=False)
    store, written = repository.store, {}
    real_put, real_list, real_info = type(store).put, type(store).list, type(store).info

    def put(self: Any, key: str, body: Any) -> None:
        real_put(self, key, body)
        written[key] = clock.store_s

    def timed(info: ObjectInfo) -> ObjectInfo:
        return ObjectInfo(info.key, info.size_bytes, written[info.key])

    monkeypatch.setattr(type(store), "put", put)
    monkeypatch.setattr(type(store), "list", lambda self, prefix="": map(timed, real_list(self, prefix)))
    monkeypatch.setattr(type(store), "info", lambda self, key: timed(real_info(self, key)))
    return repository


def _refs(*pointers: Pointer) -> list[list[bytes]]:
    return [[json.dumps({"a": [pointer.to_dict()]}).encode() + b"\n" for pointer in pointers]]


def _keys(repository: Repository) -> set[str]:
    return {info.key for info in repository.list() if not info.key.startswith("payloadfs-gc/")}


def test_two_marks_one_grace_period_apart(repository: Repository, clock: Clock) -> None:
    live, dead = repository.save("live"), repository.save("dead")
    clock.store_s += 2 * DAY_S
    young = repository.save("young")
    first = collect(_refs(live), dry_run=False, repository=repository)
    assert (first.unreferenced.count, first.marked) == (0, 1)
    # Too early, whoever asks.
    clock.store_s += DAY_S / 2
    assert collect(_refs(live, young), dry_run=False, repository=repository).unreferenced.count == 0
    assert _keys(repository) == {live.key, dead.key, young.key}
    clock.store_s += DAY_S
    second = collect(_refs(live, young), dry_run=False, repository=repository)
    assert (second.unreferenced.count, second.unreferenced.size_bytes) == (1, 4)
    assert _keys(repository) == {live.key, young.key}


def test_a_reference_that_is_written_after_the_mark_counts(repository: Repository, clock: Clock) -> None:
    live, late = repository.save("live"), repository.save("late")
    clock.store_s += 2 * DAY_S
    collect(_refs(live), dry_run=False, repository=repository)
    clock.store_s += 2 * DAY_S
    collect(_refs(live, late), dry_run=False, repository=repository)
    assert _keys(repository) == {live.key, late.key}
    # It is marked again, and not deleted by the old mark.
    clock.store_s += 2 * DAY_S
    collect(_refs(live), dry_run=False, repository=repository)
    assert _keys(repository) == {live.key, late.key}


def test_a_dry_run_changes_nothing(repository: Repository, clock: Clock) -> None:
    repository.save("dead")
    repository.save("expired", expires="1h")
    clock.store_s += 2 * DAY_S
    before = sorted(repository.list(), key=lambda info: info.key)
    for _ in range(3):
        result = collect(_refs(repository.save("live", prefix="x")), repository=repository)
        repository_keys = [info for info in repository.list() if not info.key.startswith("x/")]
        assert repository_keys == before
        assert (result.expired.count, result.marked) == (1, 2)  # the expired object has no reference either
        clock.store_s += 2 * DAY_S
        for info in repository.list("x"):
            repository.store.delete(info.key)


@pytest.mark.parametrize("writer_off_s", [-DAY_S, 0, DAY_S])
@pytest.mark.parametrize("collector_off_s", [-DAY_S, 0, DAY_S])
def test_expired_objects_go_and_others_stay_whatever_the_clocks(
    repository: Repository, clock: Clock, writer_off_s: float, collector_off_s: float
) -> None:
    clock.off_s = writer_off_s
    short, long = repository.save("short", expires="1h"), repository.save("long", expires="3d")
    forever = repository.save("forever")
    clock.off_s = collector_off_s
    clock.store_s += 3500
    collect(dry_run=False, repository=repository)
    assert _keys(repository) == {short.key, long.key, forever.key}
    clock.store_s += 200 + DAY_S  # a writer's clock that is ahead delays the collection
    collect(dry_run=False, repository=repository)
    assert _keys(repository) == {long.key, forever.key}


def _fails() -> Iterator[bytes]:
    yield b"01kjk3c8r0z5v9n2q7w4t6y8bd"
    raise OSError(5, "the database is gone")


def test_failing_or_empty_references_delete_nothing(repository: Repository, clock: Clock) -> None:
    kept = {repository.save("dead").key, repository.save("expired", expires="1h").key}
    for _ in range(3):
        clock.store_s += 2 * DAY_S
        with pytest.raises(OSError, match="database"):
            collect([*_refs(repository.save("x", prefix="live")), _fails()], dry_run=False, repository=repository)
        with pytest.raises(ConfigError, match="contain no id"):
            collect([[b"{}"], []], dry_run=False, repository=repository)
        assert kept <= _keys(repository)


@pytest.mark.parametrize("max_share", [float("nan"), -0.1, 1.1])
def test_a_share_that_is_not_one_is_refused(repository: Repository, max_share: float) -> None:
    with pytest.raises(ConfigError, match="max_share must be a number from 0 to 1") as caught:
        collect(max_share=max_share, dry_run=False, repository=repository)
    assert caught.value.kind == "max-share"


def test_references_that_are_not_bytes_are_refused(repository: Repository) -> None:
    pointer = repository.save([1] * 100)
    wrong: list[Any] = [[[pointer.to_json()]], [pointer.to_json()], [pointer.to_json().encode()], pointer.to_json()]
    for references in wrong:
        with pytest.raises(ConfigError, match="a piece of the references must be an instance of bytes, not") as caught:
            collect(references, dry_run=False, repository=repository)
        assert caught.value.kind == "argument"


def test_too_many_unreferenced_objects_are_kept(repository: Repository, clock: Clock) -> None:
    live, *dead = repository.save_many(range(10))
    clock.store_s += 2 * DAY_S
    collect(_refs(live), dry_run=False, repository=repository)
    clock.store_s += 2 * DAY_S
    with pytest.raises(PolicyError, match="max_share") as caught:
        collect(_refs(live), dry_run=False, repository=repository)
    assert caught.value.kind == "max-share"
    assert len(_keys(repository)) == 10
    assert collect(_refs(live), dry_run=False, max_share=1.0, repository=repository).unreferenced.count == len(dead)
    assert _keys(repository) == {live.key}


def test_an_interrupted_collection_is_continued(
    repository: Repository, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, *_ = repository.save_many(range(40))
    clock.store_s += 2 * DAY_S
    collect(_refs(live), dry_run=False, repository=repository)
    clock.store_s += 2 * DAY_S
    real, count = type(repository.store).delete, [0]

    def delete(self: Any, key: str) -> None:
        count[0] += 1
        if count[0] == 20:
            raise StoreError("the server is gone", kind="connection-lost")
        real(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "delete", delete)
        with pytest.raises(StoreError):
            collect(_refs(live), max_share=1, dry_run=False, repository=repository)
    assert 1 < len(_keys(repository)) < 40
    collect(_refs(live), max_share=1, dry_run=False, repository=repository)
    assert _keys(repository) == {live.key}


def test_documents_of_runs_are_references(repository: Repository, clock: Clock) -> None:
    from payloadfs._seal import Encoded, Outgoing

    named, dead, other = repository.save("named"), repository.save("dead"), repository.save("other")
    document = json.dumps({"state": named.to_json()}).encode()
    repository.store.put("runs/r/state/000000001.json", Outgoing(Encoded([memoryview(document)], "json"), "b3"))
    for _ in range(2):
        clock.store_s += 2 * DAY_S
        collect(_refs(other), dry_run=False, repository=repository)
    assert _keys(repository) == {named.key, other.key, "runs/r/state/000000001.json"}
    assert dead.key not in _keys(repository)


SPELLINGS: dict[str, Callable[[Pointer], bytes]] = {
    "JSON": lambda pointer: pointer.to_json().encode(),
    "JSON in JSON": lambda pointer: json.dumps(json.dumps({"x": pointer.to_json()})).encode(),
    "indented": lambda pointer: json.dumps(pointer.to_dict(), indent=4).encode(),
    "only the key": lambda pointer: pointer.key.encode(),
    "after letters": lambda pointer: b"id" + pointer.key.rpartition("/")[2].encode(),
    "before letters": lambda pointer: pointer.key.rpartition("/")[2][:26].encode() + b"abc",
    "in CSV": lambda pointer: f'7,"{pointer.to_json().replace(chr(34), chr(34) * 2)}",x'.encode(),
    "repr of a dict": lambda pointer: repr(pointer.to_dict()).encode(),
    "binary around": lambda pointer: b"\x00\xff" + pointer.key.encode() + b"\x80",
}


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 26, 100, 10_000])
def test_references_in_any_text(tmp_path: Path, name: str, chunk_bytes: int) -> None:
    pointer = Repository(tmp_path, keys=KEYS).save("x")
    text = b"some text " * 3 + SPELLINGS[name](pointer) + b" and more" * 3
    chunks = [text[start : start + chunk_bytes] for start in range(0, len(text), chunk_bytes)]
    assert pointer.key.rpartition("/")[2][:26].encode() in set(references_in(chunks))


def test_digests_are_hardly_ever_taken_for_ids() -> None:
    text = b" ".join(os.urandom(32).hex().encode() for _ in range(10_000))
    assert len(list(references_in([text]))) < 2_000


def _history(seed: int, repository: Repository, clock: Clock) -> None:
    """A random history. No live object is ever deleted; two passes after the last change all dead ones are gone."""
    choose = random.Random(seed)
    live: dict[str, Pointer] = {}
    dead: dict[str, Pointer] = {}
    for _ in range(choose.randrange(5, 25)):
        clock.store_s += choose.choice([1, 3600, DAY_S, 3 * DAY_S])
        clock.off_s = choose.choice([0, 0, -DAY_S, DAY_S])
        action = choose.random()
        if action < 0.5:
            pointer = repository.save(choose.random(), expires=choose.choice([None, None, "12h", "9d"]))
            (live if choose.random() < 0.6 else dead)[pointer.key] = pointer
        elif action < 0.65 and live:
            key = choose.choice(sorted(live))
            dead[key] = live.pop(key)
        elif action < 0.75:
            with pytest.raises(OSError, match="gone"):
                collect([*_refs(*live.values()), _fails()], dry_run=False, max_share=1, repository=repository)
        elif live:
            collect(_refs(*live.values()), dry_run=False, max_share=1, repository=repository)
        now_s = clock.store_s
        kept = {key for key, pointer in live.items() if pointer.expires is None or pointer.expires.timestamp() > now_s}
        assert kept <= _keys(repository), f"a live object was deleted (seed {seed})"
    clock.off_s = 0
    anchor = repository.save("anchor")
    for _ in range(3):
        clock.store_s += 10 * DAY_S
        collect(_refs(anchor, *live.values()), dry_run=False, max_share=1, repository=repository)
    expected = {key for key, pointer in live.items() if pointer.expires is None} | {anchor.key}
    assert _keys(repository) == expected, f"seed {seed}"


@pytest.mark.parametrize("seed", range(30))
def test_histories(repository: Repository, clock: Clock, seed: int) -> None:
    _history(seed, repository, clock)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(30, 1030))
def test_many_histories(repository: Repository, clock: Clock, seed: int) -> None:
    _history(seed, repository, clock)


def test_remove(repository: Repository, clock: Clock) -> None:
    run = [repository.save("x" * n, prefix=prefix, expires=expires) for n, (prefix, expires) in enumerate([("run", None), ("run/1", None), ("run", "7d"), ("run2", None)])]  # fmt: skip
    clock.store_s += 10 * DAY_S
    new = repository.save("new", prefix="run")
    with pytest.raises(ConfigError, match="prefix"):
        remove("", repository=repository)
    with pytest.raises(ConfigError, match="older_than"):
        remove("run", older_than="soon", repository=repository)
    assert remove("run", older_than="9d", dry_run=True, repository=repository).count == 3
    assert remove("run", older_than="9d", repository=repository).size_bytes == 3
    assert _keys(repository) == {run[3].key, new.key}
    assert remove("run", repository=repository).count == 1
    assert remove("run", repository=repository).count == 0
    assert _keys(repository) == {run[3].key}


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_references_in_inline_objects_are_found(size: int, tmp_path: Path) -> None:
    """A small tuple of payloads travels in its pointer, as base64: what it names is in use."""
    repository = Repository(tmp_path, inline_bytes=4096)
    inner = [repository.save(bytes(5000)) for _ in range(3)]
    for value in (tuple(map(Payload.from_pointer, inner)), [1, {"a": inner}], Wrapper(inner)):
        pointer = repository.save(value)
        assert pointer.is_inline
        text = f"some text {pointer.to_json()} and more".encode()
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        ids = {match.key.rpartition("/")[2].partition(".")[0].encode() for match in inner}
        assert ids <= set(references_in(pieces))


class Wrapper:
    def __init__(self, pointers: list[Pointer]) -> None:
        self.pointers = pointers
