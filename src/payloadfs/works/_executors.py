"""Executors that calls run in: any `concurrent.futures.Executor`, a Dask cluster, or processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from ..errors import ConfigError
from ._local_executor import LocalExecutor

__all__ = ["open_executor"]

_DASK_TIMEOUT_S = 10


@contextmanager
def open_executor(
    executor: Any, max_workers: int | None, on_output: Callable[[str, str, str], None]
) -> Iterator[Executor]:
    """Yield the executor that `executor` stands for, and close what had to be opened for it.

    Parameters
    ----------
    executor : concurrent.futures.Executor, distributed.Client, str or None
        ``"dask://host:port"`` is the scheduler of a Dask cluster. None starts processes on this
        machine, which are killed at the end of the block.
    max_workers, on_output
        As for `LocalExecutor`; used only if `executor` is None.

    Raises
    ------
    ConfigError
        `executor` is none of these, or the package ``distributed`` is missing.
    """
    if executor is None:
        pool = LocalExecutor(max_workers, on_output=on_output)
        try:
            yield pool
        finally:
            pool.kill_workers()
    elif isinstance(executor, Executor):
        yield executor
    elif isinstance(executor, str) and executor.startswith("dask://"):
        with _dask_client(executor) as client:
            yield client.get_executor(pure=False)
    elif not isinstance(executor, str) and hasattr(executor, "get_executor"):
        # Not pure: two calls with equal arguments are two calls.
        yield executor.get_executor(pure=False)
    else:
        raise ConfigError(
            f"{executor!r:.60} is not an executor: use a concurrent.futures.Executor, a Dask Client or "
            "'dask://host:port'.",
            kind="executor",
        )


def _dask_client(address: str) -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ConfigError("Dask is not installed: pip install 'payloadfs[dask]'.", kind="missing-package") from error
    client_class: Any = distributed.Client
    try:
        return client_class(address.replace("dask://", "tcp://", 1), timeout=_DASK_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot connect to a Dask scheduler at {address}: {error}.", kind="executor") from error
