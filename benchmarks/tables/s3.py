"""S3, on a SeaweedFS server that this module starts on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from payloadfs.testing import fault_proxy
from payloadfs.testing.servers import seaweedfs_server

from .._harness import Plan, Row, Task, WorkerError, compare, rotated, worker
from ..peers import Place
from .local import MB, scaled

CLIENTS = [
    "payloadfs, S3",
    "s3fs",
    "obstore",
    "pyarrow.fs",
    "boto3",
    "boto3, transfer",
    "boto3, CRT",
]
DEFAULT_CONCURRENCY = 50
TASKS = {"s3-small": Task("array", 1000, 1000, count=50), "s3-large": Task("array", 256 * MB, 8000)}


def run(plan: Plan, folder: str, name: str) -> list[Row]:
    """Return the rows of the table `name`."""
    with bucket() as place:
        if name == "s3-flight":
            return flight(place, plan)
        # The small objects are all equal: the cache, which uses digests, would fetch only one.
        names = CLIENTS if name == "s3-small" else ["payloadfs, S3, cache", *CLIENTS]
        rows = compare(scaled(TASKS[name], plan), names, place, plan)
        for row in rows:
            if not row.why_not:
                count_requests(row, place)
        return rows


@contextmanager
def bucket() -> Iterator[Place]:
    """Yield a new bucket of a server that stops at the end of the block."""
    with seaweedfs_server() as server:
        yield Place(endpoint_url=server.endpoint_url, key=server.key, secret=server.secret, bucket=server.bucket())


def count_requests(row: Row, place: Place) -> None:
    """Add the number of requests of a client's first save and load, counted by a proxy of the server."""
    with fault_proxy(place.endpoint_url) as proxy, worker() as one:
        behind = replace(place, endpoint_url=proxy.endpoint_url)
        one.ask("make", name="object", workload=row.workload, size=row.size)
        one.ask("open", peer=row.peer, place=behind.facts(), workload=row.workload)
        saved = one.ask("save", peer=row.peer, name="object", count=1)
        row.add("save", {"requests": len(proxy.requests)})
        proxy.forget()
        one.ask("load", peer=row.peer, workload=row.workload, tokens=saved["tokens"])
        row.add("load", {"requests": len(proxy.requests)})


def flight(place: Place, plan: Plan) -> list[Row]:
    """Return the time that each client needs to load 1,000 small objects, 50 at a time, in a new process."""
    count = max(int(1000 * plan.scale), 20)
    rows = {name: Row(name, "array", 1000) for name in plan.chosen(CLIENTS)}
    for turn in range(plan.rounds):
        for name in rotated(list(rows), turn):
            if not rows[name].why_not:
                _one_flight(rows[name], place, count)
    return list(rows.values())


def _one_flight(row: Row, place: Place, count: int) -> None:
    with ExitStack() as stack:
        one = stack.enter_context(worker())
        row.why_not = one.ask("open", peer=row.peer, place=place.facts(), workload="array").get("missing", "")
        if row.why_not:
            return
        try:
            one.ask("make", name="object", workload="array", size=1000)
            tokens = one.ask("save", peer=row.peer, name="object", count=DEFAULT_CONCURRENCY)["tokens"]
            one.ask("load_many", peer=row.peer, tokens=tokens, max_concurrency=DEFAULT_CONCURRENCY)  # connects
            asked = (tokens * (count // DEFAULT_CONCURRENCY + 1))[:count]
            figures = one.ask("load_many", peer=row.peer, tokens=asked, max_concurrency=DEFAULT_CONCURRENCY)
        except WorkerError as error:
            row.why_not = str(error)
            return
        if figures.pop("count") != count:
            row.why_not = "gave back fewer"
        row.add("load", figures)
        row.add("load", {"per_s": count / figures["ms"] * 1000})
