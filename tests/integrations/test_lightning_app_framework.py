"""Payloads in the real lightning_app 2.3.2: real apps, works and processes.

    pytest -m lightning

makes the virtual environment with the first run.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest

pytestmark = [pytest.mark.long, pytest.mark.lightning, pytest.mark.timeout(900)]

PROGRAMS = pathlib.Path(__file__).parent / "programs"
CONTENTS = [1, 2, 2, 3]


def output_of(command, folder, home):
    """Run an app in `folder`, and return its output; no process of it is left running."""
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HOME": str(home)}
    log = folder / "output.txt"
    with log.open("wb") as output:
        app = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = app.wait(timeout=120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(app.pid, signal.SIGKILL)
            app.wait()
    assert code == 0, log.read_text()
    return log.read_text()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_documented_program_runs_after_a_changed_import(lightning_python, tmp_path, clean_environment):
    command = lightning_python.with_name("lightning_app")
    arguments = ["run", "app", PROGRAMS / "sharing.py", "--without-server"]
    output = output_of([command, *arguments], tmp_path / "run", clean_environment)
    frame = "   col1  col2\n0     1     3\n1     2     4\n"
    assert f"src {frame}" in output
    assert f"dst {frame}" in output
    # The bytes went to the store; the framework created no copies.
    assert not list((tmp_path / "run").rglob("df"))


@pytest.fixture(scope="module")
def ran(lightning_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("everything")
    command = [lightning_python, PROGRAMS / "everything.py", str(free_port())]
    output = output_of(command, folder / "run", folder)
    entries = {}
    for line in (folder / "run" / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        entries.setdefault(entry["event"], []).append(entry)
    return entries | {"output": output}


def consumed(ran, work):
    assert all(entry["is_payload"] for entry in ran["consumed"])
    return [entry["content"] for entry in ran["consumed"] if entry["work"] == f"root.{work}"]


def test_only_new_content_runs_a_cached_work_again(ran):
    assert len(ran["source"]) == len(CONTENTS)
    assert len({entry["frame"]["key"] for entry in ran["source"]}) == len(CONTENTS)
    # The source changes the frame after assigning it; the consumer must see it as it was assigned.
    assert consumed(ran, "dst") == [1, 2, 3]


def test_a_payload_kept_by_the_flow_does_not_change(ran):
    (flow,) = ran["flow"]
    assert flow["kept"] == [entry["frame"] for entry in ran["source"]]


def test_the_flow_never_loads(ran):
    (flow,) = ran["flow"]
    loaders = {entry["pid"] for entry in ran["load"]}
    assert len(loaders) == 6
    assert flow["pid"] not in loaders


def test_a_stopped_source_is_not_needed(ran):
    (late,) = ran["late"]
    assert late["source_is_alive"] is False
    assert late["contents"] == CONTENTS
    assert late["pid"] not in {ran["flow"][0]["pid"], ran["source"][0]["pid"]}


def test_a_payload_is_passed_on_under_another_name(ran):
    assert [(entry["content"], entry["inbox"]) for entry in ran["received"]] == [(2, 1)]
    assert consumed(ran, "last") == [2]


def test_equal_names_in_parallel_works_do_not_mix(ran):
    assert (consumed(ran, "dst_a"), consumed(ran, "dst_b")) == ([11], [22])


def test_payloads_in_lists_and_dicts(ran):
    assert [entry["contents"] for entry in ran["nested"]] == [[7, 8]]


def test_everyday_frames_of_the_older_pandas_are_exact(ran):
    (everyday,) = ran["everyday"]
    assert everyday["pandas"].startswith("2.2.")
    assert everyday["count"] >= 90
    assert everyday["differ"] == []
    assert "left out" not in ran


def test_the_state_is_plain_json_for_the_server_of_the_framework(ran):
    (state,) = ran["state"]
    assert state["status"] == 200
    assert state["frame"] == ran["source"][-1]["frame"]


def test_the_framework_logs_no_error(ran):
    assert "delta differentiation" not in ran["output"]
    assert "Traceback" not in ran["output"]
