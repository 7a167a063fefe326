"""Answers that are no success, whoever received them, in the one shape that `Border` translates."""

from __future__ import annotations

import re

from ..errors import StoreError

__all__ = ["AnswerError", "element", "failure", "no_ranges", "plain"]

_STATUS = re.compile(r"status code: (\d{3})")
_QUERY = re.compile(r"\?[^\s)>]*")
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_MOST_CHARS = 10_000


class AnswerError(Exception):
    """A server's answer that is no success.

    Parameters
    ----------
    status : int
        Of HTTP.
    code, message : str
        As the answer's body says; empty if it has none.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.response = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }

    def __str__(self) -> str:
        status, code, message = self.args
        return " ".join(filter(None, (str(status), code, message)))


def element(name: str, xml: str) -> str:
    """Return the text of the first element `name` in `xml`, or an empty text."""
    from html import unescape

    match = re.search(rf"<{name}(?:\s[^>]*)?>([^<]*)</{name}>", xml)
    return unescape(match[1]) if match else ""


def failure(status: int, body: str) -> AnswerError:
    """Return the error for an answer with this `status` and `body`."""
    body = body[:_MOST_CHARS]
    return AnswerError(status, element("Code", body), element("Message", body))


def no_ranges() -> StoreError:
    """Return the error for an answer that is not the part that was asked for."""
    return StoreError("The server gave the whole object where a part was asked for.", kind="ranges-unsupported")


def plain(error: Exception) -> Exception:
    """Return what an error of obstore's means: an `AnswerError`, or one of the system's own. Others stay.

    obstore tells most of it in words only, and chains nothing. The addresses in them lose their
    query, which may be a signature.
    """
    if not type(error).__module__.startswith("obstore") and type(error) is not FileNotFoundError:
        return error
    words, _, details = str(error).partition("\n\nDebug source:")
    words = _QUERY.sub("", words)
    if status := _STATUS.search(words):
        return failure(int(status[1]), words[status.end() :])
    if "NotPartial" in details:
        return no_ranges()
    if "without LOCATION" in words:
        return AnswerError(301, "PermanentRedirect", "the bucket is in another region")
    if certificate := _CERTIFICATE.search(details):
        from ssl import SSLCertVerificationError

        return SSLCertVerificationError(certificate[1])
    if "kind: Connect" in details:
        return ConnectionRefusedError(words)
    if "kind: Timeout" in details or "TimedOut" in details:
        return TimeoutError(words)
    if "HTTP error" in words:
        return ConnectionAbortedError(words)
    return error if isinstance(error, FileNotFoundError) else OSError(words)
