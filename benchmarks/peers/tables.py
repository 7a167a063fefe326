"""Arrow's own files, for frames. Both change some DataFrames; they are compared for their speed."""

from __future__ import annotations

from typing import Any

from ._base import Peer, Place


class Feather(Peer):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import pandas  # noqa: F401
        import pyarrow.feather

        self.read = pyarrow.feather.read_table

    def save(self, obj: Any, number: int) -> str:
        path = self.path(number)
        # In one chunk: otherwise mapping it would have to concatenate chunks.
        obj.to_feather(path, compression="uncompressed", chunksize=max(len(obj), 1))
        return path

    def load(self, token: str) -> Any:
        return self.read(token, memory_map=True).to_pandas(split_blocks=True)


class Parquet(Peer):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import pandas
        import pyarrow.parquet  # noqa: F401

        self.read = pandas.read_parquet

    def save(self, obj: Any, number: int) -> str:
        path = self.path(number)
        obj.to_parquet(path)
        return path

    def load(self, token: str) -> Any:
        return self.read(token)
