"""The payload in JSON, copies, pickles, threads and processes."""

import concurrent.futures
import copy
import json
import logging
import multiprocessing
import operator
import os
import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import payloadfs
from payloadfs import ConfigError, EncodeError, Payload, Pointer, PointerError, PolicyError, Repository, StoreError
from payloadfs._keys import check_key, escape_prefix
from payloadfs.testing import assert_exact


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "objects")


def stored(repository):
    return [info.key for info in repository.list()]


@pytest.fixture
def default():
    return payloadfs.default_repository()


FRAME = pd.DataFrame({"a": [1.5, None], "b": ["x", None]})


def test_value_is_an_independent_copy_everywhere(default):
    frame = FRAME.copy()
    payload = Payload(frame)
    first, second = payload.value, payload.value
    first.iloc[0, 0] = 99.0
    frame.iloc[0, 0] = -1.0
    assert_exact(FRAME, second)
    assert_exact(FRAME, payload.value)
    assert_exact(FRAME, Payload.from_json(payload.to_json()).value)


def test_the_content_is_that_of_the_first_use(default):
    values = [1]
    payload = Payload(values)
    values.append(2)
    payload.save()
    values.append(3)
    assert payload.value == [1, 2]


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_arrays_can_be_written_to_and_views_can_not(default, size):
    payload = Payload({"a": np.zeros(size), "b": [np.arange(size)]} if size > 10 else np.zeros(size))
    value, view = payload.value, payload.view()
    arrays = [value["a"], value["b"][0]] if size > 10 else [value]
    views = [view["a"], view["b"][0]] if size > 10 else [view]
    for array in arrays:
        array[0] = 7
        assert array[0] == 7
    for array in views:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
    assert (payload.value["a"][0] if size > 10 else payload.value[0]) == 0


def test_a_view_of_a_frame_says_that_it_is_read_only(default):
    view = Payload(pd.DataFrame(np.zeros((10_000, 10)))).view()
    with pytest.raises(ValueError, match="read-only"):
        view.iloc[0, 0] = 1.0


@pytest.mark.parametrize("cross", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copying_and_pickling_transfer_only_the_pointer(default, cross):
    payload = Payload({"big": np.zeros(1_000_000)})
    assert not payload.is_saved
    twin = cross(payload)
    assert payload.is_saved
    assert twin.is_saved
    assert len(pickle.dumps(payload)) < 600
    assert twin.pointer == payload.pointer
    assert len(stored(default)) == 1
    assert (twin.value["big"] == 0).all()


def test_two_uses_store_one_object(default):
    payload = Payload([1, 2])
    state = json.dumps({"a": payload, "b": [payload]}, default=payloadfs.json_default)
    payload.save()
    assert payload.to_dict() == json.loads(state)["a"] == json.loads(state)["b"][0]
    assert len(stored(default)) == 1


def test_json_default_refuses_other_types_as_json_does():
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        json.dumps({1}, default=payloadfs.json_default)


def test_a_dict_that_looks_like_a_pointer_stays_a_dict(default):
    lookalike = Payload([1]).to_dict()
    assert Payload({"x": lookalike}).value == {"x": lookalike}


def test_a_payload_inside_a_payload_stays_a_payload(default):
    outer = Payload({"inner": Payload([1, 2])})
    assert outer.value["inner"].value == [1, 2]


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, b"", float("nan")])
def test_falsy_values_are_values(default, value):
    assert_exact(value, Payload(value).value)


def test_threads_save_once(default):
    payload = Payload({"a": np.zeros(300_000)})
    start = threading.Barrier(16)

    def save(_):
        start.wait()
        return payload.to_json()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(save, range(16)))) == 1
    assert len(stored(default)) == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_through_a_process_pool_and_back(default, method):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        # Only functions that a spawned process can import, which this file is not.
        value = pool.submit(operator.attrgetter("value"), Payload(np.arange(100_000))).result()
        made_there = pool.submit(Payload, np.arange(100_000)).result()
    assert_exact(np.arange(100_000), value)
    assert_exact(np.arange(100_000), made_there.value)


FORKING = """
import os, threading, payloadfs, time
held = payloadfs.Payload([1])
slow = payloadfs.Payload([2])
lock = slow._locks.setdefault(os.getpid(), threading.Lock())
lock.acquire()                      # as if another thread were saving just now
held.save()
child = os.fork()
if not child:
    ok = held.value == [1] and slow.value == [2] and payloadfs.Payload({"a": 1}).value == {"a": 1}
    os._exit(0 if ok else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_is_not_blocked(default):
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=90)
    assert done.stdout == "0\n", done.stderr


def test_from_json_and_from_dict_resolve_nothing(monkeypatch):
    text = Payload([1]).to_json()
    monkeypatch.setattr(payloadfs.config, "current", lambda: pytest.fail("settings were read"))
    monkeypatch.setattr(os, "open", lambda *args: pytest.fail("a file was opened"))
    assert Payload.from_json(text).pointer.to_json() == text
    assert Payload.from_dict(json.loads(text)).is_saved
    with pytest.raises(PointerError):
        Payload.from_json("{}")


def test_a_failed_save_loses_nothing(repository, monkeypatch):
    payload = Payload([1, 2], repository=repository)
    with monkeypatch.context() as patch:
        patch.setattr(type(repository.store), "put", lambda *a: (_ for _ in ()).throw(StoreError("no", transient=True)))
        with pytest.raises(StoreError):
            payload.save()
    assert not payload.is_saved
    assert payload.value == [1, 2]


class Model:
    def __init__(self):
        self.parts = {"lock": [0, threading.Lock()]}


def test_what_cannot_be_stored_is_named_before_anything_is_written(repository):
    payload = Payload({"model": Model()}, repository=repository)
    with pytest.raises(EncodeError) as caught:
        payload.save()
    assert caught.value.path == "obj['model'].parts['lock'][1]"
    assert "obj['model'].parts['lock'][1] (_thread.lock)" in str(caught.value)
    assert stored(repository) == []


@pytest.mark.parametrize(
    ("odd", "path"),
    [
        (lambda: (x for x in ()), "obj"),
        (lambda: [open(os.devnull)], "obj[0]"),  # noqa: SIM115
        (lambda: {"m": memoryview(b"x")}, "obj['m']"),
        (lambda: (lambda lock: lambda: lock)(threading.Lock()), "obj.<captured lock>"),
        (lambda: {1: {2: (3, threading.Lock())}}, "obj[1][2][1]"),
    ],
)
def test_paths_to_what_cannot_be_stored(repository, odd, path):
    obj = odd()
    with pytest.raises(EncodeError) as caught:
        repository.save(obj)
    if isinstance(obj, list):
        obj[0].close()
    assert caught.value.path == path
    assert stored(repository) == []


def test_the_prefix_is_the_first_part_of_the_key(repository):
    pointer = Payload([1], repository=repository, prefix="run-7/step=2").pointer
    assert pointer.key.startswith("run-7/step=2/")
    assert [info.key for info in repository.list("run-7")] == [pointer.key]
    assert list(repository.list("run")) == []
    for bad in ("../x", "/x", "a//b", "a/", ".", "a/./b", "", "ü" * 200, 7):
        with pytest.raises(ConfigError, match="prefix") as caught:
            # It is refused before anything is encoded: a lock could not be.
            Payload(threading.Lock(), repository=repository, prefix=bad).save()
        assert caught.value.kind == "prefix"
    assert len(stored(repository)) == 1


RUN_IDS = ["manual__2026-11-28T01:30:00+00:00", "order:42/eu", "two[0]", "a b", "ü", ".hidden", "a=2", "dt=2026", "=3A"]


@pytest.mark.parametrize("prefix", RUN_IDS)
def test_any_run_id_is_a_valid_prefix(repository, prefix):
    pointer = repository.save([1], prefix=prefix)
    assert repository.load(pointer) == [1]
    assert [info.key for info in repository.list(prefix)] == [pointer.key]
    assert unescaped(pointer.key.rpartition("/")[0]) == prefix


def unescaped(key):
    return (
        re.sub("=([0-9A-F]{2})", lambda match: f"\\x{match[1]}", key)
        .encode()
        .decode("unicode_escape")
        .encode("latin-1")
        .decode("utf-8", "surrogatepass")
    )


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_no_two_prefixes_become_the_same_key(one, other):
    for prefix in (one, other):
        try:
            assert unescaped(check_key(escape_prefix(prefix))) == prefix
        except ConfigError:
            return


def test_keys_are_in_order_of_time(repository):
    keys = [repository.save(number).key for number in range(50)]
    milliseconds = [key.partition("/")[2][:9] for key in keys]
    assert milliseconds == sorted(milliseconds)
    assert len(set(keys)) == 50


def test_a_payload_stays_with_the_repository_that_saved_it(tmp_path):
    with payloadfs.using(tmp_path / "a"):
        payload = Payload([1])
        payload.save()
    assert payload.value == [1]
    with pytest.raises(PolicyError):
        _ = Payload.from_json(payload.to_json()).value


def test_exists_delete_and_read(repository):
    pointer = repository.save(b"abc")
    assert repository.exists(pointer)
    assert bytes(repository.read(pointer)) == b"abc"
    assert repository.info(pointer).size_bytes == 3
    repository.delete(pointer)
    repository.delete(pointer)
    assert not repository.exists(pointer)
    with pytest.raises(payloadfs.NotFoundError) as caught:
        repository.load(pointer)
    assert caught.value.pointer == pointer
    assert pointer.key in str(caught.value)


def test_a_moved_root(tmp_path):
    old = Repository(tmp_path / "old")
    pointer = old.save([1])
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(payloadfs.NotFoundError):
        old.load(pointer)
    moved = Repository(tmp_path / "new", root_aliases={str(tmp_path / "old"): str(tmp_path / "new")})
    assert moved.load(pointer) == [1]


@pytest.mark.parametrize("digest", ["blake3", "sha256"])
@pytest.mark.parametrize("verify", ["auto", "full"])
def test_digests_and_verification(tmp_path, digest, verify):
    repository = Repository(tmp_path / "objects", digest=digest, verify=verify)
    for obj in ([1], np.arange(200_000), FRAME):
        pointer = repository.save(obj)
        assert str(pointer.digest).startswith("b3" if digest == "blake3" else "s256")
        assert_exact(obj, Repository(tmp_path / "objects").load(pointer))


def test_repr_does_no_input_or_output(repository, monkeypatch):
    payload = Payload(FRAME, repository=repository)
    assert repr(payload) == "Payload(DataFrame, not saved)"
    payload.save()
    monkeypatch.setattr(os, "open", lambda *args: pytest.fail("a file was opened"))
    assert "pandas.DataFrame" in repr(payload)
    assert payload.pointer.key in repr(payload)


def test_one_log_line_per_operation_and_no_secret(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "payloadfs")
    repository = Repository(tmp_path / "objects")
    pointer = repository.save([1])
    repository.load(pointer)
    lines = [record.getMessage() for record in caplog.records if record.name == "payloadfs"]
    assert [line.split()[0] for line in lines] == ["saved", "loaded"]
    assert all(pointer.key in line for line in lines)
    key = repository.keys.keys[0].to_line().split()[1]
    assert not [line for line in lines if key in line or pointer.signature in line]


def test_pointer_size(repository):
    small = repository.save(FRAME)
    large = repository.save(pd.DataFrame(np.zeros((100_000, 20))))
    for pointer in (small, large):
        beyond_the_root = len(pointer.to_json()) - len(pointer.root)
        assert beyond_the_root < 330  # so under 400 with any root of up to 70 characters
        assert Pointer.from_json(pointer.to_json()) == pointer


def test_a_payload_is_created_only_from_a_pointer(repository):
    pointer = repository.save([1] * 100)
    for form in (pointer, pointer.to_json(), pointer.to_dict(), Payload.from_pointer(pointer)):
        assert Payload.from_pointer(form, repository=repository).value == [1] * 100
    for wrong in (None, 5, [1], "memory://x", {}):
        with pytest.raises(PointerError):
            Payload.from_pointer(wrong)


def test_no_prefix_names_the_folder_of_the_collector(repository):
    for prefix in ("payloadfs-gc", "payloadfs-gc/marks"):
        pointer = repository.save([1] * 100, prefix=prefix)
        assert not pointer.key.startswith("payloadfs-gc/")
        assert unescaped(pointer.key.rpartition("/")[0]) == prefix
        assert pointer.key in {info.key for info in repository.list(prefix)}
