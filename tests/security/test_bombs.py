"""Small objects that would become large, or take long: refused, or harmless, in 64 MB and a second of CPU."""

import base64
import json
import pickle
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from .fuzz import MEMORY_BYTES
from .hostile import (
    RANGE,
    file_for,
    frame_file,
    interval_array,
    intervals,
    level,
    nested,
    table_file,
    values,
    with_batches,
    with_node,
    with_shared_types,
)
from .mutants import arrow_stream

CPU_S = 1.0
CHILD = """
import json, pickle, resource, sys, time, warnings
warnings.simplefilter("ignore")
from tests.security import fuzz
for name in ("pandas/1", "polars/1", "arrow-table/1", "npy/1", "zstd-npy/1", "json/1"):
    fuzz.attempt(name, b"")
bombs = pickle.load(sys.stdin.buffer)
fuzz.attempt(*bombs.pop("warm up 1")), fuzz.attempt(*bombs.pop("warm up 2"))
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
for name, (serializer_id, content) in bombs.items():
    print(json.dumps([name]), flush=True)
    before, started = fuzz.peak_bytes(reset=True), time.process_time()
    try:
        loaded = bool(fuzz.attempt(serializer_id, content))
    except BaseException as error:
        loaded = repr(error)
    cpu_s = time.process_time() - started
    grown = fuzz.peak_bytes() - before
    print(json.dumps([name, loaded, cpu_s, grown]), flush=True)
"""
IDS = ("arrow-table/1", "arrow-batch/1", "pandas/1", "polars/1")
INT = ["numpy", "<i8"]
NUMBERS = pa.array([1, 2, 3])
EMPTY = pa.array([], pa.int64())
ZEROS = pa.array(np.zeros(2_000_000))
LONG = pa.array(["x" * 500_000])


def overlapping(count):
    """Return a file with a category whose values all show the same half megabyte."""
    texts = pa.array(["x" * 500_000, *["y" * 20] * (count - 1)], pa.string_view())
    content = table_file(pa.DictionaryArray.from_arrays(pa.array([0] * 9, pa.uint32()), texts))
    view = struct.pack("<i4sii", 500_000, b"xxxx", 0, 0)
    start = content.index(view)
    return content[:start] + view * count + content[start + 16 * count :]


def wide(count):
    """Return a file with many columns and one batch without rows."""
    schema = pa.schema([(str(number), pa.int8()) for number in range(count)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([pa.array([], pa.int8())] * count, schema=schema))
    return bytes(sink.getvalue())


def runs(length):
    return pa.RunEndEncodedArray.from_arrays(pa.array([length], pa.int64()), pa.array(["x" * 1000]))


def npy(header, data=b""):
    text = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npy_of(descr, shape):
    return npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")


def packed(codec, chunk, sizes):
    """Return an object of compressed chunks whose table states `sizes` uncompressed."""
    entries = b"".join(struct.pack("<QQ", len(chunk), size) for size in sizes)
    body = entries + struct.pack("<Q16s", len(sizes), b"payloadfs packed")
    return chunk * len(sizes) + struct.pack("<II", 0x184D2A50, len(body)) + body


def zeros(codec, count):
    chunk = pa.Codec(codec).compress(bytes(4 << 20), asbytes=True)
    return packed(codec, chunk, [4 << 20] * count)


def category_of_range(count):
    return level(pa.array([0, 1]), RANGE | {"range": [0, count, 1]})


def self_listing_range(count):
    meta = {
        "kind": "categories",
        "ordered": False,
        "name": None,
        "categories": RANGE | {"range": [0, count, 1]},
    }
    return level(pa.array([0, 1]), meta)


def bombs():
    for serializer_id in IDS:
        array = pa.array([], pa.struct([(str(number), pa.int8()) for number in range(500)]))
        yield (
            f"one batch 10,000 times, {serializer_id}",
            serializer_id,
            with_batches(file_for(serializer_id, array), 10_000),
        )
        for codec in ("zstd", "lz4"):
            yield f"{codec} in the file, {serializer_id}", serializer_id, table_file(ZEROS, compression=codec)
        old = {"metadata_version": pa.ipc.MetadataVersion.V4, "custom": {"ARROW:experimental_compression": "zstd"}}
        yield f"compressed in the old way, {serializer_id}", serializer_id, table_file(pa.array([0] * 9), **old)
        for name, array in {
            "null": pa.nulls(1),
            "fixed-size list": pa.nulls(1, pa.list_(pa.null(), 10)),
            "list": pa.array([[None]], pa.large_list(pa.null())),
            "run-end": pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["x"])),
        }.items():
            content = file_for(serializer_id, array)
            yield f"{name} of 2**40 cells, {serializer_id}", serializer_id, with_node(content, 0, 2**40)
            if name not in ("null", "run-end"):
                yield f"{name} with 2**40 children, {serializer_id}", serializer_id, with_node(content, 1, 2**40, 2**40)
        yield f"shared types, {serializer_id}", serializer_id, with_shared_types(serializer_id)
    for depth in (65, 3000):
        yield f"{depth} levels of types, table", "arrow-table/1", nested(depth)
        yield f"{depth} levels of types, polars", "polars/1", nested(depth)
    yield "45,000 columns", "arrow-table/1", wide(45_000)
    yield "45,000 columns, polars", "polars/1", wide(45_000)
    yield "runs, table", "arrow-table/1", table_file(runs(2**31 - 1))
    yield "runs, column", "pandas/1", frame_file([(["arrow"], runs(2**31 - 1))])
    yield "runs, objects", "pandas/1", frame_file([(["object", "str"], runs(3_000_000))])
    for kind in ("date", "int", "str", "list", "json"):
        array = pa.nulls(1, pa.list_(pa.null(), 3_000_000))
        yield f"a list of nulls as {kind}", "pandas/1", frame_file([(["object", kind], array)])
    yield (
        "dictionary as objects",
        "pandas/1",
        frame_file([(["object", "str"], pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int8()), LONG))]),
    )
    yield (
        "list views as objects",
        "pandas/1",
        frame_file(
            [
                (
                    ["object", "list", "None", ["int"]],
                    pa.ListViewArray.from_arrays([0] * 999, [9999] * 999, pa.array([0] * 9999)),
                )
            ]
        ),
    )
    yield "range of categories", "pandas/1", frame_file([category_of_range(10**8)])
    yield "range that lists itself", "pandas/1", frame_file([self_listing_range(10**8)])
    self_listing = self_listing_range(10**8)[0][2]
    yield "range that lists itself as index", "pandas/1", frame_file([(INT, NUMBERS)], index=self_listing)
    yield "range that lists itself as labels", "pandas/1", frame_file([(INT, NUMBERS)], labels=self_listing)
    multi = {"kind": "multi", "levels": [self_listing], "names": [None]}
    yield (
        "range that lists itself as level",
        "pandas/1",
        frame_file([(INT, NUMBERS)], index=multi, index_arrays=[category_of_range(2)[1]]),
    )
    yield "labels of 10**9", "pandas/1", frame_file([(INT, NUMBERS)], labels=RANGE | {"range": [0, 10**9, 1]})
    yield "index of 10**18", "pandas/1", frame_file([(INT, NUMBERS)], index=RANGE | {"range": [0, 10**18, 1]})
    yield (
        "compressed labels",
        "pandas/1",
        frame_file(
            [(INT, NUMBERS)], labels=values(["numpy", "<f8"]), label_stream=arrow_stream([ZEROS], compression="zstd")
        ),
    )
    yield (
        "compressed intervals",
        "pandas/1",
        frame_file([intervals(arrow_stream([interval_array().take(pa.array([0] * 100_000))], compression="zstd"))]),
    )
    yield (
        "too many intervals",
        "pandas/1",
        frame_file([intervals(arrow_stream([interval_array().take(pa.array([0] * 100_000))]))]),
    )
    yield (
        "sidecar of many values",
        "pandas/1",
        frame_file([(INT, NUMBERS)], changes={"attrs": {"json": {"x": [[]] * 1_000_000}}}),
    )
    yield (
        "sidecar of many dicts",
        "pandas/1",
        frame_file([(INT, NUMBERS)], changes={"attrs": {"json": {"x": [{"": 0}] * 500_000}}}),
    )
    yield "large sidecar", "pandas/1", frame_file([(INT, NUMBERS)], changes={"attrs": {"json": {"x": "y" * 9_000_000}}})
    yield "large msgpack", "pandas/1", frame_file([(INT, NUMBERS)], changes={"attrs": {"msgpack": "k" * 2_000_000}})
    deep = base64.b64encode(b"\x91" * 500_000 + b"\x90").decode()
    yield "deep msgpack", "pandas/1", frame_file([(INT, NUMBERS)], changes={"attrs": {"msgpack": deep}})
    for width, rows in ((10**12, 0), (2_000_000, 1), (-1, 1)):
        cells = pa.FixedSizeListArray.from_arrays(pa.array([0] * 3 * rows), 3)
        block = frame_file([(["block", width, "<i8"], cells)], labels=RANGE | {"range": [0, abs(width), 1]})
        yield f"a block of {width} columns and {rows} rows", "pandas/1", block
    cells = pa.array([b"\x91" * 500_000 + b"\x90"], pa.large_binary())
    yield "deep cells", "pandas/1", frame_file([(["object", "tree"], cells)])
    yield "many descriptions", "pandas/1", frame_file([(INT, NUMBERS)], changes={"columns": [INT] * 15_000})
    deep = '{"list":[' * 40_000 + "]}" * 40_000
    yield "deep attrs", "pandas/1", frame_file([(INT, NUMBERS)], changes={"attrs": "@raw"}, raw=deep)
    yield (
        "long frequency",
        "pandas/1",
        frame_file(
            [(INT, NUMBERS)],
            index=values(["numpy", "<M8[ns]"]) | {"freq": "9" * 500_000},
            index_arrays=[NUMBERS.cast(pa.timestamp("ns"))],
        ),
    )
    yield "long period", "pandas/1", frame_file([(["period", "period[" + "9" * 500_000 + "]"], NUMBERS)])
    yield (
        "categories of lists, polars",
        "polars/1",
        table_file(pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.uint32()), pa.array([[0] * 100_000]))),
    )
    yield "overlapping categories, polars", "polars/1", overlapping(1000)
    yield (
        "wide arrays, polars",
        "polars/1",
        with_node(table_file(pa.array([], pa.list_(pa.int8(), 2**31 - 1))), 1, 2**31 - 1),
    )
    yield (
        "many strings of an enum",
        "polars/1",
        table_file(
            pa.DictionaryArray.from_arrays(pa.array([0], pa.uint32()), pa.array(["x"], pa.string_view())),
            field_metadata={"_PL_ENUM_VALUES2": "0;" * 500_000},
        ),
    )
    yield "json lists", "json/1", b"[" + b"[]," * 700_000 + b"[]]"
    yield "json dicts", "json/1", b"[" + b'{"":0},' * 300_000 + b"0]"
    yield "json depth", "json/1", b"[" * 500_000
    yield "json digits", "json/1", b"9" * 2_000_000
    yield "json quotes", "json/1", b"[" + b"[]," * 20_000 + b'"' + b'\\"' * 300_000
    yield "npy depth", "npy/1", npy("(" * 4000)
    yield "npy dimensions", "npy/1", npy_of("<f8", (1,) * 900)
    yield "npy shape", "npy/1", npy_of("<f8", (2**62, 2**62))
    yield "npy cells", "npy/1", npy_of("<U2000000000", (1,))
    yield "npy digits", "npy/1", npy_of("<f8", f"({'9' * 60_000},)")
    yield "npy long shape", "npy/1", npy_of("<f8", f"({'9' * 4000 + ',' + '9, ' * 15_000})")
    yield "npy characters", "npy/1", npy_of(f"<U{'9' * 60_000}", (1,))
    yield (
        "npy long header",
        "npy/1",
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }" + " " * 60_000 + "\n"),
    )
    for codec, name in (("zstd", "npy"), ("lz4", "npy"), ("zstd", "text"), ("lz4", "bytes"), ("zstd", "arrow-table")):
        yield f"zeros by {codec}, {name}", f"{codec}-{name}/1", zeros(codec, 25)
    for codec in ("zstd", "lz4"):
        chunk = pa.Codec(codec).compress(bytes(4 << 20), asbytes=True)
        yield f"more than its table says, {codec}", f"{codec}-bytes/1", packed(codec, chunk, [1])
        yield f"a chunk of 2**60, {codec}", f"{codec}-bytes/1", packed(codec, chunk, [2**60])
        yield (
            f"less than its table says, {codec}",
            f"{codec}-bytes/1",
            packed(codec, pa.Codec(codec).compress(b"x", asbytes=True), [4 << 20] * 2),
        )
    yield "a window of 2 GB", "zstd-bytes/1", packed("zstd", b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", [100])


HARMLESS = {"npy long header"}


@pytest.fixture(scope="module")
def outcomes():
    """Result of each bomb: whether it loaded, CPU seconds, and growth of the process in bytes."""
    built = {name: (serializer_id, content) for name, serializer_id, content in bombs()}
    warm = {"warm up 1": ("pandas/1", frame_file([(INT, NUMBERS)])), "warm up 2": ("polars/1", table_file(NUMBERS))}
    task = pickle.dumps(warm | built)
    done = subprocess.run([sys.executable, "-c", CHILD], input=task, capture_output=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]}: {done.stderr.decode()[-2000:]}"
    return built, {name: outcome for name, *outcome in lines if outcome}


def test_each_bomb_is_refused_at_small_cost(outcomes):
    built, results = outcomes
    assert len(built) >= 60
    assert max(len(content) for _, content in built.values()) < 20_000_000
    assert results.keys() == built.keys()
    assert {name: loaded for name, (loaded, _, _) in results.items() if loaded}.keys() <= HARMLESS
    slow = {name: cpu_s for name, (_, cpu_s, _) in results.items() if cpu_s > CPU_S}
    assert not slow
    large = {name: grown for name, (_, _, grown) in results.items() if grown > MEMORY_BYTES + 2 * len(built[name][1])}
    assert not large
