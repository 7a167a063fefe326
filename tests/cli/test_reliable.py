"""The example with twelve works, of which one fails at first, one is slow and one hangs; killed, and resumed."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/reliable.py"
END = "total 10488 of 9 stations, missing: [7]\n"


@pytest.fixture
def options(tmp_path):
    folder = tmp_path / "attempts"
    folder.mkdir()
    return ["--set", f"plan.folder={folder}", "--max-workers", "4", "--store", str(tmp_path / "objects")]


@pytest.fixture
def show(tmp_path):
    """Return a function that returns the state of a run, as ``payloadfs runs show`` prints it."""

    def get(run):
        command = [sys.executable, "-m", "payloadfs", "runs", "show", run, "--json", "--store", tmp_path / "objects"]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    return get


@pytest.fixture
def attempts(tmp_path):
    """Return a function that returns how often `Read.run` was entered, by station."""
    folder = tmp_path / "attempts"
    return lambda: {int(path.stem): len(path.read_text().splitlines()) for path in folder.iterdir()}


def statuses(run):
    return {name: one["status"] for name, one in run["components"].items() if "status" in one}


def check_end(run):
    assert run["stage"] == "finished"
    stages = {name: status["stage"] for name, status in statuses(run).items()}
    reads = {f"root.reads.{station}": "failed" if station == 7 else "succeeded" for station in range(10)}
    assert stages == {"root.plan": "succeeded", "root.report": "succeeded", **reads}
    assert statuses(run)["root.reads.7"]["attempts"] == 3
    assert run["components"]["root.report"]["state"]["total"] == 10488


def test_failures_are_retried_and_a_hung_work_is_stopped_and_reported(finish, options, show, attempts):
    out, err = finish(EXAMPLE, *options)
    assert out == END
    assert err.count("station 3 does not answer; attempt") == 2
    assert err.count("It was still running after 1 s (timeout_s)") == 3
    assert re.search(r"finished in .*12 works, 12 calls, 1 failed, 4 retries", err)
    run = show(re.search(r"(\S+) finished in", err)[1])
    check_end(run)
    assert {name: status["attempts"] for name, status in statuses(run).items()} == {
        name: 3 if name in ("root.reads.3", "root.reads.7") else 1 for name in statuses(run)
    }
    calls = {call["work"]: call for call in run["calls"]}
    assert len(calls) == len(run["calls"]) == 12
    assert all("timeout_s" in attempt["message"] for attempt in calls["root.reads.7"]["attempts"])
    assert calls["root.report"]["output"] == END
    assert {station: count for station, count in attempts().items() if station != 7} == {
        station: 3 if station == 3 else 1 for station in range(10) if station != 7
    }


@pytest.mark.parametrize(
    "moment",
    [
        ("call-retried", "root.reads.3"),
        pytest.param(("call-retried", "root.reads.7"), marks=pytest.mark.sweep),
        pytest.param(("call-started", "root.reads.7"), marks=pytest.mark.sweep),
    ],
)
def test_a_killed_driver_is_resumed_to_the_same_end(start, finish, options, show, attempts, processes_left, moment):
    process = start(EXAMPLE, *options, "--json")
    for line in process.stdout:
        event = json.loads(line)
        if (event["kind"], event.get("work")) == moment:
            break
    process.kill()
    process.communicate()
    # Works end with their driver. The test's own time limit ends a wait in vain.
    while processes_left():
        time.sleep(0.02)
    killed = show(event["run"])
    assert killed["stage"] == "running"
    ended = [name for name, status in statuses(killed).items() if status["stage"] == "succeeded"]
    assert "root.plan" in ended
    before = attempts()
    out, err = finish(EXAMPLE, *options[2:], "--resume", event["run"])
    assert out == END
    assert " resumed in " in err
    check_end(show(event["run"]))
    for station in range(10):
        if f"root.reads.{station}" in ended:
            assert attempts()[station] == before[station]
