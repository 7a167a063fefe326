"""Fixtures: the command line in this process and in a separate one, and input for it."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

import payloadfs
from payloadfs.cli import main

# Programs inherit it ignored if the tests run under nohup.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

RUN = [sys.executable, "-m", "payloadfs", "run"]


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


@pytest.fixture
def mark():
    """Return a value in the environment of the processes that `start` starts, and of their children."""
    return uuid.uuid4().hex


@pytest.fixture
def processes_left(mark):
    """Return a function that returns the processes, started by this test or their children, that still exist."""

    def find():
        pids = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    pids.append(int(entry.name))
        return pids

    return find


@pytest.fixture
def start(tmp_path, mark, processes_left):
    """Return a function that starts ``payloadfs run`` in its own folder; no process may be left after the test."""

    def begin(*arguments, command=RUN, **more):
        pipe = subprocess.PIPE
        # Not in this process, where threads of earlier tests may start processes meanwhile.
        environ = os.environ | {"RUN_MARK": mark}
        options = {"stdout": pipe, "stderr": pipe, "text": True, "start_new_session": True, "env": environ} | more
        return subprocess.Popen([*command, *map(str, arguments)], cwd=tmp_path, stdin=subprocess.DEVNULL, **options)

    yield begin
    deadline_s = time.monotonic() + 60
    while left := processes_left():
        if time.monotonic() > deadline_s:
            commands = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in left]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"These processes are left: {commands}")
        time.sleep(0.05)


@pytest.fixture
def finish(start):
    """Return a function that runs ``payloadfs run`` to its end and returns its output."""

    def run(*arguments, code=0, **more):
        process = start(*arguments, **more)
        out, err = process.communicate(timeout=90)
        assert process.returncode == code, out + err
        return out, err

    return run


@pytest.fixture
def program(tmp_path):
    """Return a function that writes a program to a file and returns its name."""

    def write(text, name="app.py"):
        (tmp_path / name).write_text(textwrap.dedent(text))
        return name

    return write
