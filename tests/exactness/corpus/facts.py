"""What else a frame has: attrs, flags, shape, memory layout, class."""

import datetime as dt

import numpy as np
import pandas as pd
from payloadfs_corpus_classes import Bare, Colour, Names, Table

NAN = float("nan")
SHARED = [1]
ATTRS = {
    "plain": {"unit": "m", "n": 1, "x": 1.5, "flag": True, "none": None, "list": [1, [2]], "dict": {"a": {}}},
    "int keys": {1: "x", None: "y", 2.5: 2},
    "tuple": {"shape": (1, 2, (3,))},
    "tuple keys": {("a", 1): "x"},
    "dates": {"day": dt.date(2020, 1, 1), "stamp": pd.Timestamp("2020", tz="UTC"), "delta": pd.Timedelta("1D")},
    "datetime": {"now": dt.datetime(2020, 1, 1)},
    "missing": {"nan": NAN, "NA": pd.NA, "NaT": pd.NaT, "inf": float("inf"), "negative nan": -NAN},
    "numpy scalars": {"a": np.int64(1), "b": np.float32(1.5), "c": np.str_("x")},
    "array": {"a": np.arange(3)},
    "frame": {"a": pd.DataFrame({"b": [1]})},
    "set": {"a": {1, 2}},
    "bytes": {"a": b"\xff"},
    "enum": {"a": Colour.RED},
    "subclass": {"a": Names(b=1)},
    "shared": {"a": SHARED, "b": SHARED},
    "shared in a tuple": {"a": (SHARED,), "b": SHARED},
    "surrogate": {"\ud800": "\udfff"},
    "huge int": {"a": 2**100},
    "deep": {"a": [[[[[[[[{}]]]]]]]]},
    "tagged lookalike": {"int": 3, "list": [{"list": []}], "dict": {"dict": []}},
}


def attributed(attrs, frame=None):
    made = pd.DataFrame({"a": [1.5, 2]}) if frame is None else frame
    made.attrs = attrs
    return made


def shapes():
    wide = np.arange(2 * 2500.0).reshape(2, 2500)
    return {
        "nothing": pd.DataFrame(),
        "rows only": pd.DataFrame(index=pd.RangeIndex(3)),
        "text rows only": pd.DataFrame(index=["a", "b"]),
        "columns only": pd.DataFrame(columns=["a", "b"]),
        "typed columns only": pd.DataFrame(
            {"a": pd.Series(dtype="i8"), "b": pd.Series(dtype="str"), "c": pd.Series(dtype=object)}
        ),
        "all rows filtered": pd.DataFrame({"a": [1], "b": ["x"]}).query("a > 1"),
        "all columns dropped": pd.DataFrame({"a": [1, 2]}).drop(columns="a"),
        "one cell": pd.DataFrame([[None]]),
        "2,500 columns": pd.DataFrame(wide),
        "2,500 mixed columns": pd.DataFrame({f"c{n}": [n, n] if n % 2 else ["x", "y"] for n in range(2500)}),
        "5,000 columns": pd.DataFrame(np.arange(10_000.0).reshape(2, 5000), columns=[f"c{n}" for n in range(5000)]),
        "2,000 columns": pd.DataFrame(wide[:, :2000]),
        "1,000 kinds": pd.DataFrame({f"c{n}": np.array([1, 2], ("i1", "f4", "u2", "f8")[n % 4]) for n in range(1000)}),
    }


def layouts():
    numbers = np.arange(60.0).reshape(12, 5)
    frame = pd.DataFrame(numbers, columns=list("abcde"))
    mixed = pd.DataFrame(
        {"i": range(6), "f": np.arange(6.0), "b": [True, False] * 3, "s": list("uvwxyz"), "g": np.arange(6.0) * 2}
    )
    swapped = mixed[["i", "s"]].assign(o=[1, "x"] * 3)
    for kind in ("M8[s]", "m8[ms]"):  # only a view has these dtypes
        swapped[kind] = pd.Series(np.arange(6).astype(kind)).array.view(f">{kind}")
    locked = np.arange(6.0).reshape(3, 2)
    locked.flags.writeable = False
    return {
        "index whose dtype has metadata": pd.DataFrame({"x": np.array([b"a", None, b"c"], np.dtype("O", metadata={"vlen": bytes})), "y": [1, 2, 3]}).set_index("x"),
        "objects whose dtype has metadata": pd.DataFrame({"x": np.array([1, None, 2.5], np.dtype("O", metadata={"vlen": str})), "y": [1, 2, 3]}),
        "times in another byte order": swapped, "one column of times in another byte order": swapped[["m8[ms]"]],
        "row-major": pd.DataFrame(numbers, copy=False), "column-major": pd.DataFrame(np.asfortranarray(numbers)), "copied": frame.copy(),
        "rows sliced": frame[3:7], "every second row": frame[::2], "backwards": frame[::-1], "columns picked": frame[["e", "a"]],
        "every second column": frame.iloc[:, ::2], "columns backwards": frame.iloc[:, ::-1], "transposed": frame.T, "transposed slice": frame.T.iloc[1:3, ::3],
        "mixed sliced": mixed[1:4], "mixed backwards": mixed[::-1], "mixed picked": mixed.iloc[[4, 0, 0]], "mixed transposed": mixed.T,
        "many blocks": pd.concat([frame, frame * 2], axis=1), "inserted": frame.assign(z=1, y=range(12)), "from read-only": pd.DataFrame(locked, copy=False),
        "broadcast": pd.DataFrame(np.broadcast_to(np.float64(1.5), (3, 2)), copy=False), "strided blocks": pd.DataFrame(np.arange(96.0).reshape(12, 8)[::2, ::2], copy=False),
        "complex strided": pd.DataFrame(np.arange(12).astype("c16").reshape(4, 3)[::2, ::-1], copy=False), "times in one block": pd.DataFrame({"a": pd.to_datetime(["2020", "2021"]), "b": pd.to_datetime(["2022", None])}),
        "bools in one block": pd.DataFrame(np.eye(3, dtype=bool)), "large": pd.DataFrame(np.arange(200_000.0).reshape(50_000, 4)), "large mixed": pd.DataFrame({"a": np.arange(20_000), "s": [f"t{n}" for n in range(20_000)], "o": pd.Series([f"t{n}" for n in range(20_000)], dtype=object)}),
        "large slice": pd.DataFrame(np.arange(200_000.0).reshape(50_000, 4))[10:12], "text sliced": pd.DataFrame({"s": [f"t{n}" for n in range(100)]})[50:53],
        "nullable sliced": pd.DataFrame({"n": pd.array([1, None] * 50, dtype="Int64"), "b": pd.array([True, None] * 50, dtype="boolean")})[3:8],
    }  # fmt: skip


def classes():
    table, bare = Table({"a": [1, 2]}), Bare({"a": [1, 2]})
    table.source = {"file": "x"}
    return {"subclass with metadata": table, "subclass without": bare, "subclass sliced": table[:1]}


def cases():
    found = {f"attrs {name}": attributed(attrs) for name, attrs in ATTRS.items()}
    found["attrs with a cell"] = attributed(
        {"cell": SHARED}, pd.DataFrame({"a": pd.Series([SHARED, [2]], dtype=object)})
    )
    found["attrs with lists in cells"] = attributed(
        {"cell": [1]}, pd.DataFrame({"a": pd.Series([[1], [2]], dtype=object)})
    )
    itself = pd.DataFrame({"a": [1]})
    itself.attrs["frame"] = itself
    nested = pd.DataFrame({"a": [1, 2], "b": pd.Series([None, None], dtype=object)})
    nested._mgr.blocks[1].values[0, 0] = [nested]
    unique = pd.DataFrame({"a": [1]})
    unique.flags.allows_duplicate_labels = False
    found |= {
        "attrs with the frame itself": itself,
        "a cell that holds the frame": nested,
        "no duplicate labels": unique,
    }
    return found | shapes() | layouts() | classes()
