"""Where calls run: any `concurrent.futures.Executor`, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from ..errors import ConfigError

__all__ = ["opened_executor"]

_DASK_S = 10


@contextmanager
def opened_executor(executor: Any) -> Iterator[Executor]:
    """Give the executor that `executor` means; close what had to be opened for it.

    Parameters
    ----------
    executor : concurrent.futures.Executor, distributed.Client or str
        ``"dask://host:port"`` is the scheduler of a Dask cluster.

    Raises
    ------
    ConfigError
        It is none of these, or the package ``distributed`` is missing.
    """
    if isinstance(executor, Executor):
        yield executor
    elif isinstance(executor, str) and executor.startswith("dask://"):
        with _dask_client(executor) as client:
            yield client.get_executor(pure=False)
    elif not isinstance(executor, str) and hasattr(executor, "get_executor"):
        # Not pure: two calls with equal arguments are two calls.
        yield executor.get_executor(pure=False)
    else:
        raise ConfigError(
            f"{executor!r:.60} is no executor: use a concurrent.futures.Executor, a Dask Client or 'dask://host:port'.",
            kind="executor",
        )


def _dask_client(address: str) -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ConfigError("Dask needs a package: pip install 'payloadfs[dask]'.", kind="missing-package") from error
    client: Any = distributed.Client
    try:
        return client(address.replace("dask://", "tcp://", 1), timeout=_DASK_S)
    except (OSError, ValueError) as error:
        raise ConfigError(f"There is no Dask scheduler at {address}: {error}.", kind="executor") from error
