"""Dramatiq with its in-memory broker."""

import pytest

dramatiq = pytest.importorskip("dramatiq")
from dramatiq.brokers.stub import StubBroker
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend
from values import assert_same, values

from payloadfs.integrations.dramatiq import PayloadEncoder


def test_actors(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path))
    dramatiq.set_encoder(PayloadEncoder())
    broker = StubBroker(middleware=[Results(backend=StubBackend(encoder=PayloadEncoder()))])
    dramatiq.set_broker(broker)

    @dramatiq.actor(store_results=True)
    def echo(value, *, name):
        assert_same(value, values()[name])
        return value

    worker = dramatiq.Worker(broker, worker_timeout=100)
    worker.start()
    try:
        for name, value in values().items():
            message = echo.send(value, name=name)
            assert_same(message.get_result(block=True, timeout=300_000), value)
    finally:
        worker.stop()
        dramatiq.set_encoder(dramatiq.JSONEncoder())
