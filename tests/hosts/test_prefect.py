"""Prefect 3 with its own temporary server."""

import pytest

prefect = pytest.importorskip("prefect")
from prefect.testing.utilities import prefect_test_harness
from values import assert_same, values

from payloadfs import Payload
from payloadfs.integrations.prefect import PayloadInputs, PayloadSerializer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with prefect_test_harness(server_startup_timeout=600):
        yield


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(tmp_path / "results"))


def test_flow(server, tmp_path):
    @prefect.task(persist_result=True, result_serializer="payloadfs")
    def produce(name):
        return values()[name]

    @prefect.task(persist_result=True, result_serializer=PayloadSerializer(over=100))
    def consume(value, name):
        assert_same(value, values()[name])
        return value

    @prefect.flow
    def flow(payload: Payload):
        assert payload.value == [1] * 1000
        return {name: consume(produce(name), name) for name in values() if name != "error"}

    result = flow(Payload([1] * 1000))
    assert_same(result, {name: value for name, value in values().items() if name != "error"})


def test_cache_by_content(server):
    calls = []

    @prefect.task(cache_policy=PayloadInputs(), persist_result=True, result_serializer="payloadfs")
    def size(payload):
        calls.append(1)
        return len(payload.value)

    @prefect.flow
    def flow():
        return [size(Payload([1] * 1000)), size(Payload([1] * 1000)), size(Payload([2] * 10))]

    assert flow() == [1000, 1000, 10]
    assert len(calls) == 2


def test_setting(monkeypatch):
    """The name in the setting is known without an import in the user's program."""
    import subprocess
    import sys

    program = (
        "from prefect.plugins import load_prefect_collections; load_prefect_collections()\n"
        "from prefect.serializers import Serializer; print(type(Serializer(type='payloadfs')).__module__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "payloadfs.integrations.prefect\n"
