"""Conformance kits for third-party stores and serializers, and real servers to run them against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exact import assert_exact, describe
    from .serializers import SerializerTests
    from .stores import PiecesBody, StoreTests

__all__ = ["PiecesBody", "SerializerTests", "StoreTests", "assert_exact", "describe"]

_HOMES = {
    "PiecesBody": "stores",
    "SerializerTests": "serializers",
    "StoreTests": "stores",
    "assert_exact": "exact",
    "describe": "exact",
}


def __getattr__(name: str) -> Any:
    # Loaded lazily: pytest imports this package for its plug-in in every run of every project.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
