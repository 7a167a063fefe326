"""Untrusted objects: refused before a library follows them, with one error, in both policies that allow them."""

import asyncio
import contextlib
import json
import pathlib
import pickle
import struct

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from payloadfs import DecodeError, EncodeError, Key, KeyRing, Repository
from payloadfs._digest import Digest, digest_of
from payloadfs.serializers import SerializerRegistry, decode, default_serializers, read_metadata
from payloadfs.serializers._arrow.memory import ObjectBuffer
from payloadfs.serializers._arrow.structure import check_file
from payloadfs.testing.exact import assert_exact
from payloadfs.testing.serializers import stored_bytes

from . import fuzz, mutants
from .hostile import (
    embedded,
    file_for,
    frame_file,
    interval_array,
    intervals,
    level,
    nested,
    table_file,
    valid,
    values,
    with_batches,
    with_buffers,
    with_count,
    with_node,
    with_shared_types,
)
from .mutants import arrow_file, arrow_stream

NUMBERS = pa.array([1, 2, 3])
TEXTS = pa.array(["a", "b", None])
INT = ["numpy", "<i8"]
ARROW_IDS = ("arrow-table/1", "arrow-batch/1", "pandas/1", "pandas-series/1", "polars/1", "polars-series/1")


@pytest.fixture(scope="module", autouse=True)
def toy_extension():
    mutants.register_toy()
    yield
    pa.unregister_extension_type(mutants.EXTENSION)


@pytest.fixture(scope="module", params=["unsigned", "signed"])
def load(request, tmp_path_factory):
    """Function that loads bytes with a serializer id, under a policy that lets no signer run code."""
    home = tmp_path_factory.mktemp("store")
    keys = KeyRing([Key.generate()])
    writer = Repository(home, keys=keys, fsync=False)
    reader = Repository(home, keys=keys, unsigned="safe", pickle="never")

    def loaded(serializer_id, content):
        pointer = writer.save(b"x" * 5000)
        with open(f"{home}/{pointer.key}", "wb") as file:
            file.write(content)
        digest = Digest("b3", digest_of([content], "b3"))
        forged = pointer.replaced(
            serializer=serializer_id, size_bytes=len(content), digest=digest, key_id="", signature=""
        )
        return reader.load(forged.signed(writer.keys) if request.param == "signed" else forged)

    return loaded


def refuses(load, serializer_id, content, match=None):
    mutants.entered.clear()
    with pytest.raises(DecodeError, match=match):
        load(serializer_id, content)
    assert not mutants.entered


def columns(description, array, count=1):
    return frame_file([(description, array)] * count)


# Numbers that are read as something else

DTYPES = ["|O", "O", "<i4", "<u8", "<f4", ">i8", "<M8[us]", "<U2", "<c16", "|V8", "<m8[D]", "i4,i4", "|b1", "(2,)<i4"]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_that_is_not_that_of_the_array(load, dtype, count):
    refuses(load, "pandas/1", columns(["numpy", dtype], NUMBERS, count))


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("dtype", ["|O", "|V8", "<i4", "i4,i4", "<U2"])
def test_memory_is_never_viewed_as_objects(dtype, trusted):
    buffer = memoryview(bytearray(64))
    memory = ObjectBuffer(buffer, trusted=trusted)
    arrays = [pa.Array.from_buffers(pa.int64(), 2, [None, pa.py_buffer(buffer[at : at + 16])]) for at in (0, 16)]
    with pytest.raises(ValueError, match="is not an array of"):
        memory.view(arrays[0], dtype)
    with pytest.raises(ValueError, match="is not an array of"):
        memory.block(arrays, dtype)
    assert memory.block(arrays, "<i8").tolist() == [[0, 0], [0, 0]]


WRONG = {
    "index": lambda: frame_file([(INT, NUMBERS)], index=values(["numpy", "|O"]), index_arrays=[NUMBERS]),
    "labels": lambda: frame_file(
        [(INT, NUMBERS)], labels=values(["numpy", "|O"]), label_stream=arrow_stream([pa.array([1])])
    ),
    "categories": lambda: frame_file([level(pa.array([1, 2]), values(["numpy", "|O"]))]),
    "level": lambda: frame_file(
        [(INT, NUMBERS)],
        index={"kind": "multi", "levels": [values(["numpy", "|O"])], "names": [None]},
        index_arrays=[level(pa.array([1]), None)[1]],
    ),
    "interval": lambda: columns(
        ["interval", "right", values(["numpy", "|O"]), values(INT)],
        pa.StructArray.from_arrays([NUMBERS, NUMBERS], ["left", "right"]),
    ),
    "interval of lists": lambda: columns(["interval", "right", values(INT), values(INT)], pa.array([[1], [2], [3]])),
    "embedded intervals": lambda: frame_file(
        [intervals(arrow_stream([pa.StructArray.from_arrays([pa.array([0]), pa.array(["x"])], ["left", "right"])]))]
    ),
    "complex": lambda: columns(["complex", "<c16"], NUMBERS),
    "complex of integers": lambda: columns(["complex", "<c16"], pa.array([[1, 2]] * 3, pa.list_(pa.int64(), 2))),
    "zoned": lambda: columns(["zoned", "ns", "zone", "Europe/Zurich"], NUMBERS),
    "zoned, another unit": lambda: columns(["zoned", "ns", "zone", "UTC"], NUMBERS.cast(pa.timestamp("us", "UTC"))),
    "period": lambda: columns(["period", "period[D]"], TEXTS),
    "masked": lambda: columns(["masked", "Int32"], NUMBERS),
    "masked boolean": lambda: columns(["masked", "boolean"], NUMBERS),
    "string": lambda: columns(["string", "pyarrow", "nan"], NUMBERS),
    "string of views": lambda: columns(["string", "python", "NA"], TEXTS.cast(pa.string_view())),
    "category of numbers": lambda: columns(["category", False, values(INT)], NUMBERS),
    "mutable index": lambda: frame_file(
        [(INT, NUMBERS)],
        index=values(["object", "list", "None", ["int"]]),
        index_arrays=[pa.array([[1], [2], [3]], pa.large_list(pa.int64()))],
    ),
    "remainder": lambda: frame_file([(INT, NUMBERS)], changes={"columns": [["rest"], INT]}),
    "two batches": lambda: arrow_file(
        *(lambda schema: (schema, [pa.RecordBatch.from_arrays([NUMBERS], schema=schema)] * 2))(
            pa.ipc.open_file(columns(INT, NUMBERS)).schema
        )
    ),
    "metadata": lambda: arrow_file(
        *(lambda schema: (schema, [pa.RecordBatch.from_arrays([NUMBERS], schema=schema)]))(
            (lambda schema: schema.with_metadata({**schema.metadata, "x": "y"}))(
                pa.ipc.open_file(columns(INT, NUMBERS)).schema
            )
        )
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_description_that_does_not_fit_the_array(load, name):
    refuses(load, "pandas/1", WRONG[name]())


OBJECT_KINDS = ["str", "bytes", "bool", "int", "float", "date", "time", "datetime", "timedelta", "Decimal", "UUID"]
OBJECTS = [
    *(["object", kind] for kind in [*OBJECT_KINDS, "mixed", "json"]),
    *(["object", "list", "None", [kind]] for kind in OBJECT_KINDS),
    ["object", "ndarray", "None", "<i8"],
]


@pytest.mark.parametrize("description", OBJECTS, ids=json.dumps)
def test_objects_only_from_the_type_that_their_writer_uses(description):
    """All other Arrow types are refused, before a cell is converted."""
    accepted = []
    for array in mutants.exotic(3):
        try:
            mutants.entered.clear()
            decode(
                default_serializers.by_id("pandas/1"),
                memoryview(bytearray(columns(description, array))),
                trusted=False,
            )
            accepted.append(str(array.type))
        except DecodeError:
            pass
    assert not mutants.entered
    kinds = {"int": "int64", "str": "large_string", "UUID": "fixed_size_binary[16]", "float": "double"}
    assert set(accepted) <= {kinds.get(description[1], "none")}


@pytest.mark.parametrize("part", ["index", "labels", "category", "level", "interval"])
@pytest.mark.parametrize(
    "description", [["object", "date"], ["object", "str"], ["string", "python", "NA"]], ids=json.dumps
)
def test_other_parts_only_from_the_type_that_their_writer_uses(part, description):
    meta, accepted = values(description), []
    for array in mutants.exotic(3):
        files = {
            "index": lambda array: frame_file([(INT, NUMBERS)], index=meta, index_arrays=[array]),
            "labels": lambda array: frame_file([(INT, NUMBERS)] * 3, labels=meta, label_stream=arrow_stream([array])),
            "category": lambda array: frame_file([level(array, meta)]),
            "level": lambda array: frame_file(
                [(INT, NUMBERS)],
                index={"kind": "multi", "levels": [meta], "names": [None]},
                index_arrays=[level(array, None)[1]],
            ),
            "interval": lambda array: columns(
                ["interval", "right", meta, meta], pa.StructArray.from_arrays([array, array], ["left", "right"])
            ),
        }
        with contextlib.suppress(pa.ArrowException):  # pyarrow does not write all of them
            content = files[part](array)
            with contextlib.suppress(DecodeError):
                fuzz.attempt_strictly("pandas/1", content)
                accepted.append(str(array.type))
    assert set(accepted) <= ({"large_string", "string"} if "date" not in description else set())


# Code of other packages

EXTENSION = {"ARROW:extension:name": mutants.EXTENSION, "ARROW:extension:metadata": ""}
NAMES = [
    mutants.EXTENSION,
    "arrow.json",
    "arrow.uuid",
    "POLARS_EXTENSION_TYPE",
    "ray.data.arrow_pickled_object",
    "not.known",
]


def extended(name=mutants.EXTENSION):
    return {"ARROW:extension:name": name, "ARROW:extension:metadata": "1;1"}


NESTED = {
    "column": lambda field: field,
    "list": lambda field: pa.field("x", pa.large_list(field)),
    "struct": lambda field: pa.field("x", pa.struct([field])),
    "map": lambda field: pa.field("x", pa.map_(pa.string(), field)),
}


@pytest.mark.parametrize("serializer_id", ARROW_IDS)
@pytest.mark.parametrize("nested", NESTED)
@pytest.mark.parametrize("name", NAMES)
def test_extension_types_run_no_code(load, serializer_id, nested, name):
    field = NESTED[nested](pa.field("x", pa.int64(), metadata=extended(name)))
    metadata = pa.ipc.open_file(columns(["arrow"], NUMBERS)).schema.metadata if "pandas" in serializer_id else None
    schema = pa.schema([field], metadata)
    batch = pa.RecordBatch.from_arrays([pa.nulls(3, field.type)], schema=schema)
    refuses(load, serializer_id, arrow_file(schema, [batch]), "extension")


@pytest.mark.parametrize("nested", ["labels", "intervals", "dictionary", "object"])
def test_extension_types_in_the_parts_of_a_frame(load, nested):
    toy = pa.ExtensionArray.from_storage(mutants.Toy(), pa.array([1]))
    files = {
        "labels": lambda: frame_file([(INT, NUMBERS)], labels=values(["arrow"]), label_stream=arrow_stream([toy])),
        "intervals": lambda: frame_file([intervals(arrow_stream([toy]))]),
        "dictionary": lambda: frame_file([level(toy, values(["arrow"]))]),
        "object": lambda: columns(["object", "date"], toy),
    }
    refuses(load, "pandas/1", files[nested](), "extension")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("serializer_id", ARROW_IDS)
def test_extension_types_of_ray_run_no_code(load, serializer_id, tmp_path):
    """The real package, if installed: version 2.52 unpickles the metadata of its types."""
    pytest.importorskip("ray.data")
    sign = tmp_path / "ran"

    class Touch:
        def __reduce__(self):
            return pathlib.Path.touch, (sign,)

    for name in ("arrow_tensor", "arrow_tensor_v2", "arrow_variable_shaped_tensor", "arrow_pickled_object"):
        metadata = {"ARROW:extension:name": f"ray.data.{name}", "ARROW:extension:metadata": cloudpickle.dumps(Touch())}
        for array in (pa.array([[1.5]]), pa.array([pickle.dumps(Touch())])):
            field = pa.field("x", array.type, metadata=metadata)
            for description in (["arrow"], ["object", "date"]):
                frame = frame_file([(description, array)]) if "pandas" in serializer_id else table_file(array)
                # `pa.ipc.open_file` would run it here, so the schema is made again.
                table = pa.ipc.open_file(frame).read_all()
                schema = pa.schema([field], table.schema.metadata)
                content = arrow_file(schema, [pa.RecordBatch.from_arrays([array], schema=schema)])
                refuses(load, serializer_id, content, "extension")
    assert not sign.exists()


def test_metadata_of_objects_runs_no_code():
    content = table_file(pa.ExtensionArray.from_storage(mutants.Toy(), NUMBERS))
    mutants.entered.clear()
    with pytest.raises(ValueError, match="extension"):
        read_metadata("arrow-table/1", memoryview(content))
    assert not mutants.entered


def test_tables_with_names_of_extensions_are_not_stored_as_safe():
    """Whether such a table loads must not depend on what the reader's process registered."""
    field = pa.field("x", pa.int64(), metadata={"ARROW:extension:name": "not.registered"})
    for schema in (pa.schema([field]), pa.schema([("l", pa.list_(field))])):
        table = pa.Table.from_batches([], schema)
        assert default_serializers.encode(table)[0].id == "pickle/1"


# Old and compressed messages

OPTIONS = {
    "V4": {"metadata_version": pa.ipc.MetadataVersion.V4},
    "V4, compressed in the old way": {
        "metadata_version": pa.ipc.MetadataVersion.V4,
        "custom": {"ARROW:experimental_compression": "zstd"},
    },
    "custom metadata": {"custom": {"x": "y"}},
    "zstd": {"compression": "zstd"},
    "lz4": {"compression": "lz4"},
}


@pytest.mark.parametrize("serializer_id", ARROW_IDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_messages_that_are_not_written_today(load, serializer_id, name):
    metadata = pa.ipc.open_file(columns(INT, NUMBERS)).schema.metadata if "pandas" in serializer_id else None
    content = table_file(pa.array([0] * 1000), metadata=metadata, **OPTIONS[name])
    refuses(load, serializer_id, content, "old version|metadata of a message|compressed")


@pytest.mark.parametrize("name", ["V4", "zstd"])
@pytest.mark.parametrize("part", ["labels", "intervals"])
def test_messages_in_the_parts_of_a_frame(load, part, name):
    if part == "labels":
        stream = arrow_stream([pa.array([1])], **OPTIONS[name])
        content = frame_file([(INT, NUMBERS)], labels=values(INT), label_stream=stream)
    else:
        content = frame_file([intervals(arrow_stream([interval_array()], **OPTIONS[name]))])
    refuses(load, "pandas/1", content, "old version|compressed")


@pytest.mark.parametrize("name", ["offsets", "not UTF-8"])
@pytest.mark.parametrize("part", ["labels", "intervals"])
def test_content_of_the_parts_of_a_frame(load, part, name):
    texts = pa.array(["abcd" * 3, "x"], pa.large_string())
    stream = arrow_stream([texts])
    old, new = {
        "offsets": (struct.pack("<qqq", 0, 12, 13), struct.pack("<qqq", 0, 2**40, 13)),
        "not UTF-8": (b"abcd", b"\xffbcd"),
    }[name]
    assert stream.count(old) >= 1
    stream, meta = stream.replace(old, new), values(["object", "str"])
    if part == "labels":
        content = frame_file([(INT, NUMBERS)] * 2, labels=meta, label_stream=stream)
    else:
        content = frame_file([level(pa.array(["u", "v"], pa.large_string()), embedded(stream, meta))])
    refuses(load, "pandas/1", content)


# Each reads as many arrays as the limit allows. One is with a frame and one without; the sweep has the others.
@pytest.mark.parametrize(
    "serializer_id",
    [
        pytest.param(name, marks=() if name in ("arrow-table/1", "pandas/1") else pytest.mark.sweep)
        for name in ARROW_IDS
    ],
)
def test_types_that_are_shared_or_deep(load, serializer_id):
    refuses(load, serializer_id, with_shared_types(serializer_id), "too many arrays")
    if "pandas" not in serializer_id:
        refuses(load, serializer_id, nested(65), "too many nested types")
        refuses(load, serializer_id, nested(2000), "too many nested types")


def test_parts_of_a_frame_that_are_valid(load):
    stream = arrow_stream([pa.array([7])])
    frame = load("pandas/1", frame_file([(INT, NUMBERS)], labels=values(INT), label_stream=stream))
    assert frame.columns.tolist() == [7]
    assert load("pandas/1", frame_file([intervals(arrow_stream([interval_array()]))])).iloc[0, 0] == pd.Interval(0, 1)


# polars

VIEWS = TEXTS.cast(pa.string_view())
CODES = pa.array([0, 0, 1], pa.uint32())
CATEGORIES = pa.array(["u", "v"], pa.string_view())
PANICS = {
    "sparse union": lambda: pa.UnionArray.from_sparse(pa.array([0] * 3, pa.int8()), [NUMBERS, TEXTS]),
    "dense union": lambda: pa.UnionArray.from_dense(
        pa.array([0] * 3, pa.int8()), pa.array([0, 1, 2], pa.int32()), [NUMBERS]
    ),
    "run-end": lambda: pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([1])),
    "list view": lambda: pa.nulls(3, pa.list_view(pa.int8())),
    "large list view": lambda: pa.nulls(3, pa.large_list_view(pa.int8())),
    "decimal256": lambda: pa.nulls(3, pa.decimal256(50, 2)),
    "decimal32": lambda: pa.nulls(3, pa.decimal32(5, 2)),
    "month_day_nano": lambda: pa.nulls(3, pa.month_day_nano_interval()),
    "unknown zone": lambda: pa.array([0] * 3, pa.timestamp("us", "Mars/Olympus")),
    "seconds": lambda: pa.array([0] * 3, pa.timestamp("s")),
    "duration in seconds": lambda: pa.array([0] * 3, pa.duration("s")),
    "date64": lambda: pa.array([0] * 3, pa.date64()),
    "time32": lambda: pa.array([0] * 3, pa.time32("ms")),
    "time in us": lambda: pa.array([0] * 3, pa.time64("us")),
    "map": lambda: pa.array([[(1, "x")]] * 3, pa.map_(pa.int8(), pa.string())),
    "fixed-size binary": lambda: pa.array([b"ab"] * 3, pa.binary(2)),
    "string": lambda: TEXTS,
    "large binary": lambda: pa.array([b"x"] * 3, pa.large_binary()),
    "list": lambda: pa.array([[1]] * 3),
    "list of width 0": lambda: pa.array([[]] * 3, pa.list_(pa.int8(), 0)),
    "dictionary of lists": lambda: pa.DictionaryArray.from_arrays(CODES, pa.array([[1], [2]])),
    "dictionary of numbers": lambda: pa.DictionaryArray.from_arrays(CODES, NUMBERS),
    "signed codes": lambda: pa.DictionaryArray.from_arrays(CODES.cast(pa.int32()), CATEGORIES),
    "long codes": lambda: pa.DictionaryArray.from_arrays(CODES.cast(pa.uint64()), CATEGORIES),
    "a missing category": lambda: pa.DictionaryArray.from_arrays(CODES, pa.array(["u", None], pa.string_view())),
    "struct with two equal names": lambda: pa.StructArray.from_arrays([NUMBERS, NUMBERS], ["a", "a"]),
    "nested union": lambda: pa.StructArray.from_arrays(
        [pa.UnionArray.from_sparse(pa.array([0] * 3, pa.int8()), [NUMBERS])], ["a"]
    ),
    "nested run-end": lambda: pa.StructArray.from_arrays(
        [pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([1]))], ["a"]
    ),
}
METADATA = {
    "enum that is too short": {"_PL_ENUM_VALUES2": "9;u"},
    "enum of nothing known": {"_PL_ENUM_VALUES2": "x"},
    "enum with a value twice": {"_PL_ENUM_VALUES2": "1;u1;u"},
    "old enum": {"_PL_ENUM_VALUES": "-1;u"},
    "enum that is not UTF-8": {"_PL_ENUM_VALUES2": b"1;\xff"},
    "categories of another size": {"_PL_CATEGORICAL2": "0;0;u128;"},
    "categories without a name": {"_PL_CATEGORICAL2": "u32;"},
    "old categories": {"_PL_CATEGORICAL": "random"},
    "extension": {"ARROW:extension:name": "POLARS_EXTENSION_TYPE", "ARROW:extension:metadata": "1;140000000000"},
    "unknown": {"unit": "m"},
}


@pytest.mark.parametrize("serializer_id", ["polars/1", "polars-series/1"])
@pytest.mark.parametrize("name", PANICS)
def test_types_that_polars_does_not_write(load, serializer_id, name, capfd):
    try:
        content = table_file(PANICS[name]())
    except AttributeError as error:
        pytest.skip(f"this pyarrow cannot make it: {error}")
    refuses(load, serializer_id, content)
    assert "panicked" not in capfd.readouterr().err


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("array", [NUMBERS, pa.DictionaryArray.from_arrays(CODES, CATEGORIES)], ids=["int", "category"])
def test_metadata_that_polars_does_not_write(load, name, array, capfd):
    refuses(load, "polars/1", table_file(array, field_metadata=METADATA[name]))
    assert "panicked" not in capfd.readouterr().err


def test_other_parts_that_polars_does_not_write(load):
    two = pa.schema([("x", pa.int64())] * 2)
    refuses(load, "polars/1", arrow_file(two, [pa.RecordBatch.from_arrays([NUMBERS] * 2, schema=two)]))
    refuses(load, "polars/1", table_file(NUMBERS, metadata={"x": "y"}))
    assert load("polars/1", table_file(NUMBERS)).to_dict(as_series=False) == {"x": [1, 2, 3]}


def test_integers_of_128_bits_are_left_to_pickle():
    """pyarrow, which checks untrusted frames, cannot read them."""
    frame = pl.DataFrame({"x": pl.Series([1, 2], dtype=pl.Int128)})
    assert default_serializers.encode(frame)[0].id == "pickle/1"


# Wrong content


def wrong_lists(kind, ends):
    offsets = pa.py_buffer(np.array([0, *ends], np.int64))
    return pa.Array.from_buffers(kind, len(ends), [None, offsets], children=[pa.array(range(8), kind.value_type)])


LISTS = pa.large_list(pa.int8())
CORRUPT = {
    "offsets that lead outside": lambda: wrong_lists(LISTS, [2**40, 5, 8]),
    "offsets that decrease": lambda: wrong_lists(LISTS, [5, -3, 8]),
    "union": lambda: pa.UnionArray.from_sparse(pa.array([0] * 3, pa.int8()), [NUMBERS, NUMBERS]),
    "codes": lambda: pa.DictionaryArray.from_arrays(pa.array([0, 9], pa.uint32()), CATEGORIES, safe=False),
}
VIEW = struct.pack("<i4sii", 20, b"abcd", 0, 0)
CHANGES = {
    "a longer array": lambda content: with_node(content, 0, 1000),
    "an endless array": lambda content: with_node(content, 0, 2**60),
    "more nulls than cells": lambda content: with_node(content, 0, 3, 4),
    "no batch": lambda content: with_batches(content, 0)[:-20] + b"x" * 20,
    "not UTF-8": lambda content: content.replace(b"abcd", b"\xffbcd"),
    "a view that leads outside": lambda content: content.replace(VIEW, VIEW[:8] + struct.pack("<ii", 0, 1 << 20)),
    "a view of another buffer": lambda content: content.replace(VIEW, VIEW[:8] + struct.pack("<ii", 1, 0)),
    "buffers that overlap": lambda content: with_buffers(content, 0),
    "buffers before the batch": lambda content: with_buffers(content, -8),
    "buffers after the batch": lambda content: with_buffers(content, 1 << 20),
    "fewer arrays than the schema has": lambda content: with_count(content, 1, 2),
    "fewer buffers than the schema has": lambda content: with_count(content, 2, 3),
    "more arrays than the message has": lambda content: with_count(content, 1, 2**31),
    "one batch twice": lambda content: with_batches(content, 2),
}


@pytest.mark.parametrize("serializer_id", ARROW_IDS)
@pytest.mark.parametrize("name", CORRUPT)
def test_content_that_leads_outside(load, serializer_id, name):
    refuses(load, serializer_id, file_for(serializer_id, CORRUPT[name]()))


@pytest.mark.parametrize("serializer_id", ARROW_IDS)
@pytest.mark.parametrize("name", CHANGES)
def test_structure_that_leads_outside(load, serializer_id, name):
    texts = pa.array(["abcd" * 5, "", ""], pa.string_view())
    content = file_for(serializer_id, pa.StructArray.from_arrays([NUMBERS, texts], ["a", "b"]))
    changed = CHANGES[name](content)
    assert changed != content
    refuses(load, serializer_id, changed)
    if name not in ("not UTF-8", "a view that leads outside", "a view of another buffer", "a longer array"):
        with pytest.raises((ValueError, struct.error)):
            check_file(memoryview(changed))  # without help of pyarrow


@pytest.mark.parametrize("dtype", ["?", "<U2", ">U2"])
@pytest.mark.parametrize("serializer_id", ["npy/1", "npy-readonly/1"])
def test_cells_that_their_dtype_does_not_have(load, serializer_id, dtype):
    _, content = valid(np.zeros(4, dtype))
    refuses(load, serializer_id, content[:-16] + b"\x7f" * 16)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr':'<f8','fortran_order':False,'shape':(2,)}",
        "{'shape': (2,), 'descr': '<f8', 'fortran_order': False, }\n",
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,), }\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-2,), }\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1 2,), }\n",
        "{'descr': '<f8', 'fortran_order': 0, 'shape': (2,), }\n",
        "{'descr': '|O8', 'fortran_order': False, 'shape': (2,), }\n",
        "{'descr': '|V8', 'fortran_order': False, 'shape': (2,), }\n",
        "{'descr': '<f16', 'fortran_order': False, 'shape': (1,), }\n",
        "{'descr': '<M8[minutes]', 'fortran_order': False, 'shape': (2,), }\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }",
    ],
)
def test_npy_header_that_numpy_does_not_write(load, header):
    refuses(load, "npy/1", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(16))


@pytest.mark.parametrize("length", [0, 117, 119, 65535])
def test_npy_header_of_another_length(load, length):
    _, content = valid(np.arange(3.0))
    assert content[8:10] == struct.pack("<H", 118)
    refuses(load, "npy/1", content[:8] + struct.pack("<H", length) + content[10:])


def test_short_frames_of_lz4_show_no_memory(load):
    """`decompress` fills what is missing with whatever was in the memory."""
    packed = bytes(stored_bytes(default_serializers.encode(b"x" * 9000, compression="lz4")[1]))
    at = len(packed) - 40  # unpacked size of the only chunk
    assert packed[at + 8 : at + 16] == (9000).to_bytes(8, "little")
    refuses(load, "lz4-bytes/1", packed[: at + 8] + (9001).to_bytes(8, "little") + packed[at + 16 :])
    assert load("lz4-bytes/1", packed) == b"x" * 9000


# What ordinary users store

ORDINARY = {
    "metadata of fields": pa.table({"x": [1]}, schema=pa.schema([pa.field("x", pa.int64(), metadata={"unit": "m"})])),
    "metadata of pandas": pa.Table.from_pandas(pd.DataFrame({"a": ["x"], "b": [1.5]})),
    "no rows": pa.table({"x": pa.array([], pa.dictionary(pa.int8(), pa.string()))}),
    "many nulls": pa.table({"x": pa.nulls(50_000)}),
    "run-end": pa.table({"x": pa.RunEndEncodedArray.from_arrays(pa.array([20_000], pa.int32()), pa.array(["x"]))}),
    "views": pa.table({"x": pa.array(["x", "longer than twelve bytes"], pa.string_view())}),
    "frame without columns": pd.DataFrame(index=range(10**9)),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_objects_load(load, name):
    value = ORDINARY[name]
    serializer_id, content = valid(value)
    assert_exact(value, load(serializer_id, content))


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"x": pa.nulls(10_000_000)}),
        pa.Table.from_batches([pa.record_batch({"x": [1]})] * 60_000),
    ],
    ids=["rows of nothing", "batches of nearly nothing"],
)
def test_what_a_reader_would_refuse_is_not_stored_as_safe(table):
    assert default_serializers.encode(table)[0].id == "pickle/1"


def test_attrs_that_a_reader_would_refuse_are_not_stored_as_safe():
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"x": [(number,) for number in range(200_000)]}
    assert default_serializers.encode(frame)[0].id == "pickle/1"


# One border for everything that a decoder raises


class PanicException(BaseException):
    """As a library in Rust raises it."""


class Failing:
    id, executable = "failing/1", False

    def __init__(self, error):
        self.error = error

    def encode(self, obj):
        raise self.error

    def decode(self, buffer, *, trusted):
        raise self.error


FAILURES = {
    "panic": (PanicException("index out of bounds"), "decode"),
    "another BaseException": (BaseException("x"), "decode"),
    "memory": (MemoryError(), "memory"),
    "recursion": (RecursionError("too deep"), "decode"),
    "timeout of a library": (TimeoutError("x"), "decode"),
    "stop": (StopIteration(), "decode"),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("trusted", [True, False])
def test_failures_of_decoders_are_one_error(name, trusted):
    error, kind = FAILURES[name]
    with pytest.raises(DecodeError, match=type(error).__name__) as caught:
        decode(Failing(error), memoryview(b""), trusted=trusted)
    assert caught.value.kind == kind
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("cls", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_the_end_of_a_task_passes(cls):
    registry = SerializerRegistry()
    registry.register(Failing(cls()), Failing)
    with pytest.raises(cls):
        decode(Failing(cls()), memoryview(b""), trusted=True)
    with pytest.raises(cls):
        registry.encode(Failing(None))


def test_panic_of_an_encoder_is_one_error():
    registry = SerializerRegistry()
    registry.register(Failing(PanicException("x")), Failing)
    with pytest.raises(EncodeError, match=r"PanicException: x.*Nothing was written"):
        registry.encode(Failing(None))


@pytest.mark.parametrize("name", ["sparse union", "unknown zone", "run-end", "month_day_nano", "decimal256"])
def test_panics_of_polars_are_one_error(name):
    """Real panics, from trusted bytes, which are not validated."""
    content = table_file(PANICS[name]())
    with contextlib.suppress(DecodeError):  # no matter which of them this polars reads
        decode(default_serializers.by_id("polars/1"), memoryview(bytearray(content)), trusted=True)


@pytest.mark.parametrize("kind", ["frame", "index"])
def test_memory_errors_in_frames_are_the_same_error(monkeypatch, kind):
    serializer_id, content = valid(pd.DataFrame({"a": [1, 2]}))

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(
        f"payloadfs.serializers._pandas.serializer.{'build_frame' if kind == 'frame' else 'decode_index'}", fail
    )
    with pytest.raises(DecodeError) as caught:
        decode(default_serializers.by_id(serializer_id), memoryview(bytearray(content)), trusted=True)
    assert caught.value.kind == "memory"
