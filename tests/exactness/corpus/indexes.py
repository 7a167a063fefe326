"""Every kind of index, on both axes, with names, freq and levels of every kind."""

import datetime as dt
import decimal
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
from payloadfs_corpus_classes import Colour, Level, SlimText

from .columns import DAYS, NAN, ZONES

OFFSETS = {
    **{alias: pd.tseries.frequencies.to_offset(alias) for alias in ("D", "2D", "B", "W", "W-WED", "MS", "SMS", "BMS", "QS", "QS-FEB", "YS", "YS-JUL", "h", "3h", "min", "s", "ms", "us", "ns", "D", "-1D", "25s", "WOM-2TUE", "C")},
    "month end": pd.offsets.MonthEnd(), "two month ends": pd.offsets.MonthEnd(2), "year end": pd.offsets.YearEnd(month=6),
    "quarter end": pd.offsets.BQuarterEnd(startingMonth=2), "easter": pd.offsets.Easter(), "fiscal": pd.offsets.FY5253(weekday=4, startingMonth=12),
    "custom": pd.offsets.CustomBusinessDay(holidays=["2020-01-06"], weekmask="Mon Tue Wed"), "business hour": pd.offsets.BusinessHour(start="10:00"),
    "last week": pd.offsets.LastWeekOfMonth(weekday=2),
}  # fmt: skip
NAMES = {
    "none": None, "str": "n", "empty": "", "int": 3, "float": 1.5, "nan": NAN, "bool": True, "bytes": b"n", "tuple": ("a", 1, (None,)),
    "Timestamp": pd.Timestamp("2020-01-01 00:00:00.000000001"), "zoned Timestamp": pd.Timestamp("2020-10-25 00:30", tz="UTC").tz_convert(ZONES["zurich"]),
    "Timedelta": pd.Timedelta("1D"), "Period": pd.Period("2020", "M"), "Interval": pd.Interval(0, 1), "date": dt.date(2020, 1, 1),
    "datetime": dt.datetime(2020, 1, 1), "enum": Colour.RED, "int enum": Level.LOW, "str subclass": SlimText("n"), "np.int64": np.int64(1),
    "np.str": np.str_("x"), "NA": pd.NA, "NaT": pd.NaT, "Decimal": decimal.Decimal("1.0"), "UUID": uuid.UUID(int=1), "frozenset": frozenset([1]),
    "like ours": "__index_level_0__", "surrogate": "\ud800", "huge int": 2**80, "class": int,
}  # fmt: skip


def labels():
    """Indexes of four labels."""
    found = {
        "range": pd.RangeIndex(4), "range with step": pd.RangeIndex(10, 2, -2), "range at zero": pd.RangeIndex(0, 40, 10),
        "int": pd.Index([3, 1, 2, 0]), "int8": pd.Index([3, 1, 2, 0], dtype="i1"), "uint": pd.Index([1, 2, 3, 4], dtype="u8"),
        "float": pd.Index([0.5, NAN, -0.0, 0.0]), "float32": pd.Index([0.5, 1, 2, 3], dtype="f4"), "bool": pd.Index([True, False, True, False]),
        "complex": pd.Index([1j, 2, 3, 4]), "str": pd.Index(["b", "a", "ü", ""]), "str with nan": pd.Index(["b", None, "ü", ""]),
        "string": pd.Index(["b", None, "c", "d"], dtype="string"), "python string": pd.Index(["b", None, "c", "d"], dtype=pd.StringDtype("python")),
        "object str": pd.Index(["a", "b", "c", "d"], dtype=object), "object int": pd.Index([1, 2, 3, 4], dtype=object), "object bool": pd.Index([True, False, None, True], dtype=object),
        "mixed": pd.Index(["a", 1, 2.5, None], dtype=object), "mixed with nan": pd.Index(["a", 1, NAN, "b"], dtype=object), "missing kinds": pd.Index([None, NAN, pd.NA, pd.NaT], dtype=object),
        "tuples": pd.Index([(1, "a"), (2,), (), (3, 4)], tupleize_cols=False), "bytes": pd.Index([b"a", b"\xff", b"", b"x"], dtype=object),
        "dates": pd.Index([dt.date(2020, 1, day) for day in (1, 2, 3, 4)], dtype=object), "times": pd.Index([dt.time(h) for h in range(4)], dtype=object),
        "decimals": pd.Index([decimal.Decimal(f"{n}.50") for n in range(4)], dtype=object), "uuids": pd.Index([uuid.UUID(int=n) for n in range(4)], dtype=object),
        "enums": pd.Index([Colour.RED, Colour.BLUE, "x", 1], dtype=object), "np.int64s": pd.Index([np.int64(n) for n in range(4)], dtype=object), "timestamps": pd.Index([pd.Timestamp("2020"), 1, "x", None], dtype=object),
        "surrogates": pd.Index(["\ud800", "b", "c", "d"], dtype=object), "subclass": pd.Index([SlimText("a"), "b", "c", "d"], dtype=object),
        "duplicates": pd.Index(["a", "a", "b", "a"]), "lists": pd.Index([[1], [2], [3], [4]], dtype=object),
        "Int64": pd.Index([1, None, 3, 4], dtype="Int64"), "boolean": pd.Index([True, None, False, True], dtype="boolean"), "Float64": pd.Index([1.5, None, 2, 3], dtype="Float64"),
        "arrow int": pd.Index([1, None, 3, 4], dtype=pd.ArrowDtype(pa.int16())), "arrow string": pd.Index(["a", None, "c", "d"], dtype=pd.ArrowDtype(pa.string())),
        "category": pd.CategoricalIndex(["a", "b", None, "a"]), "ordered category": pd.CategoricalIndex(["a", "b", "b", "a"], ["z", "b", "a"], ordered=True),
        "category of cuts": pd.CategoricalIndex(pd.cut([1, 4, 6, 9], 3)), "category of mixed": pd.CategoricalIndex(["a", 1, "a", 1]),
        "days": DAYS, "days without freq": pd.DatetimeIndex(list(DAYS)), "days backwards": DAYS[::-1], "NaT": DAYS[:3].insert(1, pd.NaT), "seconds": DAYS.as_unit("s"),
        "deltas": DAYS - DAYS[0], "deltas with freq": pd.timedelta_range("1h", periods=4, freq="90min"),
        "periods": pd.period_range("2020", periods=4, freq="M"), "period NaT": pd.PeriodIndex(["2020", None, "2021", "2022"], freq="D"),
        "intervals": pd.interval_range(0, 4), "time intervals": pd.interval_range(pd.Timestamp("2020"), periods=4, closed="both"), "interval nan": pd.IntervalIndex.from_tuples([(0.0, 1.0), NAN, (2, 3), (4, 5)]),
    }  # fmt: skip
    for name in (
        "int",
        "float",
        "bool",
        "complex",
        "Int64",
        "days without freq",
        "deltas",
        "periods",
        "intervals",
        "category",
        "str",
    ):
        found[f"{name}, strided"] = found[name].repeat(2)[::2]
        found[f"{name}, backwards"] = found[name][::-1]
    found |= {f"zone {name}": DAYS.tz_localize("UTC").tz_convert(zone) for name, zone in ZONES.items()}
    return found


def levels():
    """MultiIndexes of four labels."""
    found = {}
    one = labels()
    for name in (
        "int",
        "float",
        "bool",
        "str",
        "str with nan",
        "object str",
        "mixed",
        "mixed with nan",
        "dates",
        "Int64",
        "arrow string",
        "category",
        "category of cuts",
        "days",
        "zone zurich",
        "deltas",
        "periods",
        "intervals",
        "enums",
        "surrogates",
        "tuples",
        "complex",
    ):
        found[f"levels of {name}"] = pd.MultiIndex.from_arrays([one[name], ["x", "x", "y", "y"]], names=["first", None])
    product = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["k", 1])
    found |= {
        "product": product, "unused levels": product[[0, 0, 1, 1]], "one level": pd.MultiIndex.from_arrays([["a", "b", "c", "d"]]),
        "four levels": pd.MultiIndex.from_arrays([[1, 1, 2, 2], list("abcd"), DAYS, [0.5] * 4]), "unsorted levels": pd.MultiIndex(levels=[["z", "a"], [2, 1]], codes=[[0, 1, 1, 0], [1, 1, 0, 0]]),
        "sort order": pd.MultiIndex(levels=[["a", "b"], [1, 2]], codes=[[0, 0, 1, 1], [0, 1, 0, 1]], sortorder=1),
        "missing codes": pd.MultiIndex(levels=[["a"], [1]], codes=[[0, -1, 0, -1], [-1, -1, 0, 0]]), "duplicate names": pd.MultiIndex.from_arrays([list("abcd"), list("efgh")], names=["n", "n"]),
        "duplicates in levels": pd.MultiIndex.from_arrays([[1, 1, 1, 1], [2, 2, 2, 2]]), "level with freq": pd.MultiIndex.from_product([DAYS[:2], ["a", "b"]]),
        "ordered category level": pd.MultiIndex.from_arrays([pd.Categorical(list("abab"), ["b", "a"], ordered=True), [1, 2, 3, 4]]),
        "partial category level": pd.MultiIndex.from_arrays([pd.Categorical(list("aaaa"), ["b", "a"]), [1, 2, 3, 4]]),
        "int8 level": pd.MultiIndex.from_arrays([np.array([1, 2, 3, 4], "i1"), list("abcd")]), "range level": pd.MultiIndex(levels=[pd.RangeIndex(4)], codes=[[0, 1, 2, 3]]),
        "category of a range level": pd.MultiIndex.from_arrays([pd.Categorical.from_codes([0, 1, -1, 2], pd.RangeIndex(9, 0, -3))]),
        "codes wider than their level": pd.MultiIndex.from_arrays([range(300), range(300)])[:4].set_levels(range(100), level=0, verify_integrity=False),
    }  # fmt: skip
    return found


def cases():
    found = {}
    for name, index in (labels() | levels()).items():
        found[f"rows {name}"] = pd.DataFrame({"a": [1.5, 2, 3, 4], "b": list("wxyz")}, index=index)
        if name == "lists" and pd.__version__ < "3":
            continue  # pandas 2 makes no column labels of them
        found[f"columns {name}"] = pd.DataFrame([[1.5, "x", 3, True]], columns=index)
        found[f"no rows {name}"] = pd.DataFrame({"a": [1.5, 2, 3, 4]}, index=index).iloc[:0]
        found[f"no columns {name}"] = pd.DataFrame(np.zeros((2, 4)), columns=index).iloc[:, :0]
    for name, offset in OFFSETS.items():
        index = pd.date_range("2020-01-01 10:00", periods=3, freq=offset)
        found[f"freq {name}"] = pd.DataFrame({"a": range(3)}, index=index)
        found[f"columns freq {name}"] = pd.DataFrame([range(3)], columns=index)
    for place, name in NAMES.items():
        found[f"name {place}"] = pd.DataFrame({"a": [1, 2]}, index=pd.Index([5, 6], name=name))
        found[f"range name {place}"] = pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(2, name=name))
        found[f"columns name {place}"] = pd.DataFrame([[1, 2]], columns=pd.Index(["x", "y"], name=name))
        found[f"level name {place}"] = pd.DataFrame(
            {"a": [1]}, index=pd.MultiIndex.from_arrays([[1], [2]], names=[name, "m"])
        )
    return found
