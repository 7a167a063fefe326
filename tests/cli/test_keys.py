"""Key files under the commands that change them."""

import json
import os
import stat
import subprocess
import sys

import pytest

import payloadfs
from payloadfs import Key, KeyRing
from payloadfs.cli import main
from payloadfs.signing import read_or_create_keys, write_keys


@pytest.fixture
def place(tmp_path):
    return tmp_path / "folder" / "keys"


def ids(place):
    return [key.id for key in read_or_create_keys(place, create=False).keys]


def line(key, tmp_path):
    path = tmp_path / f"{key.id}.key"
    path.write_text(key.to_line())
    return str(path)


def test_a_new_file_is_private(place, capsys):
    assert main(["keys", "generate", "--keys-file", str(place)]) == 0
    assert ids(place) == [capsys.readouterr().out.strip()]
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_added_keys_stand_behind(place, tmp_path, capsys):
    first, second = Key.generate(), Key.generate()
    write_keys(place, KeyRing([first]), replace=False)
    both = tmp_path / "both"
    both.write_text(f"# a comment\n{second.to_line()}\n{second.to_line()}\n{first.to_line()}\n")
    assert main(["keys", "add", str(both), "--keys-file", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"added": [second.id]}
    assert ids(place) == [first.id, second.id]


def test_nothing_to_add_writes_nothing(place, tmp_path):
    key = Key.generate()
    write_keys(place, KeyRing([key]), replace=False)
    before = place.stat()
    assert main(["keys", "add", line(key, tmp_path), "--keys-file", str(place)]) == 0
    assert place.stat().st_ino == before.st_ino


def test_a_link_to_the_file_stays_one(place, tmp_path):
    write_keys(place, KeyRing([Key.generate()]), replace=False)
    link = tmp_path / "link"
    link.symlink_to(place)
    assert main(["keys", "generate", "--keys-file", str(link)]) == 0
    assert link.is_symlink()
    assert len(ids(place)) == 2


def test_retiring_the_last_key_says_what_follows(place, capsys, refused, file, monkeypatch):
    key = Key.generate()
    write_keys(place, KeyRing([key]), replace=False)
    assert main(["keys", "retire", key.id, "--keys-file", str(place)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{key.id} verifies only\n"
    assert err == "payloadfs: no key signs now; make one with 'payloadfs keys generate'.\n"
    monkeypatch.setenv("PAYLOADFS_KEYS_FILE", str(place))
    refused("put", file, code=2, say="payloadfs keys generate")
    assert main(["keys", "list"]) == 0
    assert f"{key.id}  verifies only" in capsys.readouterr().out


def test_no_key_yet(capsys, place, refused):
    assert main(["keys", "list", "--keys-file", str(place)]) == 0
    assert "no key yet" in capsys.readouterr().out
    refused("keys", "export", "00000000", "--keys-file", place, code=2, say="the keys here: none")
    refused("keys", "retire", "00000000", "--keys-file", place, code=2, say="the keys here: none")
    assert not place.exists()


def test_what_is_no_key(refused, tmp_path, place):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    refused("keys", "add", tmp_path / "binary", "--keys-file", place, code=2, say="is not a key")
    (tmp_path / "empty").write_bytes(b"# nothing\n")
    refused("keys", "add", tmp_path / "empty", "--keys-file", place, code=2, say="There is no key in")
    refused("keys", "add", tmp_path / "none", code=3, say="No such file")
    blocked = tmp_path / "empty" / "keys"
    refused("keys", "generate", "--keys-file", blocked, code=2, say="can't be changed")
    assert not place.exists()


def test_keys_that_are_in_no_file(capsys, refused, monkeypatch, place):
    key = Key.generate()
    monkeypatch.setenv("PAYLOADFS_KEYS", key.to_line())
    assert main(["keys", "list"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("environment PAYLOADFS_KEYS\n")
    assert f"{key.id}  signs and verifies" in out
    assert key.to_line().split()[1] not in out
    assert main(["keys", "export", key.id]) == 0
    assert capsys.readouterr().out == key.to_line() + "\n"
    for words in (["generate"], ["retire", key.id]):
        refused("keys", *words, code=2, say="--keys-file")
    assert main(["keys", "generate", "--keys-file", str(place)]) == 0


def test_export_as_json(capsys, place):
    key = Key.generate()
    write_keys(place, KeyRing([key]), replace=False)
    assert main(["keys", "export", key.id, "--keys-file", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": key.id, "key": key.to_line()}


def test_commands_at_the_same_time_lose_no_key(place):
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "payloadfs", "keys", "generate", "--keys-file", place],
            stdout=subprocess.PIPE,
            env=os.environ,
        )
        for _ in range(8)
    ]
    made = {process.communicate(timeout=60)[0].decode().strip() for process in running}
    assert len(made) == 8
    assert set(ids(place)) == made


def test_a_first_save_at_the_same_time_loses_no_key(place, monkeypatch, capsys):
    monkeypatch.setenv("PAYLOADFS_KEYS_FILE", str(place))
    exists, pointers = type(place).exists, []

    def first_save(self):
        there = exists(self)
        if self == place and not there:
            pointers.append(payloadfs.default_repository().save([1]))
        return there

    monkeypatch.setattr(type(place), "exists", first_save)
    assert main(["keys", "generate"]) == 0
    made = capsys.readouterr().out.strip()
    assert ids(place) == [made, pointers[0].key_id]
    assert main(["get", pointers[0].to_json()]) == 0
