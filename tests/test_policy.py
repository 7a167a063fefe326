"""Policy: the whole matrix of executable, signed, pickle rule, unsigned rule and roots."""

from __future__ import annotations

import datetime
import time
from typing import Any

import pytest

from payloadfs._digest import Digest
from payloadfs.errors import ConfigError, PolicyError
from payloadfs.pointer import Pointer
from payloadfs.policy import SIGNED_ROOTS, Policy
from payloadfs.signing import Key, KeyRing

RING = KeyRing([Key(b"k" * 32)])


def _pointer(
    root: str = "s3://data/runs", *, signed: bool = True, serializer: str = "pickle/1", size: int = 3
) -> Pointer:
    pointer = Pointer(root, "1.bin", serializer, size, Digest("b3", bytes(32)), 0, "object")
    return pointer.signed(RING) if signed else pointer


def _allowed(policy: Policy, pointer: Pointer, *, executable: bool) -> bool:
    try:
        policy.check(pointer, executable=executable)
    except PolicyError:
        return False
    return True


# (pickle, unsigned) -> what may be resolved, as words: signed or unsigned, safe or code.
ALLOWED = {
    ("signed", "safe"): {"signed safe", "signed code", "unsigned safe"},
    ("signed", "never"): {"signed safe", "signed code"},
    ("always", "safe"): {"signed safe", "signed code", "unsigned safe", "unsigned code"},
    ("never", "safe"): {"signed safe", "unsigned safe"},
    ("never", "never"): {"signed safe"},
}
# A root's entry -> does it let pass a signed, an unsigned pointer to s3://data/runs?
ROOTS: dict[tuple[str, ...], tuple[bool, bool]] = {
    ("s3://data/runs",): (True, True),
    ("s3://data",): (True, True),
    ("file:///", "s3://data"): (True, True),
    ("s3://*",): (True, False),
    SIGNED_ROOTS: (True, False),
    ("s3://*", "s3://data"): (True, True),
    ("gs://*",): (False, False),
    ("file://*",): (False, False),
    ("s3://data/runs/1",): (False, False),
    ("s3://data/run",): (False, False),
    ("file:///",): (False, False),
    (): (False, False),
}


@pytest.mark.parametrize(("pickle", "unsigned"), ALLOWED)
@pytest.mark.parametrize("roots", ROOTS)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("executable", [True, False])
def test_the_matrix(pickle: Any, unsigned: Any, roots: tuple[str, ...], *, signed: bool, executable: bool) -> None:
    policy = Policy(roots, pickle=pickle, unsigned=unsigned)
    words = f"{'signed' if signed else 'unsigned'} {'code' if executable else 'safe'}"
    expected = words in ALLOWED[pickle, unsigned] and ROOTS[roots][0 if signed else 1]
    assert _allowed(policy, _pointer(signed=signed), executable=executable) is expected


def test_defaults_are_the_strictest_useful_ones() -> None:
    policy = Policy(("s3://data",))
    assert _allowed(policy, _pointer(signed=True), executable=True)
    assert not _allowed(policy, _pointer(signed=False), executable=True)
    assert not _allowed(policy, _pointer(signed=False), executable=False)
    assert not any(root.startswith("file:") for root in SIGNED_ROOTS)
    assert not _allowed(Policy(SIGNED_ROOTS), _pointer("file:///etc"), executable=False)
    assert not _allowed(Policy(SIGNED_ROOTS), _pointer("https://169.254.169.254"), executable=False)


@pytest.mark.parametrize(
    ("policy", "pointer", "kind"),
    [
        (Policy(()), _pointer(), "policy-root"),
        (Policy(("s3://*",), unsigned="safe"), _pointer(signed=False), "policy-root"),
        (Policy(("s3://*",), unsigned="never"), _pointer("gs://x"), "policy-root"),
        (Policy(("s3://*",), serializers=frozenset({"json"})), _pointer(), "policy-serializer"),
        (Policy(("s3://*",), serializers=frozenset()), _pointer(), "policy-serializer"),
        (Policy(("s3://*",), serializers=frozenset({"pickle/1"})), _pointer(), "policy-serializer"),
        (Policy(("s3://data",), unsigned="never"), _pointer(signed=False), "policy-unsigned"),
        (Policy(("s3://data",), pickle="never"), _pointer(), "policy-pickle"),
        (Policy(("s3://data",)), _pointer(signed=False), "policy-unsigned"),
        (Policy(("s3://data",), unsigned="safe"), _pointer(signed=False), "policy-pickle"),
        (Policy(("s3://data",), max_age="7d"), _pointer(), "policy-age"),
        (Policy(("s3://data",), "always", "safe", max_age=9 * 10**8), _pointer(signed=False), "policy-age"),
        (Policy(("s3://data",), max_bytes=2), _pointer(), "policy-size"),
        (Policy(("s3://data",), max_bytes=0), _pointer(size=1), "policy-size"),
    ],
)
def test_each_rule_has_its_kind(policy: Policy, pointer: Pointer, kind: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy.check(pointer, executable=True)
    assert caught.value.kind == kind
    assert caught.value.pointer == pointer
    assert str(caught.value).endswith("Nothing was fetched.")
    assert isinstance(caught.value, PermissionError)


@pytest.mark.parametrize(
    "policy",
    [
        Policy(("s3://data",), max_bytes=3),
        Policy(("s3://data",), serializers=frozenset({"pickle"})),
        Policy(("s3://data/runs", "gs://*"), pickle="always", unsigned="safe", max_bytes=2**60),
    ],
)
def test_limits_are_inclusive(policy: Policy) -> None:
    policy.check(_pointer(), executable=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"pickle": "sometimes"},
        {"pickle": "Signed"},
        {"pickle": ""},
        {"pickle": None},
        {"pickle": True},
        {"unsigned": "signed"},
        {"unsigned": "always"},
        {"unsigned": False},
        {"max_bytes": -1},
        {"max_bytes": "1000"},
        {"max_age": -1},
        {"max_age": "7"},
        {"max_age": 1.5},
        {"max_age": datetime.timedelta(0)},
        {"pickle": "always"},
        {"pickle": "always", "unsigned": "never"},
        {"roots": ("s3://data/",)},
        {"roots": ("s3://data", "/srv")},
        {"roots": ("*",)},
        {"roots": ("://*",)},
        {"roots": ("S3://*",)},
        {"roots": ("s3a://*",)},
        {"roots": ("local://*",)},
        {"roots": ("s3://data://*",)},
        {"roots": ("s3://data/*",)},
        {"roots": ("s3://da*",)},
        {"roots": ("",)},
        {"roots": ("file://",)},
        {"roots": ("s3://",)},
        {"roots": ("s3://data/..",)},
        {"roots": "s3://data"},
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Policy(**{"roots": ("s3://data",), **settings})


def test_a_bad_root_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        Policy(("s3://data", "s3://user:hunter2@data"))
    assert "hunter2" not in str(caught.value)
    assert "Allowed root 2" in str(caught.value)


@pytest.mark.parametrize("max_age", [60, "60s", "1m", datetime.timedelta(minutes=1), datetime.timedelta(seconds=60.9)])
def test_max_age(monkeypatch: pytest.MonkeyPatch, max_age: Any) -> None:
    policy = Policy(("s3://data",), max_age=max_age)
    for now_s, allowed in ((0.0, True), (60.0, True), (60.5, False), (61.0, False), (-5.0, True)):
        # The pointer was created at 0; a clock that is behind the writer's makes its age negative.
        monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)
        assert _allowed(policy, _pointer(), executable=True) is allowed


def test_what_may_run_code() -> None:
    signed, unsigned = _pointer(), _pointer(signed=False)
    roots = ("s3://data",)
    assert [Policy(roots, rule, "safe").allows_code(signed) for rule in ("signed", "always", "never")] == [1, 1, 0]
    assert [Policy(roots, rule, "safe").allows_code(unsigned) for rule in ("signed", "always", "never")] == [0, 1, 0]
