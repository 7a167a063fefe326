"""An S3 root and s3fs's storage options as what a direct client needs to know."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._obstore_options import UnmappedError
from ._credentials import CredentialsSource, aws_profile, credentials_source, fixed

__all__ = ["S3Target", "s3_target"]

_ENDPOINT = re.compile(r"(https?)://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?/?")
_CONNECT_S = 5.0
_READ_S = 10.0

# What these say is settled elsewhere, or has no meaning for payloadfs.
_NO_EFFECT = frozenset(
    {"asynchronous", "cache_regions", "default_block_size", "default_cache_type", "default_fill_cache"}
    | {"listings_expiry_time", "loop", "max_concurrency", "max_paths", "skip_instance_cache", "use_listings_cache"}
)
_NO_EFFECT_CONFIG = frozenset(
    {"max_pool_connections", "request_checksum_calculation", "response_checksum_validation", "tcp_keepalive"}
)
_CLIENT_NAMES = {
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "aws_session_token": "token",
    "endpoint_url": "endpoint_url",
    "region_name": "region",
    "verify": "verify",
}


@dataclass(frozen=True, slots=True)
class S3Target:
    """A bucket, its server, and how to speak to it.

    Parameters
    ----------
    bucket : str
        Its name.
    endpoint : str
        ``scheme://host`` or ``scheme://host:port``; the bucket is the first part of the path.
    region : str
        For the signature.
    credentials : callable or None
        None: requests are not signed.
    sign_bodies : bool
        Whether signatures cover the content. Over https they need not: TLS and our digest do.
    connect_s, read_s : float
        How long the server may take to accept a connection, and to go on with an answer.
    ca_file : str or None
        Certificates to trust besides the system's.
    """

    bucket: str
    endpoint: str
    region: str
    credentials: CredentialsSource | None
    sign_bodies: bool
    connect_s: float = _CONNECT_S
    read_s: float = _READ_S
    ca_file: str | None = None


def s3_target(root: str, options: Mapping[str, Any]) -> S3Target:
    """Return what the canonical `root` and s3fs's `options` mean. Reads the AWS files; no request.

    Raises
    ------
    UnmappedError
        An option, a variable or a profile says what only s3fs understands.
    """
    given, config = _flat(options)
    name = given.pop("profile", None)
    profile = aws_profile(name)
    region = given.pop("region", None) or os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION")
    region = region or profile.get("region")
    endpoint = _endpoint(given.pop("endpoint_url", None), profile, region)
    anon = given.pop("anon", False)
    ca_file = _ca_file(given.pop("verify", None))
    key, secret, token = (given.pop(part, None) for part in ("key", "secret", "token"))
    if given:
        raise UnmappedError(f"storage option {min(given)} has no counterpart")
    if bool(key) != bool(secret):
        raise UnmappedError("key was given without secret, or secret without key")
    source = None if anon else fixed(key, secret, token) if key else credentials_source(profile, name)
    return S3Target(
        bucket=root.partition("://")[2].partition("/")[0],
        endpoint=endpoint,
        region=region or "us-east-1",
        credentials=source,
        sign_bodies=config.pop("payload_signing_enabled", False) or endpoint.startswith("http:"),
        ca_file=ca_file,
        **config,
    )


def _flat(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that count, those of the client among them, and the ones of its configuration."""
    given = {name: value for name, value in options.items() if name not in _NO_EFFECT and value is not None}
    client, config = given.pop("client_kwargs", {}), given.pop("config_kwargs", {})
    given = {"region" if name == "region_name" else name: value for name, value in given.items()}
    for name, value in client.items():
        if name not in _CLIENT_NAMES:
            raise UnmappedError(f"client_kwargs has {name}")
        given.setdefault(_CLIENT_NAMES[name], value)
    if given.pop("use_ssl", True) is not True:
        raise UnmappedError("storage option use_ssl has no counterpart")
    return given, _config(config)


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name in ("connect_timeout", "read_timeout") and isinstance(value, int | float):
            found[name.replace("timeout", "s")] = float(value)
        elif name == "s3" and isinstance(value, Mapping) and value.keys() <= {"addressing_style", *_SIGNING}:
            if value.get("addressing_style", "path") not in ("path", "auto"):
                raise UnmappedError("config_kwargs asks for virtual addressing")
            found.update({_SIGNING[0]: bool(value[_SIGNING[0]])} if _SIGNING[0] in value else {})
        elif name not in _NO_EFFECT_CONFIG and (name, value) != ("signature_version", "s3v4"):
            raise UnmappedError(f"config_kwargs has {name}")
    return found


_SIGNING = ("payload_signing_enabled",)


def _endpoint(given: Any, profile: Mapping[str, str], region: str | None) -> str:
    environ = os.environ
    if environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        given = given or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        given = given or profile.get("endpoint_url")
    if given:
        if not isinstance(given, str) or not _ENDPOINT.fullmatch(given):
            raise UnmappedError("the endpoint is more than scheme, host and port")
        endpoint = given.rstrip("/")
    elif region is None:
        # s3fs follows Amazon's answer to the bucket's own region.
        raise UnmappedError("no region is named, and only s3fs finds it out")
    elif region.startswith("us-iso") or "AWS_USE_FIPS_ENDPOINT" in environ or "AWS_USE_DUALSTACK_ENDPOINT" in environ:
        raise UnmappedError("the region or a variable asks for a special endpoint")
    else:
        endpoint = f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    if _is_proxied(endpoint):
        raise UnmappedError("the server is reached through a proxy")
    return endpoint


def _is_proxied(endpoint: str) -> bool:
    if not any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in os.environ):
        return False
    from urllib.request import getproxies, proxy_bypass

    scheme, _, place = endpoint.partition("://")
    proxies = getproxies()
    return (scheme in proxies or "all" in proxies) and not proxy_bypass(place)


def _ca_file(given: Any) -> str | None:
    given = given if given is not None else os.environ.get("AWS_CA_BUNDLE")
    if given in (None, True):
        return None
    if not isinstance(given, str):
        raise UnmappedError("certificates are not to be checked")
    return given
