"""Writer and reader in different processes on S3; the reader has only the pointer, the key and AWS variables."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import pytest

import payloadfs
from payloadfs import NotFoundError, Payload, PolicyError, Repository
from payloadfs.testing import assert_exact, fault_proxy

EXAMPLE = Path(__file__).parents[2] / "examples" / "share_dataframe.py"
READER = """
import sys, cloudpickle, payloadfs
values = [payloadfs.Payload.from_json(line).value for line in sys.stdin]
sys.stdout.buffer.write(cloudpickle.dumps(values))
"""
OBJECTS = [
    {"a": [1, 2.5, None]},
    b"",
    pd.DataFrame({"a": [1.5, None], "s": ["x", None]}),
    np.arange(4_000_000),  # 32 MB: several parts up, several ranges down
    {"nested": [np.ones(1_000), (1, {2})]},
]


@pytest.fixture(
    params=[
        ("payloadfs_moto", "fsspec"),
        pytest.param(("payloadfs_seaweedfs", "fsspec"), marks=pytest.mark.s3),
        pytest.param(("payloadfs_seaweedfs", "obstore"), marks=pytest.mark.s3),
    ],
    ids="-".join,
)
def server(request, monkeypatch):
    name, transport = request.param
    monkeypatch.setenv("PAYLOADFS_TRANSPORT", transport)
    return request.getfixturevalue(name)


def use(server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def test_every_kind_through_another_process(server, monkeypatch):
    use(server, monkeypatch)
    repository = Repository(f"s3://{server.bucket()}/runs")
    pointers = [repository.save(obj) for obj in OBJECTS]
    lines = "".join(pointer.to_json() + "\n" for pointer in pointers)
    # Neither a URL nor roots are configured there.
    done = subprocess.run([sys.executable, "-c", READER], input=lines.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    for obj, value in zip(OBJECTS, cloudpickle.loads(done.stdout), strict=True):
        assert_exact(obj, value)
    assert sorted(info.key for info in repository.list()) == sorted(pointer.key for pointer in pointers)
    repository.delete(pointers[0])
    with pytest.raises(NotFoundError):
        repository.load(pointers[0])


def test_a_reader_with_another_url_configured_refuses(server, monkeypatch, tmp_path):
    use(server, monkeypatch)
    pointer = Repository(f"s3://{server.bucket()}").save([1])
    with pytest.raises(PolicyError), payloadfs.using(tmp_path):
        _ = Payload.from_json(pointer.to_json()).value
    with payloadfs.using(tmp_path, allowed_roots=[pointer.root]):
        assert Payload.from_json(pointer.to_json()).value == [1]


@pytest.mark.s3
@pytest.mark.parametrize("transport", ["fsspec", "obstore"])
def test_one_request_each_way(payloadfs_seaweedfs, transport):
    with fault_proxy(payloadfs_seaweedfs.endpoint_url) as proxy:
        options = replace(payloadfs_seaweedfs, endpoint_url=proxy.endpoint_url).storage_options()
        bucket = payloadfs_seaweedfs.bucket()
        repository = Repository(f"s3://{bucket}", options, transport=transport, cache="off")
        for obj in OBJECTS[:1] + OBJECTS[2:3]:
            for _ in range(2):  # cold, then warm
                proxy.forget()
                pointer = repository.save(obj)
                assert [request.method for request in proxy.requests] == ["PUT"]
                proxy.forget()
                assert_exact(obj, repository.load(pointer))
                assert [request.method for request in proxy.requests] == ["GET"]


@pytest.mark.s3
def test_the_example(payloadfs_seaweedfs):
    environment = os.environ | payloadfs_seaweedfs.environment()
    url = f"s3://{payloadfs_seaweedfs.bucket()}/demo"
    command = [sys.executable, EXAMPLE]
    written = subprocess.run(
        [*command, "--write", "--url", url], env=environment, capture_output=True, text=True, check=True
    )
    assert len(written.stdout) < 400
    assert json.loads(written.stdout)["root"] == url
    read = subprocess.run(
        [*command, "--read"], env=environment, input=written.stdout, capture_output=True, text=True, check=True
    )
    summary = "EWR     120835  15.11  1126.0"
    assert summary in written.stderr
    assert summary in read.stdout


def test_the_example_on_the_embedded_default():
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=True)
    assert done.stdout.count("EWR     120835  15.11  1126.0") == 2
    assert "bytes of JSON, signed with key" in done.stdout
