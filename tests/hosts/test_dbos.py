"""DBOS with SQLite: a workflow of two steps."""

import pytest

dbos = pytest.importorskip("dbos")
import sqlite3

from values import Model, assert_same, values

from payloadfs import default_repository
from payloadfs.integrations.dbos import PayloadSerializer


@pytest.fixture
def app(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))
    database = f"sqlite:///{tmp_path / 'dbos.sqlite'}"
    dbos.DBOS(config={"name": "tests", "system_database_url": database, "serializer": PayloadSerializer()})
    yield tmp_path / "dbos.sqlite"
    dbos.DBOS.destroy(destroy_registry=True)


def test_workflow(app):
    @dbos.DBOS.step()
    def produce(name):
        return values()[name]

    @dbos.DBOS.step()
    def consume(value, *, name):
        assert_same(value, values()[name])
        return value

    @dbos.DBOS.step()
    def fail():
        raise ValueError("bad", 7)

    @dbos.DBOS.workflow()
    def flow(names, model):
        assert type(model) is Model
        return {name: consume(produce(name), name=name) for name in names}

    @dbos.DBOS.workflow()
    def failing():
        fail()

    dbos.DBOS.launch()
    handle = dbos.DBOS.start_workflow(flow, list(values()), values()["model"])
    assert_same(handle.get_result(), values())
    assert_same(dbos.DBOS.retrieve_workflow(handle.workflow_id).get_result(), values())
    with pytest.raises(ValueError, match="bad"):
        failing()
    assert list(default_repository().list("dbos"))
    with sqlite3.connect(app) as database:
        (inputs,) = database.execute(
            "select inputs from workflow_input where workflow_uuid = ?", [handle.workflow_id]
        ).fetchone()
    assert len(inputs) < 2000
    assert '"frame"' in inputs
