"""The pointer: round trips, and that a signature covers every field. What is refused: test_pointer_refused.py."""

from __future__ import annotations

import collections
import copy
import json
import pickle
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payloadfs._digest import Digest
from payloadfs._urls import MAX_ROOT_CHARS
from payloadfs.errors import SignatureError, UnknownKeyError
from payloadfs.pointer import MAX_POINTER_BYTES, Pointer
from payloadfs.signing import Key, KeyRing

RING = KeyRing([Key(b"k" * 32)])
DIGEST = "b3:" + "0f" * 32
FIELDS: dict[str, Any] = {
    "payloadfs": 1,
    "root": "s3://data/runs",
    "key": "2026/1.bin",
    "serializer": "pandas/1",
    "size": 1234,
    "digest": DIGEST,
    "created": 1_795_380_000,
    "type": "pandas.DataFrame",
    "context": "run-7/frame",
}
SIGNED: dict[str, Any] = dict(Pointer.from_dict(FIELDS).signed(RING).to_dict())
TEXT = json.dumps(SIGNED)


def _with(**changes: Any) -> dict[str, Any]:
    return {**SIGNED, **changes}


_NAMES = st.from_regex(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,10}", fullmatch=True)
POINTERS = st.builds(
    Pointer,
    root=st.sampled_from(["s3://data", "gs://b/x/y", "file:///", "file:///a%20b/%FF", "https://h:80/x"]),
    key=st.lists(_NAMES, min_size=1, max_size=4).map("/".join),
    serializer=st.from_regex(r"[a-z][a-z0-9-]{0,39}/[1-9][0-9]{0,3}", fullmatch=True),
    size_bytes=st.integers(0, 2**53 - 1),
    digest=st.builds(Digest, st.sampled_from(["b3", "s256"]), st.binary(min_size=32, max_size=32), st.booleans()),
    created_s=st.integers(0, 2**53 - 1),
    type_name=st.from_regex(r"[A-Za-z0-9_.<>-]{1,80}", fullmatch=True),
    context=st.sampled_from(["", "run-7", "r\u00fcn \U0001f600", "x" * 64]),
)


@given(POINTERS, st.booleans(), st.randoms(), st.sampled_from([None, 0, 3, "\t"]))
def test_round_trips(pointer: Pointer, signed: bool, random: Any, indent: Any) -> None:
    pointer = pointer.signed(RING) if signed else pointer
    assert Pointer.from_json(pointer.to_json()) == pointer
    assert Pointer.from_json(pointer.to_json().encode()) == pointer
    assert Pointer.from_dict(types.MappingProxyType(pointer.to_dict())) == pointer
    assert pickle.loads(pickle.dumps(pointer)) == copy.deepcopy(pointer) == pointer
    assert pointer.is_signed is signed
    # A database may reorder fields and reformat.
    items = list(pointer.to_dict().items())
    random.shuffle(items)
    reformatted = Pointer.from_json(json.dumps(dict(items), indent=indent))
    assert reformatted == pointer
    if signed:
        reformatted.verify(RING)


def test_escaped_characters_are_equivalent() -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in SIGNED["key"])
    pointer = Pointer.from_json(TEXT.replace(SIGNED["key"], escaped).replace("s3://", "s3:\\/\\/"))
    pointer.verify(RING)
    assert pointer == Pointer.from_dict(SIGNED)


def test_size_limits() -> None:
    longest = Pointer("s3://" + "b" * (MAX_ROOT_CHARS - 5), "k" * 512, "a" * 40 + "/9999", 2**53 - 1, Digest("s256", bytes(32), sealed=True), 2**53 - 1, "t" * 80, "c" * 64).signed(KeyRing([Key.generate("ed25519")]))  # fmt: skip
    # from_json accepts everything that from_dict accepts.
    assert len(longest.to_json()) <= MAX_POINTER_BYTES
    assert Pointer.from_json(longest.to_json()) == longest
    assert len(Pointer.from_dict(SIGNED).to_json()) < 400
    assert Pointer.from_json(TEXT + " " * (MAX_POINTER_BYTES - len(TEXT))) == Pointer.from_dict(SIGNED)


# Another value of each field that is valid by itself.
OTHER: dict[str, list[Any]] = {
    "root": ["s3://data/run", "s3://data", "gs://data/runs", "file:///", "s3://data/runs/2026"],
    "key": ["2026/1.bi", "1.bin", "2026/1.bin.bin", "2026/2.bin", "2026-1.bin"],
    "serializer": ["pandas/2", "pandas/11", "pickle/1", "panda/1"],
    "size": [0, 123, 1235, 12341, 2**53 - 1],
    "digest": ["s256" + DIGEST[2:], "b3-seal" + DIGEST[2:], DIGEST[:-1] + "e", "b3:" + "0" * 64],
    "created": [0, 1_795_380_001, 1_795_380],
    "type": ["pandas.Series", "pandas.DataFram", "pandas.DataFrame1"],
    "context": ["run-8/frame", "run-7", "x", "r\u00fcn-7/frame"],
    "kid": ["0" * 8, Key(b"x" * 32).id],
    "sig": ["A" * 43, SIGNED["sig"][:-1] + ("A" if SIGNED["sig"][-1] != "A" else "E"), SIGNED["sig"][::-1]],
}


def test_another_value_is_listed_for_every_field() -> None:
    assert set(OTHER) == set(SIGNED) - {"payloadfs"}  # another version is refused before


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OTHER.items() for value in values])
def test_a_signature_covers_every_field(name: str, value: Any) -> None:
    pointer = Pointer.from_dict(_with(**{name: value}))
    with pytest.raises(SignatureError) as caught:
        pointer.verify(RING)
    assert caught.value.pointer == pointer
    assert isinstance(caught.value, UnknownKeyError) is (name == "kid")


def test_a_signature_covers_every_attribute() -> None:
    # From the class itself, so that a field that is added later is not forgotten.
    pointer = Pointer.from_dict(SIGNED)
    inside = set(Pointer.__slots__) - {"key_id", "signature", "data"}
    assert len(pointer._fields()) == 1 + len(inside)
    values = collections.Counter(pointer._fields())
    assert values == collections.Counter([b"1", *(str(getattr(pointer, name)).encode() for name in inside)])

    inline = pointer.replaced(root="", key="", data=b"content")
    changed = {
        str(pointer.root).encode(): b"",
        str(pointer.key).encode(): b"",
        str(pointer.digest).encode(): b"content",
    }
    assert inline._fields() == [changed.get(field, field) for field in pointer._fields()]


def test_unsigned_and_unknown() -> None:
    with pytest.raises(SignatureError, match="not signed") as caught:
        Pointer.from_dict(FIELDS).verify(RING)
    assert caught.value.kind == "unsigned"
    with pytest.raises(UnknownKeyError) as unknown:
        Pointer.from_dict(SIGNED).verify(KeyRing([]))
    assert unknown.value.key_id == RING.keys[0].id
    Pointer.from_dict(SIGNED).verify(KeyRing([Key(RING.keys[0].material, retired=True)]))
