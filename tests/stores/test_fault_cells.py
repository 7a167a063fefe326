"""Every operation on S3, with every fault of the network, through both transports, against a real server.

The server is SeaweedFS, unless one variable says otherwise::

    PAYLOADFS_TEST_S3_ENDPOINT=moto pytest ...
    PAYLOADFS_TEST_S3_ENDPOINT=http://localhost:9000 AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... pytest ...

It must listen on plain HTTP, and the credentials must allow to create a bucket. What the server cannot do is skipped.

Some cells, always the same ones, are a sweep. This runs all of them, in about an hour on two cores::

    pytest -n 2 -m "long or sweep" tests/stores/test_fault_cells.py

Each outcome with SeaweedFS must be in the table of ``docs/reference/faults.md``. With the variable
``PAYLOADFS_TEST_FAULT_TABLE=write``, outcomes are added to the table instead: to write it again, delete its rows and run
all cells.
"""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from payloadfs import BatchError, Key, KeyRing, NotFoundError, PayloadError, Pointer, Repository, StoreError
from payloadfs.retention import scan
from payloadfs.stores import SupportsLeftovers
from payloadfs.testing import Fault, FaultProxy, Request, fault_proxy
from payloadfs.testing.servers import S3Server, moto_server, seaweedfs_server, why_no_moto, why_no_seaweedfs

# The fixture of every test removes these.
ENDPOINT = os.environ.get("PAYLOADFS_TEST_S3_ENDPOINT", "")
CREDENTIALS = os.environ.get("AWS_ACCESS_KEY_ID", ""), os.environ.get("AWS_SECRET_ACCESS_KEY", "")
IS_WRITING = os.environ.get("PAYLOADFS_TEST_FAULT_TABLE") == "write"

# Much longer than any cell takes: it only ends what hangs.
pytestmark = [pytest.mark.s3, pytest.mark.timeout(900)]

MIB = 1024 * 1024
KEYS = KeyRing([Key(b"k" * 32)])
TABLE = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"
SAMPLE = 50
SHORT_S, LONG_S = 1.5, 30.0
"""Time limits: a short one where the server is silent, so that the test is soon over; else one that is never reached."""

# In parts are saved, with obstore, more than 16 MiB, and with s3fs, 32 MiB or more.
VALUES = {"small": os.urandom(300), "mid": os.urandom(3 * MIB), "large": os.urandom(33 * MIB)}
OBSTORE_LARGE = VALUES["large"][: 17 * MIB]
MANY = [os.urandom(300) for _ in range(12)]


def _is_create(request: Request) -> bool:
    return request.method == "POST" and request.target.endswith(("?uploads", "?uploads="))


def _is_part(request: Request) -> bool:
    return request.method == "PUT" and "partNumber" in request.target


def _is_complete(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.target


def _has_method(method: str) -> Callable[[Request], bool]:
    return lambda request: request.method == method


def _saving(size: str) -> Callable[[Repository, Stored], Any]:
    return lambda repository, _: [repository.save(_value(size, repository.settings.transport))]


def _value(size: str, transport: str) -> bytes:
    return OBSTORE_LARGE if (size, transport) == ("large", "obstore") else VALUES[size]


def _loading(size: str) -> Callable[[Repository, Stored], Any]:
    return lambda repository, stored: repository.load(stored.pointers[size])


OPERATIONS: dict[str, tuple[Callable[[Request], bool], Callable[[Repository, Stored], Any]]] = {
    "save small": (_has_method("PUT"), _saving("small")),
    "save mid": (_has_method("PUT"), _saving("mid")),
    "save large: create": (_is_create, _saving("large")),
    "save large: part": (_is_part, _saving("large")),
    "save large: complete": (_is_complete, _saving("large")),
    "save large: any": (lambda _: True, _saving("large")),
    "load small": (_has_method("GET"), _loading("small")),
    "load mid": (_has_method("GET"), _loading("mid")),
    "load large": (_has_method("GET"), _loading("large")),
    "info": (_has_method("HEAD"), lambda repository, stored: repository.info(stored.pointers["mid"]).size_bytes),
    "list": (_has_method("GET"), lambda repository, _: sorted(info.key for info in repository.list())),
    "delete": (_has_method("DELETE"), lambda repository, stored: repository.delete(stored.doomed)),
    "save_many": (_has_method("PUT"), lambda repository, _: repository.save_many(MANY, max_concurrency=4)),
    "load_many": (_has_method("GET"), lambda repository, stored: repository.load_many(stored.many, max_concurrency=4)),
}
"""Which requests the fault concerns, and the operation."""

FAULTS = {
    "closed before the body": Fault("drop-before"),
    "reset before the body": Fault("drop-before", reset=True),
    "closed in the body": Fault("drop-during"),
    "reset in the body": Fault("drop-during", reset=True),
    "closed after the body": Fault("drop-after"),
    "reset after the body": Fault("drop-after", reset=True),
    "answer lost, closed": Fault("lose-answer"),
    "answer lost, reset": Fault("lose-answer", reset=True),
    "answer lost, 500": Fault("lose-answer", status=500),
    "answer lost, 503": Fault("lose-answer", status=503),
    "answer lost, 200 with an error": Fault("lose-answer", status=200),
    "answer cut": Fault("cut"),
    "answer reset in its body": Fault("cut", reset=True),
    "answer longer than stated": Fault("length", by=-7),
    "answer shorter than stated": Fault("length", by=7),
    "bit flipped on the way up": Fault("flip-request"),
    "bit flipped on the way down": Fault("flip-answer"),
    "request sent twice": Fault("repeat"),
    **{f"status {status}": Fault("status", status=status) for status in (400, 403, 404, 408, 409, 412, 429, 500, 501)},
    "status 503": Fault("status", status=503, code="ServiceUnavailable"),
    "SlowDown": Fault("status", status=503),
    "delay": Fault("delay", pause_s=0.3),
    "answer drips": Fault("drip"),
    "body of the answer drips": Fault("drip-body"),
    "deaf": Fault("deaf"),
    "silent": Fault("silence"),
    "silent in the answer": Fault("silence-body"),
}
TURNS: dict[str, dict[str, Any]] = {"once": {"times": 1}, "third": {"first": 3, "times": 1}, "always": {}}
_WAITING = ("drip", "drip-body", "deaf", "silence", "silence-body")
_LOST = {"connection-lost", "unreachable"}
_SEVERAL = ("save large: part", "save large: any", "load large", "save_many", "load_many")


@dataclass(frozen=True)
class Cell:
    """One operation with one fault through one transport."""

    fault: str
    turn: str
    operation: str
    transport: str

    @property
    def row(self) -> str:
        return f"{self.fault}, {self.turn}"

    def __str__(self) -> str:
        return "-".join((self.fault, self.turn, self.operation, self.transport)).replace(" ", "_")


@dataclass(frozen=True)
class Stored:
    """What the operations read, saved before any fault."""

    root: str
    pointers: dict[str, Pointer]
    many: list[Pointer]
    keys: list[str]
    doomed: Any = None


CELLS = [
    Cell(fault, turn, operation, transport)
    for fault in FAULTS
    for turn in TURNS
    for operation in OPERATIONS
    for transport in ("obstore", "fsspec")
    if (turn != "third" or operation in _SEVERAL)
    # Its answer has no body, and nothing but its length says how large the object is.
    and not (operation == "info" and (FAULTS[fault].kind == "length" or FAULTS[fault].status == 200))
]
_IN_SAMPLE = set(random.Random(11).sample(CELLS, SAMPLE))


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    if "://" in ENDPOINT:
        yield S3Server(ENDPOINT, *CREDENTIALS)
        return
    reason = why_no_moto() if ENDPOINT == "moto" else why_no_seaweedfs()
    if reason is not None:
        pytest.skip(reason)
    with moto_server() if ENDPOINT == "moto" else seaweedfs_server() as server:
        yield server


@pytest.fixture(scope="module")
def stored(server: S3Server) -> Stored:
    repository = _open(server, f"s3://{server.bucket()}/stored", "obstore", LONG_S)
    pointers = {size: repository.save(value) for size, value in VALUES.items()}
    many = repository.save_many(MANY)
    return Stored(repository.root, pointers, many, sorted(info.key for info in repository.list()))


@pytest.fixture(scope="module")
def unable(server: S3Server, stored: Stored) -> dict[str, str]:
    """Why the server cannot be tested with some faults."""
    reasons = {}
    with server.client() as client:
        bucket = stored.root.split("/")[2]
        wrong = {
            "ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg==",
            "ChecksumSHA256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        }
        try:
            client.put_object(Bucket=bucket, Key="wrong", Body=b"other", ChecksumSHA256=wrong["ChecksumSHA256"])
        except client.exceptions.ClientError:
            pass
        else:
            reasons["flip-request"] = "the server does not verify the checksums of what it receives"
        for _ in range(2):
            try:
                client.put_object(Bucket=bucket, Key="condition", Body=b"x", IfNoneMatch="*")
            except client.exceptions.ClientError:
                break
        else:
            reasons["repeat"] = "the server ignores If-None-Match"
    return reasons


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payloadfs.stores._retry.PAUSES_S", (0.01, 0.01, 0.01))


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=str(cell), marks=pytest.mark.sweep if cell in _IN_SAMPLE else pytest.mark.long)
        for cell in CELLS
    ],
)
def test_cell(
    cell: Cell, server: S3Server, stored: Stored, unable: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[cell.fault]
    if fault.kind in unable:
        pytest.skip(unable[fault.kind])
    is_waiting = fault.kind in _WAITING
    if is_waiting:
        # The slowest transfer that is not an error, in bytes per second.
        for module in ("_obstore", "_fsspec"):
            monkeypatch.setattr(f"payloadfs.stores.{module}._SLOWEST", 32 * MIB)
    is_writing = cell.operation.startswith("save")
    root = f"{stored.root}-{uuid.uuid4().hex}" if is_writing else stored.root
    direct = _open(server, root, "obstore", LONG_S)
    if cell.operation == "delete":
        stored = replace(stored, doomed=direct.save(VALUES["small"]))
    with fault_proxy(server.endpoint_url) as proxy:
        behind = replace(server, endpoint_url=proxy.endpoint_url)
        repository = _open(behind, root, cell.transport, SHORT_S if is_waiting else LONG_S)
        outcome = _with_fault(cell, proxy, repository, direct, stored)
        _settle(proxy)
        assert all(result.error is None for result in (scan(repository=direct) if is_writing else ()))
        _retry(cell, repository, direct, stored)
        if is_writing:
            _assert_nothing_open(direct, server)
    if not ENDPOINT:
        _check(cell, outcome)


def _open(server: S3Server, root: str, transport: str, timeout_s: float) -> Repository:
    options = {**server.storage_options(), "region": "us-east-1"}
    return Repository(root, options, keys=KEYS, transport=transport, timeout=timeout_s, inline_bytes=0, cache="off")


def _with_fault(cell: Cell, proxy: FaultProxy, repository: Repository, direct: Repository, stored: Stored) -> str:
    """Run the operation with the fault. Return ``"ok"``, or the kinds of the errors that it raised."""
    matching, run = OPERATIONS[cell.operation]
    affected = proxy.inject(FAULTS[cell.fault], matching=matching, **TURNS[cell.turn])
    try:
        _assert_right(cell, run(repository, stored), direct, stored)
    except PayloadError as caught:
        error = caught
    else:
        assert affected or cell.turn != "once", "the fault did not happen"
        return "ok"
    # Not the context: this test's own frames are in it.
    shown = "".join(traceback.format_exception(error))
    options = repository.settings.storage_options
    assert options["secret"] not in shown
    assert options["key"] not in shown
    kinds = {error.kind}
    if isinstance(error, BatchError):
        _assert_right(cell, error.done, direct, stored)
        kinds = {getattr(one, "kind", repr(one)) for one in error.failed.values()}
    # The default kind: nothing is known of the cause.
    assert not kinds & {"panic", "payload", "store"}, traceback.format_exception_only(error)
    return ", ".join(sorted(kinds))


def _assert_right(cell: Cell, result: Any, direct: Repository, stored: Stored) -> None:
    """Check a result; of a batch also a part of it, by position."""
    if cell.operation.startswith("save"):
        size = cell.operation.split()[-1] if ":" not in cell.operation else "large"
        values = MANY if cell.operation == "save_many" else [_value(size, cell.transport)]
        numbered = result.items() if isinstance(result, dict) else enumerate(result)
        assert all(direct.load(pointer) == values[number] for number, pointer in numbered)
    elif cell.operation == "load_many":
        numbered = result.items() if isinstance(result, dict) else enumerate(result)
        assert all(value == MANY[number] for number, value in numbered)
    elif cell.operation == "delete":
        # A server that says that there is no such object is believed.
        assert cell.fault == "status 404" or not direct.exists(stored.doomed)
    elif cell.operation == "list":
        # Nothing but TLS protects the keys in a listing.
        assert cell.fault == "bit flipped on the way down" or result == stored.keys
    elif cell.operation == "info":
        assert result == direct.info(stored.pointers["mid"]).size_bytes
    else:
        # Not compared in the assertion, which would show megabytes.
        is_right = result == VALUES[cell.operation.split()[1]]
        assert is_right


def _settle(proxy: FaultProxy) -> None:
    """Wait until nothing that was given up still runs."""
    proxy.inject(None)
    proxy.disconnect()
    while [thread for thread in threading.enumerate() if thread.name in ("payloadfs-put", "payloadfs-get")]:
        time.sleep(0.01)


def _retry(cell: Cell, repository: Repository, direct: Repository, stored: Stored) -> None:
    """Run the operation again, without faults, until it succeeds.

    It may still be known that the server was dead, and the machine may be busy.
    """
    while True:
        try:
            result = OPERATIONS[cell.operation][1](repository, stored)
        except (BatchError, StoreError) as error:
            errors = error.failed.values() if isinstance(error, BatchError) else [error]
            assert all(isinstance(one, StoreError) and one.kind in ("timeout", "unreachable") for one in errors), errors
            time.sleep(0.1)
        else:
            break
    _assert_right(cell, result, direct, stored)
    if cell.operation == "delete":
        direct.delete(stored.doomed)
        with pytest.raises(NotFoundError):
            direct.info(stored.doomed)


def _assert_nothing_open(repository: Repository, server: S3Server) -> None:
    """Remove what a collection without a grace period would remove: then no upload is open."""
    assert isinstance(repository.store, SupportsLeftovers)
    for leftover in repository.store.leftovers():
        leftover.remove()
    _, _, bucket, *path = repository.root.split("/")
    with server.client() as client:
        answer = client.list_multipart_uploads(Bucket=bucket, Prefix="/".join(path))
    assert answer.get("Uploads", []) == []


def _check(cell: Cell, outcome: str) -> None:
    """Compare with the table, or add to it."""
    if not IS_WRITING:
        rows = _parsed(TABLE.read_text())
        # What depends on how busy the machine is: whether a request is sent again, whether an answer comes in time, and
        # whether a client notices the end of a connection while it reads, writes or connects.
        allowed = {"ok", "timeout"} if FAULTS[cell.fault].kind in _WAITING else set()
        for turn in TURNS:
            for outcomes in rows.get((replace(cell, turn=turn).row, cell.operation, cell.transport), ()):
                allowed |= set(outcomes.split(", "))
        if allowed & _LOST:
            allowed |= _LOST
        assert set(outcome.split(", ")) <= allowed, "not in the table"
        return
    with open(TABLE, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        rows = _parsed(text)
        rows.setdefault((cell.row, cell.operation, cell.transport), set()).add(outcome)
        file.seek(0)
        file.truncate()
        file.write(_rendered(text, rows))


_Rows = dict[tuple[str, str, str], set[str]]
_HEAD = f"| fault | {' | '.join(OPERATIONS)} |"


def _parsed(text: str) -> _Rows:
    """Return the outcomes in the table by row, operation and transport."""
    rows: _Rows = {}
    for line in text.partition(_HEAD)[2].splitlines()[2:]:
        if not line.startswith("|"):
            break
        row, *columns = (column.strip() for column in line.strip("|").split("|"))
        for operation, column in zip(OPERATIONS, columns, strict=True):
            both = column.split(" / ") if " / " in column else [column, column]
            for transport, outcomes in zip(("obstore", "fsspec"), both, strict=True):
                if outcomes:
                    rows[row, operation, transport] = {one.strip(" `") for one in outcomes.split(" or ")} - {"-"}
    return rows


def _rendered(text: str, rows: _Rows) -> str:
    """Return the page with the table of `rows`."""
    above, _, rest = text.partition(_HEAD)
    below = rest[rest.find("\n\n") :] if "\n\n" in rest else "\n"
    lines = [_HEAD, "|---" * (len(OPERATIONS) + 1) + "|"]
    for fault in FAULTS:
        for turn in TURNS:
            row = Cell(fault, turn, "", "").row
            columns = []
            for operation in OPERATIONS:
                both = [
                    " or ".join(
                        one if one == "ok" else f"`{one}`" for one in sorted(rows.get((row, operation, name), []))
                    )
                    for name in ("obstore", "fsspec")
                ]
                columns.append(both[0] if both[0] == both[1] else " / ".join(one or "-" for one in both))
            if any(columns):
                lines.append(f"| {row} | {' | '.join(columns)} |")
    return above + "\n".join(lines) + below
