"""Airflow 3: a DAG with mapped tasks and multiple outputs, run by ``dag.test()``, with the backend and without it."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("airflow")

DAG = """
import datetime
import sys
sys.path.insert(0, {folder!r})
from airflow.sdk import dag, task
from values import assert_same, values

@dag(dag_id="tests", schedule=None, start_date=datetime.datetime(2026, 1, 1))
def tests():
    @task
    def produce():
        return {produced}

    @task
    def consume(value):
        assert_same({consumed}, values())
        return 1

    @task(multiple_outputs=True)
    def split():
        return {{"train": {frame}, "n": 3}}

    @task
    def numbers():
        return [1, 2, 3]

    @task
    def mapped(n, frame):
        return {frame_value}.head(n)

    @task
    def total(frames):
        assert [len(frame) for frame in frames] == [1, 2, 3]
        print("THE END")

    consume(produce())
    parts = split()
    total(mapped.partial(frame=parts["train"]).expand(n=numbers()))

made = tests()
if __name__ == "__main__":
    run = made.test()
    assert run.state == "success", run.state
"""
BACKEND = {"produced": "values()", "consumed": "value", "frame": "values()['frame']", "frame_value": "frame"}
PAYLOADS = {
    "produced": "__import__('payloadfs').Payload(values())",
    "consumed": "value.value",
    "frame": "__import__('payloadfs').Payload(values()['frame'])",
    "frame_value": "frame.value",
}


@pytest.mark.parametrize("backend", [True, False], ids=["backend", "payloads"])
def test_dag(backend, tmp_path, monkeypatch):
    folder = tmp_path / "dags"
    folder.mkdir()
    source = DAG.format(folder=os.path.dirname(__file__), **(BACKEND if backend else PAYLOADS))
    if not backend:
        source = source.replace("[len(frame) for frame in frames]", "[1, 2, 3]").replace(".head(n)", ".shape[0]")
    (folder / "program.py").write_text(source)
    settings = {
        "AIRFLOW_HOME": tmp_path,
        "AIRFLOW__CORE__DAGS_FOLDER": folder,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "PAYLOADFS_URL": tmp_path / "store",
    }
    if backend:
        settings["AIRFLOW__CORE__XCOM_BACKEND"] = "payloadfs.integrations.airflow.PayloadXComBackend"
    else:
        settings["AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES"] = "payloadfs.Payload"
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], check=True, capture_output=True)
    subprocess.run([*airflow, "dags", "reserialize"], check=False, capture_output=True)
    done = subprocess.run([sys.executable, folder / "program.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "THE END" in done.stdout + done.stderr
    assert any((tmp_path / "store").rglob("*.*"))


def test_deleted_xcoms_delete_their_objects(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    from types import SimpleNamespace

    from payloadfs import default_repository
    from payloadfs.integrations.airflow import PayloadXComBackend

    where = {"task_id": "t", "dag_id": "d", "run_id": "manual__2026-11-28T01:30:00+00:00", "key": "return_value"}
    packed = PayloadXComBackend.serialize_value({"a": b"x" * 1000, "b": 1}, **where)
    assert len(list(default_repository().list("airflow/d/manual__2026-11-28T01:30:00+00:00/t"))) == 1
    assert PayloadXComBackend.deserialize_value(SimpleNamespace(value=packed)) == {"a": b"x" * 1000, "b": 1}
    PayloadXComBackend.purge(SimpleNamespace(value=packed))
    assert not list(default_repository().list("airflow"))
