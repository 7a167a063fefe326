"""Mutants of valid objects of the safe serializers: the cases of the fuzzer, one class per family of formats."""

import base64
import collections
import contextlib
import copy
import datetime as dt
import decimal
import fractions
import json
import re
import struct
import uuid
import warnings

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from payloadfs.serializers import default_serializers
from payloadfs.serializers._arrow import structure
from payloadfs.serializers._compression import Compressed
from payloadfs.testing.serializers import stored_bytes

EXTENSION = "payloadfs.fuzz"
NUMBERS = [0, 1, 2, 3, 4, 8, 16, 63, 64, 127, 128, 255, 1000, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1]
entered = []
"""Names of Arrow extensions whose code ran."""


class Toy(pa.ExtensionType):
    """Extension type that another package registered in this process."""

    def __init__(self, storage=None):
        super().__init__(storage or pa.int64(), EXTENSION)

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        entered.append(EXTENSION)
        return cls(storage)


def register_toy():
    with contextlib.suppress(pa.ArrowKeyError):
        pa.register_extension_type(Toy())


def arrow_file(schema, batches, *, custom=None, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch, custom_metadata=custom)
    return bytes(sink.getvalue())


def arrow_stream(arrays, **options):
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_arrays(arrays, names=[str(number) for number in range(len(arrays))])
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def exotic(length):
    """Return arrays of `length` of types and contents that are rare, or that only other writers use."""
    texts = pa.array([f"a text that is longer than twelve {number % 3}" for number in range(length)])
    numbers = pa.array(range(length), pa.int64())
    run_ends = pa.array([length], pa.int32()) if length else pa.array([], pa.int32())
    yield from (pa.nulls(length, kind) for kind in (pa.null(), pa.month_day_nano_interval(), pa.decimal256(50, 3)))
    yield from (numbers, texts, texts.cast(pa.string_view()), texts.cast(pa.large_string()), texts.dictionary_encode())
    yield pa.RunEndEncodedArray.from_arrays(run_ends, numbers[: len(run_ends)])
    yield pa.UnionArray.from_sparse(pa.array([0] * length, pa.int8()), [numbers, texts])
    yield pa.UnionArray.from_dense(pa.array([0] * length, pa.int8()), pa.array(range(length), pa.int32()), [numbers])
    yield pa.nulls(length, pa.list_view(pa.int8()))
    yield pa.nulls(length, pa.list_(pa.null(), 1000))
    yield pa.array([[(1, "x")]] * length, pa.map_(pa.int8(), pa.string()))
    yield pa.array([{"a": 1, "b": [None]}] * length)
    yield pa.array([0] * length, pa.timestamp("ns", "Mars/Olympus"))
    yield pa.ExtensionArray.from_storage(Toy(), numbers)
    yield pa.DictionaryArray.from_arrays(pa.array([0] * length, pa.uint8()), pa.array([[1, 2, 3]]))
    yield pa.array([b"0" * 16] * length, pa.binary(16))


FIELD_METADATA = [
    {"ARROW:extension:name": EXTENSION, "ARROW:extension:metadata": ""},
    {"ARROW:extension:name": "arrow.json"},
    {"ARROW:extension:name": "POLARS_EXTENSION_TYPE", "ARROW:extension:metadata": "1;1"},
    {"_PL_ENUM_VALUES2": "9;a"},
    {"_PL_ENUM_VALUES": "1;a1;b"},
    {"_PL_CATEGORICAL2": "0;0;u128;"},
    {"_PL_CATEGORICAL": "lexical"},
    {"unit": "m"},
]


def positions(content, check):
    """Return offset and size of every number that the strict reader looks at in `content`."""
    base, found = pa.py_buffer(content).address, []
    read, vector = structure._read, structure.Table.vector

    def offset(flat):
        return pa.py_buffer(flat).address - base

    def spying_read(form, flat, pos):
        found.append((offset(flat) + pos, form.size))
        return read(form, flat, pos)

    def spying_vector(table, number, item_bytes):
        items = vector(table, number, item_bytes)
        found.extend((offset(items) + pos, 8) for pos in range(0, items.nbytes - 7, 8))
        return items

    structure._read, structure.Table.vector = spying_read, spying_vector
    try:
        with contextlib.suppress(Exception):
            check(memoryview(content))
    finally:
        structure._read, structure.Table.vector = read, vector
    return sorted(set(found))


def change_number(rng, content, slots):
    """Change one number of the structure."""
    pos, size = rng.choice(slots)
    if pos < 0 or pos + size > len(content):
        return content
    old = int.from_bytes(content[pos : pos + size], "little")
    new = rng.choice([old + 1, old - 1, 2 * old, old ^ (1 << rng.randrange(8 * size)), *rng.sample(NUMBERS, 3)])
    return splice(content, pos, (new % (1 << 8 * size)).to_bytes(size, "little"))


def change_bytes(rng, content, first=0):
    """Change some bytes from `first` on, cut some out, or put some in."""
    if len(content) <= first:
        return content + b"x"
    pos, choice = rng.randrange(first, len(content)), rng.random()
    if choice < 0.7:
        return splice(
            content, pos, rng.choice([rng.randbytes(1), struct.pack("<i", rng.choice([-1, 0, 1, 2**31 - 1]))])
        )
    other = rng.randrange(first, len(content))
    piece = content[min(pos, other) : max(pos, other)][:64]
    return content[:pos] + piece + content[pos:] if choice < 0.85 else content[:pos] + content[pos + len(piece) :]


def splice(content, pos, piece):
    return content[:pos] + piece + content[pos + len(piece) :]


def change_json(rng, value, pool):
    """Change one node of a JSON value."""
    value = copy.deepcopy(value)
    holder = value
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return value
        key = rng.choice(keys)
        if not isinstance(holder[key], dict | list) or not holder[key] or rng.random() < 0.3:
            break
        holder = holder[key]
    choice = rng.random()
    if choice < 0.15:
        del holder[key]
    elif choice < 0.3 and isinstance(holder[key], str):
        holder[key] = change_bytes(rng, holder[key].encode()).decode("utf-8", "ignore")
    elif choice < 0.5:
        holder[key] = rng.choice([None, True, -1, 1.5, "", "x", [], {}, [[]], 2**70, *NUMBERS])
    else:
        holder[key] = copy.deepcopy(rng.choice(pool))
    return value


def nodes(value):
    """Yield a JSON value and everything in it."""
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(part)


def encoded(value, serializer_ids):
    serializer, stored = default_serializers.encode(value)
    return (serializer.id, bytes(stored_bytes(stored))) if serializer.id in serializer_ids else None


class Format:
    """Valid objects and ways to change them."""

    ids = ()

    def __init__(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.originals = [found for value in self.values() if (found := encoded(value, self.ids))]
        assert len(self.originals) >= 5

    def case(self, rng):
        """Return serializer id and bytes of one case."""
        serializer_id, content = rng.choice(self.originals)
        with contextlib.suppress(pa.ArrowException, OSError):  # no writer writes that
            content = self.rebuild(rng, content)
        for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
            content = self.change(rng, content)
        return (rng.choice(self.ids) if rng.random() < 0.1 else serializer_id), content

    def rebuild(self, rng, content):
        """Return a valid object, sometimes as another writer may write it."""
        return content

    def change(self, rng, content):
        """Return `content`, which need not be valid, with some bytes changed."""
        return change_bytes(rng, content)


class Arrow(Format):
    ids = ("arrow-table/1", "arrow-batch/1")

    def values(self):
        for length in (0, 3, 40):
            arrays = [array for array in exotic(length) if not isinstance(array, pa.ExtensionArray | pa.UnionArray)]
            table = pa.Table.from_arrays(arrays, names=[str(number) for number in range(len(arrays))])
            yield from (table, table.select([0, 3, 4, 7]), pa.concat_tables([table.select([3, 5])] * 2))
            yield table.select(["3", "4"]).combine_chunks().to_batches()[0] if length else table.select([])

    def change(self, rng, content):
        choice = rng.random()
        if choice < 0.7 and (slots := positions(content, structure.check_file)):
            return change_number(rng, content, slots)
        if choice < 0.85 and len(content) > 10:  # the footer
            footer_bytes = struct.unpack("<i", content[-10:-6])[0]
            return change_bytes(rng, content, max(0, len(content) - 10 - footer_bytes))
        return change_bytes(rng, content)

    def rebuild(self, rng, content):
        if rng.random() < 0.6:
            return content
        table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
        choice, options = rng.random(), {}
        if choice < 0.15:
            options["metadata_version"] = pa.ipc.MetadataVersion.V4
        elif choice < 0.3:
            options["compression"] = rng.choice(["zstd", "lz4"])
        elif choice < 0.4:
            options["custom"] = {"ARROW:experimental_compression": "zstd"}
        elif choice < 0.5:
            table = pa.concat_tables([table[: rng.randrange(3)]] * rng.choice([1, 2, 100]))
        elif table.num_columns:
            position = rng.randrange(table.num_columns)
            field, column = table.schema.field(position), table.column(position)
            if choice < 0.8:
                column = rng.choice([array for array in exotic(len(column)) if array is not None])
                field = pa.field(field.name, column.type)
            if choice > 0.7:
                field = field.with_metadata(rng.choice(FIELD_METADATA))
            if rng.random() < 0.1:
                field = field.with_name(table.schema.field(0).name)
            table = table.set_column(position, field, column)
        return arrow_file(table.schema, table.to_batches(), **options)


class Pandas(Arrow):
    ids = ("pandas/1", "pandas-series/1")

    def values(self):
        from tests.exactness import everyday

        for make in everyday.FRAMES.values():
            frame = make()
            if 0 < frame.shape[1] <= 20:
                yield frame.head(5)
                yield frame.iloc[:5, 0]
        yield pd.DataFrame({"a": range(3), "b": range(3)})
        cells = pd.Series([{1: (2**70, "x")}, np.ones((2, 2)), {pd.Timestamp(0), None}], dtype=object)
        week = pd.date_range("2026", periods=3, freq=pd.offsets.Week(weekday=1, normalize=True), name=("x", 1))
        frame = pd.DataFrame({"cells": cells.to_numpy()}, index=week)
        frame.attrs = {"day": pd.Timestamp("2026", tz="Europe/Zurich").date(), 2: [np.arange(3)]}
        yield frame
        yield pd.DataFrame(np.zeros((2, 2001), "u1"))
        yield pd.DataFrame(np.zeros((2, 2001), "?"))

    def __init__(self):
        super().__init__()
        sidecars = [json.loads(self.parts(content)[1]) for _, content in self.originals]
        whole = [node for sidecar in sidecars for node in nodes(sidecar)]
        self.pool = [*{json.dumps(node): node for node in whole}.values(), ["numpy", "|O"], ["rest"]]

    @staticmethod
    def parts(content):
        table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
        return table, table.schema.metadata[b"payloadfs"], table.schema.metadata[b"payloadfs.labels"]

    def rebuild(self, rng, content):
        if rng.random() < 0.35:
            return super().rebuild(rng, content)
        table, sidecar, labels = self.parts(content)
        choice = rng.random()
        packed = [*re.finditer(rb'"msgpack":"([^"]*)"', sidecar)]
        if packed and choice < 0.3:
            found = rng.choice(packed)
            changed = change_bytes(rng, base64.b64decode(found[1]))
            sidecar = sidecar[: found.start(1)] + base64.b64encode(changed) + sidecar[found.end(1) :]
        elif choice < 0.6:
            sidecar = json.dumps(change_json(rng, json.loads(sidecar), self.pool)).encode()
        elif choice < 0.7 and b'"stream":"' in sidecar:
            start = sidecar.index(b'"stream":"') + 10
            stop = sidecar.index(b'"', start)
            stream = base64.b64encode(self.change_stream(rng, base64.b64decode(sidecar[start:stop])))
            sidecar = sidecar[:start] + stream + sidecar[stop:]
        elif choice < 0.8 and labels:
            labels = self.change_stream(rng, labels)
        elif table.num_columns:
            position = rng.randrange(table.num_columns)
            if choice < 0.9:
                table = table.set_column(position, "x", rng.choice(list(exotic(table.num_rows))))
            else:
                table = table.set_column(position, "x", table.column(rng.randrange(table.num_columns)))
        metadata = {"payloadfs": sidecar, "payloadfs.labels": labels}
        return arrow_file(table.schema.with_metadata(metadata), table.to_batches())

    @staticmethod
    def change_stream(rng, stream):
        choice = rng.random()
        if choice < 0.5:
            return change_number(rng, stream, positions(stream, structure.check_stream) or [(0, 4)])
        if choice < 0.8:
            return change_bytes(rng, stream)
        options = [{}, {"compression": "zstd"}, {"metadata_version": pa.ipc.MetadataVersion.V4}]
        return arrow_stream([rng.choice(list(exotic(rng.choice([0, 3, 5]))))], **rng.choice(options))


class Polars(Arrow):
    ids = ("polars/1", "polars-series/1")

    def values(self):
        texts = ["u", "a text that is longer than twelve", None]
        frame = pl.DataFrame(
            {
                "i": [1, None, 3],
                "f": [1.5, None, 2.5],
                "s": texts,
                "b": [b"x", None, b"y"],
                "n": [None, None, None],
                "c": pl.Series(texts, dtype=pl.Categorical),
                "e": pl.Series(["v", None, "u"], dtype=pl.Enum(["u", "v"])),
                "l": [["x"], None, []],
                "lc": pl.Series([["x"], None, []], dtype=pl.List(pl.Categorical)),
                "a": pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int16, 2)),
                "st": [{"x": 1, "y": "z"}, None, {"x": 2, "y": None}],
                "t": pl.Series([0, None, 1], dtype=pl.Int64).cast(pl.Datetime("us", "Europe/Zurich")),
                "d": pl.Series([0, None, 1], dtype=pl.Int64).cast(pl.Duration("ms")),
                "m": pl.Series([0, None, 1], dtype=pl.Int64).cast(pl.Decimal(10, 2)),
            }
        )
        yield from (frame, frame.head(0), frame.select("i"), frame.select("c", "e", "s"), pl.concat([frame, frame]))
        yield from frame.get_columns()


class Numpy(Format):
    ids = ("npy/1", "npy-readonly/1")

    def values(self):
        for dtype in ("f8", ">i4", "?", "U3", "S5", "M8[s]", "m8[ns]", "c16", "u1"):
            yield np.zeros(4, dtype)
            yield np.zeros((2, 3), dtype, order="F")

    def change(self, rng, content):
        words = [
            b"(",
            b")",
            b"9" * rng.choice([1, 9, 40]),
            b"-1",
            b"'|O'",
            b"True",
            b"[('a','O')]",
            b"<U",
            b"|b1",
            b"<f8",
        ]
        if rng.random() < 0.4:
            return change_bytes(rng, content)
        pos = rng.randrange(10, min(len(content), 128))
        return splice(content, pos, rng.choice(words))


class Plain(Format):
    ids = ("json/1", "text/1", "bytes/1")

    def values(self):
        yield from ({"a": [1, 2.5, None, {"b": "ü"}], "": {}}, [1, [2, [3]]], "a text", b"bytes", 1, None, [10**40])

    def change(self, rng, content):
        tokens = [
            b"[",
            b"]",
            b"{",
            b"}",
            b'"',
            b"\\",
            b",",
            b":",
            b"1e999",
            b"NaN",
            b"9" * 5000,
            b"\\ud800",
            b"[" * 3000,
        ]
        pos = rng.randrange(len(content) + 1)
        return content[:pos] + rng.choice([*tokens, rng.randbytes(2)]) + content[pos + rng.choice([0, 0, 1, 3]) :]


class Packed(Format):
    ids = (
        "zstd-npy/1",
        "lz4-npy/1",
        "zstd-text/1",
        "lz4-bytes/1",
        "zstd-pandas/1",
        "lz4-polars/1",
        "zstd-arrow-table/1",
    )

    def __init__(self):
        values = {
            "npy": np.arange(3000),
            "text": "x" * 5000,
            "bytes": bytes(5000),
            "pandas": pd.DataFrame({"a": range(2000)}),
            "polars": pl.DataFrame({"a": range(2000)}),
            "arrow-table": pa.table({"a": range(2000)}),
        }
        self.originals = []
        for name in self.ids:
            codec, _, inner = name.partition("-")
            _, stored = default_serializers.encode(values[inner.partition("/")[0]])
            self.originals.append(
                (name, b"".join(Compressed(default_serializers.by_id(inner), codec).compress(stored).frames))
            )

    def change(self, rng, content):
        if rng.random() < 0.5:  # the table and what follows
            slots = [(len(content) - pos, 8) for pos in (40, 32, 24, 16, 8)] + [
                (len(content) - 48, 4),
                (len(content) - 44, 4),
            ]
            return change_number(rng, content, slots)
        return change_bytes(rng, content)


class Tree(Format):
    """Containers whose msgpack is changed as a structure: other codes, names, fields, leaves and depths."""

    ids = ("tree/1",)
    names = ["date", "datetime", "time", "timedelta", "Decimal", "Fraction", "UUID", "range", "set", "deque", "Counter",
             "defaultdict", "numpy", "ndarray", "MaskedArray", "dtype", "pandas", "Index", "pandas.array", "offset",
             "arrow.Array", "arrow.Scalar", "timezone", "Pointer", "int", "str", "slice", "Path", "os.system", ""]  # fmt: skip

    def values(self):
        frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
        yield {"f": frame, "a": np.arange(600), "t": (1, 2.5, None), 3: {4, 5}}
        yield [dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.date(2026, 1, 1), dt.timedelta(1), decimal.Decimal("1.5")]
        yield [fractions.Fraction(1, 3), uuid.UUID(int=5), range(3), slice(1), collections.Counter("aab"), 2**70]
        yield collections.OrderedDict(a=collections.deque([1], 3), b=collections.defaultdict(list, {1: [2]}))
        yield {"s": np.float32(1), "m": np.ma.masked_array([1, 2], [True, False]), "d": np.zeros(2, [("a", "i4")])}
        yield [frame.index, pd.Timestamp("2026", tz="UTC"), pd.Interval(0, 1), pd.array([1, None]), pd.NaT, frame.a]
        yield [pa.array([1]), pa.scalar("x"), pa.table({"a": [1]}), pl.DataFrame({"a": [1]}), pl.Series([1.5])]
        yield (b"x" * 5000, "y" * 5000, bytearray(b"z"), 1j, {(1, 2): frozenset([3])})

    def change(self, rng, content):
        if rng.random() < 0.3:
            return change_bytes(rng, content)
        try:
            head, start = self._head(content)
            value = msgspec.msgpack.decode(head, ext_hook=self._open)
            if rng.random() < 0.2:
                return splice(content, rng.choice([16, 20, 24, 32]), struct.pack("<I", rng.choice([0, 1, 2, 2**31])))
            changed = self._close(change_json(rng, [value], [*nodes(value), *self._extras(rng)])[0])
            new = msgspec.msgpack.encode(changed)
        except (ValueError, TypeError, IndexError, struct.error, RecursionError, OverflowError, UnicodeError):
            return change_bytes(rng, content)
        # The buffers move with the head, so the table moves with them where that is possible.
        shift = (len(new) - len(head) + 63) // 64 * 64
        count = int.from_bytes(content[20:24], "little")
        table = b"".join(
            struct.pack("<QQ", max(offset + shift, 0), size)
            for offset, size in struct.iter_unpack("<QQ", content[40 : 40 + 16 * count])
        )
        front = content[:32] + struct.pack("<Q", len(new)) + table + content[40 + 16 * count : start]
        after = bytes(max(shift - (len(new) - len(head)), 0)) + content[start + len(head) :]
        return front + new + after

    @staticmethod
    def _head(content):
        _, _, count, meta_bytes, head_bytes = struct.unpack_from("<16sIIQQ", content)
        start = 40 + 16 * count + meta_bytes
        if start + head_bytes > len(content):
            raise ValueError
        return content[start : start + head_bytes], start

    @classmethod
    def _open(cls, code, content):
        return {"code": code, "parts": msgspec.msgpack.decode(content, ext_hook=cls._open)}

    @classmethod
    def _close(cls, value):
        if isinstance(value, dict):
            if value.keys() == {"code", "parts"} and type(value["code"]) is int:
                content = msgspec.msgpack.encode(cls._close(value["parts"]))
                return msgspec.msgpack.Ext(
                    value["code"] % 256 - 128 if abs(value["code"]) > 127 else value["code"], content
                )
            return {key: cls._close(part) for key, part in value.items()}
        return [cls._close(part) for part in value] if isinstance(value, list) else value

    def _extras(self, rng):
        name, number = rng.choice(self.names), rng.choice([0, 1, -1, 2**62, 10**9])
        deep = []
        for _ in range(rng.choice([3, 120, 1000])):
            deep = {"code": 2, "parts": [deep]} if rng.random() < 0.5 else [deep]
        yield from (
            {"code": 4, "parts": [name, number]},
            {"code": 4, "parts": [name, "9" * rng.choice([1, 5000])]},
            {"code": 4, "parts": [name, [number] * 3, number]},
            {
                "code": 4,
                "parts": ["ndarray", rng.choice(["|O", "<f8", "|V9", "<U999999999"]), [number, 3], b"x", False, True],
            },
            {"code": 5, "parts": [rng.choice(["payloadfs.Payload", "os.system", "x"]), number]},
            {"code": rng.randrange(1, 7), "parts": number},
            {"code": 3, "parts": [[1], 2]},
            deep,
        )


FORMATS = {
    "arrow": Arrow,
    "pandas": Pandas,
    "polars": Polars,
    "numpy": Numpy,
    "plain": Plain,
    "compressed": Packed,
    "tree": Tree,
}
SHARES = {"arrow": 0.2, "pandas": 0.3, "polars": 0.17, "numpy": 0.06, "plain": 0.05, "compressed": 0.07, "tree": 0.15}
