"""Removal of objects that are no longer needed, and verification of those that are.

>>> import payloadfs
>>> from payloadfs.retention import remove
>>> with payloadfs.using("memory://demo"):
...     _ = payloadfs.save("x" * 1000, prefix="old-run")
...     remove("old-run").count
1
"""

from ._collect import Collected, collect
from ._references import references_in
from ._remove import Removed, remove
from ._verify import Damaged, Scanned, Verified, scan, verify

__all__ = [
    "Collected",
    "Damaged",
    "Removed",
    "Scanned",
    "Verified",
    "collect",
    "references_in",
    "remove",
    "scan",
    "verify",
]
