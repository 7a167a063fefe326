"""RQ needs no adapter: it pickles, and a payload is pickled as its pointer."""

import pytest

pytest.importorskip("rq")
import shutil
import subprocess

import redis
import rq
from values import values

from payloadfs import Payload

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")


def double(payload):
    return Payload(payload.value * 2)


def test_queue(tmp_path, monkeypatch, free_port):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        connection = redis.Redis(port=port, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.2), 500))
        connection.ping()
        queue = rq.Queue(connection=connection)
        job = queue.enqueue(double, Payload(values()["array"]))
        rq.SimpleWorker([queue], connection=connection).work(burst=True)
        assert (job.return_value().value == values()["array"] * 2).all()
        assert len(job.data) < 2000
    finally:
        server.terminate()
        server.wait()
