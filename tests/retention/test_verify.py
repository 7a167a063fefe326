"""Verification of objects by their pointers, and the commands that delete and verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import payloadfs
from payloadfs import PointerError, Repository
from payloadfs.cli import main
from payloadfs.retention import Damaged, scan, verify
from payloadfs.retention._references import pointers_in


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "objects"))
    monkeypatch.setenv("PAYLOADFS_FSYNC", "0")
    return payloadfs.default_repository()


def _path(repository: Repository, key: str) -> Path:
    return Path(repository.root.removeprefix("file://")) / key


def test_missing_and_damaged_objects_are_found(repository: Repository) -> None:
    pointers = repository.save_many([b"a", np.arange(100_000), b"c", {"d": 1}])
    pointers.append(repository.save(b"e", context="purpose"))
    _path(repository, pointers[0].key).unlink()
    path = _path(repository, pointers[1].key)
    content = bytearray(path.read_bytes())
    content[50_000] ^= 1  # data of the user's own folder, which loading does not hash
    path.write_bytes(content)
    results = list(verify(pointers, repository=repository))
    assert [isinstance(result, Damaged) for result in results] == [True, True, False, False, False]
    assert [result.error.kind for result in results if isinstance(result, Damaged)] == ["not-found", "digest"]


def test_damage_is_found_without_pointers(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    pointers = repository.save_many([b"small", np.arange(100_000), {"a": np.arange(100_000), "b": [np.arange(9)] * 2}])
    pointers.append(Repository(repository.root, digest="sha256").save(np.arange(100_000)))
    assert [(result.is_sealed, result.error) for result in scan(repository=repository)].count((True, None)) == 3
    assert main(["verify"]) == 0
    assert "3 objects have digests inside" in capsys.readouterr().out
    for pointer in pointers[1:]:
        path = _path(repository, pointer.key)
        content = bytearray(path.read_bytes())
        content[300_000] ^= 1
        path.write_bytes(content)
    damaged = [result for result in scan(repository=repository) if result.error is not None]
    assert {result.info.key for result in damaged} == {pointer.key for pointer in pointers[1:]}
    assert main(["verify"]) == 5
    assert "3 of 4 objects" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 1, 500])
def test_results_are_in_order(repository: Repository, count: int) -> None:
    pointers = repository.save_many(range(count))
    assert [result.pointer for result in verify(iter(pointers), repository=repository)] == pointers


def test_pointers_in_json_lines(repository: Repository) -> None:
    one, two, three = repository.save_many([1, 2, 3])
    lines = [
        json.dumps({"run": 1, "state": {"frames": [one.to_dict(), None]}}),
        "",
        json.dumps([two.to_json(), 'text with "payloadfs" would be a pointer', 5][:1]),
        three.to_json(),
    ]
    assert list(pointers_in(lines)) == [one, two, three]
    with pytest.raises(PointerError, match="Line 2 is not JSON"):
        list(pointers_in([one.to_json(), "nonsense"]))
    with pytest.raises(PointerError):
        list(pointers_in(["[" * 200 + "]" * 200]))


def _run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["--json", *arguments]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_verify_command(repository: Repository, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pointers = repository.save_many([b"a", b"b"])
    refs = tmp_path / "refs.jsonl"
    refs.write_text("".join(pointer.to_json() + "\n" for pointer in pointers))
    assert _run(capsys, "verify", str(refs)) == [{"count": 2, "damaged": 0}]
    _path(repository, pointers[1].key).write_bytes(b"x")
    found, summary = _run(capsys, "verify", str(refs), code=5)
    assert (found["key"], found["kind"]) == (pointers[1].key, "digest")
    assert summary == {"count": 2, "damaged": 1}
    assert main(["verify", str(refs)]) == 5
    assert f"{pointers[1].key}: " in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "missing")]) == 3


def test_the_rm_command(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (repository.save(b"x", prefix="run") for _ in range(2))
    assert _run(capsys, "rm", "run", "--dry-run") == [{"count": 2, "size": 2, "dry_run": True}]
    assert _run(capsys, "rm", "run", "--older-than", "30d") == [{"count": 0, "size": 0, "dry_run": False}]
    assert _run(capsys, "rm", one.to_json()) == [{"count": 1, "size": 1, "dry_run": False}]
    assert [info.key for info in repository.list()] == [two.key]
    assert main(["rm", "run"]) == 0
    assert "1 object deleted, 1 B" in capsys.readouterr().out
    assert list(repository.list()) == []
    assert main(["rm", ""]) == 2


def test_the_gc_command(repository: Repository, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    live, dead = repository.save(b"live"), repository.save(b"dead")
    refs = tmp_path / "refs"
    refs.write_text(live.to_json())
    for _ in range(2):
        report = _run(capsys, "gc", "--refs", str(refs), "--grace", "1d")[0]
        assert report == {"expired": {"count": 0, "size": 0}, "unreferenced": {"count": 0, "size": 0}, "leftovers": 0, "marked": 0, "dry_run": True}  # fmt: skip
    assert main(["gc"]) == 0
    assert "add --apply" in capsys.readouterr().err
    assert main(["gc", "--refs", str(tmp_path / "missing"), "--apply"]) == 3
    assert main(["gc", "--refs", "/dev/null", "--apply"]) == 2
    assert {info.key for info in repository.list()} == {live.key, dead.key}


def test_the_lifecycle_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from payloadfs.stores import ObjectInfo
    from payloadfs.stores._obstore import ObstoreStore

    keys = ["ttl=36h/a/01kjk3c8r0z5v9n2q7w4t6y8bd.bin", "ttl=7d/01kjk3c8r0z5v9n2q7w4t6y8bd.bin", "ttl=x/y.bin"]
    monkeypatch.setattr(ObstoreStore, "list", lambda self, prefix="": iter(ObjectInfo(key, 1, 0.0) for key in keys))
    monkeypatch.setenv("PAYLOADFS_EXPIRES", "1h")
    options = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1"}
    monkeypatch.setenv("PAYLOADFS_STORAGE_OPTIONS", json.dumps(options))
    (document,) = _run(capsys, "lifecycle", "--url", "s3://bucket/prod")
    days = {rule["Filter"]["Prefix"]: rule.get("Expiration") for rule in document["Rules"]}
    assert days == {"prod/ttl=1h/": {"Days": 2}, "prod/ttl=36h/": {"Days": 3}, "prod/ttl=7d/": {"Days": 8}, "prod/": None}  # fmt: skip
    assert main(["lifecycle", "--url", "/tmp/folder"]) == 2
