"""Configuration for S3: botocore's own session decides on credentials, region and endpoint; obstore uses the result.

Only a complete pair of keys, in the storage options or in the environment, skips botocore, and only
where no AWS file or profile could override it: importing botocore takes longer than a small save.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from typing import Any

from ..errors import ConfigError
from ._errors import no_credentials
from ._obstore_options import Limits, Target, UnmappedError, client_options, refuse_proxies, retry_config

_ENDPOINT = re.compile(r"(https?)://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?/?")
_AMAZON = re.compile(r"https://s3(?:[.-]([a-z]{2}-[a-z]+-[0-9]+))?\.amazonaws\.com(\.cn)?")
_VIRTUAL_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_CREDENTIALS_S = 540
"""obstore asks for credentials again after this time; botocore renews them well before they expire."""

# These have no meaning for payloadfs, or are settled elsewhere.
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
_S3_CONFIG = frozenset({"addressing_style", "payload_signing_enabled"})
_S3_CONFIG_NO_EFFECT = frozenset({"disable_s3_express_session_auth", "us_east_1_regional_endpoint", "use_arn_region"})
_SPECIAL_ENDPOINTS = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT")
_ENCRYPTION = {
    "AWS_SERVER_SIDE_ENCRYPTION": "ServerSideEncryption",
    "AWS_SSE_KMS_KEY_ID": "SSEKMSKeyId",
    "AWS_SSE_BUCKET_KEY_ENABLED": "BucketKeyEnabled",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key, its secret, and the token of a session.

    Raises
    ------
    ConfigError
        One of them holds white space or a control character, which no server can accept.
    """

    key: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, value in (("access key", self.key), ("secret key", self.secret), ("session token", self.token)):
            if value is not None and re.search(r"[\s\x00-\x1f\x7f]", value):
                raise ConfigError(
                    f"The S3 {name} contains white space or a control character: remove it, for example a newline "
                    "at its end. Nothing was sent.",
                    kind="credentials",
                )

    @property
    def secrets(self) -> tuple[str | None, ...]:
        """What must not appear in messages."""
        return self.secret, self.token


CredentialsSource = Callable[[], Credentials | None]


@dataclass(frozen=True, slots=True)
class _Session:
    """Settings from botocore's session, or from the environment alone."""

    endpoint: str | None
    region: str | None
    credentials: CredentialsSource
    ca_file: str | None
    addressing: str | None = None


def s3_target(root: str, options: Mapping[str, Any]) -> Target:
    """Return what the canonical `root` and s3fs's `options` mean for obstore. May read the AWS files; no request.

    Raises
    ------
    UnmappedError
        An option, a variable or a profile requires something that only s3fs supports.
    ConfigError
        The credentials cannot be valid.
    """
    bucket = root.partition("://")[2].partition("/")[0]
    given, times, addressing = _flat(options)
    anonymous = given.pop("anon", False)
    verify = given.pop("verify", None)
    known = {name: given.pop(name, None) for name in ("key", "secret", "token", "profile", "region", "endpoint_url")}
    if given:
        raise UnmappedError(f"obstore does not support the storage option {min(given)}")
    if bool(known["key"]) != bool(known["secret"]):
        raise UnmappedError("the storage options have key without secret, or secret without key")
    session = _from_environment(known, anonymous) or _from_botocore(known)
    ca_file = _ca_file(verify if verify is not None else session.ca_file)
    endpoint, region, virtual = _endpoint(session, bucket, addressing or session.addressing)
    refuse_proxies(endpoint)
    config = {
        "region": region,
        "endpoint": endpoint,
        # obstore itself reads this variable, which would take precedence.
        "aws_endpoint_url_s3": endpoint,
        "virtual_hosted_style_request": virtual,
        "skip_signature": bool(anonymous),
        # The server verifies the body by its signature if it checks that, else by the checksum.
        "unsigned_payload": False,
        "checksum_algorithm": "SHA256",
        "conditional_put": "etag",
        "copy_if_not_exists": "multipart",
        "s3_express": False,
        "request_payer": False,
        "disable_tagging": False,
        # One DELETE instead of a POST with a list.
        "disable_bulk_delete": True,
    }
    source = None if anonymous else partial(_credentials, session.credentials)

    def new_client(limits: Limits) -> Any:
        from obstore.store import S3Store

        http: Any = client_options(endpoint, limits, ca_file)
        provider = None if source is None else partial(_for_obstore, source)
        settings: Any = config
        return S3Store(
            bucket,
            config=settings,
            client_options=http,
            retry_config=retry_config(limits),
            credential_provider=provider,
        )

    return Target(new_client, {}, source, **times)


def encryption_from_environment() -> dict[str, Any]:
    """Return what obstore's encryption variables mean for s3fs, so that both transports encrypt alike."""
    found: dict[str, Any] = {}
    for variable, name in _ENCRYPTION.items():
        if value := os.environ.get(variable):
            found[name] = value.lower() == "true" if name == "BucketKeyEnabled" else value
    if customer := os.environ.get("AWS_SSE_CUSTOMER_KEY_BASE64"):
        key = base64.b64decode(customer)
        digest = base64.b64encode(hashlib.md5(key, usedforsecurity=False).digest()).decode()
        found |= {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": customer, "SSECustomerKeyMD5": digest}
        found.pop("ServerSideEncryption", None)
    return found


def _flat(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float], str | None]:
    """Return the options flattened to one level, the time limits, and the addressing style."""
    given = {name: value for name, value in options.items() if name not in _NO_EFFECT and value is not None}
    client, config = given.pop("client_kwargs", {}), given.pop("config_kwargs", {})
    given = {"region" if name == "region_name" else name: value for name, value in given.items()}
    for name, value in client.items():
        if name not in _CLIENT_NAMES:
            raise UnmappedError(f"client_kwargs has {name}")
        given.setdefault(_CLIENT_NAMES[name], value)
    if given.pop("use_ssl", True) is not True:
        raise UnmappedError("obstore does not support the storage option use_ssl")
    for name in ("key", "secret", "token"):
        if not isinstance(given.get(name, ""), str):
            raise UnmappedError(f"storage option {name} is not a string")
    times: dict[str, float] = {}
    addressing = None
    for name, value in config.items():
        if name in ("connect_timeout", "read_timeout") and isinstance(value, int | float):
            times["answer_s" if name == "read_timeout" else "connect_s"] = float(value)
        elif name == "s3" and isinstance(value, Mapping) and value.keys() <= _S3_CONFIG:
            addressing = value.get("addressing_style")
        elif name not in _NO_EFFECT_CONFIG and (name, value) != ("signature_version", "s3v4"):
            raise UnmappedError(f"config_kwargs has {name}")
    return given, times, addressing


def _from_environment(known: Mapping[str, Any], anonymous: bool) -> _Session | None:
    """Return what variables and options alone say, or None if botocore is needed."""
    environ = os.environ
    files = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
    if any(os.path.exists(os.path.expanduser(environ.get(name) or path)) for name, path in files):
        return None
    if known["profile"] or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE"):
        return None
    if any(environ.get(name) for name in (*_SPECIAL_ENDPOINTS, "AWS_CREDENTIAL_EXPIRATION")):
        return None
    if known["key"]:
        pair = known["key"], known["secret"], known["token"]
    else:
        token = environ.get("AWS_SECURITY_TOKEN") or environ.get("AWS_SESSION_TOKEN")
        pair = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY"), known["token"] or token
    key, secret, token = pair
    if not (key and secret) and not anonymous:
        return None
    endpoint = known["endpoint_url"]
    if environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        endpoint = endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    found = Credentials(key, secret, token or None) if key and secret else None
    region = known["region"] or environ.get("AWS_DEFAULT_REGION")
    return _Session(endpoint, region, lambda: found, environ.get("AWS_CA_BUNDLE"))


def _from_botocore(known: Mapping[str, Any]) -> _Session:
    if find_spec("botocore") is None:
        raise UnmappedError("botocore is needed to find the credentials, but it is not installed")
    from botocore.exceptions import BotoCoreError, ProfileNotFound
    from botocore.session import Session

    try:
        session = Session(profile=known["profile"])
        # The client provides only endpoint and region. With any keys, it does not search for others, which may take
        # requests.
        client = session.create_client(
            "s3",
            region_name=known["region"],
            endpoint_url=known["endpoint_url"],
            aws_access_key_id="unused",
            aws_secret_access_key="unused",  # noqa: S106
        )
    except ProfileNotFound as error:
        raise UnmappedError(str(error).rstrip(".")) from None
    except (BotoCoreError, ValueError) as error:
        # Not chained: the message may quote a line with a secret.
        raise UnmappedError(f"botocore refuses the configuration ({type(error).__name__})") from None
    config, endpoint = client.meta.config, client.meta.endpoint_url
    # Not the client's region: where none is configured it has a default.
    region = known["region"] or session.get_config_variable("region")
    client.close()
    unsupported = {name for name, value in (config.s3 or {}).items() if value} - _S3_CONFIG - _S3_CONFIG_NO_EFFECT
    if unsupported:
        raise UnmappedError(f"the AWS profile sets s3 {min(unsupported)}")
    if config.use_fips_endpoint or config.use_dualstack_endpoint:
        raise UnmappedError("a special endpoint (FIPS, dual stack) is configured")

    def credentials() -> Credentials | None:
        if known["key"]:
            return Credentials(known["key"], known["secret"], known["token"])
        try:
            found = session.get_credentials()
            frozen = found and found.get_frozen_credentials()
        except (BotoCoreError, OSError) as error:
            # Not chained: the message may quote what a credential process printed.
            raise no_credentials(f"Cannot use the S3 credentials ({type(error).__name__})") from None
        if frozen is None:
            return None
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    style = (config.s3 or {}).get("addressing_style")
    return _Session(endpoint, region, credentials, session.get_config_variable("ca_bundle"), style)


def _credentials(source: CredentialsSource) -> Credentials:
    if (found := source()) is None:
        raise no_credentials("Cannot sign requests")
    return found


def _for_obstore(source: Callable[[], Credentials]) -> Any:
    found = source()
    return {
        "access_key_id": found.key,
        "secret_access_key": found.secret,
        "token": found.token,
        "expires_at": datetime.now(UTC) + timedelta(seconds=_CREDENTIALS_S),
    }


def _endpoint(session: _Session, bucket: str, addressing: str | None) -> tuple[str, str, bool]:
    """Return the endpoint, the region that signs, and whether the bucket is part of the host name."""
    endpoint = (session.endpoint or "").rstrip("/")
    amazon = _AMAZON.fullmatch(endpoint)
    if endpoint and amazon is None:
        if not _ENDPOINT.fullmatch(endpoint) or "amazonaws" in endpoint:
            raise UnmappedError(
                "the endpoint has more than a scheme, a host and a port, or is a special endpoint of Amazon"
            )
        if addressing == "virtual":
            raise UnmappedError("virtual addressing is configured for a server other than Amazon's")
        return endpoint, session.region or "us-east-1", False
    region = session.region or (amazon[1] if amazon else None)
    if region is None:
        raise UnmappedError("no region is configured, and only s3fs finds the region of a bucket")
    if region.startswith("us-iso"):
        raise UnmappedError("the region has a special endpoint")
    host = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    if addressing != "path" and _VIRTUAL_BUCKET.fullmatch(bucket):
        return f"https://{bucket}.{host}", region, True
    return f"https://{host}", region, False


def _ca_file(verify: Any) -> str | None:
    if verify in (None, True):
        return None
    if not isinstance(verify, str):
        raise UnmappedError("certificates are not verified")
    if not os.path.isfile(verify):
        raise ConfigError(
            f"The file of trusted certificates {verify!r} does not exist: correct AWS_CA_BUNDLE or "
            "client_kwargs['verify'].",
            kind="certificate-file",
        )
    return verify
