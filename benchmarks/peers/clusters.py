"""Memory that the processes of one cluster share. The token contains the address of the cluster.

The processor time and memory of the cluster's own processes are not in the figures.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from ._base import Peer, Place


class Ray(Peer):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        # Drivers that join a cluster must set it; for the driver that starts one it is the default.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        import ray
        import ray.cloudpickle

        self.ray: Any = ray
        self.held: dict[str, Any] = {}

    def save(self, obj: Any, number: int) -> str:
        if not self.ray.is_initialized():
            self.ray.init(
                num_cpus=1,
                include_dashboard=False,
                object_store_memory=2 << 30,
                log_to_driver=False,
                _node_ip_address="127.0.0.1",
            )
        reference = self.ray.put(obj)
        text = base64.b64encode(self.ray.cloudpickle.dumps(reference)).decode()
        token = json.dumps([self.ray.get_runtime_context().gcs_address, text])
        self.held[token] = reference
        return token

    def load(self, token: str) -> Any:
        address, text = json.loads(token)
        if not self.ray.is_initialized():
            self.ray.init(address=address, log_to_driver=False)
        return self.ray.get(self.ray.cloudpickle.loads(base64.b64decode(text)))

    def forget(self, token: str) -> None:
        del self.held[token]

    def close(self) -> None:
        self.ray.shutdown()


class Dask(Peer):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import distributed

        self.distributed: Any = distributed
        self.cluster: Any = None
        self.client: Any = None

    def save(self, obj: Any, number: int) -> str:
        if self.client is None:
            self.cluster = self.distributed.LocalCluster(
                n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", memory_limit=0
            )
            self.client = self.distributed.Client(self.cluster)
        # In a list: a dict would be scattered value by value.
        (future,) = self.client.scatter([obj], hash=False)
        self.client.publish_dataset(future, name=f"n{number}")
        return json.dumps([self.cluster.scheduler_address, f"n{number}"])

    def load(self, token: str) -> Any:
        address, name = json.loads(token)
        if self.client is None:
            self.client = self.distributed.Client(address)
        return self.client.get_dataset(name).result()

    def forget(self, token: str) -> None:
        self.client.unpublish_dataset(json.loads(token)[1])

    def close(self) -> None:
        for one in (self.client, self.cluster):
            if one is not None:
                one.close()
