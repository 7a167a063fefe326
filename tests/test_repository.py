"""Repositories that travel in pickles, contexts, and what a policy that runs no code trusts."""

from __future__ import annotations

import asyncio
import copy
import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import payloadfs
from payloadfs import ConfigError, Key, KeyRing, Payload, Pointer, PointerError, Policy, PolicyError, Repository
from payloadfs.errors import SignatureError, UnknownKeyError
from payloadfs.retention import collect, remove

SECRET = b"a secret of exactly 32 bytes...."
RING = KeyRing([Key(SECRET)])
CANARY = "CANARY-9f3a"


def _everything_about(repository: Repository) -> dict[str, Any]:
    def uses_it(pointer: Pointer) -> Any:
        return repository.load(pointer)

    class Holder:
        def __init__(self) -> None:
            self.repository = repository

    return {
        "repository": repository,
        "closure": uses_it,
        "lambda": lambda: repository,
        "bound method": repository.load,
        "partial": functools.partial(repository.save, prefix="x"),
        "attribute": Holder(),
        "container": {"a": [repository]},
    }


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "objects", keys=RING, fsync=False)


@pytest.mark.parametrize(
    "name", ["repository", "closure", "lambda", "bound method", "partial", "attribute", "container"]
)
def test_no_pickle_of_a_repository_has_a_secret(repository: Repository, name: str) -> None:
    remote = Repository("s3://bucket", {"key": "k", "secret": CANARY, "endpoint_url": "http://127.0.0.1:1"}, keys=RING)
    assert remote.store  # so that stores and keys are in use
    assert remote.keys
    obj = _everything_about(remote)[name]
    stored = bytes(repository.read(repository.save(obj)))
    for pickled in (cloudpickle.dumps(obj), stored):
        for secret in (SECRET, RING.to_text().split()[1].encode(), CANARY.encode()):
            assert secret not in pickled


READER = """
import os, pickle, sys, payloadfs
step = pickle.loads(bytes.fromhex(sys.stdin.read()))
repository, value = step()
print(value, repository.settings.digest, repository.policy.max_bytes, [key.id for key in repository.keys.keys])
"""


def test_a_function_that_uses_a_repository_runs_in_a_fresh_process(repository: Repository, tmp_path: Path) -> None:
    repository = Repository(repository.root, keys=RING, digest="sha256", max_bytes=10_000, fsync=False)
    pointer = repository.save({"answer": 42})

    def step() -> Any:
        return repository, repository.load(pointer)

    environment = {**os.environ, "PAYLOADFS_KEYS": RING.to_text().strip()}
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=cloudpickle.dumps(step).hex(),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == f"{{'answer': 42}} sha256 10000 ['{RING.keys[0].id}']", done.stderr
    # Without the key, it arrives and can load nothing.
    del environment["PAYLOADFS_KEYS"]
    environment["PAYLOADFS_KEYS_FILE"] = str(tmp_path / "keys-of-another-machine")
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=cloudpickle.dumps(step).hex(),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "payloadfs.UnknownKeyError" in done.stderr


def test_a_pickled_repository_takes_the_credentials_of_the_process_where_it_arrives() -> None:
    options = {"secret": CANARY, "key": "here", "endpoint_url": "https://there", "client_kwargs": {"region_name": "x"}}
    public = {"endpoint_url": "https://there", "client_kwargs": {"region_name": "x"}}
    policy = Policy(("s3://bucket",), pickle="never")
    sent = pickle.dumps(Repository("s3://bucket", options, keys=RING, policy=policy, root_aliases={"s3://a": "s3://b"}))
    with payloadfs.using("s3://other", storage_options={"key": "mine", "endpoint_url": "https://mine"}):
        received = pickle.loads(sent)
        assert received.root == "s3://bucket"
        assert received.policy == policy
        assert received.settings.storage_options == {"key": "mine", **public}
    with payloadfs.using("gs://other", storage_options={"token": "mine"}):
        # Credentials never reach another kind of store.
        assert pickle.loads(sent).settings.storage_options == public


def test_a_copy_is_the_repository_itself(repository: Repository) -> None:
    assert copy.copy(repository) is copy.deepcopy(repository) is repository


@pytest.mark.parametrize("name", ["keys", "settings", "ring in a list"])
def test_objects_with_secrets_are_refused_when_they_are_saved(repository: Repository, name: str) -> None:
    obj = {"keys": repository.keys, "settings": repository.settings, "ring in a list": [1, {2: RING}]}[name]
    with pytest.raises(payloadfs.EncodeError, match="cannot be pickled"):
        repository.save(obj)


def test_a_context_must_be_named_again(repository: Repository) -> None:
    pointer = repository.save([1], context="run-7/frame")
    assert Pointer.from_json(pointer.to_json()).context == "run-7/frame"
    assert repository.load(pointer, context="run-7/frame") == [1]
    assert bytes(repository.read(pointer, context="run-7/frame")) == b"[1]"
    assert repository.load_many([pointer], context="run-7/frame") == [[1]]
    for context in (None, "run-8/frame", "run-7", ""):
        for use in (repository.load, repository.read, repository.check):
            with pytest.raises(PolicyError, match="Nothing was fetched") as caught:
                use(pointer, context=context)
            assert caught.value.kind == "policy-context"
    with pytest.raises(PolicyError, match="saved without a context, not for"):
        repository.load(repository.save([1]), context="run-7/frame")
    # What does not use the content needs no context.
    assert repository.exists(pointer)
    repository.delete(pointer)


def test_a_context_cannot_be_changed_or_removed(repository: Repository) -> None:
    pointer = repository.save([1], context="run-7/frame")
    for context in ("", "run-8/frame"):
        with pytest.raises(SignatureError):
            repository.load(pointer.replaced(context=context), context=context or None)
    unsigned = pointer.replaced(key_id="", signature="")
    lax = Repository(repository.root, keys=RING, unsigned="safe")
    with pytest.raises(PolicyError, match="needs a signed pointer"):
        lax.load(unsigned, context="run-7/frame")


def test_a_payload_with_a_context(repository: Repository) -> None:
    payload = Payload([1], repository=repository, context="run-7/frame")
    assert payload.value == payload.view() == copy.deepcopy(payload).value == [1]
    received = Payload.from_json(payload.to_json(), repository=repository)
    with pytest.raises(PolicyError, match="pass the same context="):
        _ = received.value
    for read in (
        Payload.from_json(payload.to_json(), repository=repository, context="run-7/frame"),
        Payload.from_dict(payload.to_dict(), repository=repository, context="run-7/frame"),
    ):
        assert read.value == [1]


@pytest.mark.parametrize("context", ["", "x" * 65, "a\nb", "\ud800", 7])
def test_a_bad_context_is_refused_before_anything_is_written(repository: Repository, context: Any) -> None:
    for save in (repository.save, repository.save_many):
        with pytest.raises(PointerError, match="context"):
            save([1], context=context)
    assert list(repository.list()) == []


@pytest.mark.parametrize("keys", [[], [Key(SECRET, retired=True)], [Key.generate("ed25519").public]])
def test_without_a_signing_key_nothing_is_written(tmp_path: Path, keys: list[Key]) -> None:
    repository = Repository(tmp_path / "objects", keys=KeyRing(keys))
    with pytest.raises(ConfigError) as caught:
        repository.save([1])
    assert caught.value.kind == "no-key"
    assert not (tmp_path / "objects").exists()


def test_a_reader_with_a_public_key_loads_and_cannot_sign(tmp_path: Path) -> None:
    key = Key.generate("ed25519")
    writer = Repository(tmp_path / "objects", keys=KeyRing([key]))
    pointer = writer.save({1, 2}, prefix="run-7")
    assert len(pointer.to_json()) < 400 + len(str(tmp_path))
    reader = Repository(tmp_path / "objects", keys=KeyRing([key.public]))
    assert reader.load(pointer) == {1, 2}
    with pytest.raises(SignatureError):
        reader.load(pointer.replaced(type_name="other"))
    with pytest.raises(UnknownKeyError):
        Repository(tmp_path / "objects", keys=RING).load(pointer)


def test_a_removed_key_stops_a_running_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    monkeypatch.setenv("PAYLOADFS_KEYS_FILE", str(path))
    stolen, new = Key(SECRET), Key.generate()
    payloadfs.signing.write_keys(path, KeyRing([new, stolen]), replace=True)
    attacker = Repository(tmp_path / "objects", keys=KeyRing([stolen]))
    pointer, reader = attacker.save({1, 2}), Repository(tmp_path / "objects")
    assert reader.load(pointer) == {1, 2}
    payloadfs.signing.write_keys(path, KeyRing([new]), replace=True)
    with pytest.raises(UnknownKeyError):
        reader.load(pointer)


def test_bytes_are_validated_unless_their_signer_may_run_code(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    serializer = repository.serializers.by_id("npy/1")
    real = type(serializer).decode

    def decode(self: Any, buffer: memoryview, *, trusted: bool) -> Any:
        seen.append(trusted)
        return real(self, buffer, trusted=trusted)

    monkeypatch.setattr(type(serializer), "decode", decode)
    pointer = repository.save(np.arange(3))
    unsigned = pointer.replaced(key_id="", signature="")
    for subject, settings, trusted in (
        (pointer, {}, True),
        (pointer, {"pickle": "never"}, False),
        (unsigned, {"unsigned": "safe"}, False),
        (unsigned, {"unsigned": "safe", "pickle": "never"}, False),
        (unsigned, {"unsigned": "safe", "pickle": "always"}, True),
    ):
        Repository(repository.root, keys=RING, **settings).load(subject)
        assert seen.pop() is trusted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy", "never"),
        ("policy", {}),
        ("policy", Policy),
        ("serializers", []),
        ("serializers", ["pandas"]),
        ("root_aliases", ["s3://a"]),
        ("root_aliases", "s3://a"),
    ],
)
def test_arguments_of_another_class_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be an instance of .*, not {type(value).__name__}") as caught:
        Repository("memory://arguments", **{name: value})
    assert caught.value.kind == "argument"


@pytest.mark.parametrize("value", ["memory://x", Path("x"), Repository, ""])
def test_a_url_in_place_of_a_repository_is_refused_by_name(repository: Repository, value: Any) -> None:
    pointer = repository.save([1] * 100)
    calls = [
        lambda: Payload([1], repository=value),
        lambda: Payload.from_json(pointer.to_json(), repository=value),
        lambda: payloadfs.pack([b"x"], repository=value),
        lambda: payloadfs.unpack({}, repository=value),
        lambda: asyncio.run(payloadfs.aio.save([1], repository=value)),
        lambda: collect(repository=value),
        lambda: remove("x", repository=value),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="repository must be an instance of Repository, not "):
            call()


def test_unknown_arguments_of_a_batch_name_the_function(repository: Repository) -> None:
    with pytest.raises(TypeError, match=r"save_many\(\) got an unexpected keyword argument 'prefx'"):
        repository.save_many([1], prefx="x")  # type: ignore[call-arg]
