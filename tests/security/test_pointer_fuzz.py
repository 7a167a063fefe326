"""Mutation fuzz of signed pointers: only those with the same values are accepted.

``pytest tests/security/test_pointer_fuzz.py -m long`` runs a million mutants.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from payloadfs._digest import Digest
from payloadfs.errors import PointerError
from payloadfs.pointer import Pointer
from payloadfs.signing import Key, KeyRing

KEYS = [Key(b"a" * 32), Key(b"b" * 32), Key(b"r" * 32, retired=True)]
RING = KeyRing(KEYS)
STRANGER = KeyRing([Key(b"s" * 32)])


def _originals() -> list[Pointer]:
    """Pointers that differ in all fields, signed with three trusted keys."""
    choose = random.Random(1)
    roots = ["s3://data/runs", "s3://data", "gs://lake-1/a=b", "file:///", "file:///srv/My%20Files", "https://h:8080/x"]
    pointers = []
    for number in range(48):
        pointer = Pointer(
            root=roots[number % len(roots)],
            key=f"2026/{number}/{choose.getrandbits(64):016x}.bin",
            serializer=choose.choice(["pandas/1", "pickle/1", "npy/12", "arrow-ipc/1"]),
            size_bytes=choose.choice([0, 1, 1234, 10**9, 2**53 - 1]),
            digest=Digest(choose.choice(["b3", "s256"]), choose.randbytes(32), sealed=number % 2 == 0),
            created_s=1_795_380_000 + number,
            type_name=choose.choice(["pandas.DataFrame", "numpy.ndarray", "f.<locals>.C"]),
        )
        if number % 4 == 3:  # inline
            data = choose.randbytes(choose.choice([0, 1, 5, 128]))
            pointer = pointer.replaced(root="", key="", size_bytes=len(data), data=data)
        # Key by key, a retired one too: its old pointers are still accepted.
        pointers.append(pointer.signed(KeyRing([Key(KEYS[number % 3].material)])))
    return pointers


ORIGINALS = _originals()
STRINGS = [pointer.to_json() for pointer in ORIGINALS]
DICTS = [pointer.to_dict() for pointer in ORIGINALS]
GENUINE = {json.dumps(fields, sort_keys=True) for fields in DICTS}
ODD = [
    "null",
    "true",
    "[]",
    "{}",
    '""',
    "-0",
    "0",
    "1e0",
    "1.0",
    "01",
    "NaN",
    "9007199254740992",
    '"\\u0000"',
    '"\\ud800"',
]


def _flip(choose: random.Random, index: int) -> bytes:
    raw = bytearray(STRINGS[index], "ascii")
    for _ in range(choose.choice((1, 1, 2, 5))):
        raw[choose.randrange(len(raw))] ^= 1 << choose.randrange(8)
    return bytes(raw)


def _insert(choose: random.Random, index: int) -> bytes:
    raw = bytearray(STRINGS[index], "ascii")
    at = choose.randrange(len(raw) + 1)
    raw[at:at] = choose.choice(
        (b" ", b"\n", b"0", b"/", b".", b'"', b",", b"\\", b"{", choose.randbytes(choose.randint(1, 3)))
    )
    return bytes(raw)


def _delete(choose: random.Random, index: int) -> str:
    text = STRINGS[index]
    at = choose.randrange(len(text))
    return text[:at] + text[at + choose.choice((1, 1, 1, 2, 8, 500)) :]


def _replace_letter(choose: random.Random, index: int) -> str:
    # The alphabet of values, so most of these parse, and only the MAC can reveal them.
    text = STRINGS[index]
    at = choose.randrange(len(text))
    return text[:at] + choose.choice("abcdefABCDEF0123456789._-/:") + text[at + 1 :]


def _digit(choose: random.Random, index: int) -> str:
    text = STRINGS[index]
    at = choose.choice([i for i, c in enumerate(text) if c.isdigit()])
    return text[:at] + choose.choice("0123456789") + text[at + 1 :]


def _swap_fields(choose: random.Random, index: int) -> str:
    fields, other = dict(DICTS[index]), choose.choice(DICTS)
    for name in choose.sample([*fields], choose.randint(1, len(fields) - 1)):
        if name in other:
            fields[name] = other[name]
    # The fields of a stored object together with those of an inline one, or in their place.
    for name in other.keys() - fields.keys() if choose.random() < 0.3 else ():
        fields[name] = other[name]
    return json.dumps(fields)


def _splice(choose: random.Random, index: int) -> str:
    # Within one pointer: a value, or two values with another boundary between them.
    fields = dict(DICTS[index])
    one, two = choose.sample([name for name, value in fields.items() if isinstance(value, str)], 2)
    row = str(fields[one]) + str(fields[two])
    cut = choose.randrange(len(row) + 1)
    fields[one], fields[two] = choose.choice(
        [(fields[two], fields[one]), (row[:cut], row[cut:]), (fields[one], fields[one])]
    )
    return json.dumps(fields)


def _duplicate(choose: random.Random, index: int) -> str:
    other = choose.choice(DICTS)
    name = choose.choice([*other])
    extra = f"{json.dumps(name)}:{json.dumps(other[name])}"
    return choose.choice([STRINGS[index][:-1] + "," + extra + "}", "{" + extra + "," + STRINGS[index][1:]])


def _retype(choose: random.Random, index: int) -> str:
    fields: dict[str, Any] = dict(DICTS[index])
    name = choose.choice([*fields])
    value = fields[name]
    odd = choose.choice([*ODD, json.dumps([value]), json.dumps({name: value}), json.dumps(str(value)), f"{value}.0"])
    return json.dumps({**fields, name: "@"}).replace('"@"', odd)


def _rename(choose: random.Random, index: int) -> str:
    fields: dict[str, Any] = dict(DICTS[index])
    name = choose.choice([*fields])
    value = fields.pop(name)
    return json.dumps({**fields, choose.choice([name.upper(), name + " ", "x", "alg", *DICTS[0]]): value})


def _resign(choose: random.Random, index: int) -> str:
    # With a key that is not trusted, under its own id or the id of a trusted key.
    pointer = ORIGINALS[index].signed(STRANGER)
    return json.dumps({**pointer.to_dict(), **choose.choice([{}, {"kid": DICTS[index]["kid"]}])})


def _unsign(choose: random.Random, index: int) -> str:
    fields: dict[str, Any] = dict(DICTS[index])
    names = choose.choice([("kid", "sig"), ("kid",), ("sig",)])
    return json.dumps(
        {k: v for k, v in fields.items() if k not in names} | choose.choice([{}, dict.fromkeys(names, "")])
    )


def _same(choose: random.Random, index: int) -> str:
    # Reordered, reformatted, escaped: still the same pointer, which must be accepted.
    items = list(DICTS[index].items())
    choose.shuffle(items)
    text = json.dumps(dict(items), indent=choose.choice([None, 0, 1]))
    return text.replace("a", "\\u0061") if choose.random() < 0.5 else text


MUTATORS: list[Callable[[random.Random, int], str | bytes]] = [
    _flip, _flip, _insert, _delete, _replace_letter, _replace_letter, _digit, _digit, _swap_fields, _splice, _duplicate,
    _retype, _rename, _resign, _unsign, _same,
]  # fmt: skip


def _attack(seed: int, count: int) -> None:
    choose = random.Random(seed)
    same = reached_mac = 0
    for _ in range(count):
        index = choose.randrange(len(ORIGINALS))
        mutant = choose.choice(MUTATORS)(choose, index)
        try:
            pointer = Pointer.from_json(mutant)
            reached_mac += 1
            pointer.verify(RING)
        except PointerError:
            continue
        # Accepted only if every value is unchanged. Any other exception fails the test.
        assert json.dumps(pointer.to_dict(), sort_keys=True) in GENUINE, mutant
        same += 1
    # Neither all refused by the parser nor all unchanged: the fuzz reaches the signature check.
    assert reached_mac - same > count // 4
    assert same > count // 20


@pytest.mark.usefixtures("tripwire")
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(2, 6))])
def test_no_mutant_of_150_000_is_accepted(seed: int) -> None:
    _attack(seed, 25_000)


@pytest.mark.long
@pytest.mark.usefixtures("tripwire")
@pytest.mark.parametrize("seed", range(1000, 1040))
def test_no_mutant_of_a_million_is_accepted(seed: int) -> None:
    _attack(seed, 25_000)
