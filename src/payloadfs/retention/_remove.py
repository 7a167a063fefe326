"""Removal of objects by prefix."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from dataclasses import dataclass

from .._durations import seconds
from ..errors import ConfigError
from ..repository import Repository, chosen_repository
from ..stores import ObjectInfo
from ._parallel import in_parallel


@dataclass(frozen=True, slots=True)
class Removed:
    """Number and total size of removed objects, or of those that a dry run would remove."""

    count: int
    size_bytes: int


def remove(
    prefix: str,
    *,
    older_than: int | str | datetime.timedelta | None = None,
    dry_run: bool = False,
    repository: Repository | None = None,
) -> Removed:
    """Delete the objects that were saved with `prefix`, such as the id of a run.

    Parameters
    ----------
    prefix : str
        As for `Repository.save`. Objects under ``run`` include those under ``run/1``, and also
        those that expire. It must not be empty.
    older_than : int, str or datetime.timedelta, optional
        Only objects that are older than this, by the times that the store reports: seconds, or a
        string such as ``"30d"``.
    dry_run : bool
        Count the objects and delete nothing.
    repository : Repository, optional
        Default: the repository of the settings in force.

    Raises
    ------
    ConfigError
        An argument is not valid. Nothing was deleted.
    StoreError
        The store failed. Some objects may have been deleted; call it again.

    Notes
    -----
    Cost: one listing, one request per object, sixteen at the same time. Memory does not depend on the
    number of objects. A bucket with versioning keeps the old versions until a rule of the bucket removes them.
    """
    chosen = chosen_repository(repository)
    if not prefix:
        raise ConfigError("A prefix is needed: without one, every object would be deleted.", kind="prefix")
    try:
        newest_s = time.time() - seconds(older_than) if older_than is not None else float("inf")
    except ValueError as error:
        raise ConfigError(f"older_than is not valid: {error}.", kind="older-than") from None
    found = (info for info in chosen.list(prefix) if info.modified_s <= newest_s)
    return remove_all(chosen, found, dry_run=dry_run)


def remove_all(repository: Repository, objects: Iterable[ObjectInfo], *, dry_run: bool) -> Removed:
    """Delete each of `objects`, unless `dry_run`. An object that is gone already counts as deleted."""
    store = repository.store

    def delete(info: ObjectInfo) -> ObjectInfo:
        store.delete(info.key)
        return info

    count = size_bytes = 0
    for info in objects if dry_run else in_parallel(delete, objects):
        count, size_bytes = count + 1, size_bytes + info.size_bytes
    return Removed(count, size_bytes)
