"""Kedro: a dataset of any class. Its file holds the pointer, and the object is wherever payloadfs stores it.

::

    model:
      type: payloadfs.integrations.kedro.PayloadDataset
      filepath: data/06_models/model.json
"""

from __future__ import annotations

import json
from typing import Any

from kedro.io import AbstractDataset

from .. import pack, unpack
from .._packing import DEFAULT_OVER_BYTES

__all__ = ["PayloadDataset"]


class PayloadDataset(AbstractDataset[Any, Any]):
    """Dataset of any object.

    Parameters
    ----------
    filepath : str
        Path or fsspec URL of the small JSON file.
    prefix : str, optional
        First part of the keys of stored objects. Default: ``"kedro"``.
    over : int
        Largest plain value in bytes of JSON; see `payloadfs.pack`.
    metadata : dict, optional
        For Kedro's plug-ins; not used.
    """

    def __init__(
        self,
        *,
        filepath: str,
        prefix: str = "kedro",
        over: int = DEFAULT_OVER_BYTES,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        from fsspec.core import url_to_fs

        self._fs, self._path = url_to_fs(filepath)
        self._prefix, self._over, self.metadata = prefix, over, metadata

    def load(self) -> Any:
        """Return a copy of the object."""
        return unpack(json.loads(self._fs.cat_file(self._path)))

    def save(self, data: Any) -> None:
        """Store `data` and write its pointer to the file."""
        packed = pack(data, over=self._over, prefix=self._prefix)
        self._fs.makedirs(self._fs._parent(self._path), exist_ok=True)
        self._fs.pipe_file(self._path, json.dumps(packed).encode())

    def _exists(self) -> bool:
        return bool(self._fs.exists(self._path))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._path, "prefix": self._prefix}
