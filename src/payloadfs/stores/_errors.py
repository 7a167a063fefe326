"""Errors of remote stores: only this module translates those of fsspec, s3fs, botocore, aiohttp and obstore."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ..errors import NotFoundError, PayloadError, StoreError
from ._redaction import Secrets

_TIME_FIELDS = ("mtime", "last_modified", "LastModified", "updated", "modified", "modify", "created")
_MAX_MESSAGE_CHARS = 500
_MAX_BODY_CHARS = 10_000

UNCONDITIONAL = (
    "The server of {root} does not support conditional requests, so payloadfs does not send any. Keys are random, so "
    "nothing is overwritten, but each save first checks whether its key exists."
)
"""Warning, once, for a server that refuses ``If-None-Match``."""

STATUS = re.compile(r"status code: (\d{3})|non-2xx status code: (\d{3})")
_QUERY = re.compile(r"\?[^\s)>]*")
_NOT_AN_ANSWER = re.compile(r"Unable to extract metadata from headers|Got invalid \w+ response")
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")

_TRANSIENT_ERRNO = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT}
)
_DENIED_CODES = frozenset(
    {"AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId"}
    | {"InvalidToken", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
)
_BUSY_CODES = frozenset(
    {"ConditionalRequestConflict", "InternalError", "OperationAborted"}
    | {"RequestTimeout", "ServiceUnavailable", "SlowDown"}
)
_CHECKSUM_CODES = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})
_UNREACHABLE = frozenset(
    {"ClientConnectorError", "ConnectionRefusedError", "ConnectTimeoutError", "EndpointConnectionError", "gaierror"}
)
_CONNECTION_LOST = frozenset(
    {"ClientError", "ConnectionError", "HTTPClientError"}
    | {"HTTPException", "IncompleteReadError", "ResponseStreamingError"}
)
_LOST = frozenset(
    {"ConnectionError", "EOFError", "SFTPConnectionLost", "SFTPNoConnection", "SSHException", "TimeoutError"}
    | {"ChannelOpenError", "DisconnectError", "error_temp", "error_proto"}
)
_CLIENT_FAILED, _DENIED, _MISSING, _BUSY, _SERVER_FAILED, _UNSUPPORTED = 400, (401, 403), 404, (408, 429), 500, 501
_EXISTS = (409, 412)


class HTTPStatusError(Exception):
    """A response that is not a success. Its body is XML of S3 with a code and a message, or anything else."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(status, body)
        code, message = (_element(name, body[:_MAX_BODY_CHARS]) for name in ("Code", "Message"))
        self._shown = " ".join(filter(None, (str(status), code, message)))
        self.response = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }

    def __str__(self) -> str:
        return self._shown


class CertificateError(Exception):
    """A certificate that obstore does not trust."""


class ForeignAnswerError(Exception):
    """A response with status 200 that lacks what the responses of object stores contain."""


def _element(name: str, xml: str) -> str:
    from html import unescape

    match = re.search(rf"<{name}(?:\s[^>]*)?>([^<]*)</{name}>", xml)
    return unescape(match[1]) if match else ""


def from_obstore(error: BaseException) -> BaseException:
    """Return an `HTTPStatusError` or a built-in error for an error of obstore; return other errors unchanged.

    obstore describes most failures only in the message and chains no cause. URLs in the message
    lose their query, which may hold a signature.
    """
    if not type(error).__module__.startswith("obstore") and type(error) is not FileNotFoundError:
        return error
    message, _, details = str(error).partition("\n\nDebug source:")
    message = _QUERY.sub("", message)
    if match := STATUS.search(message):
        return HTTPStatusError(int(match[1] or match[2]), message[match.end() :])
    if "<Error>" in message:
        # S3 sends the status of a long request before the work is done, so an error may follow a 200.
        return HTTPStatusError(500, message)
    if "without LOCATION" in message:
        region = "<Code>PermanentRedirect</Code><Message>the bucket is in another region</Message>"
        return HTTPStatusError(301, region)
    if _NOT_AN_ANSWER.search(message):
        return ForeignAnswerError(message)
    if certificate := _CERTIFICATE.search(details):
        return CertificateError(certificate[1])
    # With the comma: a reset is "kind: ConnectionReset".
    if "kind: Connect," in details:
        return ConnectionRefusedError(message)
    if "kind: Timeout" in details or "TimedOut" in details:
        return TimeoutError(message)
    if "HTTP error" in message:
        return ConnectionAbortedError(message)
    return error if isinstance(error, FileNotFoundError) else OSError(message)


def s3_code(error: BaseException) -> str:
    """Return the code of an S3 response behind `error`, such as ``"NoSuchKey"``, or an empty string.

    s3fs raises built-in errors without it; their cause is botocore's error, which has it. fsspec wraps a `TimeoutError`
    once more.
    """
    return str(_response(error).get("Error", {}).get("Code", ""))


def _response(error: BaseException | None) -> Mapping[str, Any]:
    for _ in range(3):
        response = getattr(error, "response", None)
        if isinstance(response, Mapping):
            return response
        error = error and error.__cause__
    return {}


def status_of(error: BaseException) -> int:
    """Return the HTTP status behind `error`, or 0."""
    status: Any = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    for name in ("status_code", "status", "code"):
        status = status or getattr(error, name, 0)
    return int(status) if str(status).isdigit() else 0


def is_lost(error: BaseException) -> bool:
    """Return whether `error` says that a connection can no longer be used. By class name, as for other libraries."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & _LOST) or (isinstance(error, OSError) and "closed" in str(error).lower())


class ErrorTranslator:
    """The translation of foreign errors for one store. The storage options must not appear in a message or a cause."""

    def __init__(self, root: str, options: Mapping[str, Any]) -> None:
        self._root = root
        self.secrets = Secrets(options)

    def translate(self, error: BaseException, operation: str, key: str) -> PayloadError:
        """Return the error that payloadfs raises in place of `error`, with `error` as its cause, without secrets.

        Raise it outside the ``except`` block. Otherwise Python adds `error` as its context, secrets included.
        """
        if isinstance(error, PayloadError):
            return error
        cause = from_obstore(error)
        ours = self._translated(cause, operation, key)
        ours.__cause__ = self.secrets.cause(cause)
        return ours

    def timeout(self, operation: str, key: str, timeout_s: float) -> StoreError:
        """Return the error for an operation that makes no progress."""
        return StoreError(
            f"Cannot {operation} {key!r} in {self._root}: the server did not answer within {timeout_s:g} seconds.",
            transient=True,
            kind="timeout",
        )

    def dead(self, operation: str, key: str, kind: str) -> StoreError:
        """Return the error for an operation that is not tried, because another one failed with `kind` a moment ago."""
        why = "cannot be reached" if kind == "unreachable" else "does not answer"
        return StoreError(
            f"Cannot {operation} {key!r} in {self._root}: another operation found a moment ago that the server {why}. "
            "Nothing was sent.",
            transient=True,
            kind=kind,
        )

    def _translated(self, error: BaseException, operation: str, key: str) -> PayloadError:
        what = f"{key!r} in {self._root}"
        reason = self.secrets.hide(f"{type(error).__name__}: {error}")[:_MAX_MESSAGE_CHARS].rstrip(". ")
        code, status = s3_code(error), status_of(error)
        if code == "NoSuchBucket":
            return StoreError(
                f"The bucket of {self._root} does not exist: create it, or correct the URL.", kind="no-bucket"
            )
        if code == "NoSuchUpload":
            return StoreError(f"The upload of {what} no longer exists ({reason}).", kind="upload-gone")
        if operation != "put" and (isinstance(error, FileNotFoundError) or status == _MISSING):
            return NotFoundError(f"Object {what} not found.")
        if isinstance(error, PermissionError) or code in _DENIED_CODES or status in _DENIED:
            return StoreError(f"Permission denied: cannot {operation} {what} ({reason}).", kind="denied")
        failed = f"Cannot {operation} {what}"
        if code in _CHECKSUM_CODES:
            return StoreError(
                f"{failed}: the bytes were damaged in transit ({reason}).", transient=True, kind="checksum"
            )
        is_taken = isinstance(error, FileExistsError) or status in _EXISTS
        if operation == "put" and code not in _BUSY_CODES and is_taken:
            return StoreError(f"Object {what} already exists; it was not changed.", kind="exists")
        if code == "NotImplemented" or status == _UNSUPPORTED or isinstance(error, NotImplementedError):
            who = "file system" if isinstance(error, NotImplementedError) else "server"
            return StoreError(f"{failed}: the {who} does not support the request ({reason}).", kind="unsupported")
        if code == "ConditionalRequestConflict":
            return StoreError(f"{failed}: another writer is creating it ({reason}).", transient=True, kind="conflict")
        if code in _BUSY_CODES or status in _BUSY or status >= _SERVER_FAILED:
            return StoreError(f"{failed}: the server is busy or failed ({reason}).", transient=True, kind="busy")
        return _connection_error(error, failed, reason) or unexpected(error, f"{failed} ({reason}).")


def unexpected(error: BaseException, message: str) -> StoreError:
    """Return an error with `message` for `error`, whose kind is not known."""
    # Panics of Rust libraries are not of class Exception.
    kind = None if isinstance(error, Exception) else "panic"
    is_transient = isinstance(error, (ConnectionError, TimeoutError))
    return StoreError(message, transient=is_transient or getattr(error, "errno", None) in _TRANSIENT_ERRNO, kind=kind)


def _connection_error(error: BaseException, failed: str, reason: str) -> StoreError | None:
    """Return our error for a connection error. Compares names of classes, because not every library is installed."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if "cannot schedule new futures after" in reason:
        return StoreError(
            f"{failed}: the program is ending, and its libraries can no longer start a thread ({reason}).",
            kind="exiting",
        )
    if names & {"NoCredentialsError", "PartialCredentialsError", "NoAuthTokenError"}:
        return no_credentials(failed)
    if names & {"CertificateError", "SSLCertVerificationError"} or "CERTIFICATE_VERIFY_FAILED" in reason:
        return StoreError(
            f"{failed}: the server's certificate is not trusted ({reason}); set AWS_CA_BUNDLE or "
            "client_kwargs['verify'] to a file of trusted certificates.",
            kind="certificate",
        )
    if names & _UNREACHABLE:
        return StoreError(f"{failed}: the server cannot be reached ({reason}).", transient=True, kind="unreachable")
    if names & {"ReadTimeoutError", "TimeoutError"}:
        return StoreError(f"{failed}: the server did not answer in time ({reason}).", transient=True, kind="timeout")
    if "FlexibleChecksumError" in names:
        return StoreError(f"{failed}: the bytes were damaged in transit ({reason}).", transient=True, kind="checksum")
    if (names & _CONNECTION_LOST and not _response(error)) or is_lost(error):
        return StoreError(f"{failed}: the connection was lost ({reason}).", transient=True, kind="connection-lost")
    if "ForeignAnswerError" in names:
        return StoreError(
            f"{failed}: the response is not from an object store ({reason}): check the endpoint and any proxy.",
            kind="not-a-store",
        )
    if status_of(error) >= _CLIENT_FAILED:
        return StoreError(f"{failed}: the server refused the request ({reason}).", kind="refused")
    return None


def no_credentials(failed: str) -> StoreError:
    """Return the error for an S3 request without credentials. Nothing was sent."""
    return StoreError(
        f"{failed}: no S3 credentials found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or pass key and secret in storage_options.",
        kind="no-credentials",
    )


def modified_s(entry: Mapping[str, Any]) -> float:
    """Return the modification time in a file system's `entry`, in seconds (UTC); infinite if it does not say."""
    for name in _TIME_FIELDS:
        value = entry.get(name)
        if isinstance(value, str):
            with suppress(ValueError):
                # FTP writes 20260101000000, maybe with a fraction.
                value = datetime.fromisoformat(f"{value[:8]}T{value[8:14]}" if value[:14].isdigit() else value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    # So that no clean-up considers it old.
    return float("inf")
