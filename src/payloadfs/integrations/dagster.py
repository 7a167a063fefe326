"""Dagster: an IO manager. Files hold pointers, and the objects are wherever payloadfs stores them.

::

    Definitions(assets=[...], resources={"io_manager": PayloadIOManager()})
"""

from __future__ import annotations

import json
from typing import Any

from dagster import (
    ConfigurableIOManagerFactory,
    InitResourceContext,
    InputContext,
    MetadataValue,
    OutputContext,
    UPathIOManager,
)
from upath import UPath

from .. import default_repository, pack, unpack
from .._packing import DEFAULT_OVER_BYTES, template_of

__all__ = ["PayloadIOManager"]


class PayloadIOManager(ConfigurableIOManagerFactory):
    """IO manager for assets and outputs of any class, with partitions.

    Each asset, or partition of one, has a small file with its pointers. A new materialization replaces the file, and
    then deletes the objects that only the old one named.

    Parameters
    ----------
    base_dir : str, optional
        Folder or URL of the files. Default: the storage folder of the Dagster instance.
    over : int
        Largest plain value in bytes of JSON; see `payloadfs.pack`.
    """

    base_dir: str | None = None
    over: int = DEFAULT_OVER_BYTES

    def create_io_manager(self, context: InitResourceContext) -> UPathIOManager:
        """Return the IO manager of a run."""
        if self.base_dir is None and context.instance is None:
            raise ValueError("PayloadIOManager needs base_dir: the run does not have a Dagster instance.")
        return _Files(UPath(self.base_dir or context.instance.storage_directory()), self.over)


class _Files(UPathIOManager):
    extension = ".payloadfs.json"

    def __init__(self, base_path: UPath, over: int) -> None:
        super().__init__(base_path)
        self._over = over

    def dump_to_path(self, context: OutputContext, obj: Any, path: UPath) -> None:
        old = template_of(json.loads(path.read_text()))[1] if path.exists() else []
        prefix = "/".join(["dagster", *context.get_identifier()])
        packed = pack(obj, over=self._over, prefix=prefix)
        path.write_text(json.dumps(packed))
        for pointer in old:
            default_repository().delete(pointer)
        context.add_output_metadata(self._metadata(obj, packed))

    def load_from_path(self, context: InputContext, path: UPath) -> Any:
        return unpack(json.loads(path.read_text()))

    def unlink(self, path: UPath) -> None:
        """Keep the file: `dump_to_path` needs it to find the objects that it replaces."""

    def _metadata(self, obj: Any, packed: Any) -> dict[str, Any]:
        metadata: dict[str, Any] = {"stored bytes": sum(pointer.size_bytes for pointer in template_of(packed)[1])}
        if hasattr(obj, "head"):
            metadata["preview"] = MetadataValue.text(str(obj.head()))
        return metadata
