"""Conformance kits for third-party stores and serializers, real servers to run them against, and faults to inject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._disk import DiskFault, disk_fault
    from ._proxy import Fault, FaultProxy, Request, fault_proxy
    from .exact import assert_exact, describe
    from .serializers import SerializerTests
    from .stores import PiecesBody, StoreTests

__all__ = [
    "DiskFault",
    "Fault",
    "FaultProxy",
    "PiecesBody",
    "Request",
    "SerializerTests",
    "StoreTests",
    "assert_exact",
    "describe",
    "disk_fault",
    "fault_proxy",
]

_HOMES = {
    "DiskFault": "_disk",
    "Fault": "_proxy",
    "FaultProxy": "_proxy",
    "PiecesBody": "stores",
    "Request": "_proxy",
    "SerializerTests": "serializers",
    "StoreTests": "stores",
    "assert_exact": "exact",
    "describe": "exact",
    "disk_fault": "_disk",
    "fault_proxy": "_proxy",
}


def __getattr__(name: str) -> Any:
    # Loaded lazily: pytest imports this package for its plug-in in every run of every project.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
