"""Removal of secrets from the messages and causes of errors, in every spelling in which a library may print them."""

from __future__ import annotations

import base64
import os
import re
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from .._secrets import NOT_SECRET

_MIN_SECRET_CHARS = 6
"""Shorter secrets are removed only where they are a whole word: anything else would tear words apart."""

_VARIABLES = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_SSE_CUSTOMER_KEY_BASE64"),
    *("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
    *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET"),
)
"""Variables in which libraries find secrets by themselves."""

_MAX_CHARS = 20_000
_LONGEST_SPELLING = 20
"""More characters than one character of a secret can become when it is encoded."""

_HIDDEN = "***"
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_SIGNED_QUERY = re.compile(r"(?i)((?:x-amz-[a-z-]+|sig|signature|token|awsaccesskeyid)=)[^&\s'\"]+")
_BASE64_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{2,}={0,2}")
_BASE64 = "[A-Za-z0-9+/_-]"


class ForeignError(Exception):
    """The name and message of an error of another library that held a secret, without the secret."""


class Secrets:
    """The secrets of one store.

    Every string in the storage options is one, at any depth, except those that cannot be one, such as the region. The
    values of variables such as AWS_SECRET_ACCESS_KEY are secrets too.

    A secret is found as it is, and also if its special characters are percent-encoded, escaped as
    `repr`, JSON, HTML or XML do it, or if it is part of a base64 string, at any offset.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._secrets = set(secrets_in([options, [os.environ.get(name, "") for name in _VARIABLES]]))
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str | None]) -> None:
        """Hide `secrets`, such as credentials found later, too."""
        new = {secret for secret in secrets if secret}.difference(self._secrets)
        if new:
            self._secrets |= new
            self._pattern = None

    def hide(self, message: str) -> str:
        """Return `message` with ``***`` in place of each secret; only the beginning of a very long one."""
        if len(message) > _MAX_CHARS:
            # No part of a secret that was cut may be left at the end.
            longest = max(map(len, self._secrets), default=0)
            return self.hide(message[:_MAX_CHARS])[: -_LONGEST_SPELLING * (longest + 1)]
        if self._secrets:
            if self._pattern is None:
                # Compiled here: most stores never have an error. The longest first: a secret may contain another one.
                longest_first = sorted(self._secrets, key=len, reverse=True)
                self._pattern = re.compile("|".join(map(_pattern, longest_first)))
            message = self._pattern.sub(_HIDDEN, message)
            short = [secret for secret in map(_as_bytes, self._secrets) if len(secret) < _MIN_SECRET_CHARS]
            if short:
                message = _BASE64_TOKEN.sub(lambda token: _HIDDEN if _holds(token[0], short) else token[0], message)
        return _SIGNED_QUERY.sub(rf"\1{_HIDDEN}", _USER_INFO.sub(f"{_HIDDEN}@", message))

    def cause(self, error: BaseException) -> BaseException:
        """Return `error`, or a `ForeignError` if its text, or that of an error behind it, holds a secret.

        A traceback, a log or an error tracker prints more of a cause than its message: arguments, notes and
        attributes, such as the response of a server, and those of the causes behind it.
        """
        if all(self.hide(text) == text for text in map(_all_text, _chain(error))):
            return error
        message = self.hide(f"{type(error).__module__}.{type(error).__qualname__}: {_text(str, error)}")
        return ForeignError(message)


def secrets_in(options: Any) -> Iterator[str | bytes]:
    """Yield every string in `options`, at any depth, that can be a secret."""
    if isinstance(options, Mapping):
        for name, value in options.items():
            if name not in NOT_SECRET:
                yield from secrets_in(value)
    elif isinstance(options, (list, tuple, set, frozenset)):
        for value in options:
            yield from secrets_in(value)
    elif isinstance(options, (str, bytes, bytearray)) and options:
        yield options if isinstance(options, str) else bytes(options)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield `error` and all errors that a traceback of it may show."""
    waiting, seen = [error], set[int]()
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            yield error
            waiting += [error.__cause__, error.__context__]
            waiting += error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def _all_text(error: BaseException) -> str:
    # One value a line, so that a short secret stays a whole word.
    values = (error, error.args, vars(error) if hasattr(error, "__dict__") else {})
    return "\n".join([_text(str, error), *(_text(repr, value) for value in values)])


def _text(convert: type[str] | Any, value: Any) -> str:
    try:
        return str(convert(value))
    except Exception:  # noqa: BLE001  the error class is another library's
        return ""


def _as_bytes(secret: str | bytes) -> bytes:
    return secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogatepass")


def _pattern(secret: str | bytes) -> str:
    """Return the regular expression for all spellings of `secret`."""
    raw = _as_bytes(secret)
    try:
        runs = groupby(raw.decode("utf-8", "surrogatepass"))
        spelled = "".join(_spelled(char, sum(1 for _ in run)) for char, run in runs)
    except UnicodeDecodeError:
        # Binary: libraries print it as the repr of bytes.
        spelled = re.escape(repr(raw)[2:-1])
    if len(raw) < _MIN_SECRET_CHARS:
        return rf"(?<![A-Za-z0-9]){spelled}(?![A-Za-z0-9])"
    # One character before and one after hold bits of the secret too.
    encoded = "|".join(f"{_BASE64}?{core}{_BASE64}?(?:=|%3[Dd]){{0,2}}" for core in _base64_cores(raw))
    return f"{spelled}|{encoded}"


def _spelled(char: str, count: int) -> str:
    """Return the regular expression for all spellings of `count` times `char`."""
    if char.isascii() and char.isalnum():
        return char * count
    from html.entities import codepoint2name

    code, utf8, utf16 = ord(char), char.encode("utf-8", "surrogatepass"), char.encode("utf-16-be", "surrogatepass")
    spellings = [
        re.escape(char),
        # Also encoded twice.
        "".join(f"%(?:25)?{byte:02x}" for byte in utf8),
        r"\\*+".join(f"x{byte:02x}" for byte in utf8),
        r"\\*+".join(f"u{utf16[pos : pos + 2].hex()}" for pos in range(0, len(utf16), 2)),
        *(f"u{code:08x}", f"x{code:02x}", rf"&\#0*{code};", rf"&\#x0*{code:x};"),
        *([f"&{codepoint2name[code]};"] if code in codepoint2name else []),
        *{"'": ["&apos;"], " ": [r"\+"]}.get(char, []),
    ]
    # No two may match the same: trying both for each of many characters would take hours.
    spellings = list(dict.fromkeys(spellings))
    # What is escaped may be escaped again, so any number of backslashes may come before. Possessive quantifiers
    # never try fewer of them: otherwise a message of backslashes only would take hours.
    if char == "\\":
        return rf"(?i:\\{{{count},}}+|(?:\\*+(?:{'|'.join(spellings[1:])})){{{count}}})"
    return rf"(?i:\\*+(?:{'|'.join(spellings)})){{{count}}}"


def _base64_cores(raw: bytes) -> Iterator[str]:
    """Yield the regular expression for what base64 makes of `raw` at each of the three offsets, whatever is around it."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode()
        core = encoded[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]
        either = {"+": r"(?:\+|-|%2[Bb])", "/": r"(?:\\?/|_|%2[Ff])"}
        yield "".join(either.get(char, char) for char in core)


def _holds(token: str, secrets: Iterable[bytes]) -> bool:
    """Return whether a base64 string holds one of `secrets` as a whole word."""
    text = token.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except Base64Error:
        return False
    return any(re.search(rb"(?<![A-Za-z0-9])" + re.escape(one) + rb"(?![A-Za-z0-9])", content) for one in secrets)
