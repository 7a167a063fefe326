"""The run's documents: what was changed, removed or renumbered is refused, and two drivers don't mix."""

import json
import os

import pytest

import payloadfs
from payloadfs import IntegrityError, NotFoundError, StoreError
from payloadfs._keys import check_key
from payloadfs.works._checkpoints import Checkpoints, newest_checkpoints, read_checkpoint, parse_key

RUN = "run-1"


@pytest.fixture
def repository():
    return payloadfs.Repository()


@pytest.fixture
def journal(repository):
    one = Checkpoints(repository, RUN)
    for number in range(1, 6):
        one.save({"number": number})
    return one


def path_of(store, number):
    return store / "runs" / RUN / "state" / f"{number:09}.json"


def numbers(store):
    return sorted(int(name.removesuffix(".json")) for name in os.listdir(store / "runs" / RUN / "state"))


def test_the_two_newest_are_kept_and_the_newest_counts(journal, store, repository):
    assert numbers(store) == [4, 5]
    assert Checkpoints(repository, RUN).load() == {"number": 5}


def test_an_equal_document_is_not_saved_again(journal, store):
    journal.save({"number": 5})
    assert numbers(store) == [4, 5]


def test_there_is_no_such_run(repository):
    with pytest.raises(NotFoundError, match=r"no run 'other'.*payloadfs runs"):
        Checkpoints(repository, "other").load()


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a b", "a\0"])
def test_a_runs_name_is_a_key(repository, name):
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
    "no mac": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "mac"}),
    "mac of another kind": lambda text: json.dumps(json.loads(text) | {"mac": 5}),
    "empty mac": lambda text: json.dumps(json.loads(text) | {"mac": ""}),
    "mac no ascii": lambda text: json.dumps(json.loads(text) | {"mac": "ä" * 43}),
    "key of another kind": lambda text: json.dumps(json.loads(text) | {"kid": ["x"]}),
    "no document": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "document"}),
    "nan": lambda text: text.replace('"number":5}', '"number":NaN}'),
    "deep": lambda text: "[" * 100_000,
    "true for one": lambda text: text.replace('"number":5}', '"number":5.0}'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_document_is_refused_and_none_before_it_taken(journal, store, repository, change):
    path = path_of(store, 5)
    path.write_text(CHANGES[change](path.read_text()))
    with pytest.raises(IntegrityError, match="document of run 'run-1' is not as it was saved"):
        Checkpoints(repository, RUN).load()


def test_every_byte_counts(journal, store, repository):
    path = path_of(store, 5)
    content = path.read_bytes()
    for place in range(len(content)):
        for byte in (content[place] ^ 1, content[place] ^ 0x20):
            path.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
            try:
                document = Checkpoints(repository, RUN).load()
            except payloadfs.PayloadError:
                continue
            assert document == {"number": 5}, place


def test_a_renumbered_document_is_refused(journal, store, repository):
    os.rename(path_of(store, 4), path_of(store, 9))
    with pytest.raises(IntegrityError):
        Checkpoints(repository, RUN).load()


def test_a_document_of_another_run_is_refused(journal, store, repository):
    other = Checkpoints(repository, "run-2")
    other.save({"number": 1})
    os.rename(store / "runs" / "run-2" / "state" / "000000001.json", path_of(store, 9))
    with pytest.raises(IntegrityError):
        Checkpoints(repository, RUN).load()


def test_a_document_of_a_later_version_says_so(journal, store, repository):
    path = path_of(store, 5)
    path.write_text(path.read_text().replace('"payloadfs-run": 1', '"payloadfs-run": 2'))
    with pytest.raises(payloadfs.ConfigError, match="saved in version 2: update payloadfs"):
        Checkpoints(repository, RUN).load()


def test_the_key_is_somewhere_else(journal, store):
    ring = payloadfs.KeyRing([payloadfs.Key.generate()])
    with pytest.raises(payloadfs.UnknownKeyError, match="payloadfs keys"):
        Checkpoints(payloadfs.Repository(keys=ring), RUN).load()


def test_other_files_beside_it_are_no_documents(journal, store, repository):
    for name in (".hidden.json", "x.json", "0000000009.json", "000000009.json.tmp"):
        (store / "runs" / RUN / "state" / name).write_text("{}")
    assert Checkpoints(repository, RUN).load() == {"number": 5}


@pytest.mark.parametrize("ahead", range(1, 9))
def test_a_driver_that_fell_behind_can_not_save(store, repository, ahead):
    """However far the other one is: also if it has deleted the number that this one would take."""
    old = Checkpoints(repository, RUN)
    for number in range(5):
        old.save({"old": number})
    new = Checkpoints(repository, RUN)
    new.load()
    for number in range(ahead):
        new.save({"new": number})
    for _ in range(2):
        with pytest.raises(StoreError, match="Another process goes on with run 'run-1'") as caught:
            old.save({"old": "late"})
        assert caught.value.kind == "concurrent-driver"
    new.save({"new": "last"})
    assert Checkpoints(repository, RUN).load() == {"new": "last"}
    assert numbers(store) == [4 + ahead + 1, 4 + ahead + 2][-2:]


def test_what_a_killed_driver_left_is_tidied_up(store, repository, journal, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "delete", lambda *_: None)
        for number in range(6, 9):
            journal.save({"number": number})
    assert numbers(store) == [4, 5, 6, 7, 8]
    Checkpoints(repository, RUN).load()
    assert numbers(store) == [7, 8]


def test_a_document_that_was_stored_though_an_error_was_told(store, repository, journal, monkeypatch):
    """As when the answer of a server is lost, or Ctrl-C comes between: the next save is no other driver's."""
    put = type(repository.store).put

    def late(self, key, body):
        put(self, key, body)
        raise StoreError("the answer was lost", transient=True)

    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "put", late)
        with pytest.raises(StoreError, match="answer was lost"):
            journal.save({"number": 6})
    journal.save({"number": 7})
    assert Checkpoints(repository, RUN).load() == {"number": 7}
    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "put", late)
        with pytest.raises(StoreError, match="answer was lost"):
            journal.save({"number": 8})
    journal.save({"number": 8})
    assert Checkpoints(repository, RUN).load() == {"number": 8}


def test_a_document_that_vanishes_while_it_is_looked_for(journal, repository, monkeypatch):
    """Its driver goes on meanwhile, and deletes it."""
    get = type(repository.store).get
    left = [1, 2, 3]

    def hasty(self, key, size_bytes):
        if left:
            journal.save({"number": 10 + left.pop()})
            journal.save({"number": 20 + len(left)})
        return get(self, key, size_bytes)

    monkeypatch.setattr(type(repository.store), "get", hasty)
    assert Checkpoints(repository, RUN).load() == {"number": 20}


def test_newest_of_many_runs(repository):
    for run in ("a", "b-1", "b"):
        one = Checkpoints(repository, run)
        for number in range(4):
            one.save({"of": run, "n": number})
    found = {run: read_checkpoint(repository, info)[1] for run, info, _ in newest_checkpoints(repository.store.list("runs/"))}
    assert found == {run: {"of": run, "n": 3} for run in ("a", "b", "b-1")}
    assert parse_key("runs/a/state/1.json") is None
