"""A store of its own for each test, threads and processes to run works in, and a way to run a flow in them."""

import sys
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest

import payloadfs
from payloadfs.works import App, LocalExecutor


@pytest.fixture(autouse=True)
def store(request, tmp_path):
    """Keep objects in a folder of the test's own; works of the test's file travel by value."""
    cloudpickle.register_pickle_by_value(sys.modules[request.module.__name__])
    with payloadfs.using(tmp_path / "store", fsync=False):
        yield tmp_path / "store"
    cloudpickle.unregister_pickle_by_value(sys.modules[request.module.__name__])


@pytest.fixture(scope="session")
def processes():
    """Two processes for all tests of a worker."""
    with LocalExecutor(2) as pool:
        yield pool


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def run(threads):
    """Run a flow to its end in threads, or in what else is given."""

    def start(flow, executor=None, **options):
        app = App(flow)
        app.run(executor=executor or threads, **options)
        return app

    return start
