"""Which transport is chosen, and what options, variables and profiles mean to it. No server, no request."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from typing import Any

import pytest

import payloadfs
from payloadfs.errors import ConfigError, StoreError
from payloadfs.stores import chosen_transport, open_store
from payloadfs.stores._errors import from_obstore
from payloadfs.stores._obstore import ObstoreStore

KEYS = {"key": "AKID", "secret": "the-very-secret"}
HERE = {**KEYS, "endpoint_url": "http://127.0.0.1:9"}
ROOT = "s3://bucket/runs"


@pytest.mark.parametrize(
    "options",
    [
        HERE,
        {**KEYS, "client_kwargs": {"region_name": "eu-central-1"}},
        {**KEYS, "region": "eu-central-1", "token": "t"},
        {
            "client_kwargs": {
                "endpoint_url": "https://s3.example.org",
                "aws_access_key_id": "a",
                "aws_secret_access_key": "b",
            }
        },
        {"anon": True, "endpoint_url": "https://s3.example.org/"},
        {**HERE, "config_kwargs": {"read_timeout": 3, "s3": {"addressing_style": "path"}, "signature_version": "s3v4"}},
        {**HERE, "use_listings_cache": False, "token": None, "use_ssl": True},
    ],
)
def test_options_with_a_counterpart(options: dict[str, Any]) -> None:
    assert chosen_transport(ROOT, options, "auto")[0] == "obstore"
    assert chosen_transport(ROOT, options, "obstore")[0] == "obstore"
    assert chosen_transport(ROOT, options, "fsspec") == ("fsspec", "the setting 'transport' selects it")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (KEYS, "region"),
        ({**HERE, "s3_additional_kwargs": {"ServerSideEncryption": "aws:kms"}}, "s3_additional_kwargs"),
        ({**HERE, "requester_pays": True}, "requester_pays"),
        ({**HERE, "session": object()}, "session"),
        ({**HERE, "use_ssl": False}, "use_ssl"),
        ({**HERE, "client_kwargs": {"verify": False}}, "certificates"),
        ({**HERE, "client_kwargs": {"config": 1}}, "client_kwargs has config"),
        ({**HERE, "config_kwargs": {"proxies": {}}}, "config_kwargs has proxies"),
        ({**HERE, "config_kwargs": {"retries": {"max_attempts": 1}}}, "config_kwargs has retries"),
        ({**HERE, "config_kwargs": {"s3": {"addressing_style": "virtual"}}}, "virtual"),
        ({**HERE, "config_kwargs": {"s3": {"use_accelerate_endpoint": True}}}, "config_kwargs has s3"),
        ({**HERE, "config_kwargs": {"signature_version": "s3"}}, "signature_version"),
        ({**KEYS, "endpoint_url": "https://user:the-very-secret@host"}, "endpoint"),
        ({**KEYS, "endpoint_url": "https://host/path"}, "endpoint"),
        ({"key": "AKID", "endpoint_url": "http://127.0.0.1:9"}, "without secret"),
        ({**HERE, "profile": "nobody"}, "nobody"),
    ],
)
def test_options_without_one(options: dict[str, Any], named: str) -> None:
    name, reason = chosen_transport(ROOT, options, "auto")
    assert name == "fsspec"
    assert named in reason
    assert "the-very-secret" not in reason
    with pytest.raises(ConfigError, match=r"transport") as caught:
        chosen_transport(ROOT, options, "obstore")
    assert caught.value.kind == "transport"
    assert "the-very-secret" not in str(caught.value)


def test_what_else_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_transport("file:///srv", {}, "obstore")[0] == "local"
    assert chosen_transport("memory://x", {}, "auto")[0] == "memory"
    assert chosen_transport("sftp://host/x", {}, "auto")[0] == "fsspec"
    for name in ("https_proxy", "HTTP_PROXY"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "http://proxy.example.org:3128")
            endpoint = f"{name[:-6].lower()}://s3.example.org"
            assert "proxy" in chosen_transport(ROOT, {**KEYS, "endpoint_url": endpoint}, "auto")[1]
            patch.setenv("no_proxy", "example.org")
            assert chosen_transport(ROOT, {**KEYS, "endpoint_url": endpoint}, "auto")[0] == "obstore"
    with monkeypatch.context() as patch:
        patch.setattr("payloadfs._forks._forked_with_obstore", [True])
        assert "forked" in chosen_transport(ROOT, HERE, "auto")[1]
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setattr("payloadfs.stores._open.find_spec", lambda _: None)
    monkeypatch.delitem(sys.modules, "obstore")
    assert chosen_transport(ROOT, HERE, "auto") == ("fsspec", "obstore is not installed (pip install 'payloadfs[s3]')")


def test_the_choice_is_a_setting_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="payloadfs"):
        assert payloadfs.Repository(ROOT, HERE).store.transport == "obstore"
        assert payloadfs.Repository(ROOT, HERE, transport="fsspec").store.transport == "fsspec"
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["s3", "s3"]
    assert "uses obstore" in caplog.text
    assert "uses fsspec: the setting" in caplog.text
    assert "the-very-secret" not in caplog.text
    with pytest.raises(ConfigError, match="transport"):
        payloadfs.Repository(ROOT, HERE, transport="s3fs")


def test_nothing_of_obstore_is_loaded_before_the_first_request() -> None:
    code = f"""
import sys, payloadfs.stores
store = payloadfs.stores.open_store({ROOT!r}, {HERE!r}, transport="obstore")
print(sorted({{"obstore", "s3fs", "fsspec", "botocore", "asyncio", "logging", "ssl"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_secrets_show_in_no_repr() -> None:
    store = open_store(ROOT, HERE, transport="obstore")
    assert "the-very-secret" not in repr(store) + repr(store._target)


@pytest.mark.parametrize(
    ("root", "options", "config"),
    [
        ("gs://bucket/x", {"token": "anon", "project": "p"}, {"skip_signature": True}),
        ("gs://bucket", {"token": "google_default"}, {}),
        ("gs://bucket", {"token": "/key.json"}, {"service_account": "/key.json"}),
        ("gs://bucket", {"endpoint_url": "http://127.0.0.1:1"}, {"base_url": "http://127.0.0.1:1"}),
        ("az://box/x", {"account_name": "a", "account_key": "azE="}, {"account_name": "a", "account_key": "azE="}),
        ("az://box", {"account_name": "a", "sas_token": "sv=1&sig=x"}, {"account_name": "a", "sas_key": "sv=1&sig=x"}),
        ("az://box", {"account_name": "a", "anon": True}, {"account_name": "a", "skip_signature": True}),
        (
            "az://box",
            {"connection_string": "AccountName=a;AccountKey=azE=;BlobEndpoint=http://127.0.0.1:1/a;"},
            {"account_name": "a", "account_key": "azE=", "endpoint": "http://127.0.0.1:1/a"},
        ),
    ],
)
def test_gs_and_az(root: str, options: dict[str, Any], config: dict[str, Any]) -> None:
    assert chosen_transport(root, options, "auto")[0] == "obstore"
    if "service_account" not in config:
        store = open_store(root, options)
        assert type(store) is ObstoreStore
        with pytest.raises(TypeError, match="credentials"):
            pickle.dumps(store)


@pytest.mark.parametrize(
    ("root", "options"),
    [
        ("gs://bucket", {"token": "cloud"}),
        ("gs://bucket", {"token": {"private_key": "the-very-secret"}}),
        ("gs://bucket", {"requester_pays": True}),
        ("az://box", {}),
        ("az://box", {"account_name": "a", "credential": object()}),
        ("az://box", {"connection_string": "AccountName=a;EndpointSuffix=core.chinacloudapi.cn"}),
    ],
)
def test_gs_and_az_options_without_a_counterpart(root: str, options: dict[str, Any]) -> None:
    name, reason = chosen_transport(root, options, "auto")
    assert name == "fsspec"
    assert "the-very-secret" not in reason


def test_bad_options_of_gs_and_az_are_told_at_once() -> None:
    for root, options in (
        ("gs://bucket", {"token": "/no/such/file.json"}),
        ("az://box", {"account_name": "a", "account_key": "the-very-secret"}),
    ):
        with pytest.raises(ConfigError) as caught:
            open_store(root, options, transport="obstore")
        assert "the-very-secret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_after_a_fork_gs_and_az_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store("gs://bucket", {"token": "anon"})
    monkeypatch.setattr("payloadfs._forks._forked_with_obstore", [True])
    with pytest.raises(StoreError, match="spawn") as caught:
        store.get("a.bin", 1)
    assert caught.value.kind == "forked"


def test_addresses_in_obstores_words_lose_their_query() -> None:
    error = type("GenericError", (Exception,), {"__module__": "obstore.exceptions"})
    words = (
        "Error performing GET https://a.blob/x?sv=1&sig=the-very-secret in 1ms - HTTP error: gone\n\nDebug source:\nx"
    )
    assert "the-very-secret" not in str(from_obstore(error(words)))


@pytest.mark.parametrize(
    ("option", "hint"), [("endpoint", "'endpoint_url'"), ("aws_access_key_id", "S3FileSystem"), ("secrets", "'secret'")]
)
@pytest.mark.parametrize("transport", ["auto", "fsspec"])
def test_unknown_options_are_refused(option: str, hint: str, transport: str) -> None:
    """s3fs would drop them, and requests could go to another server."""
    with pytest.raises(ConfigError, match=f"Unknown storage option '{option}' .*{hint}") as caught:
        open_store("s3://bucket", {"key": "a", "secret": "b", option: "http://127.0.0.1:1"}, transport=transport)
    assert caught.value.kind == "options"
