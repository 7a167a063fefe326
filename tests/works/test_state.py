"""Which values an attribute can hold, their encoding in a checkpoint, and which values are equal."""

import collections
import datetime
import decimal
import enum
import json
import math
import sys
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import payloadfs
from payloadfs import Payload
from payloadfs.works import Work
from payloadfs.works._state import canonical, check_state_value, decode, encode, fingerprint, payloads_in


class Holder(Work):
    def __init__(self):
        super().__init__()
        self.x = None


class Text(str): ...


class Number(int): ...


class Mapping(dict): ...


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    a: int
    b: int


REFUSED = {
    "tuple": (1, 2),
    "named tuple": Pair(1, 2),
    "set": {1},
    "frozenset": frozenset(),
    "bytes": b"",
    "bytearray": bytearray(b"x"),
    "complex": 1j,
    "function": len,
    "lambda": lambda: 1,
    "class": int,
    "module": sys,
    "generator": (i for i in ()),
    "object": object(),
    "ellipsis": ...,
    "range": range(3),
    "datetime": datetime.datetime(2020, 1, 1),
    "decimal": decimal.Decimal(1),
    "enum": Level.LOW,
    "str subclass": Text("x"),
    "int subclass": Number(3),
    "dict subclass": Mapping(a=1),
    "ordered dict": collections.OrderedDict(a=1),
    "numpy int": np.int64(3),
    "numpy float": np.float64(3),
    "numpy bool": np.bool_(True),
    "numpy str": np.str_("x"),
    "array": np.arange(3),
    "frame": pd.DataFrame({"a": [1]}),
    "timestamp": pd.Timestamp("2020"),
    "missing": pd.NA,
    "error": ValueError("x"),
    "pointer": "created in the test",
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("position", ["itself", "in a list", "in a dict", "deep"])
def test_values_that_are_not_json_are_refused_with_their_path(kind, position):
    value = REFUSED[kind] if kind != "pointer" else Payload(1).pointer
    held = {"itself": value, "in a list": [1, value], "in a dict": {"k": value}, "deep": [{"k": [[value]]}]}[position]
    path = {"itself": "x", "in a list": r"x\[1\]", "in a dict": r"x\['k'\]", "deep": r"x\[0\]\['k'\]\[0\]\[0\]"}[
        position
    ]
    work = Holder()
    with pytest.raises(payloadfs.EncodeError, match=rf"^{path} cannot be stored as state: .*Payload\(\.\.\.\)"):
        work.x = held
    assert work.x is None


@pytest.mark.parametrize("key", [1, None, True, (1, 2), 1.5, Text("x"), b"x"])
def test_keys_must_be_plain_strings(key):
    with pytest.raises(payloadfs.EncodeError, match="x has the key"):
        Holder().x = {key: 1}


def test_a_value_that_contains_itself_is_refused():
    endless, circle = [], {}
    endless.append(endless)
    circle["me"] = [circle]
    for value in (endless, circle):
        work = Holder()
        with pytest.raises(payloadfs.EncodeError, match="contains itself"):
            work.x = value
        assert work.x is None


def test_at_most_a_hundred_levels():
    def nested(depth):
        value = 1
        for _ in range(depth):
            value = [value]
        return value

    assert decode(json.loads(canonical(encode(nested(100), "x")))) == nested(100)
    with pytest.raises(payloadfs.EncodeError, match="more than 100 levels deep"):
        check_state_value(nested(102), "x")


def test_no_payload_of_a_refused_value_is_saved(store):
    work = Holder()
    work._set_internal(_prefix="run")
    with pytest.raises(payloadfs.EncodeError):
        work.x = [Payload(1), (2,)]
    assert not store.exists()


PLAIN = [
    None, True, False, 0, 1, -1, 2**53 + 1, 2**64, -(2**1999), 2**2000, -(2**20_000), 10**5000,
    0.0, -0.0, 1.0, 1e308, 5e-324, math.inf, -math.inf, "", "ä€😀", "\ud800", "a\x00b", "$payload",
    [], {}, [[]], {"": ""}, {"$payload": 1}, {"$float": "nan"}, {"$int": "0x1"}, {"$dict": []}, {"as": 1}, {"$": {"$": {}}},
    {"payloadfs": 1, "root": "file:///", "key": "x"}, {"$payload": {"$payload": [{"$dict": 2}]}},
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: str(type(value).__name__))
def test_plain_values_come_back(value):
    back = decode(json.loads(canonical(encode(value, "x"))))
    assert repr(back) == repr(value) if not isinstance(value, int) else back == value
    assert type(back) is type(value)


def test_nan_comes_back():
    assert math.isnan(decode(json.loads(canonical(encode([math.nan], "x"))))[0])


def test_a_dict_that_looks_like_a_pointer_stays_a_dict():
    fake = Payload([1]).to_dict()
    back = decode(json.loads(canonical(encode({"$payload": fake, "plain": fake}, "x"))))
    assert back == {"$payload": fake, "plain": fake}
    assert list(payloads_in(back)) == []


def test_payloads_in_payloads_come_back():
    inner = Payload([1, 2])
    back = decode(json.loads(canonical(encode({"a": [inner, Payload([inner])]}, "x"))))
    assert back["a"][0].value == [1, 2]
    assert back["a"][1].value[0].value == [1, 2]


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters())
keys = st.text() | st.sampled_from(["$payload", "$float", "$int", "$dict", "as", "$"])
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


def exact(value):
    """Distinguish what == does not: 1, True and 1.0, and the order of the keys of a dict."""
    if isinstance(value, dict):
        return [(key, exact(item)) for key, item in value.items()]
    return [exact(item) for item in value] if isinstance(value, list) else (type(value), repr(value))


@given(values)
def test_every_json_value_comes_back(value):
    text = canonical(encode(value, "x"))
    assert exact(decode(json.loads(text))) == exact(value)
    assert canonical(json.loads(text)) == text


def without_order(value):
    if isinstance(value, dict):
        return {"dict": sorted((key, without_order(item)) for key, item in value.items())}
    return [without_order(item) for item in value] if isinstance(value, list) else (str(type(value)), repr(value))


@given(values, values)
def test_fingerprints_are_equal_if_the_content_is(one, other):
    same = repr(without_order(one)) == repr(without_order(other))
    assert (fingerprint(encode(one, "x")) == fingerprint(encode(other, "x"))) is same


@given(st.dictionaries(keys, leaves, min_size=2, max_size=4))
def test_the_order_of_keys_does_not_change_the_fingerprint(value):
    turned = dict(reversed(value.items()))
    assert fingerprint(encode(value, "x")) == fingerprint(encode(turned, "x"))


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ("1", 1), ([], {}), (None, "null")]
)
def test_equal_values_of_different_types_have_different_fingerprints(one, other):
    assert fingerprint(encode([one], "x")) != fingerprint(encode([other], "x"))


def test_payloads_are_identified_by_content():
    frame = pd.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]})
    one, same, other = Payload(frame), Payload(frame.copy()), Payload(frame + frame)
    assert one.pointer.key != same.pointer.key
    assert fingerprint(encode([one], "x")) == fingerprint(encode([same], "x"))
    assert fingerprint(encode([one], "x")) != fingerprint(encode([other], "x"))
    assert fingerprint(encode(one, "x")) != fingerprint(encode([one], "x"))


def test_the_flow_sees_the_order_of_keys(run):
    from payloadfs.works import Flow

    class Turn(Holder):
        def run(self):
            self.x = dict(reversed(self.x.items()))

    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.turn = Turn()
            self.turn.x = {"a": 1, "b": 2}

        def run(self):
            self.turn.run()

    assert list(run(Main()).flow.turn.x) == ["b", "a"]
