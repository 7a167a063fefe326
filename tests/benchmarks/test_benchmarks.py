"""Every benchmark runs, small and untimed, with the installed libraries; the page matches the data."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks._harness import Plan, Row, Task, compare, rotated
from benchmarks.peers import PEERS, Place
from benchmarks.tables import TABLES, s3
from benchmarks.tables.local import TASKS
from benchmarks.workloads import WORKLOADS

from benchmarks import __main__ as command
from benchmarks import _page, scale, soak

MB = 1_000_000
TINY = Plan(rounds=1, scale=1e-5, fresh=False)
ON_S3 = [name for name, table in TABLES.items() if table.where == "s3"]
# Importing all libraries takes seconds each time.
FEW = frozenset({"payloadfs, S3", "boto3", "payloadfs", "pickle", "cloudpickle"})


@pytest.fixture
def one_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tables on S3 use the session's server."""
    server = request.getfixturevalue("payloadfs_seaweedfs")
    place = Place(endpoint_url=server.endpoint_url, key=server.key, secret=server.secret, bucket=server.bucket())
    monkeypatch.setattr(s3, "bucket", lambda: contextlib.nullcontext(place))


@pytest.mark.sweep
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.s3 if name in ON_S3 else ()) for name in TABLES])
def test_every_table_runs(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name in ON_S3:
        request.getfixturevalue("one_server")
    # `sizes` and `rows` use the libraries of `numeric` and `mixed`.
    all_peers = TABLES[name].where == "local" and name not in ("sizes", "rows")
    plan = TINY if all_peers else replace(TINY, peers=FEW)
    rows = TABLES[name].run(plan, str(tmp_path), name)
    # A library that is not installed is reported as missing; every installed one must work.
    assert [row.why_not for row in rows if row.why_not and not row.why_not.startswith("No module named")] == []
    done = {row.peer for row in rows if row.figures}
    assert done & {"payloadfs", "payloadfs, S3", "payloadfs, verify=full"}
    assert len(done) >= 2
    assert all(
        value >= 0 for row in rows for name, values in row.figures.items() if name != "import_ms" for value in values
    )
    for row in rows:
        if row.figures and name in TASKS and not PEERS[row.peer].limit:
            assert row.figures.keys() >= {
                "save_ms",
                "save_peak_mb",
                "load_ms",
                "load_read_ms",
                "load_anon_mb",
                "first_ms",
            }
    # No file remains.
    assert list(tmp_path.iterdir()) == []


# tests/crossprocess/test_memory.py checks more kinds of objects.
@pytest.mark.parametrize("workload", ["W1", *(pytest.param(name, marks=pytest.mark.sweep) for name in ("W3", "array"))])
def test_no_copy_of_contiguous_numbers(workload: str, tmp_path: Path) -> None:
    size = 100 * MB
    (row,) = compare(Task(workload, size, 8000), ["payloadfs"], Place(folder=str(tmp_path)), Plan(rounds=1))
    assert row.why_not == ""
    peaks = {name: values[0] for name, values in row.figures.items() if name.endswith("_mb")}
    print(peaks)
    # One copy would be 100; a twentieth of the size and some memory for the interpreter are allowed.
    assert peaks["save_peak_mb"] <= 5 + 16
    assert peaks["load_peak_mb"] <= 16
    assert peaks["load_anon_mb"] <= 16


def test_a_copy_would_be_seen(tmp_path: Path) -> None:
    (row,) = compare(Task("W1", 100 * MB, 8000), ["pickle"], Place(folder=str(tmp_path)), Plan(rounds=1))
    assert row.figures["load_peak_mb"][0] > 90
    assert row.figures["load_anon_mb"][0] > 90


@pytest.mark.parametrize("workload", WORKLOADS)
def test_reading_detects_a_wrong_copy(workload: str) -> None:
    one = WORKLOADS[workload]
    assert one.read(one.make(4000)) == one.read(one.make(4000))
    if workload != "W4":
        assert one.read(one.make(4000)) != one.read(one.make(8000))


def test_a_peer_that_returns_another_object_gets_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Feather cannot store a 300-byte dict: it fails, the row says why, and the others continue.
    rows = compare(Task("W4", 300, 300), ["Feather", "pickle"], Place(folder=str(tmp_path)), TINY)
    assert [bool(row.why_not) for row in rows] == [True, False]
    assert "AttributeError" in rows[0].why_not


def test_turns() -> None:
    assert [rotated("abc", turn) for turn in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]
    assert rotated([], 1) == []


def test_the_page_matches_the_data() -> None:
    assert _page.PAGE.read_text() == _page.page(json.loads(_page.newest().read_text())), (
        "run: python -m benchmarks page"
    )


def test_the_plots_of_the_page_exist() -> None:
    plots = re.findall(r"\]\((benchmarks/[a-z]+\.svg)\)", _page.PAGE.read_text())
    assert len(plots) == 3
    for plot in plots:
        path = _page.PAGE.parent / plot
        assert path.exists()
        assert path.with_suffix(".png").exists()


def test_results_name_no_host_and_no_path() -> None:
    for path in _page.RESULTS.glob("*.json"):
        text = path.read_text()
        found = json.loads(text)
        assert found.keys() == {"date", "machine", "quick", "rounds", "tables", "versions"}
        assert "/tmp/" not in text
        assert "/home/" not in text
        assert found["machine"].keys() == {"cpu", "cores", "memory_gb", "file_system", "system", "python"}


def figures(**columns: float) -> dict[str, list[float]]:
    return {name: [value] for name, value in columns.items()}


def test_the_page_says_which_libraries_are_better() -> None:
    rows = [
        Row("payloadfs", "W1", 1, figures=figures(save_ms=10, load_ms=1)),
        Row("pickle", "W1", 1, figures=figures(save_ms=5, load_ms=2)),
        Row("write, read", "W1", 1, figures=figures(save_ms=1, load_ms=0.1)),
        Row("Ray", "W1", 1, why_not="No module named 'ray'"),
    ]
    text = "\n".join([*_page._table(rows), *_page._judged(rows)])
    assert "Better than payloadfs in *save, ms*: pickle (2.00 times)." in text
    assert "Better than payloadfs in *load, ms*: none." in text
    assert "Ray was not measured: `No module named 'ray'`" in text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["list"])
    printed = capsys.readouterr().out
    assert [name for name in (*PEERS, *TABLES) if name not in printed] == []
    out = tmp_path / "out.json"
    for table in ("small", "rows"):
        command.main(["--quick", "--only", table, "--peer", "payloadfs", "pickle", "--out", str(out)])
    found = json.loads(out.read_text())
    # The second run kept the table of the first.
    assert sorted(found["tables"]) == ["rows", "small"]
    assert found["quick"] is True
    assert "# Benchmarks" in _page.page(found)


@pytest.mark.parametrize(
    ("late", "message"),
    [((100, 10, 2), ""), ((140, 10, 2), "MB"), ((100, 16, 2), "open files"), ((100, 10, 9), "threads")],
)
def test_a_soak_detects_growth(late: tuple[float, int, int], message: str) -> None:
    # Growth in the warm-up, the first quarter, is ignored.
    samples: list[soak.Sample] = [(0, 1, 10.0, 3, 1)] * 8
    for step in range(24):
        shares = [before + (after - before) * step / 23 for before, after in zip((100, 10, 2), late, strict=True)]
        samples.append((0, step, shares[0], int(shares[1]), int(shares[2])))
    grown = soak.judged(samples)
    assert [message in line for line in grown] == ([True] if message else [])


@pytest.mark.parametrize(
    ("minutes", "where"),
    [
        (0.05, ["local"]),
        pytest.param(1, ["local", "s3"], marks=[pytest.mark.long, pytest.mark.s3, pytest.mark.timeout(300)]),
    ],
)
def test_a_soak_runs(minutes: float, where: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    processes = 2 if len(where) == 1 else 8
    code = soak.soak(minutes, processes, where)
    printed = capfd.readouterr().out
    print(printed)
    assert len(re.findall(r"^ +\d+ +\d+ ", printed, re.MULTILINE)) == processes
    # Such a short run is only warm-up: its memory may still grow.
    assert "ended with" not in printed
    assert code == 0 or minutes < 1


def test_scale_counts_and_lists(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import payloadfs

    full, empty = (payloadfs.Repository(tmp_path / name, fsync=False) for name in ("full", "empty"))
    scale.fill(full, 250, 3)
    empty.save({}, prefix="scope0")
    scale.compare(full, empty, 1)
    count, peak_mb = scale.listed(str(tmp_path / "full"))
    assert count == 250
    assert 5 < peak_mb < scale.GOAL_MB
    printed: Any = capfd.readouterr().out
    assert "save: " in printed
    assert "load: " in printed
