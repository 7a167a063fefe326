"""Files, pipes, terminals and signals that a command must handle."""

import errno
import io
import json
import os
import pty
import signal
import stat
import subprocess
import sys
import time

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from payloadfs.cli import main
from payloadfs.testing import disk_fault

PROGRAM = [sys.executable, "-m", "payloadfs"]


@pytest.fixture
def pointer(pointer_file):
    return pointer_file(b"content")


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("\ud800", "text"),
        ((1, 2), "JSON"),
        ({1: 2}, "JSON"),
        (float("nan"), "JSON"),
        ({1, 2}, "JSON"),
        (pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object)}), "CSV"),
        (pl.DataFrame({"a": [[1]]}), "CSV"),
        (pa.table({"a": [[1]]}), "CSV"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else type(value).__name__,
)
def test_values_that_a_file_cannot_represent_are_refused(refused, pointer_file, tmp_path, value, form):
    path = pointer_file(value)
    refused("get", path, "-o", tmp_path / "out", code=6, message=f"cannot be written as {form} (")
    refused("get", path, code=6, message="--raw")
    assert not (tmp_path / "out").exists()


def test_deep_values_are_refused(refused, tmp_path):
    (tmp_path / "deep").write_text("[" * 100_000)
    refused("put", tmp_path / "deep", "--as", "json", code=6, message="not JSON")


def test_bytearrays_are_bytes(pointer_file, tmp_path):
    assert main(["get", str(pointer_file(bytearray(b"ab"))), "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_bytes() == b"ab"


def test_output_follows_links_and_keeps_the_mode(pointer, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old and longer than the new")
    target.chmod(0o660)  # more than a usual umask leaves
    link.symlink_to(target)
    assert main(["get", str(pointer), "-o", str(link)]) == 0
    assert link.is_symlink()
    assert target.read_bytes() == b"content"
    assert stat.S_IMODE(target.stat().st_mode) == 0o660


def test_a_special_file_is_written_to_not_replaced(pointer, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
    assert main(["get", str(pointer), "-o", str(fifo)]) == 0
    assert reader.communicate(timeout=60)[0] == b"content"
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_impossible_outputs(refused, pointer, pointer_file, tmp_path):
    refused("get", pointer, "-o", tmp_path, code=2, message=f"{tmp_path} is a folder")
    refused("get", pointer, "-o", tmp_path / "no" / "x", code=3, message=f"{tmp_path / 'no' / 'x'}: No such file")
    (tmp_path / "out").write_bytes(b"old")
    refused("get", pointer_file({1}, "set.json"), "-o", tmp_path / "out", code=6, message="--raw")
    assert (tmp_path / "out").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["out", "pointer.json", "set.json"]


def test_a_failed_write_leaves_nothing(refused, pointer, tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    with disk_fault("rename", errno.ENOSPC):
        refused("get", pointer, "-o", tmp_path / "out", code=1, message=f"{tmp_path / 'out'}: No space left on device.")
    assert (tmp_path / "out").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["out", "pointer.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no /dev/full")
@pytest.mark.parametrize("arguments", [["ls"], ["get", "{}"], ["keys", "list"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk(pointer, monkeypatch, arguments, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    arguments = [pointer.read_text() if argument == "{}" else argument for argument in arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr == b"payloadfs: Reading or writing failed: No space left on device.\n"


@pytest.mark.parametrize(
    ("command", "code", "stderr"),
    [
        ("put {file} >&-", 1, "payloadfs: standard output: closed.\n"),
        ("put - <&-", 1, "payloadfs: standard input: closed.\n"),
        ("keys add <&-", 1, "payloadfs: standard input: closed.\n"),
        ("get nothing 2>&-", 3, ""),
    ],
)
def test_closed_streams(file, command, code, stderr):
    line = f"{sys.executable} -m payloadfs {command.format(file=file)}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", stderr)


def on_terminal(*arguments):
    """Run the program with a terminal as standard output."""
    outer, inner = pty.openpty()
    done = subprocess.run([*PROGRAM, *map(str, arguments)], stdout=inner, stderr=subprocess.PIPE, check=False)
    os.close(inner)
    try:
        shown = os.read(outer, 10_000)
    except OSError:  # nothing was written
        shown = b""
    os.close(outer)
    return done.returncode, shown, done.stderr


def test_bytes_are_not_written_to_a_terminal(pointer, pointer_file):
    code, shown, stderr = on_terminal("get", pointer)
    assert (code, shown) == (2, b"")
    assert b"specify a file with -o" in stderr
    assert on_terminal("get", pointer_file(bytearray(b"ab"), "array.json"))[:2] == (2, b"")
    text = pointer_file("text", "text.json")
    assert on_terminal("get", text) == (0, b"text", b"")
    assert on_terminal("get", text, "--raw")[:2] == (2, b"")


def test_ctrl_c(tmp_path):
    with subprocess.Popen([*PROGRAM, "put", "-", "-v"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        # Wait until the process is blocked in reading the pipe.
        while b"pipe" not in _waits_in(waiting.pid):
            time.sleep(0.05)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(60) == 130
        assert waiting.stderr.read() == b""


def _waits_in(pid):
    try:
        with open(f"/proc/{pid}/wchan", "rb") as file:
            return file.read()
    except OSError:
        return b"pipe"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_is_closed_early(pointer_file, monkeypatch, unbuffered):
    path = pointer_file(b"x" * 3_000_000)
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with subprocess.Popen([*PROGRAM, "get", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as getting:
        getting.stdout.read(10)
        getting.stdout.close()
        assert getting.stderr.read() == b""
        assert getting.wait(60) == 1


@pytest.mark.parametrize("arguments", [["--help"], ["ls"], ["inspect", "CHANGED"]], ids=" ".join)
def test_a_pipe_without_a_reader(pointer, monkeypatch, arguments):
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    arguments = [
        json.dumps(json.loads(pointer.read_text()) | {"created": 5}) if w == "CHANGED" else w for w in arguments
    ]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PROGRAM, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_large_objects_through_a_pipe(run, pointer_file):
    content = os.urandom(3_000_000)
    path = pointer_file(content)
    assert run("get", path).stdout == run("get", path, PYTHONUNBUFFERED="1").stdout == content


def test_partial_writes(pointer, monkeypatch):
    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(data[:3])

    slow = Slow()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(slow))
    assert main(["get", str(pointer)]) == 0
    assert slow.getvalue() == b"content"


def test_names_that_the_terminal_cannot_display(tmp_path, run):
    keys = tmp_path / "schlüssel"
    done = run("keys", "list", "--keys-file", keys, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert rb"schl\xfcssel" in done.stdout


def test_unreadable(refused, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "link")
    refused("put", tmp_path / "link", code=1, message="symbolic links")
    if os.geteuid():
        (tmp_path / "secret").touch(mode=0)
        refused("put", tmp_path / "secret", code=1, message="Permission denied")
    refused("get", tmp_path / "two\nlines", code=3, message="two lines: No such file")


@pytest.mark.parametrize("missing", ["s3fs"])
def test_missing_library(refused, file, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    refused("put", file, "--url", "s3://bucket/x", code=2, message="s3fs")


@pytest.mark.parametrize("arguments", [["--json", "get", "{}"], ["get", "--json", "{}"], ["-v", "get", "--json", "{}"]])
def test_common_options_before_or_after_the_command(capsys, arguments):
    assert main(arguments) == 4
    assert json.loads(capsys.readouterr().err)["error"] == "pointer-format"
    assert main(["get", "{}"]) == 4
    assert capsys.readouterr().err.startswith("payloadfs: ")


def test_get_from_several_urls(run, file, tmp_path, refused):
    pointer = run("put", file, "--url", tmp_path / "a").stdout.decode()
    refused("get", pointer, code=4, message="is not allowed: add it")
    refused("get", pointer, "--url", tmp_path / "b", code=4, message="is not allowed: add it")
    out = tmp_path / "out"
    assert main(["get", pointer, "--url", str(tmp_path / "b"), "--url", str(tmp_path / "a"), "-o", str(out)]) == 0
    assert out.read_bytes() == file.read_bytes()


def test_python_m_payloadfs_cli(run):
    inner = subprocess.run([sys.executable, "-m", "payloadfs.cli", "--version"], capture_output=True, check=True)
    assert inner.stdout == run("--version").stdout


def test_the_program_lists_its_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "examples:" in out
    for code in (0, 1, 2, 3, 4, 5, 6, 130):
        assert f"\n  {code:<5}" in out
