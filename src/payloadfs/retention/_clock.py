"""The clock of a store, which decides how old its objects are. The clock of this machine may be wrong by hours."""

from __future__ import annotations

from .._keys import new_key
from .._seal import Encoded, Outgoing
from ..errors import ConfigError
from ..repository import Repository


def store_now_s(repository: Repository) -> float:
    """Return the time by the clock of the store. Writes and deletes a small object.

    Raises
    ------
    ConfigError
        The store does not report times.
    StoreError
        The object could not be written.
    """
    key = new_key("payloadfs-gc/probe", "txt")
    repository.store.put(key, Outgoing(Encoded([memoryview(b"x")], "txt"), "b3"))
    try:
        now_s = repository.store.info(key).modified_s
    finally:
        repository.store.delete(key)
    if now_s == float("inf"):
        raise ConfigError(
            f"{repository.root} does not report when objects are written, so their age is not known. Nothing was deleted.",
            kind="no-mtime",
        )
    return now_s
