"""payloadfs itself."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from ._base import Peer, Place


class Own(Peer):
    settings: dict[str, Any] = {"fsync": False}

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import payloadfs

        self.parse = payloadfs.Pointer.from_json
        self.repository = self.open(payloadfs.Repository)

    def open(self, repository: Any) -> Any:
        return repository(f"{self.place.folder}/{type(self).__name__}", **self.settings)

    def save(self, obj: Any, number: int) -> str:
        text: str = self.repository.save(obj, prefix=f"n{number}").to_json()
        return text

    def load(self, token: str) -> Any:
        return self.repository.load(self.parse(token))

    def load_many(self, tokens: Sequence[str], max_concurrency: int) -> list[Any]:
        found: list[Any] = self.repository.load_many(map(self.parse, tokens), max_concurrency=max_concurrency)
        return found

    def forget(self, token: str) -> None:
        self.repository.delete(self.parse(token))


class Synced(Own):
    settings = {"fsync": True}


class Full(Own):
    settings = {"fsync": False, "verify": "full"}


class OnS3(Own):
    cache = "off"

    def open(self, repository: Any) -> Any:
        place = self.place
        options = {"endpoint_url": place.endpoint_url, "key": place.key, "secret": place.secret}
        return repository(f"s3://{place.bucket}/own", options, cache=self.cache)


class OnS3Cached(OnS3):
    def __init__(self, place: Place) -> None:
        # Each process starts with an empty cache: the first load, which fills it, is measured.
        self.folder = tempfile.TemporaryDirectory()
        self.cache = self.folder.name
        super().__init__(place)

    def close(self) -> None:
        self.folder.cleanup()
