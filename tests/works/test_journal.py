"""Checkpoints: changed, removed or renumbered ones are refused, and two drivers do not interfere."""

import copy
import json
import os
import random

import pytest

import payloadfs
from payloadfs import IntegrityError, NotFoundError, StoreError
from payloadfs._keys import check_key
from payloadfs.stores._memory import MemoryStore
from payloadfs.works._journal import Journal, newest_entries, parse_key, read_entry

RUN = "run-1"


class Checkpoints(Journal):
    """A journal of one small value, so that each entry has the whole state."""

    def save(self, value):
        self.set("run", "", value)
        super().save()

    def load(self):
        return super().load()["run"][""]


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


def test_only_valid_entries_are_kept(checkpoints, store, repository):
    assert numbers(store) == [5]
    assert Checkpoints(repository, RUN).load() == {"number": 5}


def test_an_equal_checkpoint_is_not_saved_again(checkpoints, store):
    checkpoints.save({"number": 5})
    assert numbers(store) == [5]


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
    with pytest.raises(IntegrityError, match="journal of run 'run-1' was changed"):
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
    with pytest.raises(IntegrityError, match=r"it has 3298534883328 bytes, and no entry has more than 64000000"):
        Checkpoints(repository, RUN).load()


def test_a_state_that_could_not_be_read_again_is_not_saved(checkpoints, store, repository):
    checkpoints.set("a", "b", "x" * 64_000_000)
    with pytest.raises(payloadfs.EncodeError, match=r"wrap large values in Payload") as caught:
        checkpoints.save({"number": 6})
    assert caught.value.kind == "state"
    assert Checkpoints(repository, RUN).load() == {"number": 5}
    checkpoints.set("a", "b", "x" * 63_800_000)
    checkpoints.save({"number": 7})
    assert Checkpoints(repository, RUN).load() == {"number": 7}


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
    os.rename(path_of(store, 5), path_of(store, 9))
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
    with pytest.raises(payloadfs.ConfigError, match=r"journal version 2.*update payloadfs"):
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
    assert numbers(store) == [5 + ahead + 1]


def test_leftovers_of_a_killed_driver_are_deleted(store, repository, checkpoints, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "delete", lambda *_: None)
        for number in range(6, 9):
            checkpoints.save({"number": number})
    assert numbers(store) == [5, 6, 7, 8]
    Checkpoints(repository, RUN).load()
    assert numbers(store) == [8]


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
        run: read_entry(repository, info)["run"] for run, info, _ in newest_entries(repository.store.list("runs/"))
    }
    assert documents == {run: {"of": run, "n": 3} for run in ("a", "b", "b-1")}
    assert parse_key("runs/a/state/1.json") is None


class OverwritingStore(MemoryStore):
    """A remote store whose server ignores conditions."""

    def put(self, key, body):
        self.delete(key)
        super().put(key, body)


def overwriting_repository(monkeypatch):
    monkeypatch.setattr("payloadfs.works._journal.scheme_of", lambda _: "s3")
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


def random_changes(journal, model, random, step):
    """Change a journal and a model of it in the same way."""
    journal.set("run", "", {"step": step})
    model["run", ""] = {"step": step}
    for _ in range(random.randrange(3)):
        key = ("kind", str(random.randrange(random.choice([2, 200]))))
        known, choice = model.get(key), random.random()
        if choice < 0.2:
            journal.drop(*key)
            model.pop(key, None)
        elif choice < 0.6 or not isinstance(known, list):
            model[key] = random.choice([1, True, 1.0, "x" * 50, [1]])
            journal.set(*key, model[key])
            model[key] = copy.copy(model[key])
        else:
            start = random.randrange(len(known) + 1)
            for _ in range(random.choice([1, 2])):  # a repetition after an interrupt has no further effect
                journal.append(*key, start, [step, step])
            model[key] = [*known[:start], step, step]


def flat(state):
    return json.dumps({str((kind, name)): v for kind, vs in state.items() for name, v in vs.items()}, sort_keys=True)


@pytest.mark.parametrize("seed", range(12))
def test_any_changes_are_read_back_and_few_entries_are_kept(store, repository, seed):
    source = random.Random(seed)
    journal, model = Journal(repository, RUN), {}
    for step in range(source.choice([3, 20, 300])):
        random_changes(journal, model, source, step)
        if source.random() < 0.3:
            saved = len(numbers(store)) if step else 0
            journal.renew() if saved and journal._saved.number else None
        if source.random() < 0.8:
            journal.save()
            assert len(numbers(store)) < 50
            if source.random() < 0.1:
                journal = Journal(repository, RUN)
                journal.load()
    journal.save()
    expected = json.dumps({str(key): value for key, value in model.items()}, sort_keys=True)
    assert flat(Journal(repository, RUN).load()) == expected


def written_bytes(monkeypatch, repository, count):
    """Return how many bytes are written to save the state with each of that many new names."""
    put, sizes = type(repository.store).put, []

    def record(self, key, body):
        sizes.append(body.size_bytes)
        put(self, key, body)

    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "put", record)
        journal = Journal(repository, f"run-of-{count}")
        journal.set("run", "", {})
        for number in range(count):
            journal.set("kind", str(number), "x" * 100)
            journal.save()
    return sum(sizes)


def test_cost_grows_with_the_changes_and_not_with_the_state(monkeypatch, repository):
    assert written_bytes(monkeypatch, repository, 2000) < 15 * written_bytes(monkeypatch, repository, 200)


def test_a_missing_entry_is_noticed(store, repository):
    journal = Journal(repository, RUN)
    journal.set("a", "large", "x" * 10_000)
    journal.set("run", "", {})
    for number in range(5):
        journal.set("a", str(number), number)
        journal.save()
    assert numbers(store) == [1, 2, 3, 4, 5]
    os.remove(path_of(store, 3))
    with pytest.raises(IntegrityError, match=r"Entry 3 of the journal of run 'run-1' is missing"):
        Journal(repository, RUN).load()
