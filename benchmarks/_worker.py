"""A process that creates, saves and loads objects on command: JSON lines in, JSON lines out."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from . import workloads
from ._measure import anonymous_mb, measured
from .peers import Peer, Place, open_peer


class Worker:
    """The objects and peers of this process."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.peers: dict[str, Peer] = {}
        self.numbers = iter(range(sys.maxsize))

    def open(self, peer: str, place: dict[str, str], workload: str) -> dict[str, Any]:
        """Import the packages of `peer`, and those that users of `workload` have imported. Not timed."""
        for package in workloads.WORKLOADS[workload].packages:
            import_module(package)
        try:
            self.peers[peer] = self.peers.get(peer) or open_peer(peer, Place(**place))
        except ImportError as error:
            return {"missing": str(error)}
        return {}

    def make(self, name: str, workload: str, size: int) -> dict[str, Any]:
        self.objects[name] = workloads.WORKLOADS[workload].make(size)
        return {"mark": workloads.WORKLOADS[workload].read(self.objects[name])}

    def touch(self, folder: str, size_bytes: int) -> dict[str, Any]:
        """Write `size_bytes` bytes to a file and delete it, so that the system has free pages."""
        piece = memoryview(bytes(1 << 24))
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            for start in range(0, size_bytes, len(piece)):
                file.write(piece[: size_bytes - start])
        return {}

    def drop(self, name: str) -> dict[str, Any]:
        del self.objects[name]
        return {}

    def save(self, peer: str, name: str, count: int) -> dict[str, Any]:
        """Save the object `name` `count` times, each under a different name."""
        one, obj = self.peers[peer], self.objects[name]
        one.prepare(obj)
        figures, tokens = measured([partial(one.save, obj, next(self.numbers)) for _ in range(count)])
        return {"tokens": tokens, **figures}

    def load(self, peer: str, workload: str, tokens: list[str]) -> dict[str, Any]:
        """Load each of `tokens`, then read every byte of the last object."""
        one, read = self.peers[peer], workloads.WORKLOADS[workload].read
        before_mb = anonymous_mb()
        figures, given = measured([partial(one.load, token) for token in tokens])
        del given[:-1]
        if isinstance(given[0], bytes):
            return {"mark": None, **figures}  # a limit returns no object
        reading, (mark,) = measured([lambda: read(given[0])])
        return {"mark": mark, "read_ms": reading["ms"], "anon_mb": anonymous_mb() - before_mb, **figures}

    def load_many(self, peer: str, tokens: list[str], max_concurrency: int) -> dict[str, Any]:
        figures, ((*given,),) = measured([lambda: self.peers[peer].load_many(tokens, max_concurrency)])
        return {"count": len(given), **figures}

    def forget(self, peer: str, tokens: list[str]) -> dict[str, Any]:
        for token in tokens:
            self.peers[peer].forget(token)
        return {}

    def close(self) -> dict[str, Any]:
        for peer in self.peers.values():
            peer.close()
        return {}


def main() -> None:
    """Answer on the original standard output; output of peers goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        do: Callable[..., dict[str, Any]] = getattr(worker, command.pop("do"))
        try:
            answer = do(**command)
        except Exception as error:  # noqa: BLE001  the harness decides what to do
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
