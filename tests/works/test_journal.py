"""Checkpoints: changed, removed or renumbered ones are refused, and two drivers do not interfere."""

import json
import os

import pytest

import payloadfs
from payloadfs import IntegrityError, NotFoundError, StoreError
from payloadfs._keys import check_key
from payloadfs.stores._memory import MemoryStore
from payloadfs.works._checkpoints import Checkpoints, newest_checkpoints, parse_key, read_checkpoint

RUN = "run-1"


@pytest.fixture
def repository():
    return payloadfs.Repository()


@pytest.fixture
def checkpoints(repository):
    one = Checkpoints(repository, RUN)
    for number in range(1, 6):
        one.save({"number": number})
    return one


def path_of(store, number):
    return store / "runs" / RUN / "state" / f"{number:09}.json"


def numbers(store):
    return sorted(int(name.removesuffix(".json")) for name in os.listdir(store / "runs" / RUN / "state"))


def test_the_two_newest_are_kept_and_the_newest_counts(checkpoints, store, repository):
    assert numbers(store) == [4, 5]
    assert Checkpoints(repository, RUN).load() == {"number": 5}


def test_an_equal_checkpoint_is_not_saved_again(checkpoints, store):
    checkpoints.save({"number": 5})
    assert numbers(store) == [4, 5]


def test_a_run_that_does_not_exist(repository):
    with pytest.raises(NotFoundError, match=r"Run 'other' not found.*payloadfs runs"):
        Checkpoints(repository, "other").load()


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a b", "a\0"])
def test_the_name_of_a_run_must_be_a_valid_key(repository, name):
    with pytest.raises(payloadfs.PayloadError):
        Checkpoints(repository, name)
    with pytest.raises(payloadfs.PayloadError):
        check_key(name)


CHANGES = {
    "content": lambda text: text.replace('"number":5}', '"number":6}'),
    "cut": lambda text: text[:-1],
    "empty": lambda text: "",
    "not json": lambda text: "no",
    "another type": lambda text: "[]",
    "null": lambda text: "null",
    "no signature": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sig"}),
    "signature of another kind": lambda text: json.dumps(json.loads(text) | {"sig": 5}),
    "empty signature": lambda text: json.dumps(json.loads(text) | {"sig": ""}),
    "signature not in ASCII": lambda text: json.dumps(json.loads(text) | {"sig": "ä" * 43}),
    "key of another kind": lambda text: json.dumps(json.loads(text) | {"kid": ["x"]}),
    "no document": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "document"}),
    "nan": lambda text: text.replace('"number":5}', '"number":NaN}'),
    "deep": lambda text: "[" * 100_000,
    "deep header": lambda text: "[" * 900 + ',"document":{}}',
    "deep document": lambda text: text.replace('{"number":5}', "[" * 200_000),
    "padded header": lambda text: text.replace('"payloadfs-run"', " " * 1000 + '"payloadfs-run"'),
    "long header": lambda text: json.dumps({"x": "y" * 2000})[:-1] + ',"document":{}}',
    "duplicate document": lambda text: text[:-1] + ',"document":{"number":6}}',
    "true for one": lambda text: text.replace('"number":5}', '"number":5.0}'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_checkpoint_is_refused_and_no_older_one_is_used(checkpoints, store, repository, change):
    path = path_of(store, 5)
    path.write_text(CHANGES[change](path.read_text()))
    with pytest.raises(IntegrityError, match="checkpoint of run 'run-1' was changed"):
        Checkpoints(repository, RUN).load()


def test_nothing_is_parsed_before_it_is_authenticated(checkpoints, store, repository, monkeypatch):
    """Not even JSON: 64 MB of brackets become gigabytes of lists."""
    path = path_of(store, 5)
    path.write_text(path.read_text().replace('{"number":5}', '{"number":6}'))
    parsed, loads = [], json.loads
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(text) or loads(text))
    with pytest.raises(IntegrityError):
        Checkpoints(repository, RUN).load()
    assert len(parsed) == 1
    assert b"number" in parsed[0]
    assert b"document" not in parsed[0]


def test_a_huge_checkpoint_is_refused_by_its_size(checkpoints, store, repository, monkeypatch):
    os.truncate(path_of(store, 5), 3 * 2**40)
    monkeypatch.setattr(type(repository.store), "get", lambda *_: pytest.fail("it was fetched"))
    with pytest.raises(IntegrityError, match=r"it has 3298534883328 bytes, and no checkpoint has more than 64000000"):
        Checkpoints(repository, RUN).load()


def test_a_state_that_could_not_be_read_again_is_not_saved(checkpoints, store, repository):
    with pytest.raises(payloadfs.EncodeError, match=r"wrap large values in Payload") as caught:
        checkpoints.save({"number": "x" * 64_000_000})
    assert caught.value.kind == "state"
    assert Checkpoints(repository, RUN).load() == {"number": 5}
    largest = {"number": "x" * (64_000_000 - 1000 - len('{"number":""}'))}
    checkpoints.save(largest)
    assert Checkpoints(repository, RUN).load() == largest


@pytest.mark.parametrize(
    "content",
    ["[" * 200_000, "[" * 990 + ',"document":{}}', "{" * 200_000, "", "null", "[]", '{"sig":5,"document":{}}', None],
)
def test_a_driver_that_meets_a_bad_checkpoint_stops(checkpoints, store, content):
    if content is None:
        path_of(store, 6).touch()
        os.truncate(path_of(store, 6), 3 * 2**40)
    else:
        path_of(store, 6).write_text(content)
    with pytest.raises(StoreError) as caught:
        checkpoints.save({"number": 6})
    assert caught.value.kind == "concurrent-driver"


def test_every_byte_is_protected(checkpoints, store, repository):
    path = path_of(store, 5)
    content = path.read_bytes()
    for pos in range(len(content)):
        for byte in (content[pos] ^ 1, content[pos] ^ 0x20):
            path.write_bytes(content[:pos] + bytes([byte]) + content[pos + 1 :])
            try:
                document = Checkpoints(repository, RUN).load()
            except payloadfs.PayloadError:
                continue
            assert document == {"number": 5}, pos


def test_a_renumbered_checkpoint_is_refused(checkpoints, store, repository):
    os.rename(path_of(store, 4), path_of(store, 9))
    with pytest.raises(IntegrityError):
        Checkpoints(repository, RUN).load()


def test_a_checkpoint_of_another_run_is_refused(checkpoints, store, repository):
    other = Checkpoints(repository, "run-2")
    other.save({"number": 1})
    os.rename(store / "runs" / "run-2" / "state" / "000000001.json", path_of(store, 9))
    with pytest.raises(IntegrityError):
        Checkpoints(repository, RUN).load()


def test_a_newer_version_asks_for_an_update(checkpoints, store, repository):
    path = path_of(store, 5)
    path.write_text(path.read_text().replace('"payloadfs-run": 1', '"payloadfs-run": 2'))
    with pytest.raises(payloadfs.ConfigError, match=r"checkpoint version 2.*update payloadfs"):
        Checkpoints(repository, RUN).load()


def test_an_unknown_key(checkpoints, store):
    ring = payloadfs.KeyRing([payloadfs.Key.generate()])
    with pytest.raises(payloadfs.UnknownKeyError, match="payloadfs keys"):
        Checkpoints(payloadfs.Repository(keys=ring), RUN).load()


def test_other_files_are_ignored(checkpoints, store, repository):
    for name in (".hidden.json", "x.json", "0000000009.json", "000000009.json.tmp"):
        (store / "runs" / RUN / "state" / name).write_text("{}")
    assert Checkpoints(repository, RUN).load() == {"number": 5}


@pytest.mark.parametrize("ahead", range(1, 9))
def test_a_driver_that_fell_behind_cannot_save(store, repository, ahead):
    """However far the other driver is ahead, even if it has deleted the number that this one would use."""
    old = Checkpoints(repository, RUN)
    for number in range(5):
        old.save({"old": number})
    new = Checkpoints(repository, RUN)
    new.load()
    for number in range(ahead):
        new.save({"new": number})
    for _ in range(2):
        with pytest.raises(StoreError, match="Another process has resumed run 'run-1'") as caught:
            old.save({"old": "late"})
        assert caught.value.kind == "concurrent-driver"
    new.save({"new": "last"})
    assert Checkpoints(repository, RUN).load() == {"new": "last"}
    assert numbers(store) == [4 + ahead + 1, 4 + ahead + 2][-2:]


def test_leftovers_of_a_killed_driver_are_deleted(store, repository, checkpoints, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "delete", lambda *_: None)
        for number in range(6, 9):
            checkpoints.save({"number": number})
    assert numbers(store) == [4, 5, 6, 7, 8]
    Checkpoints(repository, RUN).load()
    assert numbers(store) == [7, 8]


def test_a_checkpoint_that_was_stored_despite_an_error(store, repository, checkpoints, monkeypatch):
    """The response of a server was lost, or Ctrl-C came in between: the next save must not suspect another driver."""
    put = type(repository.store).put

    def late(self, key, body):
        put(self, key, body)
        raise StoreError("the response was lost", transient=True)

    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "put", late)
        with pytest.raises(StoreError, match="response was lost"):
            checkpoints.save({"number": 6})
    checkpoints.save({"number": 7})
    assert Checkpoints(repository, RUN).load() == {"number": 7}
    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "put", late)
        with pytest.raises(StoreError, match="response was lost"):
            checkpoints.save({"number": 8})
    checkpoints.save({"number": 8})
    assert Checkpoints(repository, RUN).load() == {"number": 8}


def test_a_checkpoint_that_is_deleted_between_listing_and_reading(checkpoints, repository, monkeypatch):
    """Its driver is running, and deletes it."""
    get = type(repository.store).get
    left = [1, 2, 3]

    def hasty(self, key, size_bytes):
        if left:
            checkpoints.save({"number": 10 + left.pop()})
            checkpoints.save({"number": 20 + len(left)})
        return get(self, key, size_bytes)

    monkeypatch.setattr(type(repository.store), "get", hasty)
    assert Checkpoints(repository, RUN).load() == {"number": 20}


def test_newest_of_many_runs(repository):
    for run in ("a", "b-1", "b"):
        one = Checkpoints(repository, run)
        for number in range(4):
            one.save({"of": run, "n": number})
    documents = {
        run: read_checkpoint(repository, info)[1] for run, info, _ in newest_checkpoints(repository.store.list("runs/"))
    }
    assert documents == {run: {"of": run, "n": 3} for run in ("a", "b", "b-1")}
    assert parse_key("runs/a/state/1.json") is None


class OverwritingStore(MemoryStore):
    """A remote store whose server ignores conditions."""

    def put(self, key, body):
        self.delete(key)
        super().put(key, body)


def overwriting_repository(monkeypatch):
    monkeypatch.setattr("payloadfs.works._checkpoints.scheme_of", lambda _: "s3")
    repository = payloadfs.Repository(f"memory://{os.urandom(8).hex()}")
    repository._stores[os.getpid()]._own = OverwritingStore(repository.root)
    return repository


@pytest.mark.parametrize("order", ["AB", "BA", "ABAB", "AABB", "ABBA", "BBA", "AAB"])
def test_one_of_two_drivers_stops_where_conditions_are_ignored(monkeypatch, order):
    repository = overwriting_repository(monkeypatch)
    first = Checkpoints(repository, RUN)
    first.save({"by": "first"})
    drivers = {name: Checkpoints(repository, RUN) for name in "AB"}
    for driver in drivers.values():
        driver.load()
    stopped, kinds = [], set()
    for turn, name in enumerate(order * 6):
        if name not in stopped:
            try:
                drivers[name].save({"by": name, "turn": turn})
            except StoreError as error:
                stopped.append(name)
                kinds.add(error.kind)
    assert kinds == {"concurrent-driver"}
    assert len(stopped) == 1
    survivor = ({"A", "B"} - set(stopped)).pop()
    assert Checkpoints(repository, RUN).load()["by"] == survivor


def test_a_driver_without_permission_to_delete_continues(checkpoints, repository, monkeypatch, caplog):
    monkeypatch.setattr("payloadfs._log._already_warned", set())

    def refuse(*_):
        raise StoreError("Permission denied: cannot delete.", kind="denied")

    monkeypatch.setattr(type(repository.store), "delete", refuse)
    for number in range(6, 12):
        checkpoints.save({"number": number})
    assert Checkpoints(repository, RUN).load() == {"number": 11}
    assert sum("are kept" in record.message for record in caplog.records) == 1
