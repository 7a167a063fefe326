"""SIGKILL for the driver, a worker, or all processes: see `kill.py`, which can also be run for many rounds."""

import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))


def rounds(number, timeout_s):
    command = [sys.executable, os.path.join(HERE, "kill.py"), "--rounds", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


# Two parts, so that they can run in parallel.
@pytest.mark.parametrize("part", [1, pytest.param(2, marks=pytest.mark.sweep)])
def test_killed_runs_reach_the_same_end(part):
    rounds(3, 110)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_killed_runs_reach_the_same_end():
    rounds(200, 3500)
