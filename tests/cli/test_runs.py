"""``payloadfs runs``: what it lists and shows, and what it must never load."""

import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

import payloadfs
from payloadfs import Payload, StoreError
from payloadfs.cli import main
from payloadfs.works import App, Flow, Work


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


class Make(Work):
    def __init__(self):
        super().__init__()
        self.frame = self.text = self.trap = self.more = None
        self.big = None

    def run(self, trap):
        print("made")
        self.frame = Payload(pd.DataFrame({"col1": [1, 2], "col2": [3, 4]}))
        self.text = Payload("line one\nline two\x1b[31m")
        self.trap = Payload(Trap(trap))
        self.more = {"list": [Payload([1, 2]), 5]}
        self.big = Payload(bytes(100_000))


class Fail(Work):
    def __init__(self):
        super().__init__(raise_exception=False)

    def run(self):
        raise ValueError("no such luck")


class Main(Flow):
    def __init__(self):
        super().__init__()
        self.trap = ""
        self.make = Make()
        self.fail = Fail()

    def run(self):
        self.make.run(self.trap)
        self.fail.run()
        if self.trap == "broken":
            raise RuntimeError("broken")
        self.stop()


@pytest.fixture
def finished(tmp_path):
    """Return a function that runs an app in threads of this process and returns the name of the run."""

    def run(trap=""):
        app = App(Main())
        app.flow.trap = trap or str(tmp_path / "trap")
        with ThreadPoolExecutor(1) as threads:
            try:
                app.run(executor=threads, on_event=lambda event: None)
            except RuntimeError:
                assert trap == "broken"
        return app.run_name

    return run


def output(capsys, *arguments, code=0):
    capsys.readouterr()
    assert main(["runs", *arguments]) == code
    return capsys.readouterr()


def test_list(capsys, finished, tmp_path):
    assert output(capsys).out == "       0 B  in 0 runs\n"
    names = [finished(), finished("broken")]
    objects = Path(payloadfs.default_repository().root.removeprefix("file://")) / "runs"
    sizes = [sum(path.stat().st_size for path in (objects / name).rglob("*") if path.is_file()) for name in names]
    rows = [json.loads(line) for line in output(capsys, "--json").out.splitlines()]
    rows.sort(key=lambda row: names.index(row["run"]))
    assert [row["stage"] for row in rows] == ["finished", "failed"]
    assert [row["size_bytes"] for row in rows] == sizes
    assert [(row["works"], row["failed"]) for row in rows] == [(2, 1), (2, 1)]
    assert rows[1]["message"] == "RuntimeError: broken"
    assert rows[0]["created_s"] <= rows[0]["saved_s"] + 2
    out = output(capsys).out
    assert re.search(rf"kB  {names[0]}  finished +\d+ seconds? ago +2 works, 1 failed\n", out)
    assert out.splitlines()[-1].endswith("in 2 runs")
    assert output(capsys, "--store", str(tmp_path / "elsewhere")).out == "       0 B  in 0 runs\n"
    assert output(capsys, "--store", str(objects.parent), "--json").out.count("\n") == 2


def test_a_run_that_cannot_be_trusted_is_listed(capsys, finished, monkeypatch):
    name, other = finished(), finished()
    objects = Path(payloadfs.default_repository().root.removeprefix("file://")) / "runs"
    newest = max((objects / name / "state").iterdir())
    newest.write_bytes(newest.read_bytes().replace(b'"stage":"finished"', b'"stage":"failing_"'))
    rows = {row["run"]: row for row in map(json.loads, output(capsys, "--json").out.splitlines())}
    assert rows[name]["stage"] == "changed"
    assert rows[other]["stage"] == "finished"
    assert "works" not in rows[name]
    output(capsys, "show", name, code=5)
    newest.write_bytes(b"no JSON")
    assert f"{name}  changed" in output(capsys).out
    output(capsys, "show", name, code=5)
    monkeypatch.setenv("PAYLOADFS_KEYS", payloadfs.Key(bytes(32)).to_line())
    assert f"{other}  unknown-key" in output(capsys).out
    assert "payloadfs keys" in output(capsys, "show", other, code=4).err


def test_show(capsys, finished, tmp_path):
    name = finished()
    out = output(capsys, "show", name).out
    assert re.search(r"^  frame +pandas\.DataFrame, 2\.2 kB, pandas/1\n +col1  col2\n +0 +1 +3\n", out, re.MULTILINE)
    assert re.search(r"^  trap  .*pickle/1; not loaded: loading it can run code$", out, re.MULTILINE)
    assert re.search(r"^  big    bytes, 100\.0 kB, bytes/1$", out, re.MULTILINE)
    assert '{"list": ["(payload)", 5]}' in out
    assert re.search(r"^  more\.list\[0\]  list, 5 B, json/1\n +\[1, 2\]$", out, re.MULTILINE)
    assert re.search(r"^root\.fail  failed in .*\n +Traceback[^\x00]*ValueError: no such luck$", out, re.MULTILINE)
    assert "\x1b" not in out
    assert not (tmp_path / "trap").exists(), "a pickle was loaded"
    run = json.loads(output(capsys, "show", name, "--json").out)
    payloads = run["components"]["root.make"]["payloads"]
    assert {path: payload["executable"] for path, payload in payloads.items()} == {
        "frame": False,
        "text": False,
        "trap": True,
        "more.list[0]": False,
        "big": False,
    }
    assert "preview" not in payloads["trap"]
    assert "preview" not in payloads["big"]
    assert run["components"]["root.fail"]["status"]["stage"] == "failed"
    assert not (tmp_path / "trap").exists(), "a pickle was loaded"


def test_show_with_missing_objects(capsys, finished):
    assert "Run 'nothing' not found" in output(capsys, "show", "nothing", code=3).err
    name = finished()
    objects = Path(payloadfs.default_repository().root.removeprefix("file://")) / "runs"
    for path in (objects / name / "payloads").rglob("*"):
        path.unlink()
    out = output(capsys, "show", name).out
    assert re.search(r"^  frame  pandas.DataFrame, 2.2 kB, pandas/1; \S", out, re.MULTILINE)


def test_one_bad_run_never_hides_the_others(capsys, finished, tmp_path):
    good = [finished(), finished()]
    runs = Path(payloadfs.default_repository().root.removeprefix("file://")) / "runs"
    newest = max((runs / good[0] / "state").iterdir())

    def plant(name, content=b"", size_bytes=None):
        path = runs / name / "state" / newest.name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        if size_bytes is not None:
            os.truncate(path, size_bytes)
        return path

    plant("bad-huge", size_bytes=3 * 2**40)
    plant("bad-deep", b"[" * 200_000)
    plant("bad-copy", newest.read_bytes())
    plant("bad-long", newest.read_bytes()[:-1] + b"[" * 200_000)
    hidden = plant("bad-closed", newest.read_bytes())
    hidden.parent.joinpath("000000999.json").symlink_to(hidden)
    rows = {row["run"]: row for row in map(json.loads, output(capsys, "--json").out.splitlines())}
    assert [rows[name]["stage"] for name in good] == ["finished", "finished"]
    assert {row["stage"] for name, row in rows.items() if name.startswith("bad")} == {"changed"}
    assert len(rows) == 7
    assert "64000000" in rows["bad-huge"]["message"]
    out = output(capsys).out
    assert re.search(r"3\.3 TB  bad-huge +changed .*no entry has more than 64000000", out)
    assert out.splitlines()[-1].endswith("in 7 runs")
    for name in rows:
        output(capsys, "show", name, code=0 if name in good else 5)


@pytest.mark.parametrize("transient", [True, False])
def test_a_run_that_the_store_does_not_return(capsys, finished, monkeypatch, transient):
    names = [finished(), finished()]
    store = type(payloadfs.default_repository().store)
    get = store.get

    def fail(self, key, size_bytes):
        if names[0] in key:
            raise StoreError("the disk is broken", kind="store", transient=transient)
        return get(self, key, size_bytes)

    monkeypatch.setattr(store, "get", fail)
    if transient:
        # It may be the same for each of a thousand runs.
        assert "the disk is broken" in output(capsys, code=1).err
        return
    rows = {row["run"]: row for row in map(json.loads, output(capsys, "--json").out.splitlines())}
    assert (rows[names[0]]["stage"], rows[names[0]]["message"]) == ("unreadable", "the disk is broken")
    assert rows[names[1]]["stage"] == "finished"


@pytest.mark.parametrize("hours", [-5, 0, 5])
@pytest.mark.parametrize(("silent_s", "stage"), [(0, "running"), (3000, "dead")])
def test_a_driver_that_does_not_save_any_more_is_dead(capsys, finished, monkeypatch, hours, silent_s, stage):
    """Whatever the clock of this machine says."""
    monkeypatch.setattr("payloadfs.works._driver.Driver._finish", lambda self: None)  # as after kill -9
    monkeypatch.setattr("payloadfs.cli._runs._DEAD_AFTER_S", 1500)
    name, root = finished(), Path(payloadfs.default_repository().root.removeprefix("file://"))
    for path in root.rglob("*"):
        os.utime(path, (time.time() - silent_s,) * 2)
    local_s = time.time() + 3600 * hours
    monkeypatch.setattr("payloadfs.cli._runs.time.time", lambda: local_s)
    assert json.loads(output(capsys, "--json").out)["stage"] == stage
    assert f"stage    {stage}" in output(capsys, "show", name).out
    assert ("is running" in output(capsys, "rm", name, code=0 if stage == "dead" else 2).err) == (stage == "running")
    assert not [path for path in root.rglob("*") if path.is_file() and path.parts[len(root.parts)] != "runs"]


def test_the_local_clock_is_used_if_the_store_cannot_be_written_to(capsys, finished, monkeypatch):
    monkeypatch.setattr("payloadfs.works._driver.Driver._finish", lambda self: None)
    finished()

    def refuse(self, key, body):
        raise StoreError("read-only", kind="denied")

    monkeypatch.setattr(type(payloadfs.default_repository().store), "put", refuse)
    assert json.loads(output(capsys, "--json").out)["stage"] == "running"
    later_s = time.time() + 1000
    monkeypatch.setattr("payloadfs.cli._runs.time.time", lambda: later_s)
    assert json.loads(output(capsys, "--json").out)["stage"] == "dead"


def test_the_history_of_calls_is_shown(capsys, finished):
    out = output(capsys, "show", finished()).out
    assert "calls, oldest first (2 kept)" in out
    assert re.search(r"^  .* UTC  root\.make  succeeded in .* s, stored \d", out, re.MULTILINE)
    assert "      made\n" in out
    assert re.search(r"root\.fail  failed.*\n      attempt 1 failed in .* s: ValueError: no such luck", out)


def test_runs_are_removed(capsys, finished):
    names = sorted(finished() for _ in range(4))
    output(capsys, "rm", names[1])
    output(capsys, "rm", "--keep", "2")
    left = [row["run"] for row in map(json.loads, output(capsys, "--json").out.splitlines())]
    assert left == names[2:]
    objects = payloadfs.default_repository().list()
    assert {info.key.split("/")[1] for info in objects} == set(names[2:])
    assert "not found" in output(capsys, "rm", names[2], "other", code=3).err
    assert "Specify the runs" in output(capsys, "rm", code=2).err
    assert len(output(capsys, "--json").out.splitlines()) == 2


def test_a_run_that_is_running_is_not_removed(capsys, finished, monkeypatch):
    monkeypatch.setattr("payloadfs.works._driver.Driver._finish", lambda self: None)
    name = finished()
    assert "is running" in output(capsys, "rm", name, code=2).err
    output(capsys, "rm", "--keep", "0")
    assert len(output(capsys, "--json").out.splitlines()) == 1
