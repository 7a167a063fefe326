"""Objects that expire: the lifetime is in the key, so pointers, listings and bucket rules agree."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import payloadfs
from payloadfs import ConfigError, ExpiredError, Key, KeyRing, Payload, PolicyError, Repository
from payloadfs._durations import duration_name, seconds
from payloadfs._keys import created_s, escape_prefix, lifetime_s, new_key
from payloadfs.errors import SignatureError

KEYS = KeyRing([Key(b"k" * 32)])


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "objects", keys=KEYS, fsync=False)


@given(st.integers(1, 999_999_999))
def test_names_of_durations(duration_s: int) -> None:
    assert seconds(duration_name(duration_s)) == duration_s


@given(st.integers(1, 999_999_999), st.sampled_from([None, "run", "a/b"]), st.integers(0, 2**43))
def test_keys_hold_creation_and_lifetime(lifetime: int, prefix: str | None, now_ms: int) -> None:
    with mock.patch("payloadfs._keys.time.time", return_value=now_ms / 1000):
        key = new_key(prefix, "bin", lifetime)
    assert lifetime_s(key) == lifetime
    created = created_s(key)
    assert created is not None
    assert round(created * 1000) in (now_ms - 1, now_ms)  # whole milliseconds of a float, rounded down
    assert lifetime_s(new_key(prefix, "bin")) is None


@pytest.mark.parametrize("prefix", ["ttl=7d", "ttl=7d/run", "ttl=", "ttl=x"])
def test_a_prefix_cannot_look_like_a_lifetime(repository: Repository, prefix: str) -> None:
    assert not escape_prefix(prefix).startswith("ttl=7")
    pointer = repository.save(1, prefix=prefix)
    assert pointer.expires is None
    assert [info.key for info in repository.list(prefix)] == [pointer.key]


@pytest.mark.parametrize("key", ["ttl=7d/x.bin", "ttl=07d/01kjk3c8r0z5v9n2q7w4t6y8bd.bin", "ttl=7d", "a/ttl=7d/01kjk3c8r0z5v9n2q7w4t6y8bd.bin"])  # fmt: skip
def test_other_keys_do_not_expire(key: str) -> None:
    assert lifetime_s(key) is None


def test_an_expired_object_is_refused_without_a_request(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = int(time.time())
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: float(now_s))
        pointer = repository.save([1], expires="7d")
    assert pointer.key.startswith("ttl=7d/")
    assert pointer.expires is not None
    assert pointer.expires.timestamp() == now_s + 7 * 86_400
    assert repository.load(pointer) == [1]
    later_s = pointer.expires.timestamp()
    monkeypatch.setattr(time, "time", lambda: later_s)
    monkeypatch.setattr(type(repository.store), "get", lambda *_: pytest.fail("a request was sent"))
    for use in (repository.load, repository.read, repository.check):
        with pytest.raises(ExpiredError, match=r"expired at .* UTC.*Nothing was fetched") as caught:
            use(pointer)
        assert isinstance(caught.value, PolicyError)
        assert caught.value.kind == "expired"
    assert repository.exists(pointer)  # until it is collected
    repository.delete(pointer)
    assert not repository.exists(pointer)


def test_the_lifetime_is_signed(repository: Repository) -> None:
    pointer = repository.save([1], expires="1s")
    longer = pointer.replaced(key=pointer.key.replace("ttl=1s", "ttl=9d"))
    with pytest.raises(SignatureError):
        repository.load(longer)


@pytest.mark.parametrize("expires", [3600, "1h", "60m", datetime.timedelta(hours=1)])
def test_spellings(repository: Repository, expires: Any) -> None:
    keys = [
        repository.save(1, expires=expires).key,
        repository.save_many([1], expires=expires)[0].key,
        Payload(1, repository=repository, expires=expires).pointer.key,
    ]
    assert all(key.startswith("ttl=1h/") for key in keys)


@pytest.mark.parametrize("expires", [0, -1, 10**9, "9999999w", "7", "1 d", 1.5, True, datetime.timedelta(0)])
def test_bad_lifetimes(repository: Repository, expires: Any) -> None:
    for save in (repository.save, repository.save_many):
        with pytest.raises(ConfigError, match="expires"):
            save([1], expires=expires)
    assert list(repository.list()) == []


def test_the_setting(tmp_path: Path) -> None:
    with payloadfs.using(tmp_path, keys=KEYS, expires="2d"):
        assert payloadfs.save(1).key.startswith("ttl=2d/")
        assert payloadfs.save(1, expires="1h").key.startswith("ttl=1h/")
        assert payloadfs.save(1, expires="never").expires is None
        with payloadfs.using(expires="never"):
            assert payloadfs.save(1).expires is None


def test_a_listing_by_prefix_includes_objects_that_expire(repository: Repository) -> None:
    saved = [repository.save(1, prefix=prefix, expires=expires).key for prefix in ("run", "run/1", "other") for expires in ("1d", "1h", None)]  # fmt: skip
    assert sorted(saved) == [info.key for info in repository.list()]
    assert sorted(saved[:6]) == [info.key for info in repository.list("run")]
    assert sorted(saved[3:6]) == [info.key for info in repository.list("run/1")]
