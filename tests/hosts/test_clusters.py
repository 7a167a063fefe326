"""Dask and Ray: payloads are passed as pointers, and equal content is one key."""

import pickle

import numpy as np
import pandas as pd
import pytest
from values import assert_same, values

from payloadfs import Payload, default_repository


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))


def double(payload):
    return Payload(payload.value * 2)


def test_dask(tmp_path):
    distributed = pytest.importorskip("distributed")
    from dask.base import tokenize

    assert tokenize(Payload(values()["array"])) == tokenize(Payload(values()["array"]))
    assert tokenize(Payload([1] * 100)) != tokenize(Payload([2] * 100))
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        first = client.submit(double, Payload(values()["array"]))
        again = client.submit(double, Payload(values()["array"]))
        assert first.key == again.key
        assert (first.result().value == values()["array"] * 2).all()
        everything = client.submit(lambda payload: payload.value, Payload(values()), key="everything").result()
        assert_same(
            {name: everything[name] for name in ("frame", "pair", "plain")},
            {name: values()[name] for name in ("frame", "pair", "plain")},
        )


def rows(payload):
    return len(payload.value), float(payload.value.a.iloc[-1])


def test_a_gigabyte_goes_through_the_store_and_not_through_the_scheduler():
    distributed = pytest.importorskip("distributed")
    count = 125_000_000
    payload = Payload(pd.DataFrame({"a": np.arange(count, dtype="float64")}))
    payload.save()
    assert len(pickle.dumps(payload)) < 1000
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="700MB", dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        futures = [client.submit(rows, payload, key=f"rows-{number}") for number in range(2)]
        assert client.gather(futures) == [(count, count - 1)] * 2
        # A worker with less memory than the frame neither spills nor is restarted: it maps the file.
        assert all(
            worker["metrics"]["spilled_bytes"]["disk"] == 0 for worker in client.scheduler_info()["workers"].values()
        )


def test_ray(ray_cluster):
    def doubled(payload):  # by value: the workers cannot import this file
        return type(payload)(payload.value * 2)

    result = ray_cluster.get(ray_cluster.remote(doubled).remote(Payload(values()["array"])))
    assert (result.value == values()["array"] * 2).all()
    assert list(default_repository().list())
