"""Garbage collection: removal of expired objects, and of objects that nothing refers to.

An object without references is removed in two steps, one grace period apart. The first call *marks* it: its
id goes into an object under ``payloadfs-gc/marks/``. A later call removes it if it is still without references.
So the next collection sees a reference that is written while this one runs.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .._durations import seconds
from .._keys import EXPIRING, ID, created_s, lifetime_s, new_key
from .._seal import Encoded, Outgoing
from ..errors import ConfigError, PolicyError
from ..repository import Repository, chosen_repository
from ..stores import ObjectInfo, SupportsLeftovers
from ..stores._cache_quota import Quota
from ._clock import store_now_s
from ._references import has_usual_time, references_in
from ._remove import Removed, remove_all

_OWN = "payloadfs-gc/"
_MARKS = "payloadfs-gc/marks"
_RUNS = "runs/"


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed, or what a dry run would remove.

    Parameters
    ----------
    expired, unreferenced : Removed
        Objects that reached the end of their lifetime, and objects without references that were marked
        at least one grace period ago.
    leftovers : int
        Number of leftovers of interrupted saves in the store: open uploads, temporary and staged files.
    marked : int
        Number of objects without references that a later collection will remove.
    total : int
        Number of objects in the listing.
    """

    expired: Removed
    unreferenced: Removed
    leftovers: int
    marked: int
    total: int


def collect(
    references: Iterable[Iterable[bytes]] | None = None,
    *,
    grace: int | str | datetime.timedelta = "1d",
    max_share: float = 0.5,
    dry_run: bool = True,
    repository: Repository | None = None,
) -> Collected:
    """Delete expired objects, leftovers of crashes and, if `references` are given, objects that nothing refers to.

    Parameters
    ----------
    references : iterable of iterable of bytes, optional
        Every place that holds pointers, each as pieces of its text: see `references_in`. The journals of
        runs in the same store are searched as well. Pointers inside stored objects are not: pass them too.
        None: only expired objects and leftovers are deleted.
    grace : int, str or datetime.timedelta
        Younger objects and leftovers are kept, and an object without references is deleted this long after it was
        marked. The period must be longer than the time between saving an object and writing its pointer down.
    max_share : float
        Delete no objects without references if they are more than this share of all objects.
    dry_run : bool
        Write and delete nothing.
    repository : Repository, optional
        Default: the repository of the settings in force.

    Raises
    ------
    ConfigError
        An argument is not valid, `references` contain no id at all, or the store does not report times. Nothing was
        deleted.
    PolicyError
        More than `max_share` would be deleted (``kind="max-share"``). Only expired objects and leftovers were deleted.
    Exception
        Reading `references` failed. Nothing was deleted.
    StoreError
        The store failed. Some objects may have been deleted; call it again.

    Notes
    -----
    Cost: at most two listings, one request per deleted object, and 100 bytes of memory for each id in
    `references`. Times are those that the store reports, so that clocks of other machines do not matter.
    """
    chosen = chosen_repository(repository)
    if not 0 <= max_share <= 1:
        raise ConfigError(f"max_share must be a number from 0 to 1, not {max_share!r}.", kind="max-share")
    try:
        grace_s = seconds(grace)
    except ValueError as error:
        raise ConfigError(f"grace is not valid: {error}.", kind="grace") from None
    named = None if references is None else _names(references, chosen)
    now_s = time.time() if dry_run else store_now_s(chosen)
    expired_objects = (info for info in chosen.store.list(EXPIRING) if _is_expired(info, now_s))
    expired = remove_all(chosen, expired_objects, dry_run=dry_run)
    leftovers = _remove_leftovers(chosen, now_s - grace_s, dry_run)
    collected = Collected(expired, Removed(0, 0), leftovers, 0, expired.count)
    if named is None:
        return collected
    return _collect_unreferenced(chosen, named, collected, now_s, grace_s, max_share, dry_run=dry_run)


def _collect_unreferenced(
    repository: Repository,
    named: set[bytes],
    collected: Collected,
    now_s: float,
    grace_s: int,
    max_share: float,
    *,
    dry_run: bool,
) -> Collected:
    marks = list(repository.store.list(f"{_MARKS}/"))
    is_ripe = bool(marks) and max(info.modified_s for info in marks) <= now_s - grace_s
    contents = (bytes(repository.store.get(info.key, info.size_bytes).buffer) for info in marks)
    marked = {object_id for content in contents for object_id in content.split()}
    total, ripe, waiting = 0, 0, set()
    for info in repository.store.list():
        total += 1
        if (object_id := _unreferenced_id(info, named, now_s - grace_s)) is None:
            continue
        if is_ripe and object_id in marked:
            ripe += 1
        else:
            waiting.add(object_id)
    if ripe > max_share * total:
        raise PolicyError(
            f"{ripe:,} of {total:,} objects have no references, which is more than max_share={max_share:g}: check that "
            "the references include every place with pointers. No object without references was deleted.",
            kind="max-share",
        )
    ripe_objects = (
        info
        for info in (repository.store.list() if ripe else ())
        if (object_id := _unreferenced_id(info, named, now_s - grace_s)) in marked and object_id not in waiting
    )
    removed = remove_all(repository, ripe_objects, dry_run=dry_run)
    if not dry_run and (is_ripe or not marks):
        if waiting:
            content = b"".join(object_id + b"\n" for object_id in sorted(waiting))
            repository.store.put(new_key(_MARKS, "txt"), Outgoing(Encoded([memoryview(content)], "txt"), "b3"))
        for info in marks:
            repository.store.delete(info.key)
    return replace(collected, unreferenced=removed, marked=len(waiting), total=total)


def _remove_leftovers(repository: Repository, newest_s: float, dry_run: bool) -> int:
    count = 0
    if isinstance(repository.store, SupportsLeftovers):
        for leftover in repository.store.leftovers():
            if leftover.modified_s <= newest_s:
                count += 1
                if not dry_run:
                    leftover.remove()
    if not dry_run and repository.settings.cache is not None:
        # When the cache lists its folder, it removes incomplete copies of processes that no longer run.
        for _ in Quota(str(repository.settings.cache), None).copies():
            pass
    return count


def _is_expired(info: ObjectInfo, now_s: float) -> bool:
    lifetime, created = lifetime_s(info.key), created_s(info.key)
    # By both clocks, the writer's and the store's: either may be wrong.
    return lifetime is not None and created is not None and max(created, info.modified_s) + lifetime <= now_s


def _unreferenced_id(info: ObjectInfo, named: set[bytes], newest_s: float) -> bytes | None:
    """Return the id of an object without references that was written before `newest_s`; None for all others."""
    match = ID.match(info.key.rpartition("/")[2])
    if match is None or info.modified_s > newest_s or info.key.startswith(_OWN):
        return None
    object_id = match[0].encode()
    # An id that `references_in` would not find cannot be known to be without references.
    return object_id if has_usual_time(object_id) and object_id not in named else None


def _names(references: Iterable[Iterable[bytes]], repository: Repository) -> set[bytes]:
    named: set[bytes] = set()
    for chunks in references:
        named.update(references_in(chunks))
    if not named:
        raise ConfigError(
            "The references contain no id of an object, so every object would be deleted. Nothing was deleted.",
            kind="references",
        )
    for info in repository.store.list(_RUNS):
        if ID.match(info.key.rpartition("/")[2]) is None:
            named.update(references_in([bytes(repository.store.get(info.key, info.size_bytes).buffer)]))
    return named
