"""Storage options of gcsfs and adlfs as what obstore calls them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .._urls import scheme_of

__all__ = ["UnmappedError", "client_config"]

# What these say is settled elsewhere, or has no meaning for payloadfs.
_NO_EFFECT = frozenset(
    {"access", "asynchronous", "block_size", "cache_timeout", "default_cache_type", "default_fill_cache"}
    | {"listings_expiry_time", "max_concurrency", "max_paths", "project", "skip_instance_cache", "use_listings_cache"}
)
_AZ_NAMES = {
    "account_name": "account_name",
    "account_key": "account_key",
    "sas_token": "sas_key",
    "tenant_id": "tenant_id",
    "client_id": "client_id",
    "client_secret": "client_secret",
}
_AZ_WORDS = {"AccountName": "account_name", "AccountKey": "account_key", "BlobEndpoint": "endpoint"}
_AZ_WORDS |= {"SharedAccessSignature": "sas_key"}
_AZ_STANDARD = {"DefaultEndpointsProtocol": "https", "EndpointSuffix": "core.windows.net"}
_AZ_OTHERS = frozenset({"QueueEndpoint", "TableEndpoint", "FileEndpoint"})


class UnmappedError(Exception):
    """An option that only fsspec's file system understands. Its text names the option, never its value."""


def client_config(root: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return obstore's configuration for the bucket or container of a canonical ``gs`` or ``az`` root. No I/O.

    Raises
    ------
    UnmappedError
        An option says what only fsspec's file system understands.
    """
    given = {name: value for name, value in options.items() if name not in _NO_EFFECT and value is not None}
    return (_gs if scheme_of(root) == "gs" else _az)(given)


def _gs(given: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    token, endpoint = given.pop("token", None), given.pop("endpoint_url", None)
    _nothing_left(given)
    if token == "anon":  # noqa: S105  # gcsfs's word for no token
        config["skip_signature"] = True
    elif isinstance(token, str) and os.path.isabs(token):
        config["service_account"] = token
    elif token not in (None, "google_default"):
        raise UnmappedError("storage option token is neither a file, 'anon' nor 'google_default'")
    if endpoint is not None:
        config["base_url"] = endpoint
    return config


def _az(given: dict[str, Any]) -> dict[str, Any]:
    text = given.pop("connection_string", None)
    if text is None and "account_name" not in given:
        text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    config = _az_connection(text) if text else {}
    if given.pop("anon", False) is True:
        config["skip_signature"] = True
    for name in _AZ_NAMES.keys() & given.keys():
        config[_AZ_NAMES[name]] = given.pop(name)
    _nothing_left(given)
    if "account_name" not in config and "AZURE_STORAGE_ACCOUNT_NAME" not in os.environ:
        raise UnmappedError("no account_name is given")
    return config


def _az_connection(text: str) -> dict[str, Any]:
    words: dict[str, str] = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        words.update({name: value} if name else {})
    config = {_AZ_WORDS[name]: words.pop(name) for name in _AZ_WORDS.keys() & words.keys()}
    for name in list(words):
        standard = "endpoint" in config or words[name] == _AZ_STANDARD.get(name)
        if name not in _AZ_OTHERS and not (name in _AZ_STANDARD and standard):
            raise UnmappedError(f"the connection string has {name}")
    return config


def _nothing_left(given: Mapping[str, Any]) -> None:
    if given:
        raise UnmappedError(f"storage option {min(given)} has no counterpart")
