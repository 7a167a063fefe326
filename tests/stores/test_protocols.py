"""Any fsspec URL: the kit on SFTP and FTP, from many threads and after a lost connection, and reading through HTTP."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from payloadfs import Key, KeyRing, Repository
from payloadfs.errors import StoreError
from payloadfs.stores import Store
from payloadfs.stores._fsspec import open_fsspec_store
from payloadfs.testing import PiecesBody, StoreTests
from payloadfs.testing.servers import free_ports

# Both ends of a dropped connection leave their sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Collect these sockets while their warnings are still ignored, not in the next test that collects."""
    yield
    gc.collect()


KEYS = KeyRing([Key(b"k" * 32)])


class Server:
    """A server in this process: its URL, options for its client, and a way to drop every connection."""

    def __init__(self, root: str, options: dict[str, Any], drop: Callable[[], None]) -> None:
        self.root, self.options, self.drop = root, options, drop


@contextmanager
def sftp_server(folder: Path) -> Iterator[Server]:
    asyncssh = pytest.importorskip("asyncssh")
    connections: list[Any] = []

    class Accepting(asyncssh.SSHServer):  # type: ignore[misc, name-defined]
        def connection_made(self, connection: Any) -> None:
            connections.append(connection)

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, *_: str) -> bool:
            return True

    async def start() -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Accepting,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            sftp_factory=partial(asyncssh.SFTPServer, chroot=str(folder)),
        )

    def drop() -> None:
        async def abort() -> None:
            while connections:
                connections.pop().abort()

        asyncio.run_coroutine_threadsafe(abort(), loop).result()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        options = {"username": "me", "password": "anything"}
        yield Server(f"sftp://127.0.0.1:{listener.get_port()}/objects", options, drop)
    finally:
        drop()
        loop.call_soon_threadsafe(listener.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def ftp_server(folder: Path) -> Iterator[Server]:
    pytest.importorskip("pyftpdlib")
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    handlers: list[Any] = []

    class Handler(FTPHandler):  # type: ignore[misc]
        authorizer = DummyAuthorizer()

        def on_connect(self) -> None:
            handlers.append(self)

    Handler.authorizer.add_user("me", "anything", str(folder), perm="elradfmwMT")
    (port,) = free_ports(1)
    server = ThreadedFTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.1, "handle_exit": False})
    thread.start()

    def drop() -> None:
        while handlers:
            handlers.pop().close()

    try:
        yield Server(f"ftp://127.0.0.1:{port}/objects", {"username": "me", "password": "anything"}, drop)
    finally:
        drop()
        server.close_all()
        thread.join()


SERVERS = {"sftp": sftp_server, "ftp": ftp_server}


@pytest.fixture(params=["sftp, paramiko", "sftp, asyncssh", "ftp"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    scheme, _, client = request.param.partition(", ")
    if client:
        pytest.importorskip(client)
        # The package sshfs takes over the scheme if it is installed.
        from fsspec.implementations.sftp import SFTPFileSystem

        sshfs = pytest.importorskip("sshfs") if client == "asyncssh" else None
        chosen = sshfs.SSHFileSystem if sshfs else SFTPFileSystem
        # The module, not the mapping of the same name.
        monkeypatch.setitem(import_module("fsspec.registry")._registry, "sftp", chosen)
    with SERVERS[scheme](tmp_path) as server:
        if client == "asyncssh":
            server.options["known_hosts"] = None
        yield server


@pytest.fixture
def store(server: Server) -> Store:
    return open_fsspec_store(server.root, server.options)


class TestKit(StoreTests):
    @pytest.fixture
    def store(self, server: Server) -> Store:
        return open_fsspec_store(server.root, server.options)

    @pytest.fixture(autouse=True)
    def _remember(self, server: Server) -> None:
        self.server = server

    def make_another(self, store: Store) -> Store:
        return open_fsspec_store(store.root, self.server.options)


@pytest.mark.timeout(60)
def test_many_threads_and_a_batch(server: Server) -> None:
    repository = Repository(server.root, server.options, keys=KEYS, cache="off", inline_bytes=0)
    pointers = repository.save_many(range(40))
    assert repository.load_many(pointers) == list(range(40))


@pytest.mark.timeout(60)
def test_a_lost_connection_is_opened_again(server: Server, store: Store) -> None:
    store.put("a.bin", PiecesBody([b"a"]))
    operations: list[Callable[[], Any]] = [
        lambda: store.get("a.bin", 1),
        lambda: store.info("a.bin"),
        lambda: list(store.list()),
        lambda: store.put("b.bin", PiecesBody([b"b"])),
        lambda: store.delete("b.bin"),
    ]
    for operation in operations:
        server.drop()
        operation()
    with ThreadPoolExecutor(8) as pool:
        server.drop()
        assert [bytes(fetched.buffer) for fetched in pool.map(lambda _: store.get("a.bin", 1), range(16))] == [
            b"a"
        ] * 16


def test_objects_have_a_time(store: Store) -> None:
    store.put("run/a.bin", PiecesBody([b"a"]))
    (listed,) = store.list()
    assert 1_700_000_000 < listed.modified_s < 4_000_000_000


class Ranged(SimpleHTTPRequestHandler):
    """Files of a folder, whole or from one byte to another."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content, wanted = path.read_bytes(), self.headers.get("Range")
        status = 200
        if wanted:
            start, stop = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            if start >= len(content):
                self.send_error(416)
                return
            content, status = content[start : stop + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranged, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/objects"
    server.shutdown()
    thread.join()
    server.server_close()


def test_http_is_for_reading(web: str, tmp_path: Path) -> None:
    values = [b"", b"x", "text", [1, 2], b"y" * 20_000_000]
    writer = Repository(tmp_path / "objects", keys=KEYS, inline_bytes=0)
    reader = Repository(web, keys=KEYS, cache="off", root_aliases={writer.root: web})
    pointers = [writer.save(value) for value in values]
    assert reader.load_many(pointers) == values
    assert reader.exists(pointers[0])
    with pytest.raises(StoreError) as caught:
        reader.save("x")
    assert not caught.value.transient
