"""An S3 server that discards uploads and serves zeros: it shows the limit of the client.

    python benchmarks/_null_s3.py

It prints its port and runs until it is killed. It checks nothing. A key ends in the size of its
object, such as ``k-1000``. ``GET /_requests`` returns the number of requests and resets it.
"""

import os
import re
import socket
import socketserver
import tempfile
import threading
from collections import Counter

LARGEST_BYTES = 1 << 32
COUNT: Counter[str] = Counter()
WRITTEN: set[str] = set()
LOCK = threading.Lock()
FACTS = b'ETag: "0123456789abcdef0123456789abcdef"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
UPLOAD = b"<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>1</UploadId></InitiateMultipartUploadResult>"
DONE = b'<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>"1"</ETag></CompleteMultipartUploadResult>'


class Connection(socketserver.BaseRequestHandler):
    request: socket.socket
    server: "Server"

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest, scratch = b"", bytearray(1 << 20)
        while True:
            while b"\r\n\r\n" not in rest:
                got = self.request.recv(65536)
                if not got:
                    return
                rest += got
            head, _, rest = rest.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if "expect" in headers:
                self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            left = int(headers.get("content-length", 0))
            taken = min(left, len(rest))
            rest, left = rest[taken:], left - taken
            while left:
                count = self.request.recv_into(scratch, min(left, len(scratch)))
                if not count:
                    return
                left -= count
            verb, target, _ = first.split(" ")
            self.answer(verb, target, headers.get("range", ""))

    def answer(self, verb: str, target: str, wanted: str) -> None:
        if target == "/_requests":
            with LOCK:
                body = " ".join(f"{name}:{count}" for name, count in sorted(COUNT.items())).encode()
                COUNT.clear()
            self.give(200, body)
            return
        with LOCK:
            COUNT[verb] += 1
        name = target.partition("?")[0]
        if verb == "HEAD" and name not in WRITTEN:
            self.give(404, b"")
        elif verb == "POST":
            WRITTEN.add(name)
            self.give(200, UPLOAD if "uploads" in target else DONE)
        elif verb in ("GET", "HEAD"):
            size_bytes = int(re.findall(r"-(\d+)", target)[-1])
            self.serve(verb, size_bytes, re.fullmatch(r"bytes=(\d+)-(\d*)", wanted))
        else:
            WRITTEN.add(name)
            self.give(204 if verb == "DELETE" else 200, b"")

    def serve(self, verb: str, size_bytes: int, wanted: "re.Match[str] | None") -> None:
        start, stop, more = 0, size_bytes, b""
        if wanted:
            start, stop = int(wanted[1]), min(int(wanted[2] or size_bytes) + 1, size_bytes)
            more = b"Content-Range: bytes %d-%d/%d\r\n" % (start, stop - 1, size_bytes)
        status = b"206 Partial Content" if wanted else b"200 OK"
        length = b"Content-Length: %d\r\n" % (stop - start)
        self.request.sendall(b"HTTP/1.1 " + status + b"\r\n" + length + more + FACTS + b"\r\n")
        while verb == "GET" and start < stop:
            start += os.sendfile(self.request.fileno(), self.server.zeros, start, stop - start)

    def give(self, status: int, body: bytes) -> None:
        head = b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n" % (status, len(body))
        self.request.sendall(head + FACTS + b"\r\n" + body)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        file = tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)  # noqa: SIM115  # as long as we
        file.truncate(LARGEST_BYTES)
        self.file, self.zeros = file, file.fileno()

    def handle_error(self, *_: object) -> None:
        return  # the client closed the connection


if __name__ == "__main__":
    with Server() as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
