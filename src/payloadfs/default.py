"""The repository that is used where none is passed: that of the settings in force."""

from __future__ import annotations

from typing import Any

from . import config
from .repository import Repository

__all__ = ["default_repository"]

_repositories: dict[Any, Repository] = {}
_MAX_REPOSITORIES = 32
_last: tuple[config.Settings, Repository] | None = None


def default_repository() -> Repository:
    """Return the repository of the settings that are in force here and now.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     default_repository().root
    'memory://demo'
    """
    global _last
    settings = config.current()
    if _last is not None and _last[0] is settings:
        return _last[1]
    fingerprint = settings.fingerprint()
    found = _repositories.get(fingerprint)
    if found is None:
        if len(_repositories) >= _MAX_REPOSITORIES:
            _repositories.clear()
        found = _repositories.setdefault(fingerprint, Repository())
    _last = settings, found
    return found
