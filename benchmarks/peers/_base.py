"""The base class of peers: libraries that save an object, and load it in another process from a short string."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Peer", "Place", "Way"]


@dataclass(frozen=True, slots=True)
class Way:
    """How a peer is used.

    Parameters
    ----------
    where : str
        Module and class.
    mode : str
        What it does, for display.
    limit : bool
        What the machine can do; gives nothing back.
    """

    where: str
    mode: str
    limit: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where objects are kept: a local folder, or a bucket of an S3 server."""

    folder: str = ""
    endpoint_url: str = ""
    key: str = ""
    secret: str = field(default="", repr=False)
    bucket: str = ""

    def facts(self) -> dict[str, str]:
        """Return arguments that create the same place in another process."""
        return asdict(self)


class Peer:
    """One way to save and load, in one process. Imports happen in `__init__`, which is not timed."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def prepare(self, obj: Any) -> None:
        """Prepare for `obj`. Not timed."""

    def save(self, obj: Any, number: int) -> str:
        """Save `obj` under a new name with `number` in it; return the token for `load`."""
        raise NotImplementedError

    def load(self, token: str) -> Any:
        """Return the object."""
        raise NotImplementedError

    def load_many(self, tokens: Sequence[str], max_concurrency: int) -> list[Any]:
        """Return the objects, with at most `max_concurrency` loads at the same time."""
        with ThreadPoolExecutor(max_concurrency) as workers:
            return list(workers.map(self.load, tokens))

    def forget(self, token: str) -> None:
        """Delete the object. Not timed."""
        os.unlink(token)

    def close(self) -> None:
        """Stop everything that was started."""

    def path(self, number: int) -> str:
        """Return a new name in the folder."""
        return f"{self.place.folder}/{type(self).__name__}-{number}"
