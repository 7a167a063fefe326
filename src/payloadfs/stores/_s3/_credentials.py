"""Who asks, and where: credentials, region and endpoint as the AWS variables and files tell, read without botocore."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from .._obstore_options import UnmappedError

__all__ = ["Credentials", "CredentialsSource", "aws_profile", "credentials_source", "fixed"]

_FROM_ELSEWHERE = ("credential_process", "role_arn", "source_profile", "sso_session", "sso_start_url")
_ONLY_BOTOCORE = ("s3", "services", "ca_bundle", "use_fips_endpoint", "use_dualstack_endpoint")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key, its secret, and the token of a session."""

    key: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


CredentialsSource = Callable[[], Credentials | None]
"""Gives the credentials of now, or None if there are none."""


def fixed(key: Any, secret: Any, token: Any = None) -> CredentialsSource:
    """Return a source that always gives the same."""
    if not all(isinstance(text, str) for text in (key, secret, token or "")):
        raise UnmappedError("key, secret or token is not a text")
    found = Credentials(key, secret, token or None)
    return lambda: found


def aws_profile(name: str | None) -> dict[str, str]:
    """Return what the AWS files say of a profile, by default of the one that the variables name.

    Raises
    ------
    UnmappedError
        It says what only botocore understands, or a file can't be read.
    """
    name = name or os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE")
    section = name or "default"
    config = _sections("AWS_CONFIG_FILE", "~/.aws/config")
    secrets = _sections("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    found = {**config.get(section if section == "default" else f"profile {section}", {}), **secrets.get(section, {})}
    if name and not found:
        raise UnmappedError(f"the AWS files hold no profile {name!r}")
    for setting in _ONLY_BOTOCORE:
        if setting in found:
            raise UnmappedError(f"the AWS profile sets {setting}")
    return found


def _sections(variable: str, fallback: str) -> Mapping[str, Mapping[str, str]]:
    path = os.path.expanduser(os.environ.get(variable) or fallback)
    if not os.path.exists(path):
        return {}
    from configparser import Error, RawConfigParser

    parser = RawConfigParser(default_section="")
    try:
        parser.read(path, encoding="utf-8")
    except (Error, UnicodeDecodeError, OSError):
        # Not chained: the error may quote a line with a secret.
        raise UnmappedError("an AWS file can't be read") from None
    return {name: dict(parser.items(name)) for name in parser.sections()}


def credentials_source(profile: Mapping[str, str], name: str | None) -> CredentialsSource:
    """Return where credentials come from if no option gives them: variables, the `profile`, or botocore.

    Raises
    ------
    UnmappedError
        Only botocore could find them, and it is not installed.
    """
    environ = os.environ
    if not name and environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        token = environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN")
        return fixed(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], token)
    elsewhere = any(setting in profile for setting in _FROM_ELSEWHERE) or "AWS_WEB_IDENTITY_TOKEN_FILE" in environ
    if not elsewhere and "aws_access_key_id" in profile and "aws_secret_access_key" in profile:
        return fixed(profile["aws_access_key_id"], profile["aws_secret_access_key"], profile.get("aws_session_token"))
    if find_spec("botocore") is None:
        raise UnmappedError("the credentials have to be found by botocore")
    return _botocores(name)


def _botocores(profile: str | None) -> CredentialsSource:
    """Roles, single sign-on, instance metadata: found and renewed by botocore, which loads when first asked."""
    held: list[Any] = []

    def source() -> Credentials | None:
        if not held:
            from botocore.session import Session

            held.append(Session(profile=profile).get_credentials())
        if held[0] is None:
            held.clear()  # they may be there next time
            return None
        now = held[0].get_frozen_credentials()
        return Credentials(now.access_key, now.secret_key, now.token)

    return source
