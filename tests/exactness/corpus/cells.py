"""Object columns: each class alone, mixtures, kinds of missing values, containers, shared references."""

import collections
import datetime as dt
import decimal
import fractions
import functools
import pathlib
import struct
import uuid
import zoneinfo

import numpy as np
import pandas as pd
from payloadfs_corpus_classes import Colour, Level, Names, Pair, Permission, Plain, Rows, SlimText, Text, Whole, Word

NAN = float("nan")
ODD_NAN = struct.unpack("<d", bytes.fromhex("010000000000f87f"))[0]
ZURICH = zoneinfo.ZoneInfo("Europe/Zurich")
D = decimal.Decimal
MISSING = {"None": None, "nan": NAN, "NA": pd.NA, "NaT": pd.NaT}
CLASSES = {
    "str": ["x", "", "ü\U0001f600\0"],
    "bytes": [b"x", b"\xff", b""],
    "bool": [True, False, True],
    "int": [1, -(2**63), 2**63 - 1],
    "float": [1.5, -0.0, float("inf")],
    "complex": [1j, 2.0 + 0j, 0j],
    "date": [dt.date(2020, 1, 1), dt.date(1, 1, 1), dt.date(9999, 12, 31)],
    "time": [dt.time(1, 2, 3, 4), dt.time(), dt.time(23, 59, 59, 999_999)],
    "datetime": [dt.datetime(2020, 1, 1), dt.datetime(1, 1, 1), dt.datetime.max],
    "timedelta": [dt.timedelta(1, 2, 3), -dt.timedelta(5), dt.timedelta()],
    "long timedelta": [dt.timedelta.max, dt.timedelta.min, dt.timedelta()],
    "Decimal": [D("1.50"), D("-0.01"), D("0.00")],
    "UUID": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=7)],
    "Timestamp": [
        pd.Timestamp("2020"),
        pd.Timestamp("2020-01-01 00:00:00.000000001"),
        pd.Timestamp("2020").as_unit("s"),
    ],
    "Timedelta": [pd.Timedelta(5, "ns"), pd.Timedelta("1D"), pd.Timedelta(1, "s")],
    "Period": [pd.Period("2020", "M"), pd.Period("2020Q1", "Q-NOV"), pd.Period("2020", "D")],
    "Interval": [
        pd.Interval(0, 1),
        pd.Interval(0.5, 1.5, "left"),
        pd.Interval(pd.Timestamp("2020"), pd.Timestamp("2021")),
    ],
    "Fraction": [fractions.Fraction(1, 3), fractions.Fraction(2), fractions.Fraction(0)],
    "Path": [pathlib.PurePosixPath("/a/b"), pathlib.PurePosixPath("."), pathlib.PurePosixPath("c")],
    "np.int64": [np.int64(1), np.int64(-1), np.int64(2)],
    "np.float64": [np.float64(1.5), np.float64(NAN), np.float64(-0.0)],
    "np.bool": [np.bool_(True), np.bool_(False), np.bool_(True)],
    "np.str": [np.str_("x"), np.str_(""), np.str_("z")],
    "np.datetime64": [np.datetime64("2020"), np.datetime64("NaT", "s"), np.datetime64("2020-01-01", "ns")],
    "Enum": [Colour.RED, Colour.BLUE, Colour.RED],
    "IntEnum": [Level.LOW, Level.HIGH, Level.LOW],
    "StrEnum": [Word.A, Word.A, Word.A],
    "Flag": [Permission.READ, Permission.READ | Permission.WRITE, Permission(0)],
    "str subclass": [Text("x"), Text("y"), Text("")],
    "slim str subclass": [SlimText("x"), SlimText("y"), SlimText("")],
    "int subclass": [Whole(1), Whole(2), Whole(3)],
    "tuple": [(1, "x"), (), (1, (2,))],
    "namedtuple": [Pair(1), Pair(1, 2), Pair([1])],
    "set": [{1, 2}, set(), {"x"}],
    "frozenset": [frozenset([1]), frozenset(), frozenset("ab")],
    "class": [int, Plain, dict],
    "function": [len, str.upper, max],
    "object": [Plain(a=1), Plain(), Plain(b=[1])],
}
LISTS = {
    "str": [["x", "y"], [], ["z"]],
    "int": [[1], [2, 3], []],
    "float": [[1.5, NAN], [-0.0], []],
    "bool": [[True], [], [False]],
    "bytes": [[b"x"], [b""], []],
    "date": [[dt.date(2020, 1, 1)], [], []],
    "Decimal": [[D("1.1")], [D("2.2")], []],
    "odd Decimal": [[D("1.1")], [D("2.20")], []],
    "with None": [["x", None], [None], []],
    "with nan": [["x", NAN], [NAN], []],
    "with both": [["x", NAN, None], [1], []],
    "mixed": [[1, "x"], [True, 1.5], [None]],
    "nested": [[[1], [2, 3]], [[]], []],
    "deep": [[[[["x"]]]], [], [[]]],
    "of dicts": [[{"a": 1}, {"b": None}], [], [{}]],
    "of tuples": [[(1, 2)], [], []],
    "of dates and times": [[dt.date(2020, 1, 1), dt.datetime(2020, 1, 1)], [], []],
    "huge ints": [[2**70], [1], []],
    "surrogate": [["\ud800"], [], []],
    "subclass": [Rows([1]), [1], []],
    "empty": [[], [], []],
}
DICTS = {
    "same keys": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 3, "b": None}],
    "absent keys": [{"a": 1}, {"b": 2}, {}],
    "other order": [{"a": 1, "b": 2}, {"b": 1, "a": 2}, {}],
    "int or float": [{"a": 1}, {"a": 1.0}, {"a": True}],
    "nested": [{"a": {"b": [{"c": None}]}}, {}, {"a": []}],
    "int keys": [{1: "x"}, {2: "y"}, {}],
    "nan inside": [{"a": NAN}, {}, {}],
    "dates inside": [{"a": dt.date(2020, 1, 1)}, {}, {}],
    "subclass": [Names(a=1), {"a": 1}, {}],
    "ordered": [collections.OrderedDict(a=1), {}, {}],
    "default": [collections.defaultdict(list, a=[1]), {}, {}],
}
ARRAYS = {
    "float": [np.arange(3.0), np.empty(0), np.array([NAN])],
    "float32": [np.arange(3, dtype="f4"), np.arange(2, dtype="f4"), np.zeros(1, "f4")],
    "int8": [np.arange(3, dtype="i1"), np.arange(3, dtype="i1"), np.zeros(1, "i1")],
    "bool": [np.array([True]), np.array([False]), np.array([True, False])],
    "two dtypes": [np.arange(3.0), np.arange(3), np.arange(3.0)],
    "2-d": [np.eye(2), np.eye(3), np.eye(1)],
    "text": [np.array(["x"]), np.array(["yy"]), np.array(["z"])],
    "objects": [np.array([1, "x"], dtype=object), np.array([None]), np.array([])],
    "strided": [np.arange(9.0)[::2], np.arange(3.0), np.arange(3.0)],
    "read-only": [np.broadcast_to(1.0, 3), np.arange(3.0), np.arange(3.0)],
    "big-endian": [np.arange(3, dtype=">f8"), np.arange(3, dtype=">f8"), np.arange(3, dtype=">f8")],
    "subclass": [np.ma.masked_array([1.0], [True]), np.arange(3.0), np.arange(3.0)],
}
MIXTURES = {
    "int, str": [1, "x", 2],
    "int, float": [1, 1.0, 2.5],
    "bool, int": [True, 1, 0],
    "str, bytes": ["x", b"x", "y"],
    "date, datetime": [dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), dt.date(2021, 1, 1)],
    "list, dict": [[1], {"a": 1}, []],
    "list, str": [["x"], "x", ["y"]],
    "scales": [D("1.5"), D("1.50"), D(1)],
    "special decimals": [D("NaN"), D("sNaN"), D("Infinity")],
    "negative zero decimal": [D("-0.0"), D("0.0"), D("1.0")],
    "small decimals": [D("1E-30"), D("5E-30"), D("0E-30")],
    "exponent": [D("1E+3"), D("2E+3"), D("5E+3")],
    "zones": [dt.datetime(2020, 1, 1, tzinfo=ZURICH), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1)],
    "one zone": [dt.datetime(2020, 1, 1, tzinfo=ZURICH), dt.datetime(2020, 6, 1, tzinfo=ZURICH), None],
    "folds": [dt.datetime(2020, 10, 25, 2, 30, fold=1), dt.datetime(2020, 10, 25, 2, 30), None],
    "time with zone": [dt.time(1, tzinfo=dt.UTC), dt.time(1), dt.time(2)],
    "safe uuid": [uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe), uuid.UUID(int=1), uuid.UUID(int=2)],
    "huge int": [2**70, 1, -(2**100)],
    "surrogate": ["\ud800", "x", "y"],
    "None, nan": [None, NAN, None],
    "NA, NaT": [pd.NA, pd.NaT, pd.NA],
    "all missing": [None, NAN, pd.NA],
    "str, None, nan": ["x", None, NAN],
    "str, nan, NA": ["x", NAN, pd.NA],
    "int, None, nan": [1, None, NAN],
    "number or text or nan": [1.5, "x", NAN],
    "negative nan among text": ["x", -NAN, "y"],
    "odd nan among text": ["x", ODD_NAN, NAN],
    "odd nan among floats": [ODD_NAN, NAN, -NAN],
    "np nan among text": ["x", np.float64(NAN), "y"],
    "frames": [pd.DataFrame({"a": [1]}), pd.DataFrame(), pd.DataFrame({"b": ["x"]})],
    "series": [pd.Series([1]), pd.Series(["x"], name="n"), pd.Series([], dtype="f8")],
    "timestamps of two zones": [pd.Timestamp("2020", tz=ZURICH), pd.Timestamp("2020", tz="UTC"), pd.NaT],
    "everything": [1, "x", None],
}


def late():
    """Only the last of many cells differs: looking at the first ones is not enough."""
    many = 10_000
    ends = {"subclass": SlimText("y"), "bytes": b"x", "int": 1, "list": ["x"], "enum": Word.A, "np": np.str_("x")}
    found = {f"late {name}": ["x"] * many + [end] for name, end in ends.items()}
    return found | {
        "late bool": [1] * many + [True],
        "late float": [1] * many + [1.0],
        "late datetime": [dt.date(2020, 1, 1)] * many + [dt.datetime(2020, 1, 1)],
        "late overflow": [1] * many + [2**63],
        "late tuple": [[1] for _ in range(many)] + [(1,)],
    }


def shared():
    cell, frame = [1], pd.DataFrame({"a": [1]})
    itself: list = [1]
    itself.append(itself)
    deep = functools.reduce(lambda inner, _: [inner], range(150), [])
    array = np.arange(3.0)
    found = {
        "twice": {"x": [cell, cell]},
        "in two columns": {"x": [cell, [2]], "y": [[3], cell]},
        "nested twice": {"x": [[cell], {"k": cell}]},
        "dict twice": {"x": [d := {"a": 1}, d]},
        "array twice": {"x": [array, array]},
        "frame twice": {"x": [frame, frame]},
        "in a tuple": {"x": [(cell,), cell]},
        "list that holds itself": {"x": [itself, None]},
        "deep": {"x": [deep, None]},
        "custom and list": {"x": [Plain(part=cell), None], "y": [cell, [2]]},
    }
    frames = {
        f"shared {name}": pd.DataFrame({key: pd.Series(cells, dtype=object) for key, cells in columns.items()})
        for name, columns in found.items()
    }
    holders = pd.Series([Plain(part=cell), None], dtype=object)
    values = {"n": [1, 2], "x": pd.Series([cell, [2]], dtype=object).to_numpy()}
    lists, tuples = ([cell, [3]], [(cell,), (1,)])
    frames |= {
        "shared with a label": pd.DataFrame(values, index=pd.Index(lists, dtype=object)),
        "shared in a tuple of the labels": pd.DataFrame(values, index=pd.Index(tuples, tupleize_cols=False)),
        "shared with a column's label": pd.DataFrame(values).set_axis(pd.Index(tuples, tupleize_cols=False), axis=1),
        "shared with attrs": pd.DataFrame({"n": [1, 2], "x": holders}),
        "attrs themselves": pd.DataFrame({"n": [1, 2], "x": pd.Series([Plain(), None], dtype=object)}),
    }
    frames["shared with attrs"].attrs = {"a": cell}
    frames["attrs themselves"].attrs = {"a": 1}
    frames["attrs themselves"]["x"].iloc[0].attrs = frames["attrs themselves"].attrs
    return frames


def cases():
    found = dict(CLASSES)
    for name in ("str", "bytes", "bool", "int", "float", "date", "Decimal", "UUID", "Enum", "tuple", "datetime"):
        for missing, value in MISSING.items():
            found[f"{name} or {missing}"] = [*CLASSES[name][:2], value, CLASSES[name][2]]
    found |= {f"only {missing}": [value, value] for missing, value in MISSING.items()}
    for group, members in (("list", LISTS), ("dict", DICTS), ("ndarray", ARRAYS), ("mixture", MIXTURES)):
        found |= {f"{group}: {name}": cells for name, cells in members.items()}
    for missing, value in MISSING.items():
        found |= {
            f"list or {missing}": [["x"], value],
            f"dict or {missing}": [{"a": 1}, value],
            f"ndarray or {missing}": [np.arange(2.0), value],
        }
    frames = {}
    for name, cells in (found | late()).items():
        series = pd.Series([None] * len(cells), dtype=object)
        for place, cell in enumerate(cells):
            series._mgr.blocks[0].values[place] = cell  # pandas would unpack some of them
        frames[name] = pd.DataFrame({"n": np.arange(len(cells)), "x": series})
    return frames | {"no cells": pd.DataFrame({"x": pd.Series([], dtype=object)})} | shared()
