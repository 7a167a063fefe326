"""Packing: any value as JSON and back, exactly; what looks like a pointer is none."""

from __future__ import annotations

import asyncio
import datetime
import json
import math
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import payloadfs
from payloadfs import BatchError, EncodeError, Payload, PointerError, Repository, SignatureError, pack, unpack
from payloadfs.signing import Key, KeyRing
from payloadfs.testing import assert_exact

RING = KeyRing([Key(b"k" * 32)])
REPOSITORY = Repository("memory://packing", keys=RING, inline_bytes=128)


def _trip(value: Any, over: int = 1000) -> Any:
    return unpack(json.loads(json.dumps(pack(value, over=over, repository=REPOSITORY))), repository=REPOSITORY)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.dates()
_KEYS = st.text(max_size=5) | st.sampled_from(["payloadfs", "pointer", "data"])
_VALUES = st.recursive(
    _SCALARS | st.builds(lambda kind: {"payloadfs": kind, "pointer": {}}, st.sampled_from([1, "payload", "pointer"])),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(_KEYS, parts, max_size=4) | st.tuples(parts),
    max_leaves=12,
)


@given(_VALUES, st.sampled_from([0, 20, 200, 100_000]))
def test_round_trip_through_json(value: Any, over: int) -> None:
    assert_exact(_trip(value, over), value)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        math.inf,
        2**53,
        -(2**60),
        "\0",
        "\ud800",
        {"a\0": 1},
        {1: 2},
        (1, [2]),
        {"df": pd.DataFrame({"a": [1, 2]}), "n": 3},
        [np.float64(0.5), np.arange(3)],
        {"when": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)},
        ValueError("bad"),
    ],
    ids=repr,
)
def test_everything_else_is_exact_too(value: Any) -> None:
    assert_exact(_trip(value), value)


def test_plain_values_stay_readable_and_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Repository, "save", None)
    value = {"rows": 3, "names": ["a", "ü"], "ok": True, "none": None, "x": 0.25}
    assert pack(value, repository=REPOSITORY) == value
    assert pack(value, repository=REPOSITORY) is not value


def test_only_what_is_large_becomes_a_pointer() -> None:
    packed = pack({"text": "x" * 500, "n": 1}, over=450, repository=REPOSITORY)
    assert packed["n"] == 1
    assert packed["text"]["payloadfs"] == 1
    packed = pack([[1, 2, 3]] * 1 + [list(range(500))], over=600, repository=REPOSITORY)
    assert packed[0] == [1, 2, 3]
    assert packed[1]["type"] == "list"


def test_many_objects_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list whose pointers alone are too large is one object, and nothing is saved for its parts."""
    saved: list[Any] = []
    save = Repository.save
    monkeypatch.setattr(
        Repository, "save", lambda self, obj, **options: saved.append(obj) or save(self, obj, **options)
    )
    value = {"parts": [datetime.date(2026, 1, day) for day in range(1, 29)], "n": 1}
    assert pack(value, over=2000, repository=REPOSITORY)["parts"]["type"] == "list"
    assert saved == [value["parts"]]


def test_shared_parts_stay_shared() -> None:
    shared: list[Any] = [1]
    copy = _trip({"a": shared, "b": shared})
    assert copy["a"] is copy["b"]
    cycle: list[Any] = []
    cycle.append(cycle)
    copy = _trip(cycle)
    assert copy[0] is copy


def test_payloads_and_pointers_stay_what_they_are() -> None:
    payload = Payload({"a": 1}, repository=REPOSITORY)
    copy = _trip({"payload": payload, "twice": [payload, payload], "pointer": payload.pointer}, over=10_000)
    assert isinstance(copy["payload"], Payload)
    assert copy["payload"].value == {"a": 1}
    assert copy["pointer"] == payload.pointer


def test_deep_values_are_stored() -> None:
    value: list[Any] = []
    for _ in range(300):
        value = [value]
    assert_exact(_trip(value, over=100_000), value)


@pytest.mark.parametrize(
    "packed",
    [
        {"payloadfs": 1},
        {"payloadfs": "payload"},
        {"payloadfs": "payload", "pointer": {}},
        {"payloadfs": "pointer", "pointer": 1},
        {"payloadfs": "pointer", "pointer": {}, "x": 1},
        {"payloadfs": None},
        {"payloadfs": ["payload"]},
        [{"a": {"payloadfs": {}}}],
    ],
    ids=str,
)
def test_what_pack_does_not_write_is_refused(packed: Any) -> None:
    with pytest.raises(PointerError):
        unpack(packed, repository=REPOSITORY)


def test_only_pointers_that_verify_are_resolved() -> None:
    other = Repository("memory://packing", keys=KeyRing([Key(b"o" * 32)]), inline_bytes=128)
    packed = pack({"day": datetime.date(2026, 1, 1)}, repository=other)
    with pytest.raises(SignatureError):
        unpack(packed, repository=REPOSITORY)
    too_deep: Any = 1
    for _ in range(5000):
        too_deep = [too_deep]
    with pytest.raises(PointerError):
        unpack(too_deep, repository=REPOSITORY)


def test_an_object_that_cannot_be_stored_is_an_error() -> None:
    with pytest.raises(EncodeError):
        pack({"lock": threading.Lock()}, repository=REPOSITORY)
    with pytest.raises(BatchError):
        pack([threading.Lock(), (1,)], repository=REPOSITORY)


def test_options_reach_the_objects() -> None:
    packed = pack([(1,) * 200], repository=REPOSITORY, prefix="run-7", context="result")
    assert packed[0]["key"].startswith("run-7/")
    assert unpack(packed, repository=REPOSITORY, context="result") == [(1,) * 200]


def test_awaitable() -> None:
    async def main() -> Any:
        packed = await payloadfs.aio.pack([(1, 2)], repository=REPOSITORY)
        return await payloadfs.aio.unpack(packed, repository=REPOSITORY)

    assert asyncio.run(main()) == [(1, 2)]
