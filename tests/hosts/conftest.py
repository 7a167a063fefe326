"""Fixtures for the tests in real hosts; see `tests/hosts/__main__.py`."""

import socket

import pytest


@pytest.fixture(autouse=True)
def default_inline_bytes(monkeypatch):
    """Hosts are tested with the settings that users have."""
    monkeypatch.delenv("PAYLOADFS_INLINE_BYTES")


@pytest.fixture
def free_port():
    """Return a function that returns a port of this machine that nothing uses."""

    def free():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return free


@pytest.fixture
def ray_cluster():
    """Return ray with a cluster of this machine."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()
