"""What goes ahead of a request's body, and the signature over it (AWS version 4)."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from ...errors import StoreError
from ._credentials import Credentials
from ._target import S3Target

__all__ = ["no_credentials", "path_of", "query_of", "signed", "signed_for"]


def path_of(bucket: str, name: str) -> str:
    """Return the path of the object `name`, or of the `bucket` itself, as it is sent."""
    return quote(f"/{bucket}/{name}" if name else f"/{bucket}", safe="/-_.~")


def query_of(query: Mapping[str, str]) -> str:
    """Return `query` as it is sent and signed: sorted."""
    return "&".join(f"{_quoted(part)}={_quoted(query[part])}" for part in sorted(query))


def signed_for(
    target: S3Target, verb: str, path: str, query: str, headers: Mapping[str, str], pieces: Iterable[memoryview]
) -> dict[str, str]:
    """Return `headers`, and what else a request to `target` needs: a signature, unless nobody is to sign.

    Parameters
    ----------
    target : S3Target
        The bucket and its server.
    verb, path, query, headers
        As for `signed`.
    pieces : iterable of memoryview
        The body. Over http it is read for the signature.

    Raises
    ------
    StoreError
        ``kind="no-credentials"``.
    """
    if target.credentials is None:
        return dict(headers)
    credentials = target.credentials()
    if credentials is None:
        raise no_credentials()
    content = _hashed(pieces) if target.sign_bodies else "UNSIGNED-PAYLOAD"
    full = {**headers, "x-amz-content-sha256": content}
    return signed(verb, path, query, full, target.region, credentials, time.time())


def signed(
    verb: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    region: str,
    credentials: Credentials,
    now_s: float,
) -> dict[str, str]:
    """Return `headers` and the signature over them (AWS version 4).

    Parameters
    ----------
    verb, path, query : str
        As they are sent; the query's parts are sorted.
    headers : mapping
        In lower case, among them ``host`` and ``x-amz-content-sha256``.
    region : str
        Part of what is signed.
    credentials : Credentials
        Who signs.
    now_s : float
        Seconds, UTC.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    full = {**headers, "x-amz-date": stamp}
    if credentials.token:
        full["x-amz-security-token"] = credentials.token
    names = sorted(full)
    lines = "".join(f"{name}:{full[name]}\n" for name in names)
    request = "\n".join([verb, path, query, lines, ";".join(names), full["x-amz-content-sha256"]])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    who = f"{credentials.key}/{scope}"
    full["authorization"] = f"AWS4-HMAC-SHA256 Credential={who}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return full


def no_credentials() -> StoreError:
    """Return the error for a server that wants to know who asks."""
    return StoreError(
        "No S3 credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
        "or pass key and secret in storage_options.",
        kind="no-credentials",
    )


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _hashed(pieces: Iterable[memoryview]) -> str:
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()
