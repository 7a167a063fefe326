"""Dagster: assets, partitions, a job with dynamic outputs."""

import pytest

dg = pytest.importorskip("dagster")
from values import assert_same, values

from payloadfs import default_repository
from payloadfs.integrations.dagster import PayloadIOManager


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))


def _keys():
    return {info.key for info in default_repository().list("dagster")}


def test_assets(tmp_path):
    @dg.asset
    def produced():
        return values()

    @dg.asset
    def consumed(produced):
        assert_same(produced, values())
        return produced["frame"]

    resources = {"io_manager": PayloadIOManager(base_dir=str(tmp_path / "files"))}
    result = dg.materialize([produced, consumed], resources=resources)
    assert result.success
    metadata = result.asset_materializations_for_node("consumed")[0].metadata
    assert "when" in metadata["preview"].value
    first = _keys()
    assert dg.materialize([produced, consumed], resources=resources).success
    assert not first & _keys()
    assert len(first) == len(_keys())


def test_partitions_and_instance_storage():
    parts = dg.StaticPartitionsDefinition(["a", "b/c"])

    @dg.asset(partitions_def=parts)
    def part(context):
        return {"key": context.partition_key, "frame": values()["frame"]}

    @dg.asset(partitions_def=parts)
    def same(part):
        return part["key"]

    with dg.DagsterInstance.ephemeral() as instance:
        for key in parts.get_partition_keys():
            resources = {"io_manager": PayloadIOManager()}
            result = dg.materialize([part, same], partition_key=key, instance=instance, resources=resources)
            assert result.output_for_node("same") == key


def test_dynamic_outputs(tmp_path):
    @dg.op(out=dg.DynamicOut())
    def numbers():
        for name in ("one", "two"):
            yield dg.DynamicOutput(values()["frame"], mapping_key=name)

    @dg.op
    def rows(frame):
        return len(frame)

    @dg.op
    def total(counts):
        return sum(counts)

    @dg.job(resource_defs={"io_manager": PayloadIOManager(base_dir=str(tmp_path))})
    def job():
        total(numbers().map(rows).collect())

    assert job.execute_in_process().output_for_node("total") == 6
