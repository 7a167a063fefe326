"""One S3 server: where it is, how it is spoken to, and the connections to it that wait for their next use."""

from __future__ import annotations

import os
import time
import weakref
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from ._target import S3Target

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Idle", "Server"]

_IDLE_S = 15.0


class Server:
    """The server of a bucket.

    Parameters
    ----------
    target : S3Target
        The bucket and its server.

    Attributes
    ----------
    host, port : str, int
        Where it listens.
    place : str
        The same as the header ``host`` gives it.
    """

    def __init__(self, target: S3Target) -> None:
        parts = urlsplit(target.endpoint)
        standard = {"http": 80, "https": 443}[parts.scheme]
        self._ca_file = target.ca_file
        self.is_secure = parts.scheme == "https"
        self.host, self.port = parts.hostname or "", parts.port or standard
        self.place = parts.netloc.rpartition(":")[0] if parts.port == standard else parts.netloc

    @cached_property
    def tls(self) -> SSLContext:
        """What checks the server's certificate. Reads those that are trusted, once."""
        import ssl

        context = ssl.create_default_context()
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
        return context


class _Connection(Protocol):
    def close(self) -> None: ...


_C = TypeVar("_C", bound=_Connection)
_Held = dict[int, list[tuple[_C, float]]]


class Idle(Generic[_C]):
    """Connections that nobody uses just now, for any thread of the process that opened them.

    Parameters
    ----------
    most : int
        So many are kept; what is too much is closed.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # By process: a child must not write into its parent's connections.
        self._held: _Held[_C] = {}
        weakref.finalize(self, _close, self._held)

    def take(self) -> _C | None:
        """Return the connection that was used last, unless that is too long ago."""
        held = self._held.get(os.getpid(), [])
        while held:
            try:
                connection, since_s = held.pop()
            except IndexError:
                # Another thread took the last one.
                break
            if time.monotonic() - since_s < _IDLE_S:
                return connection
            connection.close()
        return None

    def keep(self, connection: _C) -> None:
        """Keep a `connection` on which nothing is under way."""
        held = self._held.setdefault(os.getpid(), [])
        if len(held) < self._most:
            held.append((connection, time.monotonic()))
        else:
            connection.close()


def _close(held: _Held[_C]) -> None:
    for connections in held.values():
        while connections:
            connections.pop()[0].close()
