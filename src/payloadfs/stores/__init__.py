"""Bytes by key: the `Store` protocol and one file per kind of store."""

from ._base import Body as Body
from ._base import Fetched as Fetched
from ._base import Leftover as Leftover
from ._base import ObjectInfo as ObjectInfo
from ._base import Options as Options
from ._base import Store as Store
from ._base import SupportsFiles as SupportsFiles
from ._base import SupportsLeftovers as SupportsLeftovers
from ._base import fetch_intact as fetch_intact
from ._open import OpenStores as OpenStores
from ._open import chosen_transport as chosen_transport
from ._open import open_cache as open_cache
from ._open import open_store as open_store

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
