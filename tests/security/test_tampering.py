"""What an attacker with the bucket, the state, or both can do: each attempt gets its own error, and no code runs."""

import dataclasses
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import payloadfs
from payloadfs import (
    IntegrityError,
    Key,
    KeyRing,
    NotFoundError,
    Payload,
    Pointer,
    PolicyError,
    Repository,
    SignatureError,
    UnknownKeyError,
)
from payloadfs._seal import Outgoing, read_seal
from payloadfs._urls import canonical_root
from payloadfs.serializers import _registry
from payloadfs.serializers._container import pack


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "objects", verify="full", unsigned="safe")


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code from the store was run"


@pytest.fixture
def no_decoding(monkeypatch):
    """Fail the test if any serializer decodes."""
    for name in _registry._BUILT_IN:
        kind = type(_registry.built_in(name))
        monkeypatch.setattr(kind, "decode", lambda *args, **kwargs: pytest.fail("a decoder was called"))


class Touch:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def planted(path):
    """The bytes of an object whose loading creates the file `path`."""
    encoded = pack({"versions": {"python": "3"}, "code": False}, [memoryview(pickle.dumps(Touch(path)))], [], ())
    return b"".join(Outgoing(encoded, "b3"))


def place(repository, pointer):
    return Path(repository.root.removeprefix("file://")) / pointer.key


OBJECTS = {
    "bytes": b"some bytes" * 10,
    "text": "some text",
    "json": {"a": [1, 2, 3]},
    "npy": np.arange(60),
    "pandas": pd.DataFrame({"a": [1, 2], "s": ["x", None]}),
    "series": pd.Series([1.5, None], name="n"),
    "arrow": pa.table({"a": [1, 2]}),
    "polars": pl.DataFrame({"a": [1, 2]}),
    "pickle": (1, {"a", "b"}, len),
    "tree": (1, {"a", "b"}),
    "sealed npy": np.arange(60_000),
    "sealed frame": pd.DataFrame({"a": np.arange(40_000), "b": np.arange(40_000) * 0.5}),
    "sealed pickle": [np.arange(40_000), "head", len],
    "sealed tree": [np.arange(40_000), ("head",)],
}


@pytest.mark.parametrize("name", OBJECTS)
def test_changed_objects_are_refused_before_a_decoder_runs(repository, no_decoding, name):
    pointer = repository.save(OBJECTS[name])
    path = place(repository, pointer)
    content = path.read_bytes()
    step = max(1, len(content) // 400)
    changes = [
        content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :] for at in range(0, len(content), step)
    ]
    changes += [content[:size] for size in range(0, len(content), step * 3)]
    changes += [content + b"\0", content + content, bytes(len(content)), content[::-1]]
    path.chmod(0o600)
    for changed in changes:
        if changed == content:
            continue
        path.write_bytes(changed)
        with pytest.raises(IntegrityError) as caught:
            repository.load(pointer)
        assert caught.value.pointer == pointer
        assert caught.value.kind in ("size", "digest")


@pytest.mark.parametrize("name", ["sealed npy", "sealed frame", "sealed pickle"])
def test_structure_is_checked_even_in_a_private_folder(tmp_path, no_decoding, name):
    repository = Repository(tmp_path / "objects", verify="auto")
    pointer = repository.save(OBJECTS[name])
    path = place(repository, pointer)
    content = path.read_bytes()
    for at in [*range(100), *range(len(content) - 120, len(content))]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(IntegrityError):
            repository.load(pointer)


STRINGS = pd.DataFrame({"t": [f"text {n}" for n in range(50_000)], "c": pd.Categorical(["u", "v"] * 25_000)})
NUMBERS = np.arange(50_000)


@pytest.mark.parametrize(
    ("obj", "data_bytes"),
    [
        (STRINGS, len("".join(STRINGS["t"]))),
        ([STRINGS["t"].array], len("".join(STRINGS["t"]))),
        ([STRINGS["t"].array, len], 0),
        ([NUMBERS, "head"], NUMBERS.nbytes),
        (pd.DataFrame({"a": NUMBERS}), NUMBERS.nbytes),
        (pa.table({"l": [[1, 2, 3]] * 50_000}), 0),
        (pa.table({"v": pa.array(["a rather long text"] * 50_000, pa.string_view())}), 0),
    ],
)
def test_only_numbers_and_characters_are_data(repository, obj, data_bytes):
    seal = read_seal(repository.read(repository.save(obj)))
    assert sum(size for size, is_data, _ in seal.spans if is_data) in range(data_bytes, data_bytes + 64)


def test_a_large_pickle_stream_is_structure(tmp_path, no_decoding):
    repository = Repository(tmp_path / "objects", verify="auto")
    pointer = repository.save([(str(number), number) for number in range(50_000)])
    path = place(repository, pointer)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        repository.load(pointer)


def test_swapped_objects(repository, no_decoding):
    pointers = [repository.save({"a": number}) for number in (1, 2)]
    first, second = (place(repository, pointer) for pointer in pointers)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    for pointer in pointers:
        with pytest.raises(IntegrityError):
            repository.load(pointer)


def test_a_missing_object(repository, no_decoding):
    pointer = repository.save([1])
    place(repository, pointer).unlink()
    with pytest.raises(NotFoundError):
        repository.load(pointer)


def test_an_unknown_key(repository, tmp_path, no_decoding):
    stranger = Repository(tmp_path / "objects", keys=KeyRing([Key.generate()]))
    pointer = stranger.save([1])
    with pytest.raises(UnknownKeyError) as caught:
        repository.load(pointer)
    assert caught.value.key_id == pointer.key_id
    assert f"payloadfs keys export {pointer.key_id}" in str(caught.value)


def test_a_key_that_was_added_later_is_found(tmp_path, monkeypatch):
    reader = Repository(tmp_path / "objects")
    reader.save([0])
    key = Key.generate()
    pointer = Repository(tmp_path / "objects", keys=KeyRing([key])).save([1])
    with pytest.raises(UnknownKeyError):
        reader.load(pointer)
    with reader.settings.keys_file.open("a") as file:
        file.write(key.to_line() + "\n")
    assert reader.load(pointer) == [1]


EDITS = {
    "root": "file:///etc",
    "key": "other/key.json",
    "serializer": "pickle/1",
    "size": 5,
    "digest": "b3:" + "0" * 64,
    "created": 1,
    "type": "pandas.DataFrame",
    "kid": "00000000",
    "sig": "A" * 43,
}


@pytest.mark.parametrize("field", EDITS)
def test_an_edited_pointer(repository, no_decoding, monkeypatch, field):
    fields = repository.save([1]).to_dict() | {field: EDITS[field]}
    monkeypatch.setattr(type(repository.store), "get", lambda *args: pytest.fail("the store was asked"))
    with pytest.raises(SignatureError):
        repository.load(Pointer.from_dict(fields))


def test_a_pointer_outside_the_roots(tmp_path, repository, no_decoding, monkeypatch):
    pointer = Repository(tmp_path / "elsewhere").save([1])
    repository = Repository(repository.root, keys=repository.keys)
    repository.save([1])
    monkeypatch.setattr(os, "open", lambda *args, **kwargs: pytest.fail("something was opened"))
    with pytest.raises(PolicyError) as caught:
        repository.load(pointer)
    assert caught.value.kind == "policy-root"
    assert "Nothing was fetched" in str(caught.value)


def unsigned(pointer, **changes):
    return pointer.replaced(key_id="", signature="", **changes)


def test_a_planted_pickle_with_an_unsigned_pointer(repository, canary, no_decoding):
    signed = repository.save([1])
    content = planted(canary)
    place(repository, signed).with_name("evil.pickle").write_bytes(content)
    pointer = unsigned(
        signed, key=signed.key.rpartition("/")[0] + "/evil.pickle", serializer="pickle/1", size_bytes=len(content)
    )
    with pytest.raises(PolicyError) as caught:
        repository.load(pointer)
    assert caught.value.kind == "policy-pickle"


@pytest.mark.parametrize("name", OBJECTS)
def test_a_planted_pickle_instead_of_an_object(repository, canary, name):
    pointer = repository.save(OBJECTS[name])
    path = place(repository, pointer)
    content = planted(canary)
    for changed in (content, content.ljust(pointer.size_bytes, b"\0")[: pointer.size_bytes]):
        path.write_bytes(changed)
        with pytest.raises(IntegrityError):
            repository.load(pointer)


@pytest.mark.parametrize("name", ["bytes", "text", "json", "npy", "pandas", "series", "arrow", "polars"])
def test_a_planted_pickle_with_the_id_of_a_safe_serializer(repository, canary, name):
    """An attacker with both state and bucket, but no key: no safe serializer ever runs code."""
    signed = repository.save(OBJECTS[name])
    content = planted(canary)
    for extra in (content, pickle.dumps(Touch(canary)), b"\x93NUMPY\x01\0" + content):
        path = place(repository, signed).with_name("evil.bin")
        path.write_bytes(extra)
        digest = dataclasses.replace(signed.digest, sealed=False, value=payloadfs._seal.digest_of([extra], "b3"))
        pointer = unsigned(
            signed, key=signed.key.rpartition("/")[0] + "/evil.bin", size_bytes=len(extra), digest=digest
        )
        try:
            value = repository.load(pointer)
        except payloadfs.DecodeError:
            continue
        assert name in ("bytes", "text")
        assert isinstance(value, (bytes, str))


def test_pickle_rules(tmp_path):
    home = tmp_path / "objects"
    pointer = Repository(home).save([len])
    assert Repository(home).load(pointer) == [len]
    with pytest.raises(PolicyError):
        Repository(home, pickle="never").load(pointer)
    with pytest.raises(PolicyError):
        Repository(home).load(unsigned(pointer))
    assert Repository(home, pickle="always", unsigned="safe").load(unsigned(pointer)) == [len]
    safe = Repository(home).save([1])
    assert Repository(home, unsigned="safe").load(unsigned(safe)) == [1]
    with pytest.raises(PolicyError):
        Repository(home).load(unsigned(safe))
    with pytest.raises(SignatureError):
        Repository(home).delete(unsigned(safe))


def test_max_bytes_is_checked_before_anything_is_fetched(tmp_path, monkeypatch):
    pointer = Repository(tmp_path / "objects").save(b"x" * 1000)
    small = Repository(tmp_path / "objects", max_bytes=999)
    monkeypatch.setattr(type(small.store), "get", lambda *args: pytest.fail("the store was asked"))
    with pytest.raises(PolicyError) as caught:
        small.load(pointer)
    assert caught.value.kind == "policy-size"


def test_a_reader_without_configuration_accepts_only_signed_pointers_to_object_stores(monkeypatch):
    ring = KeyRing([Key.generate()])
    reader = Repository(keys=ring, unsigned="safe")
    assert reader.policy.roots[1:] == ("s3://*", "gs://*", "az://*")
    template = reader.save([1])
    asked = []
    monkeypatch.setattr(
        "payloadfs.repository.open_store",
        lambda root, *a, **k: asked.append(root) or pytest.fail("a store was opened"),
    )
    with pytest.raises(PolicyError):
        reader.load(unsigned(template, root="s3://bucket/x"))
    with pytest.raises(PolicyError):
        reader.load(unsigned(template, root=canonical_root("/srv/other")).signed(ring))
    assert asked == []


def test_secrets_appear_nowhere(tmp_path, caplog):
    caplog.set_level("DEBUG")
    canary = "CANARY0secret"
    repository = Repository("s3://bucket/x", {"key": "id", "secret": canary, "endpoint_url": "http://127.0.0.1:1"})
    seen = [
        repr(repository),
        repr(repository.settings),
        repr(repository.policy),
    ]
    payload = Payload([1], repository=repository)
    seen.append(repr(payload))
    try:
        payload.save()
    except payloadfs.PayloadError as error:
        seen += [str(error), repr(error), repr(error.__cause__)]
    seen += [record.getMessage() for record in caplog.records]
    assert not [text for text in seen if canary in text]
    line = repository.keys.keys[0].to_line().split()[1]
    assert not [text for text in seen if line in text]
