"""Saving and loading through S3: this library and others, against a server that does nothing and a real one.

    python benchmarks/s3.py [--rounds 5] [--sizes 1KB,64MB,256MB] [--servers null,seaweedfs] [--peers NAME,...]

Each figure comes from a separate process that has put and got one small object before; peers take
turns within a round. The tables show medians: time for put and get, CPU seconds of the client, peak
memory beyond the object it sends, and the requests of one put and one get. The first table is the
cold one: 1 KB in a new process, including the import of the client. "obstore, checked" is the limit:
obstore alone with the same checksums, and a BLAKE3 digest of all bytes, computed during the upload and
after the download into one buffer. The other clients hash only what the protocol requires.
"""

import argparse
import json
import mmap
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

MIB = 1 << 20
SIZES = {"1KB": 1000, "64MB": 64 * MIB, "256MB": 256 * MIB, "1GB": 1024 * MIB}
Put = Callable[[str, memoryview], Any]
Get = Callable[[str, int], Any]


def payloadfs_through(transport: str) -> Callable[..., tuple[Put, Get]]:
    def open_peer(endpoint: str, bucket: str, key: str, secret: str) -> tuple[Put, Get]:
        from payloadfs._digest import digest_of
        from payloadfs._seal import Encoded, Outgoing
        from payloadfs.stores import open_store

        options = {"endpoint_url": endpoint, "key": key, "secret": secret, "region": "us-east-1"}
        store = open_store(f"s3://{bucket}", options, transport=transport)

        def put(name: str, data: memoryview) -> None:
            store.put(name, Outgoing(Encoded([data], "bin"), "b3"))

        def get(name: str, size_bytes: int) -> object:
            buffer = store.get(name, size_bytes).buffer
            digest_of([buffer], "b3")
            return buffer

        return put, get

    return open_peer


def payloadfs_into_a_file(endpoint: str, bucket: str, key: str, secret: str) -> tuple[Put, Get]:
    """Load as the cache does: into a file, which is mapped and then checked."""
    from payloadfs._digest import digest_of
    from payloadfs.stores import open_store

    put, _ = payloadfs_through("obstore")(endpoint, bucket, key, secret)
    options = {"endpoint_url": endpoint, "key": key, "secret": secret, "region": "us-east-1"}
    store: Any = open_store(f"s3://{bucket}", options, transport="obstore")

    def get(name: str, size_bytes: int) -> object:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
            store.get_into(name, size_bytes, file.fileno())
            mapped = mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_COPY)
        digest_of([memoryview(mapped)], "b3")
        return mapped

    return put, get


def obstore_alone(endpoint: str, bucket: str, key: str, secret: str) -> tuple[Put, Get]:
    import obstore
    from obstore.store import S3Store

    config: Any = {"endpoint": endpoint, "access_key_id": key, "secret_access_key": secret, "region": "us-east-1"}
    store = S3Store(bucket, config=config, client_options={"allow_http": True})
    return (lambda name, data: obstore.put(store, name, data)), (lambda name, _: obstore.get(store, name).bytes())


def obstore_checked(endpoint: str, bucket: str, key: str, secret: str) -> tuple[Put, Get]:
    """Do the least that has to be done with the bytes: what obstore can verify, and one digest of the content."""
    from concurrent.futures import ThreadPoolExecutor

    import obstore
    from blake3 import blake3
    from obstore.store import S3Store

    config: Any = {"endpoint": endpoint, "access_key_id": key, "secret_access_key": secret, "region": "us-east-1"}
    config |= {"checksum_algorithm": "SHA256", "unsigned_payload": False, "conditional_put": "etag"}
    store = S3Store(bucket, config=config, client_options={"allow_http": True})

    def put(name: str, data: memoryview) -> None:
        with ThreadPoolExecutor(1) as pool:
            digest = pool.submit(lambda: blake3(data).digest())
            if data.nbytes <= 16 * MIB:
                obstore.put(store, name, data, mode="create", use_multipart=False)
            else:
                parts = (data[start : start + 8 * MIB] for start in range(0, data.nbytes, 8 * MIB))
                obstore.put(store, name, parts, chunk_size=8 * MIB, max_concurrency=8)
            digest.result()

    def get(name: str, size_bytes: int) -> object:
        buffer = memoryview(mmap.mmap(-1, size_bytes))

        def fill(start: int) -> None:
            stop = min(start + 16 * MIB, size_bytes)
            buffer[start:stop] = memoryview(obstore.get_range(store, name, start=start, end=stop))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fill, range(0, size_bytes, 16 * MIB)))
        blake3(buffer, max_threads=blake3.AUTO).digest()
        return buffer

    return put, get


def s3fs_alone(endpoint: str, bucket: str, key: str, secret: str) -> tuple[Put, Get]:
    import s3fs

    fs = s3fs.S3FileSystem(endpoint_url=endpoint, key=key, secret=secret)

    def put(name: str, data: memoryview) -> None:
        fs.pipe_file(f"{bucket}/{name}", bytes(data))

    return put, lambda name, _: fs.cat_file(f"{bucket}/{name}")


def boto3_alone(endpoint: str, bucket: str, key: str, secret: str) -> tuple[Put, Get]:
    import io

    import boto3

    names = {"aws_access_key_id": key, "aws_secret_access_key": secret, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **names)

    def get(name: str, size_bytes: int) -> object:
        target = io.BytesIO()
        client.download_fileobj(bucket, name, target)
        return target

    return (lambda name, data: client.upload_fileobj(io.BytesIO(data), bucket, name)), get


def pyarrow_alone(endpoint: str, bucket: str, key: str, secret: str) -> tuple[Put, Get]:
    from pyarrow import fs

    place = endpoint.partition("://")[2]
    files = fs.S3FileSystem(
        access_key=key, secret_key=secret, endpoint_override=place, scheme="http", region="us-east-1"
    )

    def put(name: str, data: memoryview) -> None:
        with files.open_output_stream(f"{bucket}/{name}") as stream:
            stream.write(data)

    def get(name: str, size_bytes: int) -> object:
        with files.open_input_file(f"{bucket}/{name}") as file:
            return file.read_buffer()

    return put, get


PEERS: dict[str, Callable[..., tuple[Put, Get]]] = {
    "payloadfs": payloadfs_through("obstore"),
    "payloadfs, file": payloadfs_into_a_file,
    "payloadfs, fsspec": payloadfs_through("fsspec"),
    "obstore": obstore_alone,
    "s3fs": s3fs_alone,
    "boto3": boto3_alone,
    "pyarrow": pyarrow_alone,
    "obstore, checked": obstore_checked,
}


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measured(work: Callable[[], Any]) -> dict[str, float]:
    # 5 resets the peak to what is held now.
    Path("/proc/self/clear_refs").write_text("5")
    held_mb, cpu, started_s = peak_mb(), cpu_s(), time.perf_counter()
    result = work()
    figures = {"ms": (time.perf_counter() - started_s) * 1000, "cpu": cpu_s() - cpu, "mb": peak_mb() - held_mb}
    del result
    return figures


def requests(endpoint: str) -> str:
    with urllib.request.urlopen(f"{endpoint}/_requests") as answer:
        return answer.read().decode() or "-"


def work(peer: str, size_bytes: int, place: dict[str, str], number: str) -> None:
    """In a separate process: one cold put and get of 1 KB, then one of the size; prints figures as JSON."""
    data = memoryview(bytearray(os.urandom(MIB) * max(1, size_bytes // MIB)))[:size_bytes]
    small, is_null = memoryview(os.urandom(1000)), place["bucket"] == "null"

    def counted() -> str:
        return requests(place["endpoint"]) if is_null else ""

    counted()
    started_s = time.perf_counter()
    put, get = PEERS[peer](**place)
    put(f"{number}-1000", small)
    figures: dict[str, Any] = {"cold": (time.perf_counter() - started_s) * 1000, "cold put": counted()}
    get(f"{number}-1000", 1000)
    figures["cold get"] = counted()
    name = f"{number}x-{size_bytes}"
    figures["put"] = measured(lambda: put(name, data))
    figures["put requests"] = counted()
    figures["get"] = measured(lambda: get(name, size_bytes))
    figures["get requests"] = counted()
    print(json.dumps(figures))


@contextmanager
def null_server() -> Iterator[dict[str, str]]:
    command = [sys.executable, str(Path(__file__).with_name("_null_s3.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        try:
            yield {"endpoint": f"http://127.0.0.1:{port}", "bucket": "null", "key": "key", "secret": "x" * 20}
        finally:
            process.kill()


@contextmanager
def seaweedfs() -> Iterator[dict[str, str]]:
    from payloadfs.testing.servers import seaweedfs_server

    with seaweedfs_server() as server:
        facts = {"bucket": server.bucket(), "key": server.key, "secret": server.secret}
        yield {"endpoint": server.endpoint_url, **facts}


def in_a_process(peer: str, size_bytes: int, place: dict[str, str], number: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--work", json.dumps([peer, size_bytes, place, number])]
    environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        print(f"{peer} failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return {}
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def table(name: str, size: str, found: dict[str, list[dict[str, Any]]]) -> None:
    print(
        f"\n{name}, {size}\n{'':18} {'put ms':>8} {'MB/s':>6} {'cpu s':>6} {'MB':>6}   {'get ms':>8} {'MB/s':>6} {'cpu s':>6} {'MB':>6}  requests"
    )
    for peer, some in found.items():
        rounds = [one for one in some if one]
        if not rounds:
            print(f"{peer:18} failed each time")
            continue
        cells = []
        for step in ("put", "get"):
            ms, cpu, mb = (statistics.median(one[step][what] for one in rounds) for what in ("ms", "cpu", "mb"))
            cells.append(f"{ms:8.1f} {SIZES[size] / 1000 / ms:6.0f} {cpu:6.2f} {mb:6.0f}")
        print(f"{peer:18} {'   '.join(cells)}  {rounds[0]['put requests']} / {rounds[0]['get requests']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="1KB,64MB,256MB")
    parser.add_argument("--servers", default="null,seaweedfs")
    parser.add_argument("--peers", default="")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(*json.loads(given.work))
        return
    peers = given.peers.split("+") if given.peers else list(PEERS)
    for server, start in (("null", null_server), ("seaweedfs", seaweedfs)):
        if server not in given.servers.split(","):
            continue
        with start() as place:
            for size in given.sizes.split(","):
                found: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
                for turn in range(given.rounds):
                    for at in range(len(peers)):
                        peer = peers[(at + turn) % len(peers)]
                        number = f"{size}-{turn}-{at}"
                        found[peer].append(in_a_process(peer, SIZES[size], place, number))
                table(server, size, found)
                if size == "1KB":
                    for peer, some in found.items():
                        rounds = [one for one in some if one]
                        cold = statistics.median(one["cold"] for one in rounds)
                        print(
                            f"{peer:18} import, open and first put {cold:7.1f} ms   {rounds[0]['cold put']} / {rounds[0]['cold get']}"
                        )


if __name__ == "__main__":
    main()
