"""Every test runs in its own home: it neither sees nor changes settings, keys or objects of the user."""

import builtins
import contextlib
import functools
import gc
import os
import socket

import pytest


@pytest.fixture(autouse=True, scope="session")
def clean_home(tmp_path_factory):
    """Fixtures of modules, which run before those of a test, do not see the user's home either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("session-home")))
        # The first put in a bucket of SeaweedFS creates this number of volumes (default: seven) and waits for them.
        patch.setenv("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")
        yield


@pytest.fixture(autouse=True)
def clean_environment(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("PAYLOADFS_", "AWS_", "FSSPEC_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    # Most tests are about stored objects, and use small ones. Those about inline objects remove this.
    monkeypatch.setenv("PAYLOADFS_INLINE_BYTES", "0")
    # Without these, botocore would ask the machine's metadata service and the user's own files.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "aws-credentials"))
    return home


@pytest.fixture(scope="module", autouse=True)
def cheap_garbage_collection():
    """Exempt everything that is imported from garbage collection, which else takes a fifth of the time of all tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def cheap_clients_of_aws():
    """Let all clients share the descriptions of the services. Else each client parses them again, most of what it costs."""
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(ModuleNotFoundError):  # the environments of most hosts do not have it
            from botocore import session

            patch.setattr(session, "create_loader", functools.cache(session.create_loader))
        yield


@pytest.fixture
def tripwire(monkeypatch):
    """Let any attempt to open a file or a socket fail the test."""

    def trip(*args, **kwargs):
        raise AssertionError(f"I/O was tried: {args}")

    with monkeypatch.context() as patch:
        for place, name in ((builtins, "open"), (os, "open"), (os, "stat"), (os, "mkdir"), (socket, "socket")):
            patch.setattr(place, name, trip)
        yield


def pytest_configure():
    """No example of a property test has a time limit. In CI the servers must be installed; elsewhere tests are skipped."""
    with contextlib.suppress(ModuleNotFoundError):  # the environments of hosts do not have it
        from hypothesis import HealthCheck, settings

        settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("busy")
    if os.environ.get("CI"):
        from payloadfs.testing.servers import why_no_moto, why_no_seaweedfs

        assert not why_no_moto(), why_no_moto()
        assert not why_no_seaweedfs(), why_no_seaweedfs()


@pytest.hookimpl(optionalhook=True)  # of xdist, which the environments of hosts do not have
def pytest_xdist_auto_num_workers():
    """One worker more than there are cores, because many tests wait for servers and processes."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else None


def pytest_collection_modifyitems(items):
    """Long tests may take half an hour, also on a busy machine."""
    for item in items:
        if item.get_closest_marker("long") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1800))
