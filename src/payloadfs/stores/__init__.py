"""Bytes by key: the `Store` protocol and one file per kind of store."""

from ._base import Body, Fetched, Leftover, ObjectInfo, Options, Store, SupportsFiles, SupportsLeftovers, fetch_intact
from ._open import OpenStores, chosen_transport, open_cache, open_store

__all__ = [
    "Body",
    "Fetched",
    "Leftover",
    "ObjectInfo",
    "OpenStores",
    "Options",
    "Store",
    "SupportsFiles",
    "SupportsLeftovers",
    "chosen_transport",
    "fetch_intact",
    "open_cache",
    "open_store",
]
