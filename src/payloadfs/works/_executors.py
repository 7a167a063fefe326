"""Executors that run calls: any `concurrent.futures.Executor`, a Dask cluster, or processes on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from .._log import warn_once
from ..errors import ConfigError
from ._local_executor import LocalExecutor

LOCAL_EXECUTORS = (LocalExecutor, ThreadPoolExecutor, ProcessPoolExecutor)
"""Executors on this machine. They never run a call again."""

T = TypeVar("T")
_DASK_TIMEOUT_S = 10


@contextmanager
def open_executor(
    executor: Any, max_workers: int | None, on_output: Callable[[str, str, str], None], grace_s: float
) -> Iterator[Executor]:
    """Yield the executor that `executor` specifies, and close what was opened for it.

    Parameters
    ----------
    executor : concurrent.futures.Executor, distributed.Client, str or None
        ``"dask://host:port"`` is the scheduler of a Dask cluster. None starts processes on this
        machine, which are killed at the end of the block.
    max_workers, on_output, grace_s
        As for `LocalExecutor`; used only if `executor` is None.

    Raises
    ------
    ConfigError
        `executor` is none of these, or the package ``distributed`` is missing.
    """
    if executor is None:
        pool = LocalExecutor(max_workers, on_output=on_output, grace_s=grace_s)
        try:
            yield pool
        finally:
            pool.kill_workers()
    elif isinstance(executor, Executor):
        yield executor
    elif isinstance(executor, str) and executor.startswith("dask://"):
        with _dask_client(executor) as client:
            yield _DaskExecutor(client)
    elif not isinstance(executor, str) and hasattr(executor, "get_executor"):
        yield _DaskExecutor(executor)
    else:
        raise ConfigError(
            f"{executor!r:.60} is not an executor: use a concurrent.futures.Executor, a Dask Client or "
            "'dask://host:port'.",
            kind="executor",
        )


def with_resources(executor: Executor, resources: Mapping[str, Any]) -> Executor:
    """Return an executor for calls that need `resources`: what the executor's own ``with_resources`` returns."""
    if not resources:
        return executor
    adapt = getattr(executor, "with_resources", None)
    if adapt is None:
        warn_once(f"{type(executor).__name__} does not schedule by resources: the resources of works are ignored.")
        return executor
    adapted: Executor = adapt(resources)
    return adapted


class _DaskExecutor(Executor):
    """The executor of a Dask client. Its resources are those that the workers declare; ``cpus`` is not special."""

    def __init__(self, client: Any, resources: Mapping[str, Any] | None = None) -> None:
        self._client, options = client, {"resources": dict(resources)} if resources else {}
        # Not pure: two calls with equal arguments both run.
        self._executor = client.get_executor(pure=False, **options)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = self._executor.submit(fn, *args, **kwargs)
        return future

    def with_resources(self, resources: Mapping[str, Any]) -> Executor:
        return _DaskExecutor(self._client, resources)

    def problem(self) -> str:
        """Return what prevents calls from running, or an empty string."""
        return "" if self._client.scheduler_info().get("workers") else "The Dask cluster has no worker."


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
