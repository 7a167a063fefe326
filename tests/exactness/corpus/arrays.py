"""numpy: every kind of dtype, shape, memory layout, writability, and subclasses."""

import functools
import tempfile

import numpy as np
import pandas as pd
from payloadfs_corpus_classes import Measured
from payloadfs_corpus_subclasses import NOTED

from ..harness import silenced

NAN = float("nan")
DTYPES = ["?", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8", "g", "c8", "c16", "G", ">i2", ">f8", ">c16", "S3", "U3", ">U3", "S0", "U0", "V3", "V0", "M8[D]", "M8[Y]", "M8[ns]", "M8[25s]", ">M8[us]", "m8[h]", "m8[7D]", "M8", "m8", "O"]  # fmt: skip
STRUCTS = {
    "simple": np.dtype("i4,f8"), "aligned": np.dtype("i1,f8", align=True), "nested": np.dtype([("a", "i4"), ("b", [("c", "f8"), ("d", "S2")])]),
    "titles": np.dtype([(("A title", "a"), "i4"), ("b", "f8")]), "subarray": np.dtype([("m", "f4", (2, 3))]), "objects": np.dtype([("o", "O"), ("n", "i8")]),
    "offsets": np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [8, 0], "itemsize": 16}), "times": np.dtype([("t", "M8[s]"), ("d", "m8[ms]")]),
    "big-endian": np.dtype([("a", ">i4")]), "metadata": np.dtype([("a", np.dtype("i4", metadata={"unit": "m"}))]), "record": np.dtype((np.record, [("a", "i4")])),
}  # fmt: skip


def locked(array):
    array.flags.writeable = False
    return array


def cells(dtype):
    return np.zeros(24, dtype) if dtype in ("V0", "V3", "S0", "U0") else np.arange(24).astype(dtype)


def layouts(make):
    """Return the same kind of array in every layout; `make` gives one of 24 cells."""
    return {
        "flat": make(), "matrix": make().reshape(4, 6), "cube": make().reshape(2, 3, 4), "fortran": np.asfortranarray(make().reshape(4, 6)),
        "transposed cube": make().reshape(2, 3, 4).transpose(1, 2, 0), "strided": make()[::5], "backwards": make()[::-1], "block": make().reshape(4, 6)[1:3, ::2],
        "0-d": make()[:1].reshape(()), "empty": make()[:0], "empty matrix": make()[:0].reshape(0, 3), "one": make()[:1],
        "broadcast": np.broadcast_to(make()[:1], (3, 4)), "diagonal": np.diagonal(make()[:16].reshape(4, 4)),
    }  # fmt: skip


def mapped():
    with tempfile.NamedTemporaryFile() as file:
        array = np.memmap(file.name, "f8", "w+", shape=9000)
    array[:] = np.arange(9000)
    return array


def masked():
    ma, data = np.ma, np.arange(4.0)
    hard = ma.masked_array(data, mask=[True, False, False, True])
    hard.harden_mask()
    return {
        "no mask": ma.masked_array(data), "full mask": ma.masked_array(data, mask=np.zeros(4, bool)), "mask": ma.masked_array(data, mask=[True, False, False, True]),
        "hard": hard, "fill value": ma.masked_array([1, 2], mask=[True, False], fill_value=99), "2-d": ma.masked_array(data.reshape(2, 2), mask=np.eye(2, dtype=bool)),
        "struct": ma.masked_array(np.zeros(2, "i4,f8"), mask=[(True, False), (False, True)]), "text": ma.masked_array(["a", "b"], mask=[True, False]), "times": ma.masked_array(np.array(["2020", "2021"], "M8[D]"), mask=[True, False]),
        "objects": ma.masked_array(np.array([[1], None], dtype=object), mask=[True, False]), "0-d": ma.masked_array(5.0, mask=True), "empty": ma.masked_array(np.empty(0), mask=np.empty(0, bool)),
        "constant": ma.masked, "read-only": ma.masked_array(locked(np.arange(3.0)), mask=[True, False, True]), "strided": ma.masked_array(np.arange(9.0), mask=np.arange(9) > 5)[::2], "large": ma.masked_array(np.arange(10_000.0), mask=np.arange(10_000) % 3 == 0),
        "shared mask": hard[:2], "over a file": ma.masked_array(mapped()[:4], mask=[True, False, False, True]), "locked mask": ma.masked_array(np.arange(3.0), mask=locked(np.array([True, False, True]))),
        "in a dict": {"m": ma.masked_array([1, 2]), "n": [ma.masked_array([1, 2], mask=[False, False])]},
    }  # fmt: skip


def strings():
    if not hasattr(getattr(np, "dtypes", None), "StringDType"):
        return {}
    kind = np.dtypes.StringDType
    found = {
        "plain": np.array(["a", "", "ü\U0001f600" * 20], kind()), "na nan": np.array(["a", NAN], kind(na_object=np.nan)), "na None": np.array(["a", None], kind(na_object=None)),
        "na text": np.array(["a", "missing"], kind(na_object="missing")), "no coercion": np.array(["a"], kind(coerce=False)), "matrix": np.array([["a", "b"], ["c", "d"]], kind()),
        "strided": np.array(list("abcdef"), kind())[::2], "empty": np.array([], kind()),
    }  # fmt: skip
    return found | {f"read-only {name}": locked(array.copy()) for name, array in found.items()}


def objects():
    itself = np.array([1, None], dtype=object)
    itself[1] = itself
    shared, cells = [1], np.empty(3, dtype=object)
    cells[:] = [shared, shared, {"a": shared}]
    nested = np.empty(2, dtype=object)
    nested[:] = [np.arange(3), np.array([1, "x"], dtype=object)]
    found = {
        "mixed": np.array([1, "a", None, 2.5], dtype=object),
        "itself": itself,
        "shared": cells,
        "nested": nested,
        "matrix": np.array([[1, "a"], [None, 2]], dtype=object),
    }
    return found | {
        "read-only mixed": locked(np.array([1, "a"], dtype=object)),
        "read-only strided": locked(np.array([1, "a", None, []], dtype=object))[::2],
    }


def subclasses():
    measured = Measured([1.5, 2.5], unit="m")
    return {
        "record array": np.rec.fromarrays([[1, 2], ["a", "b"]], names="n,t"), "matrix": np.matrix([[1, 2], [3, 4]]), "with attribute": measured, "slice with attribute": measured[:1],
        "read-only record array": locked(np.rec.fromarrays([[1, 2], ["a", "b"]], names="n,t")), "read-only matrix": locked(np.matrix([[1, 2]])), "char array": np.char.array(["a", "bc"]) if np.__version__ < "2" else np.matrix([["a"]]),
    }  # fmt: skip


def byte_orders():
    """Subclasses and wide floats, whose byte order numpy's own reduction changes."""
    found = {}
    for dtype in (">f8", ">i2", ">U3", ">M8[us]", ">g", ">G"):
        array = np.zeros((2, 3), dtype)
        noted = array.view(NOTED["ndarray"])
        noted.note = ["m"]
        views = {"matrix": array.view(np.matrix), "F": np.asfortranarray(array).view(np.matrix), "noted": noted}
        views |= {"read-only": locked(array.copy().view(np.matrix)), "masked": np.ma.array(array, mask=True)}
        shared = [array]  # a shared list is pickled
        found |= {f"{dtype} {name}": view for name, view in views.items()} | {f"{dtype} pickled": [shared, shared]}
    return found


def cases():
    found = byte_orders()
    for dtype in DTYPES:
        make = functools.partial(cells, dtype)
        found |= {f"{dtype} {name}": array for name, array in layouts(make).items()}
        if dtype in ("f8", "i4", "M8[D]", "U3", "O", "V3", "g", ">i2", "?"):
            found |= {f"read-only {dtype} {name}": locked(array) for name, array in layouts(make).items()}
    for name, dtype in STRUCTS.items():
        found[f"struct {name}"] = np.zeros(3, dtype)
        found[f"struct {name} strided"] = np.zeros(6, dtype)[::2]
        found[f"struct {name} read-only"] = locked(np.zeros(3, dtype))
    found |= {f"masked {name}": array for name, array in masked().items()}
    found |= {f"string {name}": array for name, array in strings().items()}
    found |= {f"object {name}": array for name, array in objects().items()} | silenced(subclasses)
    found["dtype metadata"] = np.zeros(2, np.dtype("f8", metadata={"unit": "m"}))
    found["nan bits"] = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001], "u8").view("f8")
    found["large"] = np.arange(100_000.0)
    found["large and strided"] = np.arange(200_000.0)[::2]
    found["in containers"] = {
        "a": np.arange(5000.0),
        "b": [np.arange(10), locked(np.arange(5000.0))[::2]],
        "c": (np.float32(1.5), np.arange(3).astype("M8[s]")),
    }
    found |= {"mapped": mapped(), "mapped slice": mapped()[5:50:3], "mapped in a list": [mapped(), {"a": mapped()[:3]}]}
    found |= {"mapped, locked": locked(mapped()), "mapped in a series": pd.Series(mapped(), copy=False)}
    array = np.arange(1000.0)
    found["the same twice"] = [array, array]
    for kind in (np.int8, np.float16, np.longdouble, np.complex64, np.str_, np.bytes_, np.bool_):
        found[f"scalar {kind.__name__}"] = (
            kind("1") if kind in (np.str_,) else kind(1) if kind is not np.bytes_ else np.bytes_(b"x")
        )
    found |= {
        "scalar time": np.datetime64("2020-01-01", "s"),
        "scalar NaT": np.datetime64("NaT", "ns"),
        "scalar delta": np.timedelta64(3, "h"),
        "record": np.zeros(1, "i4,f8")[0],
    }
    found |= {
        "generator": np.random.default_rng(3),
        "random state": np.random.RandomState(3),
        "dtype": np.dtype("i4,f8"),
        "ufunc": np.add,
        "vectorized": np.vectorize(abs),
    }
    return found
