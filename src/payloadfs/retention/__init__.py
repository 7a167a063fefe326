"""Removal of objects that are no longer needed, and verification of those that are.

>>> import payloadfs
>>> from payloadfs.retention import remove
>>> with payloadfs.using("memory://demo"):
...     _ = payloadfs.save("x" * 1000, prefix="old-run")
...     remove("old-run").count
1
"""

from ._collect import Collected as Collected
from ._collect import collect as collect
from ._references import references_in as references_in
from ._remove import Removed as Removed
from ._remove import remove as remove
from ._verify import Damaged as Damaged
from ._verify import Scanned as Scanned
from ._verify import Verified as Verified
from ._verify import scan as scan
from ._verify import verify as verify

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
