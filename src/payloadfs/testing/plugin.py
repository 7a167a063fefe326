"""The pytest plugin: real S3 servers as fixtures. It imports nothing of payloadfs until one is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .servers import S3Server

__all__ = ["payloadfs_moto", "payloadfs_seaweedfs"]

pytest.register_assert_rewrite("payloadfs.testing.stores")


@pytest.fixture(scope="session")
def payloadfs_moto() -> Iterator[S3Server]:
    """Run a moto server for the session: fast, but it checks neither credentials nor checksums."""
    from .servers import moto_server, why_no_moto

    _skip_if(why_no_moto())
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def payloadfs_seaweedfs() -> Iterator[S3Server]:
    """Run a SeaweedFS server for the session: a real object store."""
    from .servers import seaweedfs_server, why_no_seaweedfs

    _skip_if(why_no_seaweedfs())
    with seaweedfs_server() as server:
        yield server


def _skip_if(reason: str | None) -> None:
    if reason is not None:
        pytest.skip(reason)
