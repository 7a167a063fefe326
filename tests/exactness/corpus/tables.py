"""pyarrow and polars: tables, batches, arrays, scalars, schemas, frames, series, plans."""

import contextlib
import datetime as dt
import decimal
import random

import numpy as np
import polars as pl
import pyarrow as pa
from payloadfs_corpus_classes import Celsius

from . import columns

NAN = float("nan")


def arrow():
    table = pa.table({"a": [1, 2, None], "s": ["x", None, "z"], "l": [[1], None, []], "f": [1.5, NAN, None]})
    differing = pa.chunked_array([pa.array([text]).dictionary_encode() for text in ("x", "y")])
    celsius = pa.ExtensionArray.from_storage(Celsius(), pa.array([1.5, None]))
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16)))
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])
    return {
        "table": table, "no rows": table[:0], "sliced": table[1:], "chunks": pa.concat_tables([table, table]), "uneven chunks": pa.table({"a": pa.chunked_array([[1], [2, 3]]), "b": pa.chunked_array([[1, 2], [3]])}),
        "no columns": table.select([]), "nothing": pa.table({}), "metadata": table.replace_schema_metadata({"k": "v"}), "metadata without columns": table.replace_schema_metadata({"k": "v"}).select([]),
        "field metadata": pa.table([pa.array([1])], schema=pa.schema([pa.field("a", pa.int64(), metadata={"k": "v"})])), "not nullable": pa.table([pa.array([1])], schema=pa.schema([pa.field("a", pa.int64(), nullable=False)])),
        "duplicate names": pa.Table.from_arrays([pa.array([1]), pa.array(["x"])], names=["a", "a"]), "differing dictionaries": pa.table({"d": differing}), "dictionary": pa.table({"d": pa.array(["x", "y", "x"]).dictionary_encode()}),
        "extension": pa.table({"c": celsius}), "registered extension": pa.table({"u": uuids}), "nested extension": pa.table({"u": pa.nulls(2, pa.list_(pa.uuid()))}), "union": pa.table({"u": union}),
        "views": pa.table({"v": pa.array(["x", "a text longer than twelve", None], pa.string_view())}), "no chunk": pa.table({"a": pa.chunked_array([], pa.int8())}), "dictionary no rows": pa.table({"d": pa.array([], pa.dictionary(pa.int8(), pa.string()))}),
        "from pandas": pa.Table.from_pandas(columns.cases()["category str"]), "batch": table.to_batches()[0], "batch without columns": table.to_batches()[0].select([]), "batch without rows": table.to_batches()[0][:0],
        "sliced batch": table.to_batches()[0][1:], "batch with extension": pa.record_batch({"c": celsius}), "chunked": pa.chunked_array([[1, 2], [None]]), "chunked, none": pa.chunked_array([], pa.string()), "differing": differing,
        "extension array": celsius, "uuid array": uuids, "union array": union, "extension chunks": pa.chunked_array([celsius]), "sliced array": pa.array(range(1000))[10:20], "sliced bools": pa.array([True, None] * 50)[3:9],
        "sliced dictionary": pa.array(["x", "y"] * 50).dictionary_encode()[3:9], "schema": table.schema, "schema with metadata": table.schema.with_metadata({"k": "v"}), "field": table.schema.field("a"), "type": pa.list_(pa.int8()),
        "extension type": Celsius(), "sorted map type": pa.map_(pa.string(), pa.int8(), keys_sorted=True), "sorted map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8(), keys_sorted=True)), "schema with sorted map": pa.schema([("m", pa.map_(pa.string(), pa.int8(), keys_sorted=True))]), "dictionary type": pa.dictionary(pa.int8(), pa.string(), ordered=True), "in containers": {"t": table, "n": [table.select([])], "s": table["s"][1:2]}, "buffer": pa.py_buffer(b"abc").to_pybytes(),
    }  # fmt: skip


def arrow_kinds():
    found = {}
    for name, array in columns.arrow().items():
        chunked = array.__arrow_array__()
        chunked = chunked if isinstance(chunked, pa.ChunkedArray) else pa.chunked_array([chunked])
        found |= {f"{name} table": pa.table({"x": chunked}), f"{name} chunks": chunked}
        if len(chunked):
            found |= {f"{name} array": chunked.chunk(0), f"{name} scalar": chunked[0], f"{name} type": chunked.type}
    return found


def _type(choose, depth):
    """A random type whose parts are at most `depth` levels deep."""
    leaves = [pa.null(), pa.bool_(), pa.int8(), pa.float64(), pa.string_view(), pa.binary(3), pa.timestamp("ns", "UTC"), pa.decimal256(50, 3), pa.month_day_nano_interval(), pa.uuid()]  # fmt: skip
    if not depth:
        return choose.choice(leaves)
    inner = _type(choose, choose.randrange(depth))
    parts = [
        pa.field(name, inner, metadata=choose.choice([None, {"k": "v"}])) for name in choose.choice(["x", "xy", "xx"])
    ]
    kinds = [
        lambda: pa.list_(parts[0]), lambda: pa.list_(parts[0], choose.randrange(3)), lambda: pa.large_list(inner), lambda: pa.list_view(inner), lambda: pa.large_list_view(inner),
        lambda: pa.map_(pa.string(), inner, choose.random() < 0.5), lambda: pa.struct(parts), lambda: pa.sparse_union(parts), lambda: pa.dense_union(parts),
        lambda: pa.run_end_encoded(choose.choice([pa.int16(), pa.int64()]), inner), lambda: pa.dictionary(choose.choice([pa.int8(), pa.uint16()]), inner, choose.random() < 0.5),
    ]  # fmt: skip
    return choose.choice(kinds)()


def arrow_types():
    """Types in each other, in all that has a type."""
    choose, found = random.Random(7), {}
    for number in range(150):
        kind = _type(choose, choose.randrange(1, 4))
        schema = pa.schema([pa.field("x", kind), pa.field("y", pa.int8())])
        objects = {"type": kind, "schema": schema, "empty table": pa.Table.from_batches([], schema)}
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # Arrow cannot create an array of all
            array = pa.nulls(3, kind)
            array.validate(full=True)
            batch = pa.record_batch([array, pa.array([1, None, 3], pa.int8())], schema=schema)
            objects |= {
                "array": array,
                "slice": array[1:2],
                "empty": array[:0],
                "scalar": array[0],
                "chunks": pa.chunked_array([array, array[:0]]),
            }
            objects |= {
                "batch": batch,
                "sliced batch": batch[1:],
                "empty batch": batch[:0],
                "table": pa.Table.from_batches([batch, batch]),
            }
        found |= {f"{number} {kind} {name}": obj for name, obj in objects.items()}
    return found


def polars():
    time = dt.datetime(2020, 1, 1, 1, 2, 3, 4)
    values = {
        **{str(kind): pl.Series("x", [1, None, 3], dtype=kind) for kind in (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32, pl.Float64)},
        "Int128": pl.Series("x", [2**100, None], dtype=pl.Int128), "bool": pl.Series("x", [True, None]), "text": pl.Series("x", ["a", None, "ü", "a text longer than twelve"]), "binary": pl.Series("x", [b"\xff", None]), "nan": pl.Series("x", [NAN, None, -0.0]),
        "date": pl.Series("x", [dt.date(2020, 1, 1), None]), "time": pl.Series("x", [dt.time(1, 2, 3), None]), "ms": pl.Series("x", [time, None], dtype=pl.Datetime("ms")), "ns": pl.Series("x", [time], dtype=pl.Datetime("ns")),
        "zone": pl.Series("x", [time], dtype=pl.Datetime("us", "Europe/Zurich")), "duration": pl.Series("x", [dt.timedelta(1), None]), "decimal": pl.Series("x", [decimal.Decimal("1.10"), None], dtype=pl.Decimal(10, 2)),
        "category": pl.Series("x", ["b", "a", None], dtype=pl.Categorical), "enum": pl.Series("x", ["b", "a", None], dtype=pl.Enum(["b", "c", "a"])), "list": pl.Series("x", [[1, None], None, []]), "array": pl.Series("x", [[1, 2], None], dtype=pl.Array(pl.Int8, 2)),
        "struct": pl.Series("x", [{"a": 1, "b": "x"}, None]), "nested": pl.Series("x", [[{"a": [1]}], []]), "null": pl.Series("x", [None, None]), "empty": pl.Series("x", [], dtype=pl.String), "no name": pl.Series([1.5]),
    }  # fmt: skip
    found = {f"series {name}": series for name, series in values.items()}
    found |= {f"frame {name}": series.to_frame() for name, series in values.items()}
    frame = pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]})
    return found | {
        "frame": frame, "sliced frame": frame[1:], "frame without rows": frame[:0], "frame without columns": pl.DataFrame(), "chunked frame": pl.concat([frame, frame], rechunk=False), "large frame": pl.DataFrame({"a": np.arange(100_000.0)}),
        "lazy": frame.lazy().filter(pl.col("a") > 1).with_columns(c=pl.col("a") * 2), "frames in a dict": {"x": frame, "y": [frame]}, "expression": (pl.col("a") + 1).meta.serialize(), "dtype": pl.Datetime("us", "Europe/Zurich"),
    }  # fmt: skip


def cases():
    return {f"arrow {name}": obj for name, obj in (arrow() | arrow_kinds() | arrow_types()).items()} | {
        f"polars {name}": obj for name, obj in polars().items()
    }
