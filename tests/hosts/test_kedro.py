"""Kedro: a catalogue and two nodes, with two runners."""

import pytest

pytest.importorskip("kedro")
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner, ThreadRunner
from values import assert_same, values

TYPE = "payloadfs.integrations.kedro.PayloadDataset"


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
def test_pipeline(runner, tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))
    config = {name: {"type": TYPE, "filepath": str(tmp_path / f"data/{name}.json")} for name in ("made", "copy")}
    catalog = DataCatalog.from_config(config)
    with pytest.raises(DatasetError):
        catalog.load("made")
    nodes = [node(values, None, "made", name="make"), node(lambda value: value, "made", "copy", name="copy")]
    runner().run(pipeline(nodes), catalog)
    assert_same(catalog.load("copy"), values())
    assert catalog.exists("copy")
    assert (tmp_path / "data/copy.json").stat().st_size < 5000
