"""``init``: a configuration, a key, and what workers need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import payloadfs
from payloadfs import config
from payloadfs.cli import main


def test_writes_a_configuration_and_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "objects")]) == 0
    shown = capsys.readouterr().out
    assert f"PAYLOADFS_URL=file://{tmp_path}/objects" in shown
    assert "keys export" in shown
    config.reset()  # the file is read once per process
    assert payloadfs.default_repository().root == f"file://{tmp_path}/objects"
    assert payloadfs.load(payloadfs.save([1] * 100)) == [1] * 100


def test_changes_nothing_that_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "init", "s3://bucket/prod"]) == 0
    first = json.loads(capsys.readouterr().out)
    content = Path(first["config"]).read_text()
    assert content == 'url = "s3://bucket/prod"\n'
    assert main(["init", str(tmp_path)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert Path(first["config"]).read_text() == content
    assert Path(first["config"]).stat().st_mode & 0o777 == 0o600


def test_refuses_a_bad_url(capsys: pytest.CaptureFixture[str], clean_environment: Path) -> None:
    assert main(["init", "s3://key:hunter2@bucket"]) == 2
    assert "hunter2" not in capsys.readouterr().err
    assert not (clean_environment / ".config").exists()


def test_needs_a_key_that_signs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clean_environment: Path
) -> None:
    assert main(["keys", "generate", "--kind", "ed25519"]) == 0
    key = payloadfs.default_repository().keys.signing_key
    assert key is not None
    capsys.readouterr()
    assert main(["keys", "export", "--public", key.id]) == 0
    monkeypatch.setenv("PAYLOADFS_KEYS", capsys.readouterr().out.strip())
    config.reset()
    assert main(["init", "s3://bucket/prod"]) == 2
    assert "payloadfs keys generate" in capsys.readouterr().err
    path = config.config_file()
    assert path is not None
    assert not path.exists()
