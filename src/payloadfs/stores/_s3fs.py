"""S3 through s3fs, for everything that obstore cannot do: proxies, forked children, unusual options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ._aws import encryption_from_environment
from ._base import Options
from ._fsspec import FsspecStore

__all__ = ["open_s3fs_store"]

_CONFIG: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 12,
    # payloadfs itself repeats requests; a server that is silent costs one time limit.
    "retries": {"total_max_attempts": 1},
    "max_pool_connections": 32,
}


def open_s3fs_store(root: str, storage_options: Mapping[str, Any] | None = None) -> FsspecStore:
    """Return the store at the canonical ``s3`` URL `root`. No request is sent.

    Parameters
    ----------
    root : str
        ``s3://bucket`` or ``s3://bucket/path``.
    storage_options : mapping, optional
        As `s3fs.S3FileSystem` takes them. They win over the time limits of payloadfs.

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
    region = options.pop("region", None) or options.pop("region_name", None)
    options["client_kwargs"] = {**({"region_name": region} if region else {}), **options.get("client_kwargs", {})}
    options["config_kwargs"] = {**_CONFIG, **options.get("config_kwargs", {})}
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
        # Its own attempts multiply with those of payloadfs.
        filesystem.retries = 1
        return filesystem, root.partition("://")[2]

    return FsspecStore(root, open_filesystem)


def _new_session(profile: str | None) -> Any:
    """Return a session that sends bodies at once: a server that never answers "100 Continue" would hang the request."""
    from aiobotocore.session import AioSession
    from botocore.handlers import add_expect_header

    session = AioSession(profile=profile)
    session.unregister("before-call.s3", add_expect_header)
    return session
