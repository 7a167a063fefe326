"""Mutants of valid objects of every safe serializer: an error of payloadfs or a value, in limited processes."""

import pathlib
import random
import sys

import pytest

from . import fuzz, mutants

CASES = {"some": 1_500, "ci": 20_000}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(pathlib.Path(__file__).parents[2])  # the child imports `tests`


@pytest.mark.parametrize("seed", ["some", pytest.param("ci", marks=pytest.mark.sweep)])
@pytest.mark.parametrize("name", fuzz.FORMATS)
def test_mutants(name, seed):
    cases = round(CASES[seed] * fuzz.SHARES[name])
    result = fuzz.run(name, seed, 0, cases)
    assert not result["failures"]
    # Or nothing behind the first check would have been reached.
    assert result["values"] > 0.05 * cases
    assert result["refused"] > 0.3 * cases


def test_cases_are_reproducible():
    for make in (mutants.Numpy, mutants.Polars):
        cases = make()
        first, again = (cases.case(random.Random("1/x/5")) for _ in range(2))
        assert first == again


@pytest.mark.parametrize(
    ("trick", "reason"),
    [
        ("os.kill(os.getpid(), 11)", "ended with -11"),
        ("while True: pass", "ended with -27"),
        ("raise SystemError('x')", "SystemError: x"),
        ("bytearray(b'x') * (100 << 20)", "grew by"),
        ("entered.append('x')", "extension type"),
    ],
)
def test_failures_are_found_and_attributed(monkeypatch, tmp_path, trick, reason):
    """A serializer that fails in case 3 only; the other cases still run."""
    program = f"""
import os, sys
from tests.security import fuzz
from tests.security.mutants import entered
fuzz.CPU_S = 0.5
cases, attempt = [], fuzz.attempt
def failing(serializer_id, content):
    cases.append(content)
    if len(cases) == len(fuzz.FORMATS['numpy']().originals) + 4:
        {trick}
    return attempt(serializer_id, content)
fuzz.attempt = failing
fuzz.main()
"""
    script = tmp_path / "failing.py"
    script.write_text(program)
    monkeypatch.setattr(fuzz, "COMMAND", [sys.executable, "-c", f"import runpy; runpy.run_path({str(script)!r})"])
    result = fuzz.run("numpy", "1", 0, 5)
    number, found = result["failures"][0]
    assert (number, reason in found) == (3, True), found


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", fuzz.FORMATS)
def test_many_mutants(name, seed):
    assert not fuzz.run(name, seed, 0, round(100_000 * fuzz.SHARES[name]))["failures"]
