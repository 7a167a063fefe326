"""Commands that read and change key files."""

import json
import os
import stat
import subprocess
import sys

import pytest

import payloadfs
from payloadfs import Key, KeyRing
from payloadfs.cli import main
from payloadfs.signing import read_keys, write_keys


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "keys"


def ids(path):
    return [key.id for key in read_keys(path).keys]


def key_file(key, tmp_path):
    file = tmp_path / f"{key.id}.key"
    file.write_text(key.to_line())
    return str(file)


def test_a_new_file_is_private(path, capsys):
    assert main(["keys", "generate", "--keys-file", str(path)]) == 0
    assert ids(path) == [capsys.readouterr().out.strip()]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_added_keys_come_after_existing_ones(path, tmp_path, capsys):
    first, second = Key.generate(), Key.generate()
    write_keys(path, KeyRing([first]), replace=False)
    both = tmp_path / "both"
    both.write_text(f"# a comment\n{second.to_line()}\n{second.to_line()}\n{first.to_line()}\n")
    assert main(["keys", "add", str(both), "--keys-file", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"added": [second.id]}
    assert ids(path) == [first.id, second.id]


def test_nothing_to_add_writes_nothing(path, tmp_path):
    key = Key.generate()
    write_keys(path, KeyRing([key]), replace=False)
    before = path.stat()
    assert main(["keys", "add", key_file(key, tmp_path), "--keys-file", str(path)]) == 0
    assert path.stat().st_ino == before.st_ino


def test_a_link_to_the_file_stays_a_link(path, tmp_path):
    write_keys(path, KeyRing([Key.generate()]), replace=False)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert main(["keys", "generate", "--keys-file", str(link)]) == 0
    assert link.is_symlink()
    assert len(ids(path)) == 2


def test_retiring_the_last_key_warns(path, capsys, refused, file, monkeypatch):
    key = Key.generate()
    write_keys(path, KeyRing([key]), replace=False)
    assert main(["keys", "retire", key.id, "--keys-file", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{key.id} now verifies only\n"
    assert err == "payloadfs: no signing key is left; run 'payloadfs keys generate'.\n"
    monkeypatch.setenv("PAYLOADFS_KEYS_FILE", str(path))
    refused("put", file, code=2, message="payloadfs keys generate")
    assert main(["keys", "list"]) == 0
    assert f"{key.id}  hmac            verifies only" in capsys.readouterr().out


def test_no_keys_yet(capsys, path, refused):
    assert main(["keys", "list", "--keys-file", str(path)]) == 0
    assert "no keys yet" in capsys.readouterr().out
    refused("keys", "export", "00000000", "--keys-file", path, code=2, message="Keys here: none")
    refused("keys", "retire", "00000000", "--keys-file", path, code=2, message="Keys here: none")
    assert not path.exists()


def test_input_that_is_not_a_key(refused, tmp_path, path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    refused("keys", "add", tmp_path / "binary", "--keys-file", path, code=2, message="is not a key")
    (tmp_path / "empty").write_bytes(b"# nothing\n")
    refused("keys", "add", tmp_path / "empty", "--keys-file", path, code=2, message="No key in")
    refused("keys", "add", tmp_path / "none", code=3, message="No such file")
    blocked = tmp_path / "empty" / "keys"
    refused("keys", "generate", "--keys-file", blocked, code=2, message="Cannot change the key file")
    assert not path.exists()


def test_keys_from_the_environment(capsys, refused, monkeypatch, path):
    key = Key.generate()
    monkeypatch.setenv("PAYLOADFS_KEYS", key.to_line())
    assert main(["keys", "list"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("environment PAYLOADFS_KEYS\n")
    assert f"{key.id}  hmac            signs and verifies" in out
    assert key.to_line().split()[1] not in out
    assert main(["keys", "export", key.id]) == 0
    assert capsys.readouterr().out == key.to_line() + "\n"
    for arguments in (["generate"], ["retire", key.id]):
        refused("keys", *arguments, code=2, message="--keys-file")
    assert main(["keys", "generate", "--keys-file", str(path)]) == 0


def test_export_as_json(capsys, path):
    key = Key.generate()
    write_keys(path, KeyRing([key]), replace=False)
    assert main(["keys", "export", key.id, "--keys-file", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": key.id, "key": key.to_line()}


def test_commands_at_the_same_time_lose_no_key(path):
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "payloadfs", "keys", "generate", "--keys-file", path],
            stdout=subprocess.PIPE,
            env=os.environ,
        )
        for _ in range(8)
    ]
    generated = {process.communicate(timeout=60)[0].decode().strip() for process in running}
    assert len(generated) == 8
    assert set(ids(path)) == generated


def test_a_first_save_at_the_same_time_loses_no_key(path, monkeypatch, capsys):
    monkeypatch.setenv("PAYLOADFS_KEYS_FILE", str(path))
    exists, pointers = type(path).exists, []

    def first_save(self):
        is_there = exists(self)
        if self == path and not is_there:
            pointers.append(payloadfs.default_repository().save([1]))
        return is_there

    monkeypatch.setattr(type(path), "exists", first_save)
    assert main(["keys", "generate"]) == 0
    generated = capsys.readouterr().out.strip()
    assert ids(path) == [generated, pointers[0].key_id]
    assert main(["get", pointers[0].to_json()]) == 0
