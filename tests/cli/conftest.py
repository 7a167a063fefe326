"""Fixtures: the command line in this process and in a separate one, and input for it."""

import os
import subprocess
import sys

import pytest

import payloadfs
from payloadfs.cli import main


@pytest.fixture
def run():
    """Return a function that runs the program in a separate process; it must never show a traceback."""

    def start(*arguments, stdin=b"", code=0, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "payloadfs", *map(str, arguments)],
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
    """Return a function that runs the program here, and expects an error in one sentence."""

    def check(*arguments, code, message):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        out, err = capsys.readouterr()
        assert err.startswith("payloadfs: ")
        assert err.count("\n") == 1
        assert message in err
        return out

    return check


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.bin"
    path.write_bytes(bytes(range(256)))
    return path


@pytest.fixture
def pointer_file(tmp_path):
    """Return a function that saves an object and writes its pointer to a file."""

    def write(obj, name="pointer.json"):
        path = tmp_path / name
        path.write_text(payloadfs.default_repository().save(obj).to_json())
        return path

    return write
