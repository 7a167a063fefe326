"""What may leave the process: objects with secrets, and storage options."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

from .errors import ConfigError

_SALT = os.urandom(32)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WITHOUT_SPACES = frozenset(
    {"key", "secret", "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "account_key", "sas_token"}
)
NOT_SECRET = frozenset(
    {"account_name", "addressing_style", "anon", "endpoint", "endpoint_url", "host", "mode", "port", "profile"}
    | {"project", "region", "region_name", "signature_version"}
)
"""Names of options that are never secret. An endpoint may still hold a password."""


class StaysInProcess:
    """Base of objects that hold secrets: pickling raises `TypeError`, and a copy is the object itself.

    A pickle may be stored where other people can read it, so a secret must never become a part of one.
    """

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds secrets, such as credentials, and cannot be pickled: pickle the Repository, or get the keys "
            "and settings from the configuration of the process that needs them."
        )

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def copy_options(options: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a deep copy of storage options.

    Raises
    ------
    ConfigError
        An option has a control character or white space at its ends, as a secret that was read from a file
        often has, or a key has white space in it. The message names the option.
    """
    copied = {}
    for name, value in options.items():
        if isinstance(value, str) and _is_damaged(name, value):
            raise ConfigError(
                f"The option {name!r} has white space, or a control character such as a line break: remove it.",
                kind="option-value",
            )
        copied[name] = copy_options(value) if isinstance(value, Mapping) else value
    return copied


def _is_damaged(name: str, value: str) -> bool:
    if name in _WITHOUT_SPACES and len(value.split()) != 1 and value:
        return True
    if value.startswith("{") or "-----BEGIN " in value:
        return False  # keys in JSON or PEM have lines
    return value != value.strip() or _CONTROL.search(value) is not None


def masked(value: Any, name: str = "") -> Any:
    """Return storage options for display: secrets are replaced by ``***``."""
    if isinstance(value, Mapping):
        return {inner: masked(value[inner], inner) for inner in value}
    # Even an endpoint may hold a password (user:password@) or a signature (?sig=).
    return value if _is_public(name, value) else "***"


def fingerprint(values: Iterable[Any]) -> str:
    """Return a string that is equal only for equal values in this process. It reveals none of them."""
    return hmac.digest(_SALT, _spelled(list(values)).encode(), "sha256").hex()


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{','.join(sorted(f'{_spelled(name)}:{_spelled(value[name])}' for name in value))}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_spelled, value))}]"
    # Anything else, such as a session, equals only itself. The caller keeps it alive.
    return repr(value) if isinstance(value, str | bytes | float | int | Path | None) else f"<{id(value)}>"


def _is_public(name: str, value: Any) -> bool:
    plain = isinstance(value, str | bool) and not {"@", "?"}.intersection(str(value))
    return name in NOT_SECRET and plain


def public_options(options: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the options that are not secret, such as the endpoint."""
    inner = {name: public_options(value) for name, value in options.items() if isinstance(value, Mapping)}
    plain = {name: value for name, value in options.items() if _is_public(name, value)}
    return plain | {name: value for name, value in inner.items() if value}
