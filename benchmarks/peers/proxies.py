"""ProxyStore with files."""

from __future__ import annotations

import json
from typing import Any

from ._base import Peer, Place


class ProxyStore(Peer):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        from proxystore.connectors.file import FileConnector, FileKey
        from proxystore.store import Store

        self.key = FileKey
        self.store = Store("benchmark", FileConnector(f"{place.folder}/{type(self).__name__}"), cache_size=0)

    def save(self, obj: Any, number: int) -> str:
        return json.dumps(self.store.put(obj))

    def load(self, token: str) -> Any:
        return self.store.get(self.key(*json.loads(token)))

    def forget(self, token: str) -> None:
        self.store.evict(self.key(*json.loads(token)))
