"""The command line, as used by people and by scripts."""

import json
import os
import pickle
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import payloadfs
from payloadfs import KeyRing, Repository
from payloadfs.cli import main

COMMANDS = [
    ["init"],
    ["run"],
    ["runs"],
    ["runs", "show"],
    ["put"],
    ["get"],
    ["ls"],
    ["rm"],
    ["gc"],
    ["verify"],
    ["lifecycle"],
    ["inspect"],
    ["keys"],
    *(["keys", step] for step in ("list", "generate", "export", "add", "retire", "remove")),
    ["cache"],
    ["cache", "info"],
    ["cache", "clear"],
    ["doctor"],
    ["config"],
    ["config", "show"],
]


def test_put_and_get_through_pipes(run, file, tmp_path):
    pointer = run("put", file).stdout
    assert pointer.count(b"\n") == 1
    assert run("get", "-", stdin=pointer).stdout == bytes(range(256))
    assert run("get", pointer.decode()).stdout == bytes(range(256))
    path = tmp_path / "pointer.json"
    path.write_bytes(pointer)
    run("get", path, "-o", tmp_path / "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == bytes(range(256))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.bin", "pointer.json", "some.bin"]


@pytest.mark.parametrize(
    ("kind", "content", "output"),
    [
        ("bytes", b"\xff\0", b"\xff\0"),
        ("text", "ü\n".encode(), "ü\n".encode()),
        ("json", b'{"a": [1, 2.5, null]}', b'{"a": [1, 2.5, null]}\n'),
    ],
)
def test_content_as_bytes_text_or_json(run, kind, content, output):
    pointer = run("put", "-", "--as", kind, stdin=content).stdout
    assert json.loads(pointer)["serializer"] == f"{kind}/1"
    assert run("get", "-", stdin=pointer).stdout == output


@pytest.mark.parametrize(
    ("obj", "csv"),
    [
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), ",a,b\n0,1,x\n1,2,\n"),
        (pd.Series([1.5], index=["k"], name="v"), ",v\nk,1.5\n"),
        (pl.DataFrame({"a": [1, 2]}), "a\n1\n2\n"),
        (pl.Series("s", [1]), "s\n1\n"),
        (pa.table({"a": [1]}), '"a"\n1\n'),
    ],
)
def test_tables_become_csv(pointer_file, tmp_path, obj, csv):
    assert main(["get", str(pointer_file(obj)), "-o", str(tmp_path / "t.csv")]) == 0
    assert (tmp_path / "t.csv").read_text() == csv


def test_a_value_that_cannot_be_a_file_needs_raw(pointer_file, refused, tmp_path):
    path = pointer_file({1, 2})
    refused("get", path, code=6, message="--raw")
    assert main(["get", str(path), "--raw", "-o", str(tmp_path / "raw")]) == 0
    assert (tmp_path / "raw").read_bytes().startswith(b"payloadfs frames")


def test_wrong_input(refused, file, tmp_path, monkeypatch):
    refused("put", tmp_path / "none", code=3, message="none: No such file or directory.")
    refused("put", tmp_path, code=1, message="Is a directory")
    refused("put", file, "--url", "s3://key:CANARY@bucket", code=2, message="is not a valid storage root")
    refused("put", file, "--url", "nonsense://x", code=2, message="nonsense")
    refused("put", file, "--prefix", "../x", code=2, message="prefix")
    refused("put", file, "--as", "json", code=6, message="not JSON")
    refused("get", tmp_path / "none.json", code=3, message="No such file")
    refused("get", file, code=4, message="Not a pointer")
    refused("get", "{}", code=4, message="Not a pointer")
    refused("inspect", '{"payloadfs": 2}', code=4, message="update payloadfs")
    refused("ls", "a//b", code=2, message="prefix")
    monkeypatch.setenv("PAYLOADFS_PICKLE", "sometimes")
    refused("ls", code=2, message="environment PAYLOADFS_PICKLE")
    monkeypatch.delenv("PAYLOADFS_PICKLE")
    monkeypatch.setenv("PAYLOADFS_URI", "x")
    refused("ls", code=2, message="PAYLOADFS_URL")


def test_no_permission(refused, file, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    refused("put", file, "--url", blocked / "objects", code=1, message="Cannot put")


def test_missing_changed_and_unknown(refused, pointer_file, tmp_path):
    path = pointer_file(b"x" * 1000)
    pointer = json.loads(path.read_text())
    stored = Path(pointer["root"].removeprefix("file://")) / pointer["key"]
    stored.write_bytes(b"y" * 1000)
    refused("get", path, code=5, message="changed after it was saved")
    stored.unlink()
    refused("get", path, code=3, message=pointer["key"])
    refused("get", json.dumps(pointer | {"size": 5}), code=4, message="changed after it was signed")
    refused("get", path, "--url", tmp_path / "elsewhere", code=4, message="PAYLOADFS_ALLOWED_ROOTS")


def test_errors_as_json(capsys, tmp_path):
    assert main(["get", "{}", "--json"]) == 4
    error = json.loads(capsys.readouterr().err)
    assert error["error"] == "pointer-format"


def test_ls(capsys, file):
    assert main(["ls"]) == 0
    assert capsys.readouterr().out.split() == ["0", "B", "in", "0", "objects"]
    repository = payloadfs.default_repository()
    keys = [repository.save(b"x" * 1500, prefix=scope).key for scope in ("a", "a", "b")]
    assert main(["ls", "a"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == [*sorted(keys[:2]), "objects"]
    assert "1.5 kB" in lines[0]
    assert main(["ls", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["key"] for row in rows] == sorted(keys)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_inspect_runs_no_code(capsys, pointer_file, tmp_path):
    canary = tmp_path / "canary"
    path = pointer_file([Touch(canary), np.zeros(100_000)])
    assert main(["inspect", str(path), "--verify", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["signature"] == "valid"
    assert report["object"] == "present"
    assert report["checked"] == "every byte"
    assert report["executable"] is True
    assert report["spans"]["data"] == report["spans"]["structure"] == 1
    assert report["spans"]["data_bytes"] == 800_000
    assert sum(size for name, size in report["spans"].items() if name.endswith("bytes")) < report["size"]
    assert report["versions"]["python"].startswith("3.")
    assert report["pickle"]["buffers"] == 1
    assert main(["get", str(path), "--raw", "-o", str(tmp_path / "raw")]) == 0
    assert not canary.exists()
    pickle.loads(pickle.dumps(Touch(canary)))
    assert canary.exists()  # so unpickling it would have had an effect


def test_inspect_a_frame(capsys, pointer_file):
    assert main(["inspect", str(pointer_file(pd.DataFrame({"a": [1], "s": ["x"]})))]) == 0
    out = capsys.readouterr().out
    assert "columns  a int64, s large_string" in out
    assert "allowed here  yes" in out
    assert "executable  no" in out
    assert re.search(r"\d seconds? ago", out)


def test_the_life_cycle_of_a_key(run, capsys, pointer_file, tmp_path, clean_environment):
    path = pointer_file([1])
    first = json.loads(path.read_text())["kid"]
    assert main(["keys", "generate"]) == 0
    second = capsys.readouterr().out.strip()
    assert main(["keys", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(key["id"], key["signs"]) for key in listed["keys"]] == [(second, True), (first, False)]
    assert stat.S_IMODE(Path(listed["file"]).stat().st_mode) == 0o600
    assert main(["get", str(path)]) == 0
    assert json.loads(run("put", "-", stdin=b"x").stdout)["kid"] == second
    assert main(["keys", "retire", second]) == 0
    assert json.loads(run("put", "-", stdin=b"x").stdout)["kid"] == first
    capsys.readouterr()

    elsewhere = {"HOME": str(tmp_path / "elsewhere"), "PAYLOADFS_URL": json.loads(path.read_text())["root"]}
    missing = run("get", path, code=4, **elsewhere)
    assert f"payloadfs keys export {first}" in missing.stderr.decode()
    exported = run("keys", "export", first)
    assert b"keep this key secret" in exported.stderr
    assert run("keys", "add", stdin=exported.stdout, **elsewhere).stdout == f"added {first}\n".encode()
    assert run("get", path, **elsewhere).stdout == b"[1]\n"
    assert b"nothing to add" in run("keys", "add", stdin=exported.stdout, **elsewhere).stdout


def test_wrong_keys(refused, tmp_path):
    payloadfs.default_repository().save([1])
    refused("keys", "retire", "00000000", code=2, message="Keys here: ")
    refused("keys", "export", "x", code=2, message="Key 'x' not found")
    (tmp_path / "k").write_text("not a key CANARY")
    refused("keys", "add", tmp_path / "k", code=2, message="is not a key")
    (tmp_path / "k").chmod(0o644)
    refused("keys", "list", "--keys-file", tmp_path / "k", code=2, message="chmod 600")


def test_config_show_masks_secrets(capsys, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_STORAGE_OPTIONS", '{"secret": "CANARY", "endpoint_url": "http://127.0.0.1:1"}')
    monkeypatch.setenv("PAYLOADFS_URL", "s3://bucket/x")
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert "CANARY" not in out
        assert "environment PAYLOADFS_URL" in out
        assert "http://127.0.0.1:1" in out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"example:\n  payloadfs {' '.join(command)}" in out
    assert "--json" in out


@pytest.mark.parametrize("arguments", [[], ["fly"], ["put"], ["keys"], ["get", "x", "--colour"]])
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_reader_that_closes_the_pipe(tmp_path):
    repository = Repository(tmp_path / "objects")
    for _ in range(300):
        repository.save([1])
    listing = subprocess.Popen(
        [sys.executable, "-u", "-m", "payloadfs", "ls", "--url", tmp_path / "objects"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    listing.stdout.readline()
    listing.stdout.close()
    assert listing.stderr.read() == b""
    listing.stderr.close()
    listing.wait()


def test_verbose_logs_no_secret(run, file):
    done = run("put", file, "-v")
    assert b"saved file://" in done.stderr
    keys = Path(os.environ["HOME"], ".config/payloadfs/keys").read_text()
    secret = KeyRing.parse(keys, origin="test").keys[0].to_line().split()[1]
    assert secret.encode() not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["ls", "--help"], ["config", "show"], ["keys", "list"]], ids=" ".join
)
def test_commands_that_need_no_works_do_not_load_them(arguments, tmp_path):
    program = (
        "import sys; from payloadfs.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "print(*(name for name in sys.modules if name.startswith('payloadfs.works')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr == "\n"


def test_the_help_of_the_program_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert [line.split()[0] for line in re.findall(r"^    \w.*", out, re.MULTILINE)] == list(
        dict.fromkeys(command[0] for command in COMMANDS)
    )
