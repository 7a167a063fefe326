"""Root URLs: the strict syntax of roots in pointers, and the conversion of users' URLs and paths to it.

A root is ``scheme://host/path``: no chaining (``::``), user, password, query, fragment, empty,
``.`` or ``..`` segments, and no trailing slash. Only ``file`` roots may contain percent-encoded bytes,
in one canonical spelling. Credentials and endpoints are never part of a root.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from .errors import ConfigError, PolicyError

SIGNED_ROOTS = ("s3://*", "gs://*", "az://*")
"""Roots allowed by default: any object store root in a pointer signed with a trusted key."""

MAX_ROOT_CHARS = 1024

_SCHEME = re.compile(r"[a-z][a-z0-9]*(?:[+-][a-z0-9]+)*")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_SEGMENT = re.compile(r"[A-Za-z0-9._~=+,-]+")
_FILE_SAFE = "._~=+,-"
_SAME_SCHEME = {"local": "file", "s3a": "s3", "gcs": "gs"}
_AZURE = frozenset({"abfs", "abfss", "adl", "az", "wasb", "wasbs"})
_LIKE_A_URL = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*:")
_DRIVE = re.compile(rb"[A-Za-z]:(?![^/\\])")
# Never the segment itself: it may contain a password.
_BAD_SEGMENT = (
    "its path has a segment that is empty, '.' or '..', or has characters other than letters, digits and ._~=+,-"
)


def scheme_of(root: str) -> str:
    """Return the scheme of a canonical root."""
    return root.partition("://")[0]


def root_problem(root: str) -> str | None:
    """Return why `root` is not a canonical root, or None.

    Examples
    --------
    >>> root_problem("s3://bucket/runs") is None
    True
    >>> root_problem("s3://key:secret@bucket/runs")
    'its host or bucket name is not valid (credentials are not allowed)'
    """
    if len(root) > MAX_ROOT_CHARS:
        return f"it is longer than {MAX_ROOT_CHARS} characters"
    scheme, separator, location = root.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme) or scheme in _SAME_SCHEME:
        return "it does not start with a scheme such as file:// or s3://"
    host, *segments = location.split("/")
    if scheme == "file":
        if host or not segments:
            return "a file URL must be file:/// and an absolute path"
        return None if segments == [""] else _file_problem(segments)
    if not host:
        return f"it has no host or bucket name, as in {scheme}://name"
    if not _HOST.fullmatch(host):
        return "its host or bucket name is not valid (credentials are not allowed)"
    if ":" in host and scheme in ("s3", "gs", "az"):
        return "a bucket name has no port"
    for segment in segments:
        if segment in (".", "..") or not _SEGMENT.fullmatch(segment):
            return _BAD_SEGMENT
    return None


def _file_problem(segments: list[str]) -> str | None:
    for segment in segments:
        # ASCII first, because a lone surrogate cannot be unquoted.
        if (
            not segment.isascii()
            or segment in ("", ".", "..")
            or quote(unquote_to_bytes(segment), _FILE_SAFE) != segment
        ):
            return "its path is not percent-encoded in the canonical way"
        if any(byte < 0x20 or byte in (0x2F, 0x5C, 0x7F) for byte in unquote_to_bytes(segment)):
            return "its path contains a control character, a backslash or an encoded slash"
    return None


def canonical_root(url: Any) -> str:
    """Return the canonical root for a path or URL from a user.

    Parameters
    ----------
    url : str or os.PathLike
        A folder (``~`` is expanded, links are resolved), a ``file://`` URL, or any other fsspec
        URL. A `upath.UPath` is used as its URL.

    Raises
    ------
    ConfigError
        The URL is not valid, or has parts that a root must not have (credentials, a query, a chain).
        Nothing was opened.

    Examples
    --------
    >>> canonical_root("s3a://bucket/runs/")
    's3://bucket/runs'
    >>> canonical_root("file:///srv/My Files")
    'file:///srv/My%20Files'
    """
    protocol = getattr(url, "protocol", None)
    if isinstance(protocol, str) and protocol not in ("", "file", "local"):
        url = str(url)
    text = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"A storage URL must be a non-empty string or path (got {type(url).__name__}).", kind="url")
    scheme, separator, location = text.partition("://")
    scheme = _SAME_SCHEME.get(scheme.lower(), scheme.lower())
    if not separator:
        if _LIKE_A_URL.match(text) and not (sys.platform == "win32" and _DRIVE.match(os.fsencode(text))):
            # Path("s3://data") becomes "s3:/data": the data must not go to a local folder of that name.
            raise ConfigError(
                "This is neither a URL nor a path: write ./ before a folder name that contains ':'.", kind="url"
            )
        return _file_root(text, quoted=False)
    if scheme == "file":
        if not location.startswith("/"):
            raise ConfigError("A file URL must be file:/// and an absolute path.", kind="url")
        return _file_root(location, quoted=True)
    root = f"{scheme}://{location.rstrip('/')}"
    problem = root_problem(root)
    if problem is not None:
        # The URL may contain a password, so the message repeats only its scheme.
        known = f"{scheme[:20]} " if _SCHEME.fullmatch(scheme) else ""
        raise ConfigError(
            f"This {known}URL is not a valid storage root: {problem}. {_hint(scheme, location)}", kind="url"
        )
    return root


def _hint(scheme: str, location: str) -> str:
    if "@" not in location.partition("/")[0]:
        return "Pass credentials and endpoints in storage_options or the environment."
    if scheme in _AZURE:
        return "Write az://container/path, and pass account_name in storage_options."
    if scheme == "s3":
        return "Write the URL without user and password, and pass key and secret in storage_options or the environment."
    return "Write the URL without user and password, and pass username and password in storage_options."


def _file_root(path: str, *, quoted: bool) -> str:
    try:
        raw = os.fsencode(path)
        raw = _without_slash(unquote_to_bytes(raw)) if quoted else os.path.expanduser(raw)
        if not quoted and raw.startswith(b"~"):
            raise ConfigError("The home folder was not found: write ./ before a name that starts with '~'.", kind="url")
        real = os.path.realpath(raw)
    except (OSError, ValueError):
        # A NUL, a character that no file name can contain, or a working directory that was removed.
        raise ConfigError("This folder is not a valid storage root: no such path can exist.", kind="url") from None
    if sys.platform == "win32":
        real = _from_windows(real)
    root = "file://" + quote(real, safe="/" + _FILE_SAFE).rstrip("/")
    root = root if root != "file://" else "file:///"
    problem = root_problem(root)
    if problem is not None:
        raise ConfigError(f"This folder is not a valid storage root: {problem}.", kind="url")
    return root


def _from_windows(path: bytes) -> bytes:
    """Return the path of a root, such as ``/C:/data``, for an absolute path of Windows."""
    path = path.replace(b"\\", b"/")
    if path.startswith(b"//"):
        raise ConfigError("A network share cannot be a storage root on Windows: use a folder on a drive.", kind="url")
    return b"/" + path[:1].upper() + path[1:] if _DRIVE.match(path) else path


def _without_slash(path: bytes) -> bytes:
    return path[1:] if sys.platform == "win32" and _DRIVE.match(path[1:]) else path


def local_path(root: str) -> str:
    """Return the folder of a canonical ``file`` root. On Windows it starts with a drive and has forward slashes."""
    return os.fsdecode(_without_slash(unquote_to_bytes(root.removeprefix("file://"))))


def is_wildcard(allowed: str) -> bool:
    """Return whether `allowed` is a scheme with a star, such as ``s3://*``."""
    scheme = allowed.removesuffix("://*")
    return scheme != allowed and scheme not in _SAME_SCHEME and _SCHEME.fullmatch(scheme) is not None


def is_under(root: str, allowed: str) -> bool:
    """Return whether `root` is `allowed` or below it; ``scheme://*`` allows every root of its scheme.

    Examples
    --------
    >>> is_under("s3://data/runs", "s3://data"), is_under("s3://database", "s3://data")
    (True, False)
    """
    if is_wildcard(allowed):
        return scheme_of(root) == allowed[:-4]
    return root == allowed or root.startswith(allowed if allowed == "file:///" else allowed + "/")


def resolve_alias(root: str, moved: Mapping[str, str]) -> str:
    """Return the current location of `root`; `moved` maps old canonical roots to new ones.

    Raises
    ------
    PolicyError
        The new location cannot be a root: the scheme of the new root does not allow a character below the old one.

    Examples
    --------
    >>> resolve_alias("s3://old/runs/7", {"s3://old": "gs://new"})
    'gs://new/runs/7'
    """
    for old, new in moved.items():
        if is_under(root, old):
            below = root[len(old) :].strip("/")
            if not below:
                return new
            moved_root = f"{new if new == 'file:///' else new + '/'}{below}"
            if problem := root_problem(moved_root):
                raise PolicyError(
                    f"The alias of {old} to {new} does not lead to a valid root: {problem}. Nothing was fetched.",
                    kind="policy-root",
                )
            return moved_root
    return root
