"""The program in this process and in one of its own, and things to feed it."""

import os
import subprocess
import sys

import pytest

import payloadfs
from payloadfs.cli import main


@pytest.fixture
def run():
    """Run the program in a process of its own; it must never show a traceback."""

    def start(*words, stdin=b"", code=0, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "payloadfs", *map(str, words)],
            input=stdin,
            capture_output=True,
            check=False,
            env=os.environ | environment,
        )
        assert done.returncode == code, done.stderr.decode()
        assert b"Traceback" not in done.stderr
        return done

    return start


@pytest.fixture
def refused(capsys):
    """Run the program here; expect a failure told in one sentence."""

    def check(*words, code, say):
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        out, err = capsys.readouterr()
        assert err.startswith("payloadfs: ")
        assert err.count("\n") == 1
        assert say in err
        return out

    return check


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.bin"
    path.write_bytes(bytes(range(256)))
    return path


@pytest.fixture
def pointer_file(tmp_path):
    """Save an object and write its pointer to a file."""

    def write(obj, name="pointer.json"):
        path = tmp_path / name
        path.write_text(payloadfs.default_repository().save(obj).to_json())
        return path

    return write
