"""Translation of storage options and variables for obstore, and refusal of those that need fsspec."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .._urls import scheme_of
from . import _retry

if TYPE_CHECKING:
    from ._aws import Credentials

_IDLE_S = 15

# These have no meaning for payloadfs, or are settled elsewhere.
_NO_EFFECT = frozenset(
    {"access", "asynchronous", "block_size", "cache_timeout", "default_cache_type", "default_fill_cache"}
    | {"listings_expiry_time", "max_concurrency", "max_paths", "project", "skip_instance_cache", "use_listings_cache"}
)
_AZ_NAMES = {name: name for name in ("account_name", "account_key", "tenant_id", "client_id", "client_secret")}
_AZ_NAMES |= {"sas_token": "sas_key"}
_AZ_FIELDS = {"AccountName": "account_name", "AccountKey": "account_key", "BlobEndpoint": "endpoint"}
_AZ_FIELDS |= {"SharedAccessSignature": "sas_key"}
_AZ_STANDARD = {"DefaultEndpointsProtocol": "https", "EndpointSuffix": "core.windows.net"}
_AZ_UNUSED = frozenset({"QueueEndpoint", "TableEndpoint", "FileEndpoint"})
_PROTOCOLS = {"s3": ("s3", "s3a"), "gs": ("gs", "gcs"), "az": ("az", "abfs", "abfss", "adl")}


class Limits(NamedTuple):
    """Time limits of an HTTP client: to connect, to answer, and for a whole request with its bodies. How often it retries."""

    connect_s: float
    answer_s: float
    request_s: float
    retries: int = 0


class UnmappedError(Exception):
    """An option or variable that only fsspec's file system understands. The message names it, never its value."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bucket or container as obstore sees it.

    The time limits are those of the storage options. For S3, `credentials` returns the current ones, or raises
    `StoreError` if there are none; `secrets` holds what else must not appear in messages.
    """

    new_client: Callable[[Limits], Any] = field(repr=False)
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    credentials: Callable[[], Credentials] | None = field(default=None, repr=False)
    connect_s: float | None = None
    answer_s: float | None = None


def credentials_stamp() -> int:
    """Return a number that changes if variables or files with credentials change."""
    variables = {n: v for n, v in os.environ.items() if n.startswith(("AWS_", "AZURE_", "GOOGLE_"))}
    files = ["~/.aws/config", "~/.aws/credentials", *variables.values()]
    times = []
    for path in map(os.path.expanduser, files):
        if os.path.isabs(path):
            with suppress(OSError, ValueError):
                st = os.stat(path)
                times.append((path, st.st_mtime_ns, st.st_size, st.st_ino))
    return hash((tuple(sorted(variables.items())), tuple(times)))


def gs_az_target(root: str, options: Mapping[str, Any]) -> Target:
    """Return what a canonical ``gs`` or ``az`` root and fsspec's `options` mean for obstore. No request.

    Raises
    ------
    UnmappedError
        An option or a variable needs fsspec.
    """
    scheme = scheme_of(root)
    bucket = root.partition("://")[2].partition("/")[0]
    given = {name: value for name, value in options.items() if name not in _NO_EFFECT and value is not None}
    config = (_gs_config if scheme == "gs" else _az_config)(given)
    endpoint = config.get("base_url") or config.get("endpoint") or "https://"
    refuse_proxies(endpoint)

    def new_client(limits: Limits) -> Any:
        from obstore import store

        kind = store.GCSStore if scheme == "gs" else store.AzureStore
        client: Any = client_options(endpoint, limits)
        return kind(bucket, config=config, client_options=client, retry_config=retry_config(limits))  # type: ignore[arg-type]

    return Target(new_client, config)


def client_options(endpoint: str, limits: Limits, ca_file: str | None = None) -> dict[str, Any]:
    """Return the options of obstore's HTTP client.

    All are set, so that they replace those that obstore itself would read from variables.
    """
    options: dict[str, Any] = {
        "allow_http": endpoint.startswith("http:"),
        "connect_timeout": timedelta(seconds=limits.connect_s),
        # For sending the request and for the headers of the response together, then for each piece of its body.
        "read_timeout": timedelta(seconds=limits.answer_s),
        "timeout": timedelta(seconds=limits.request_s),
        "pool_idle_timeout": timedelta(seconds=_IDLE_S),
    }
    if ca_file is not None:
        with open(ca_file, "rb") as file:
            options["root_certificate"] = file.read()
    return options


def retry_config(limits: Limits) -> Any:
    """Return obstore's retry configuration: for refusals and lost connections, not for a silent server."""
    first_s, *_, last_s = _retry.PAUSES_S
    backoff = {"init_backoff": timedelta(seconds=first_s), "max_backoff": timedelta(seconds=last_s), "base": 3}
    return {"max_retries": limits.retries, "backoff": backoff, "retry_timeout": timedelta(seconds=limits.connect_s)}


def refuse_proxies(endpoint: str) -> None:
    """Raise `UnmappedError` if a proxy variable applies to `endpoint`, unless NO_PROXY excludes its host by name.

    obstore itself reads these variables and knows fewer forms of NO_PROXY than Python, such as
    ``*`` and ``host:port``. obstore can be used only where both would connect without a proxy.
    """
    variables = {name.lower(): value for name, value in os.environ.items() if value}
    scheme, _, rest = endpoint.partition("://")
    if not variables.keys() & {f"{scheme}_proxy", "all_proxy"}:
        return
    host = rest.partition("/")[0].rpartition("@")[2].partition(":")[0]
    excluded = [name.strip().lstrip(".") for name in variables.get("no_proxy", "").split(",")]
    if not host or not any(name and (host == name or host.endswith(f".{name}")) for name in excluded):
        raise UnmappedError("a proxy variable is set, and NO_PROXY does not name the host of the server")


def refuse_fsspec_settings(scheme: str) -> None:
    """Raise `UnmappedError` if fsspec's own variables or files configure `scheme`."""
    prefixes = tuple(f"FSSPEC_{protocol.upper()}" for protocol in _PROTOCOLS[scheme])
    folder = os.environ.get("FSSPEC_CONFIG_DIR") or os.path.expanduser("~/.config/fsspec")
    if not any(name.startswith(prefixes) for name in os.environ) and not os.path.isdir(folder):
        return
    from fsspec.config import conf

    if any(conf.get(protocol) for protocol in _PROTOCOLS[scheme]):
        raise UnmappedError(f"fsspec's own configuration has settings for {scheme}")


def _gs_config(given: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    token, endpoint = given.pop("token", None), given.pop("endpoint_url", None)
    _refuse_rest(given)
    if token == "anon":  # noqa: S105  # gcsfs's word for no token
        config["skip_signature"] = True
    elif isinstance(token, str) and os.path.isabs(token):
        config["service_account"] = token
    elif token not in (None, "google_default"):
        raise UnmappedError("storage option token is neither a file, 'anon' nor 'google_default'")
    if endpoint is not None:
        config["base_url"] = endpoint
    elif "STORAGE_EMULATOR_HOST" in os.environ:
        raise UnmappedError("the variable STORAGE_EMULATOR_HOST is set")
    return config


def _az_config(given: dict[str, Any]) -> dict[str, Any]:
    connection = given.pop("connection_string", None)
    if connection is None and "account_name" not in given:
        connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    config = _az_connection(connection) if connection else {}
    if given.pop("anon", False) is True:
        config["skip_signature"] = True
    for name in _AZ_NAMES.keys() & given.keys():
        config[_AZ_NAMES[name]] = given.pop(name)
    _refuse_rest(given)
    if "account_name" not in config and "AZURE_STORAGE_ACCOUNT_NAME" not in os.environ:
        raise UnmappedError("account_name is missing")
    return config


def _az_connection(connection: str) -> dict[str, Any]:
    fields: dict[str, str] = {}
    for part in connection.split(";"):
        name, _, value = part.partition("=")
        fields.update({name: value} if name else {})
    config = {_AZ_FIELDS[name]: fields.pop(name) for name in _AZ_FIELDS.keys() & fields.keys()}
    for name in list(fields):
        standard = "endpoint" in config or fields[name] == _AZ_STANDARD.get(name)
        if name not in _AZ_UNUSED and not (name in _AZ_STANDARD and standard):
            raise UnmappedError(f"the connection string has {name}")
    return config


def _refuse_rest(given: Mapping[str, Any]) -> None:
    if given:
        raise UnmappedError(f"obstore does not support the storage option {min(given)}")
