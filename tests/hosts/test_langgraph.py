"""LangGraph with its SQLite saver: a graph that is continued in another process."""

import subprocess
import sys
from typing import Any, TypedDict

import pytest

pytest.importorskip("langgraph")
import os
import sqlite3

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from values import assert_same, values

from payloadfs import Payload
from payloadfs.integrations.langgraph import PayloadSerializer

CONFIG = {"configurable": {"thread_id": "1"}}


class State(TypedDict):
    values: Any
    payload: Any
    count: int


def build(path, **arguments):
    graph = StateGraph(State)
    graph.add_node("produce", lambda state: {"values": values(), "payload": Payload([1] * 1000)})
    graph.add_node("count", lambda state: {"count": len(state["values"])})
    graph.add_edge(START, "produce")
    graph.add_edge("produce", "count")
    graph.add_edge("count", END)
    connection = sqlite3.connect(path, check_same_thread=False)
    saver = SqliteSaver(connection, serde=PayloadSerializer(**arguments))
    return graph.compile(checkpointer=saver), connection


def test_graph(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))
    graph, connection = build(tmp_path / "db")
    graph.invoke({"count": 0}, CONFIG)
    connection.close()
    assert_same(read(tmp_path / "db"), values())
    program = "import sys; import test_langgraph as t; t.assert_same(t.read(sys.argv[1]), t.values())"
    folder = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", program, tmp_path / "db"], cwd=folder, check=True)
    assert (tmp_path / "db").stat().st_size < 200_000


def read(path):
    graph, connection = build(path)
    state = graph.get_state(CONFIG).values
    connection.close()
    assert state["payload"].value == [1] * 1000
    return state["values"]


def test_reads_what_was_written_before():
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    written = JsonPlusSerializer().dumps_typed({"a": 1})
    assert PayloadSerializer().loads_typed(written) == {"a": 1}
