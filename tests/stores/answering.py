"""A server whose answers are the test's."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable


class Answering:
    """One thread per connection; what it answers is the test's: a status, headers, bytes, or silence."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen: list[tuple[str, str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.request = threading.local()
        """Its ``headers`` are those of the request that `answer` answers."""
        self.answer: Callable[[socket.socket, str, str, str], None] = lambda *_: None
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def connections(self) -> int:
        return len(self._threads) - 1

    def count(self) -> Counter[str]:
        return Counter(verb for verb, _, _ in self.seen)

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):  # the other side was first
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            self._threads.append(threading.Thread(target=self._serve, args=(client,)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
                self._sockets.append(client)
            with client.makefile("rb") as stream:
                while line := stream.readline():
                    verb, target, _ = line.decode().split(" ")
                    headers = {}
                    while (line := stream.readline()) not in (b"\r\n", b""):
                        name, _, value = line.decode().partition(":")
                        headers[name.lower()] = value.strip()
                    stream.read(int(headers.get("content-length", 0)))
                    self.headers.append(headers)
                    self.request.headers = headers
                    self.seen.append((verb, target, headers.get("range", "")))
                    self.answer(client, verb, target, headers.get("range", ""))
        except OSError:
            pass


def give(client: socket.socket, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
    lines = {"Content-Length": str(len(body) if length is None else length), "ETag": '"e"', **headers}
    text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    client.sendall(f"HTTP/1.1 {status} X\r\n{text}\r\n".encode() + body)


def part(client: socket.socket, wanted: str, content: bytes, *, cut: int | None = None) -> None:
    """Answer a GET as a server does that has `content`; `cut` bytes of it only, though more are said."""
    if not wanted:
        give(client, 200, content[:cut], len(content))
        return
    start, stop = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
    body = content[start : stop + 1]
    where = f"bytes {start}-{start + len(body) - 1}/{len(content)}"
    give(client, 206, body[:cut], len(body), Content_Range=where)
