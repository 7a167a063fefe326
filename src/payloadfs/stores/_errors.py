"""The border to fsspec, s3fs, botocore, aiohttp, obstore and the system's sockets: their errors become ours here, and nowhere else."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ..errors import NotFoundError, PayloadError, StoreError

__all__ = ["Border", "modified_s", "s3_code"]

_PUBLIC_OPTIONS = frozenset({"endpoint_url", "host", "port", "project", "region", "region_name", "signature_version"})
_TIMES = ("mtime", "last_modified", "LastModified", "updated", "modified", "created")
_SHORTEST_SECRET = 6
_MOST_WORDS = 500

_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_SIGNED_QUERY = re.compile(r"(?i)((?:x-amz-[a-z-]+|sig|signature|token|awsaccesskeyid)=)[^&\s'\"]+")

_TRANSIENT_ERRNO = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT}
)
_DENIED_CODES = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_BUSY_CODES = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
    }
)
_UNREACHABLE = frozenset(
    {"ClientConnectorError", "ConnectionRefusedError", "ConnectTimeoutError", "EndpointConnectionError", "gaierror"}
)
_BROKEN_OFF = frozenset(
    {
        "ClientError",
        "ConnectionError",
        "HTTPClientError",
        "HTTPException",
        "IncompleteReadError",
        "ResponseStreamingError",
    }
)
_DENIED, _MISSING, _TOO_MANY, _SERVER_FAILED = (401, 403), 404, 429, 500
_EXISTS = (409, 412)


def s3_code(error: BaseException) -> str:
    """Return the code of an S3 answer behind `error`, such as ``"NoSuchKey"``, or an empty text.

    s3fs raises built-in errors that have lost it; their cause is botocore's error, which has it.
    """
    return str(_response(error).get("Error", {}).get("Code", ""))


def _response(error: BaseException) -> Mapping[str, Any]:
    for candidate in (error, error.__cause__):
        response = getattr(candidate, "response", None)
        if isinstance(response, Mapping):
            return response
    return {}


def _status(error: BaseException) -> int:
    status: Any = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    for name in ("status_code", "status", "code"):
        status = status or getattr(error, name, 0)
    return int(status) if str(status).isdigit() else 0


class Border:
    """Translates foreign errors for one store.

    Parameters
    ----------
    root : str
        Named in messages.
    secrets : mapping
        Storage options and the like. Their texts never appear in a message, at any depth.
    """

    def __init__(self, root: str, secrets: Mapping[str, Any]) -> None:
        self._root = root
        # Longest first: a secret may contain another one.
        self._secrets = sorted(set(_texts(secrets)), key=len, reverse=True)

    def translate(self, error: Exception, operation: str, key: str) -> PayloadError:
        """Return what payloadfs raises in place of `error`, which stays its cause."""
        if isinstance(error, PayloadError):
            return error
        what = f"{key!r} in {self._root}"
        said = self._scrub(f"{type(error).__name__}: {error}")
        code, status = s3_code(error), _status(error)
        if code == "NoSuchBucket":
            return StoreError(f"There is no bucket for {self._root}: create it, or correct the URL.", kind="no-bucket")
        if code == "NoSuchUpload":
            return StoreError(f"The upload of {what} is gone ({said}).", kind="upload-gone")
        if operation != "put" and (isinstance(error, FileNotFoundError) or status == _MISSING):
            return NotFoundError(f"There is no object {what}.")
        if isinstance(error, PermissionError) or code in _DENIED_CODES or status in _DENIED:
            return StoreError(f"The store denied to {operation} {what} ({said}).", kind="denied")
        if code not in _BUSY_CODES and (isinstance(error, FileExistsError) or status in _EXISTS):
            return StoreError(f"There is an object {what} already; it was left as it is.", kind="exists")
        failed = f"Could not {operation} {what}"
        if code == "ConditionalRequestConflict":
            return StoreError(f"{failed}: somebody else writes it just now ({said}).", transient=True, kind="conflict")
        if code in _BUSY_CODES or status == _TOO_MANY or status >= _SERVER_FAILED:
            return StoreError(f"{failed}: the server is busy or failed ({said}).", transient=True, kind="busy")
        return _connection_error(error, failed, said) or StoreError(
            f"{failed} ({said}).", transient=_is_transient(error)
        )

    def _scrub(self, words: str) -> str:
        for secret in self._secrets:
            words = words.replace(secret, "***")
        words = _SIGNED_QUERY.sub(r"\1***", _USER_INFO.sub("***@", words))
        return words[:_MOST_WORDS].rstrip(". ")


def _texts(options: Any) -> Iterator[str]:
    if isinstance(options, Mapping):
        for name, value in options.items():
            if name not in _PUBLIC_OPTIONS:
                yield from _texts(value)
    elif isinstance(options, (list, tuple, set, frozenset)):
        for value in options:
            yield from _texts(value)
    elif isinstance(options, (str, bytes)):
        text = options if isinstance(options, str) else options.decode("utf-8", "replace")
        if len(text) >= _SHORTEST_SECRET:
            yield text


def _is_transient(error: Exception) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) or getattr(error, "errno", None) in _TRANSIENT_ERRNO


def _connection_error(error: Exception, failed: str, said: str) -> StoreError | None:
    """Return our error for one of a connection, whoever held it. By name: not every library is installed."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"NoCredentialsError", "PartialCredentialsError", "NoAuthTokenError"}:
        return StoreError(
            f"{failed}: no S3 credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "or pass key and secret in storage_options.",
            kind="no-credentials",
        )
    if "SSLCertVerificationError" in names or "CERTIFICATE_VERIFY_FAILED" in said:
        return StoreError(
            f"{failed}: the server's certificate is not trusted ({said}); name a file with those that are "
            "in AWS_CA_BUNDLE or as verify in client_kwargs.",
            kind="certificate",
        )
    if names & _UNREACHABLE:
        return StoreError(f"{failed}: the server can't be reached ({said}).", transient=True, kind="unreachable")
    if names & {"ReadTimeoutError", "TimeoutError"}:
        return StoreError(f"{failed}: the server gave no answer in time ({said}).", transient=True, kind="timeout")
    if "FlexibleChecksumError" in names:
        return StoreError(f"{failed}: the bytes were changed on their way ({said}).", transient=True, kind="checksum")
    if names & _BROKEN_OFF and not _response(error):
        return StoreError(f"{failed}: the connection broke off ({said}).", transient=True, kind="connection-lost")
    return None


def modified_s(key: str, entry: Mapping[str, Any]) -> float:
    """Return the time of writing that a file system's `entry` for `key` tells, in seconds (UTC)."""
    for name in _TIMES:
        value = entry.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    # A made-up time would make a clean-up delete what is in use.
    raise StoreError(f"The file system does not tell when {key!r} was written.", kind="no-mtime")
