"""Celery with Redis: a worker in its own process."""

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("celery")
import pandas as pd

from payloadfs import default_repository

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")


@pytest.fixture(params=["payloadfs", "json"])
def app(request, tmp_path, monkeypatch, free_port):
    port = free_port()
    monkeypatch.setenv("BROKER", f"redis://127.0.0.1:{port}/0")
    monkeypatch.setenv("SERIALIZER", request.param)
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))
    server = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    worker = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "celery_app",
        "worker",
        "--pool",
        "prefork",
        "-c",
        "2",
        "-l",
        "error",
    ]
    folder = os.path.dirname(__file__)
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop("celery_app", None)
    with (tmp_path / "redis.log").open("w") as log:
        redis = subprocess.Popen(server, stdout=log)
        workers = subprocess.Popen(worker, cwd=folder)
        try:
            import celery_app

            yield celery_app
        finally:
            workers.terminate()
            workers.wait()
            redis.terminate()
            redis.wait()


def test_tasks(app):
    if os.environ["SERIALIZER"] == "json":
        chain = app.frame_payload.s(4) | app.total.s()
        assert chain.apply_async().get(timeout=300) == 6
        return
    expected = pd.DataFrame({"a": range(3)})
    assert app.frame.delay(3).get(timeout=300).equals(expected)
    assert app.double.delay(expected, by=5).get(timeout=300).equals(expected * 5)
    assert (app.frame.s(3) | app.double.s(by=3)).apply_async().get(timeout=300).equals(expected * 3)
    result = app.fan_out().get(timeout=300)
    assert [len(frame) for frame in result["frames"]] == [2, 3]
    assert result["pair"] == (1, 2)
    with pytest.raises(ValueError, match="bad 7"):
        app.fail.delay(7).get(timeout=300)
    stored = [info.key for info in default_repository().list("celery")]
    assert stored
    assert app.total.delay(app.Payload(expected)).get(timeout=300) == 3
    # Plain data costs nothing.
    before = len(list(default_repository().list("celery")))
    with pytest.raises(ValueError, match="bad 8"):
        app.fail.delay(8).get(timeout=300)
    assert len(list(default_repository().list("celery"))) == before
