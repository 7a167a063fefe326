"""Package versions that wrote an object: stored in it, and named if it cannot be decoded elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping

_PACKAGES = ("cloudpickle", "numpy", "pandas", "polars", "pyarrow")


def versions_here() -> dict[str, str]:
    """Return the versions of Python and of the loaded packages. Imports nothing."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _PACKAGES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            versions[name] = version
    return versions


def describe_mismatch(written: Mapping[str, str]) -> str:
    """Return a clause that names the versions that wrote an object and those that are reading it.

    Examples
    --------
    >>> describe_mismatch({"python": "3.1.0"})
    'written with python 3.1.0, read with python ...'
    """
    here = versions_here()
    current = {name: here.get(name, "none") for name in written}
    return f"written with {_format(written)}, read with {_format(current)}"


def _format(versions: Mapping[str, str]) -> str:
    return " ".join(f"{name} {version}" for name, version in versions.items())
