"""Whether obstore can be used in this process: its threads don't survive a fork, and every call would hang."""

from __future__ import annotations

import os
import sys

__all__ = ["obstore_is_lost"]

_lost: list[bool] = []


def obstore_is_lost() -> bool:
    """Return whether this process was forked from one that had loaded obstore."""
    return bool(_lost)


def _forked() -> None:
    # By the module, not by our own use: somebody else's calls start the same threads.
    if "obstore" in sys.modules:
        _lost.append(True)


os.register_at_fork(after_in_child=_forked)
