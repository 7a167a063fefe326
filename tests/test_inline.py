"""Inline objects: small ones travel in their pointers, signed, and need no store."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import payloadfs
from payloadfs import KeyRing, Payload, Pointer, PointerError, PolicyError, Repository, SignatureError
from payloadfs.pointer import MAX_INLINE_BYTES
from payloadfs.retention import Verified, verify
from payloadfs.signing import Key
from payloadfs.testing import assert_exact

RING = KeyRing([Key(b"k" * 32)])
SMALL: list[Any] = [None, True, -7, 0.5, "", "grün", b"", b"\0\xff", [1, "a"], {"a": [1]}, 2**80, (1,), {1}]


class _NoStore:
    """A store that fails the test when it is used."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the store was used: {name}")


@pytest.fixture(autouse=True)
def default_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAYLOADFS_INLINE_BYTES")


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Return a repository whose store cannot be used."""
    repository = Repository("s3://no-such-bucket/runs", keys=RING)
    monkeypatch.setattr(repository, "_store_at", lambda root: _NoStore())
    return repository


@pytest.mark.parametrize("value", SMALL, ids=repr)
def test_round_trip_without_a_store(repository: Repository, value: Any) -> None:
    pointer = repository.save(value)
    assert pointer.is_inline
    assert len(pointer.to_json()) < 400
    parsed = Pointer.from_json(pointer.to_json())
    assert parsed == pointer
    assert_exact(repository.load(parsed), value)
    assert_exact(repository.load(parsed, view=True), value)
    assert_exact(repository.load_many(repository.save_many([value] * 3))[2], value)


def test_other_calls_need_no_store_either(repository: Repository) -> None:
    pointer = repository.save("x")
    assert repository.exists(pointer)
    assert repository.info(pointer).size_bytes == 1
    assert bytes(repository.read(pointer)) == b"x"
    repository.delete(pointer)
    assert repository.load(pointer) == "x"
    assert [type(result) for result in verify([pointer], repository=repository)] == [Verified]


def test_fresh_process(tmp_path: Any) -> None:
    text = Repository("memory://here", keys=RING).save({"a": [1, 2.5]}).to_json()
    program = (
        "import sys, payloadfs\n"
        "ring = payloadfs.KeyRing([payloadfs.Key(b'k' * 32)])\n"
        "print(payloadfs.Repository('memory://there', keys=ring, allowed_roots=[]).load(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, text], capture_output=True, text=True, check=True)
    assert done.stdout == "{'a': [1, 2.5]}\n"


@given(size=st.integers(0, 400), limit=st.integers(0, 400))
def test_limit_is_the_encoded_size(size: int, limit: int) -> None:
    repository = Repository("memory://limit", keys=RING, inline_bytes=limit)
    pointer = repository.save(b"x" * size)
    assert pointer.is_inline == (limit > 0 and size <= limit)
    assert repository.load(pointer.to_json()) == b"x" * size


def test_largest(repository: Repository) -> None:
    largest = Repository("s3://no-such-bucket/runs", keys=RING, inline_bytes=MAX_INLINE_BYTES)
    text = largest.save(b"x" * MAX_INLINE_BYTES, context="c" * 64).to_json()
    assert repository.load(text, context="c" * 64) == b"x" * MAX_INLINE_BYTES


@pytest.mark.parametrize("limit", [-1, MAX_INLINE_BYTES + 1, 1.5, "many", True])
def test_limit_is_checked(limit: Any) -> None:
    with pytest.raises(payloadfs.ConfigError, match="inline_bytes"):
        Repository("memory://limit", inline_bytes=limit)


def test_object_that_expires_is_stored() -> None:
    repository = Repository("memory://expires", keys=RING)
    assert repository.save("x", expires="7d").expires is not None


def test_values_of_other_classes_are_not_equal(repository: Repository) -> None:
    number, text = repository.save(1), repository.save("1")
    assert number.data == text.data
    assert number != text
    assert number == repository.save(1)
    assert len({number, text, repository.save(1)}) == 2


class _Planted:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("executed",)


def test_pickle_rules_are_the_same(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    trusting = Repository("memory://rules", keys=RING, inline_bytes=1000)
    pointer = trusting.save(_Planted())
    assert pointer.is_inline
    strict = Repository("memory://rules", keys=RING, pickle="never")
    unsigned = Repository("memory://rules", keys=RING, unsigned="safe")
    for reader, given_pointer in ((strict, pointer.to_dict()), (unsigned, _unsigned(pointer))):
        with pytest.raises(PolicyError):
            reader.load(given_pointer)
    with pytest.raises(PolicyError):
        trusting.load(_unsigned(pointer))
    assert capsys.readouterr().out == ""


def test_max_bytes_counts(repository: Repository) -> None:
    with pytest.raises(PolicyError, match="max_bytes"):
        Repository("memory://rules", keys=RING, max_bytes=4).load(repository.save("hello"))


def _unsigned(pointer: Pointer) -> dict[str, Any]:
    return {name: value for name, value in pointer.to_dict().items() if name not in ("kid", "sig")}


FIELDS = Repository("memory://fields", keys=RING, inline_bytes=128).save("hello").to_dict()


def _data(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"data": _data(b"hellO")},
        {"data": _data(b"hell"), "size": 4},
        {"serializer": "bytes/1"},
        {"type": "bytes"},
        {"created": 1},
    ],
    ids=str,
)
def test_changed_fields_are_not_accepted(repository: Repository, change: dict[str, Any]) -> None:
    with pytest.raises(SignatureError):
        repository.load({**FIELDS, **change})


def test_signature_of_a_stored_object_is_none_of_an_inline_one() -> None:
    """The digest of a stored object and the bytes of an inline one are in the same place of the signed fields."""
    repository = Repository("memory://kinds", keys=RING, inline_bytes=0)
    stored = repository.save("hello").to_dict()
    digest = str(stored["digest"]).encode()
    forged = {name: value for name, value in stored.items() if name not in ("root", "key", "digest")}
    with pytest.raises(SignatureError):
        repository.load({**forged, "data": _data(digest), "size": len(digest)})


@pytest.mark.parametrize(
    "change",
    [
        {"data": "aGVsbG8"},
        {"data": "aGVsbG9="},  # the same bytes in another spelling
        {"data": "aGVsbG8=\n"},
        {"data": "aGVs bG8="},
        {"data": "aGVsbG8=", "size": 4},
        {"data": "aGVsbG8=", "size": 6},
        {"data": "aGVsb*8="},
        {"data": "-_-_-_8="},
        {"data": "é" * 8},
        {"data": "A" * 21852, "size": 16389},
        {"data": 5},
        {"data": None},
        {"root": "memory://x"},
        {"key": "a.txt"},
        {"digest": "b3:" + "0" * 64},
    ],
    ids=str,
)
def test_malformed_pointers_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PointerError):
        Pointer.from_dict({**FIELDS, **change})
    with pytest.raises(PointerError):
        Pointer.from_json(json.dumps({**FIELDS, **change}))


def test_room_for_data_is_not_room_for_other_things() -> None:
    text = json.dumps(FIELDS)
    assert Pointer.from_json(text + " " * 1000).data == b"hello"
    with pytest.raises(PointerError, match="longer"):
        Pointer.from_json(text + " " * 2048)


def test_payload_and_repr(repository: Repository) -> None:
    payload = Payload([1, 2], repository=repository)
    assert payload.value == [1, 2]
    assert repr(payload) == "Payload(list, 5 bytes, inline, signed)"
    assert Payload.from_json(payload.to_json(), repository=repository).value == [1, 2]
