"""The repository that is used where none is passed: that of the settings in force."""

from __future__ import annotations

from typing import Any

from . import config
from .repository import Repository

__all__ = ["default_repository"]

_repositories: dict[Any, Repository] = {}
_MAX_REPOSITORIES = 32


def default_repository() -> Repository:
    """Return the repository of the settings that are in force here and now.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     default_repository().root
    'memory://demo'
    """
    fingerprint = config.current().fingerprint()
    found = _repositories.get(fingerprint)
    if found is None:
        if len(_repositories) >= _MAX_REPOSITORIES:
            _repositories.clear()
        found = _repositories.setdefault(fingerprint, Repository())
    return found
