"""Metaflow needs no adapter: it pickles artifacts, and a payload is pickled as its pointer."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("metaflow")

FLOW = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from metaflow import FlowSpec, step
from payloadfs import Payload
from values import assert_same, values


class Sales(FlowSpec):
    @step
    def start(self):
        self.everything = Payload(values())
        self.next(self.end)

    @step
    def end(self):
        assert_same(self.everything.value, values())
        print("THE END")


if __name__ == "__main__":
    Sales()
"""


def test_flow(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))
    monkeypatch.setenv("USERNAME", "tests")
    (tmp_path / "flow.py").write_text(FLOW)
    done = subprocess.run([sys.executable, "flow.py", "run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "THE END" in done.stdout
