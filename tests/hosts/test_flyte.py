"""Flyte: a workflow of two tasks, run locally."""

import pytest

flytekit = pytest.importorskip("flytekit")
from values import assert_same, values

import payloadfs.integrations.flyte
from payloadfs import Payload


@flytekit.task
def produce() -> Payload:
    return Payload(values())


@flytekit.task
def consume(payload: Payload) -> int:
    assert_same(payload.value, values())
    return len(payload.value)


@flytekit.workflow
def flow() -> int:
    return consume(payload=produce())


def test_workflow(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path))
    assert payloadfs.integrations.flyte
    assert flow() == len(values())
