"""Progress, traces and metrics, and what a notebook shows."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import payloadfs
from payloadfs import ConfigError, NotFoundError, Payload, Progress, Repository, default_repository

SIZE = 20_000_000


@pytest.fixture
def reports() -> Iterator[list[Progress]]:
    received: list[Progress] = []
    payloadfs.on_progress(received.append)
    yield received
    payloadfs.on_progress(None)


def test_large_saves_report_progress(reports: list[Progress], tmp_path: Any) -> None:
    repository = Repository(tmp_path)
    repository.save(b"small")
    assert not reports
    repository.save(bytes(SIZE))
    assert {report.total_bytes for report in reports} == {SIZE}
    assert {(report.verb, report.type_name, report.operation) for report in reports} == {
        ("save", "bytes", reports[0].operation)
    }
    done = [report.done_bytes for report in reports]
    assert done == sorted(done)
    assert len(done) > 3
    assert [report.is_finished for report in reports] == [False] * (len(reports) - 1) + [True]


def test_a_failed_save_ends_its_progress(reports: list[Progress], tmp_path: Any, monkeypatch: Any) -> None:
    repository = Repository(tmp_path)
    monkeypatch.setattr(type(repository.store), "put", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        repository.save(bytes(SIZE))
    assert [report.is_finished for report in reports] == [True]


def test_no_callback_costs_no_reports(tmp_path: Any) -> None:
    assert payloadfs._operation.current() is None
    Repository(tmp_path).save(bytes(SIZE))


def test_bars_appear_in_a_terminal_only(tmp_path: Any) -> None:
    pytest.importorskip("rich")
    program = (
        "import payloadfs, sys\n"
        "payloadfs.show_progress()\n"
        f"payloadfs.save(bytes({SIZE}))\n"
        "print(payloadfs._operation._callback is not None)\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    for force, expected in ((False, "False\n"), (True, "True\n")):
        env = environment | ({"FORCE_COLOR": "1", "TTY_INTERACTIVE": "1"} if force else {})
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        assert done.stdout == expected
        assert bool(done.stderr) is force


def test_bars(tmp_path: Any) -> None:
    console = pytest.importorskip("rich.console").Console(force_terminal=True, file=open(tmp_path / "bars", "w"))  # noqa: SIM115
    bars = payloadfs._operation._Bars(console)
    for done in (1, 2):
        bars.update(Progress("load", "pandas.DataFrame", done, 2, 7))
    bars.update(Progress("load", "pandas.DataFrame", 2, 2, 7, is_finished=True))
    console.file.close()
    assert "load pandas.DataFrame" in (tmp_path / "bars").read_text()


@pytest.fixture
def telemetry() -> Iterator[tuple[Any, Any]]:
    """Return an exporter of spans and a reader of metrics."""
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry import metrics as api_metrics
    from opentelemetry import trace as api_trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api_trace, "get_tracer", provider.get_tracer)
        patch.setattr(api_metrics, "get_meter", MeterProvider([reader]).get_meter)
        payloadfs._operation._instruments.cache_clear()
        yield exporter, reader
    payloadfs._operation._instruments.cache_clear()


def test_spans_and_metrics(telemetry: tuple[Any, Any], tmp_path: Any) -> None:
    exporter, reader = telemetry
    repository = Repository(tmp_path, inline_bytes=0)
    pointer = repository.save("hello")
    repository.load(pointer)
    repository.delete(pointer)
    with pytest.raises(NotFoundError):
        repository.load(pointer)
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["payloadfs.save", "payloadfs.load", "payloadfs.load"]
    assert spans[0].attributes["payloadfs.serializer"] == "text/1"
    assert spans[0].attributes["payloadfs.object.size"] == 5
    assert spans[2].attributes["error.type"] == "not-found"
    assert not spans[2].status.is_ok
    data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    counts = {metric.name: sum(point.count for point in metric.data.data_points) for metric in data}
    assert counts == {"payloadfs.operation.duration": 3, "payloadfs.object.size": 2}


def test_nothing_is_imported_for_it() -> None:
    program = (
        "import sys, payloadfs\n"
        "with payloadfs.using('memory://x'): payloadfs.load(payloadfs.save([1] * 1000))\n"
        "print([name for name in ('opentelemetry', 'rich', 'logging') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Any) -> None:
    caplog.set_level(logging.DEBUG, "payloadfs")
    repository = Repository(tmp_path)
    repository.load(repository.save("hello"))
    assert [record.getMessage().split(" ")[0] for record in caplog.records] == ["saved", "loaded"]


def test_html_shows_facts_and_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Repository, "load", None)
    with payloadfs.using("memory://html", keys=payloadfs.KeyRing([payloadfs.Key(b"k" * 32)])):
        payload = Payload(["<script>"] * 100, prefix="<b>")
        assert "saved</th><td>no" in payload._repr_html_()
        pointer = payload.save()
        html = payload._repr_html_()
        assert "memory://html" in html
        assert "by key" in html
        assert "<script>" not in html
        assert pointer._repr_html_().startswith("<table><caption>Pointer")
        assert "memory://html" in default_repository()._repr_html_()


def test_preview() -> None:
    pd = pytest.importorskip("pandas")
    with payloadfs.using("memory://preview"):
        assert Payload(pd.DataFrame({"a": range(100)})).preview().a.tolist() == [0, 1, 2, 3, 4]
        assert Payload(list(range(100))).preview(2) == [0, 1]
        assert Payload("x" * 1000).preview(3) == "xxx"
        assert Payload({"a": 1}).preview() == {"a": 1}


def test_a_notebook_shows_no_frames_of_ours() -> None:
    try:
        Repository("memory://none").load(Repository("memory://none", inline_bytes=0).save("x").replaced(key="a.txt"))
    except payloadfs.PayloadError as error:
        lines = "\n".join(error._render_traceback_())
    assert "test_operation.py" in lines
    assert "repository.py" not in lines
    assert lines.splitlines()[-1].startswith("payloadfs.SignatureError: ")


def test_a_callback_that_cannot_be_called_is_refused(reports: list[Progress], tmp_path: Any) -> None:
    wrong: Any = 5
    with pytest.raises(ConfigError, match="callback must be a function, not int"):
        payloadfs.on_progress(wrong)
    Repository(tmp_path).save(bytes(SIZE))
    assert reports
