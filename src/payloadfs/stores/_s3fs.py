"""S3 through s3fs, for everything that obstore cannot do: proxies, forked children, unusual options."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from inspect import signature
from typing import Any

from .._typenames import suggestion
from ..errors import ConfigError, StoreError
from ._aws import encryption_from_environment
from ._base import Options
from ._fsspec import FsspecStore
from ._retry import TIMEOUT_S, Retry
from ._s3_control import S3Control

# payloadfs itself repeats requests; a server that is silent costs one time limit.
_CONFIG: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 32}

_MORE_OPTIONS = ("listings_expiry_time", "max_paths", "profile", "region", "region_name", "use_listings_cache")

_PROOF = {
    "PutObject": "ETag",
    "CreateMultipartUpload": "UploadId",
    "UploadPart": "ETag",
    "CompleteMultipartUpload": "ETag",
    "ListObjectsV2": "IsTruncated",
}
"""What the response of an object store has, and that of a captive portal lacks."""


def open_s3fs_store(
    root: str, storage_options: Mapping[str, Any] | None = None, timeout_s: float = TIMEOUT_S
) -> FsspecStore:
    """Return the store at the canonical ``s3`` URL `root`. No request is sent.

    The options of `s3fs.S3FileSystem` take precedence over the time limits of payloadfs.

    Raises
    ------
    ConfigError
        s3fs is not installed, or an option is not valid.
    """
    try:
        import s3fs
    except ImportError as error:
        raise ConfigError("S3 needs s3fs: pip install 'payloadfs[s3]'.", kind="missing-package") from error
    options = Options(storage_options or {})
    # Options that it does not know would be dropped with the session of payloadfs: data could go to another server.
    known = {*signature(s3fs.S3FileSystem.__init__).parameters, *_MORE_OPTIONS} - {"self", "kwargs"}
    for name in options.keys() - known:
        meant = suggestion(name, known, 0.6) or "; s3fs.S3FileSystem has the list"
        raise ConfigError(f"Unknown storage option {name!r} for s3://{meant}", kind="options")
    region = options.pop("region", None) or options.pop("region_name", None)
    options["client_kwargs"] = {**({"region_name": region} if region else {}), **options.get("client_kwargs", {})}
    config = options.get("config_kwargs", {})
    limits = {"connect_timeout": timeout_s / 3, "read_timeout": timeout_s * 2 / 3}
    options["config_kwargs"] = {**limits, **_CONFIG, **config}
    timeout_s = options["config_kwargs"]["read_timeout"] * 1.5
    options["s3_additional_kwargs"] = {**encryption_from_environment(), **options.get("s3_additional_kwargs", {})}
    options |= {"use_listings_cache": False, "asynchronous": False}

    def open_filesystem() -> tuple[Any, str]:
        session = {} if "session" in options else {"session": _new_session(options.get("profile"))}
        given = {name: value for name, value in options.items() if name != "profile" or not session}
        try:
            filesystem = s3fs.S3FileSystem(**given, **session, skip_instance_cache=True)
        except (TypeError, ValueError, KeyError):
            # Not chained: the message may hold an option's value.
            raise ConfigError("The storage options for S3 are not valid.", kind="options") from None
        # Its own attempts would multiply those of payloadfs.
        filesystem.retries = 1
        return filesystem, root.partition("://")[2]

    def control(retry: Retry) -> S3Control:
        return S3Control(root, {**(storage_options or {}), "config_kwargs": config}, retry)

    # A session of the caller is for asynchronous clients only.
    return FsspecStore(root, open_filesystem, timeout_s, None if "session" in options else control)


def _new_session(profile: str | None) -> Any:
    """Return a session whose clients send bodies immediately, and accept a response only from an object store.

    A server that never answers "100 Continue" would hang the request.
    """
    from aiobotocore.session import AioSession
    from botocore.handlers import add_expect_header

    session = AioSession(profile=profile)
    session.unregister("before-call.s3", add_expect_header)
    for operation, name in _PROOF.items():
        session.register(f"after-call.s3.{operation}", partial(_check_answer, name))
    return session


def _check_answer(name: str, parsed: Mapping[str, Any], **_: Any) -> None:
    if "Error" in parsed or (name in parsed and (not parsed.get("IsTruncated") or parsed.get("NextContinuationToken"))):
        return
    raise StoreError("The response is not from an object store: check the endpoint and any proxy.", kind="not-a-store")
