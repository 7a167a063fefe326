"""Fixtures: a separate store for each test, threads and processes to run works in, and a function that runs a flow."""

import sys
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest

import payloadfs
from payloadfs.works import App, LocalExecutor


@pytest.fixture(autouse=True)
def store(request, tmp_path):
    """Store objects in a folder for this test; pickle works of the test's file by value."""
    cloudpickle.register_pickle_by_value(sys.modules[request.module.__name__])
    with payloadfs.using(tmp_path / "store", fsync=False):
        yield tmp_path / "store"
    cloudpickle.unregister_pickle_by_value(sys.modules[request.module.__name__])


@pytest.fixture(scope="session")
def processes():
    """Two processes, shared by all tests of a pytest worker."""
    with LocalExecutor(2) as pool:
        yield pool


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def run(threads):
    """Return a function that runs a flow to its end, in threads or in another executor."""

    def start(flow, executor=None, **options):
        app = App(flow)
        app.run(executor=executor or threads, **options)
        return app

    return start
