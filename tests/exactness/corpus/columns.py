"""One column of every dtype that pandas can hold, with and without missing values, and empty."""

import datetime as dt
import decimal
import importlib.util
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa

NAN = float("nan")
META = {"unit": "m"}
DAYS = pd.date_range("2020-03-28", periods=4, freq="D")
ZONES = {
    "zurich": zoneinfo.ZoneInfo("Europe/Zurich"),
    "zone utc": zoneinfo.ZoneInfo("UTC"),
    "utc": dt.UTC,
    "offset": dt.timezone(dt.timedelta(hours=5, minutes=30)),
    "negative offset": dt.timezone(-dt.timedelta(hours=3)),
    "named offset": dt.timezone(dt.timedelta(hours=1), "HOME"),
    "offset of seconds": dt.timezone(dt.timedelta(seconds=3661)),
}
if importlib.util.find_spec("pytz"):
    import pytz

    ZONES |= {"pytz": pytz.timezone("Europe/Zurich"), "pytz utc": pytz.UTC, "pytz offset": pytz.FixedOffset(90)}
if importlib.util.find_spec("dateutil"):
    import dateutil.tz

    ZONES |= {"dateutil utc": dateutil.tz.tzutc(), "dateutil offset": dateutil.tz.tzoffset("X", 3600)}


def numbers():
    kinds = [f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)] + ["f2", "f4", "f8", "g", "c8", "c16"]
    found = {kind: np.array([1, 0, 2], kind) for kind in [*kinds, ">i4", ">u8", ">f8", ">c16", "?"]}
    found |= {f"{kind} limits": np.array([np.iinfo(kind).min, np.iinfo(kind).max]) for kind in ("i1", "i8", "u8")}
    found |= {f"{kind} nan": np.array([NAN, -0.0, np.inf, -np.inf], kind) for kind in ("f2", "f4", "f8", "g", "c16")}
    found["nan bits"] = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001], "u8").view("f8")
    found["subnormal"] = np.array([5e-324, -5e-324, 2.2e-308])
    return found


def times():
    found = {f"M8[{unit}]": DAYS.as_unit(unit) for unit in ("s", "ms", "us", "ns")}
    found |= {f"m8[{unit}]": (DAYS - DAYS[1]).as_unit(unit) for unit in ("s", "ms", "us", "ns")}
    found |= {f"{name} NaT": index.insert(1, pd.NaT) for name, index in found.items()}
    for name, zone in ZONES.items():
        found[f"zone {name}"] = DAYS.tz_localize("UTC").tz_convert(zone)
        found[f"zone {name} NaT, s"] = DAYS.tz_localize("UTC").tz_convert(zone).as_unit("s").insert(0, pd.NaT)
    found["around the clock change"] = pd.date_range("2020-10-25", periods=5, freq="h", tz=ZONES["zurich"])
    found["year 1"] = pd.DatetimeIndex(np.array(["0001-01-01", "9999-12-31"], "M8[s]"))
    return found


def nullable():
    names = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)] + ["Float32", "Float64"]
    found = {name: pd.array([1, None, 0], dtype=name) for name in names}
    found |= {f"{name} full": pd.array([1, 2, 0], dtype=name) for name in names}
    found |= {
        "boolean": pd.array([True, None, False], dtype="boolean"),
        "boolean full": pd.array([True], dtype="boolean"),
    }
    with_nan = np.array([NAN, 1.0, -0.0])
    found["Float64 with nan and NA"] = pd.arrays.FloatingArray(with_nan, np.array([False, False, True]))
    for missing in (pd.NA, np.nan):
        for storage in ("python", "pyarrow"):
            dtype = string_dtype(storage, missing)
            if dtype is not None:
                found[f"{dtype!r} {missing!r}"] = pd.array(["x", None, "", "ü\U0001f600\0"], dtype=dtype)
                found[f"{dtype!r} {missing!r} empty"] = pd.array([], dtype=dtype)
    return found


def string_dtype(storage, missing):
    """pandas 2.2 has no choice of missing value."""
    if missing is pd.NA:
        return pd.StringDtype(storage)
    return pd.StringDtype(storage, na_value=np.nan) if hasattr(pd.StringDtype(), "_na_value") else None


def periods_and_intervals():
    aliases = ("D", "W-SUN", "M", "2M", "Q-DEC", "Q-NOV", "h", "3h", "min", "s", "ms", "us", "ns", "B")
    found = {
        f"period {alias}": pd.PeriodIndex(["2020-01-01", "NaT", "1969-12-31"], dtype=f"period[{alias}]")
        for alias in aliases
        if alias != "B"
    }
    found["period Y"] = pd.PeriodIndex(["2020", "2021"], dtype=pd.PeriodDtype(pd.Period("2020").freq))
    for closed in ("left", "right", "both", "neither"):
        found[f"interval int {closed}"] = pd.arrays.IntervalArray.from_breaks([0, 1, 5], closed=closed)
        found[f"interval float {closed}"] = pd.arrays.IntervalArray.from_tuples(
            [(0.0, 1.5), None, (2.0, np.inf)], closed=closed
        )
    found["interval time"] = pd.interval_range(pd.Timestamp("2020"), periods=3, freq="D")
    found["interval time s"] = pd.arrays.IntervalArray.from_breaks(DAYS.as_unit("s"))
    found["interval zone"] = pd.arrays.IntervalArray.from_breaks(DAYS.tz_localize(ZONES["zurich"]))
    found["interval delta"] = pd.arrays.IntervalArray.from_breaks(DAYS - DAYS[0])
    return found


def sparse():
    return {
        "sparse int": pd.arrays.SparseArray([0, 0, 5]),
        "sparse float": pd.arrays.SparseArray([NAN, 1.5, NAN]),
        "sparse fill 1": pd.arrays.SparseArray([1.0, 2.0, 1.0], fill_value=1.0),
        "sparse bool": pd.arrays.SparseArray([True, False], fill_value=False),
        "sparse blocks": pd.arrays.SparseArray([0, 1, 1, 0], kind="block"),
        "sparse all": pd.arrays.SparseArray([0, 0]),
    }


def categoricals():
    mixed = pd.Index(["a", 1, (2, "b"), 1.5], dtype=object)
    categories = {
        "str": ["b", "a"],
        "int": [3, 1],
        "float": [0.5, -0.0],
        "bool": [True, False],
        "object str": pd.Index(["x", "y"], dtype=object),
        "mixed": mixed,
        "bytes": pd.Index([b"x"], dtype=object),
        "tuples": pd.Index([(1, 2), (3, 4)], tupleize_cols=False),
        "dates": pd.Index([dt.date(2020, 1, 1)], dtype=object),
        "decimals": pd.Index([decimal.Decimal("1.50")], dtype=object),
        "times": pd.DatetimeIndex(["2020-01-01", "2020-01-05"]),
        "times with freq": DAYS,
        "zone": DAYS.tz_localize("UTC"),
        "deltas": DAYS - DAYS[0],
        "periods": pd.period_range("2020", periods=2, freq="M"),
        "intervals": pd.interval_range(0, 3),
        "time intervals": pd.interval_range(pd.Timestamp("2020"), periods=2),
        "range": pd.RangeIndex(3),
        "named": pd.Index(["u", "v"], name="n"),
        "Int64": pd.Index([1, 2], dtype="Int64"),
        "string": pd.Index(["x", "y"], dtype="string"),
        "arrow": pd.Index([1, 2], dtype=pd.ArrowDtype(pa.int32())),
        "none": pd.Index([], dtype=object),
        "200": range(200),
        "40,000": range(40_000),
        "complex": [1j, 2j],
    }
    found = {}
    for name, labels in categories.items():
        size = len(labels)
        codes = [-1, *range(min(size, 3)), 0] if size else [-1, -1]
        found[f"category {name}"] = pd.Categorical.from_codes(codes, categories=labels)
        found[f"category {name}, ordered"] = pd.Categorical.from_codes(
            codes[1:] if size else [], categories=labels, ordered=True
        )
    found["category by cut"] = pd.cut([1, 5, NAN, 9], 3)
    found["category by qcut"] = pd.qcut([1, 2, 3, 4], 2)
    return found


def arrow():
    time, day = dt.datetime(2020, 1, 1, 1, 2, 3, 4), dt.date(2020, 1, 1)
    values = {
        **{
            kind: [1, None, 3]
            for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
        },
        "bool_": [True, None],
        "string": ["x", None],
        "large_string": ["x", None],
        "binary": [b"x", None],
        "large_binary": [b"x", None],
        "date32": [day, None],
        "date64": [day, None],
        "null": [None, None],
    }
    found = {f"arrow {kind}": pa.array(cells, getattr(pa, kind)()) for kind, cells in values.items()}
    special = {
        "half": (np.array([1.5], "f2"), pa.float16()),
        "time32": ([time.time().replace(microsecond=0)], pa.time32("s")),
        "time64": ([time.time()], pa.time64("us")),
        "ns": ([5, None], pa.timestamp("ns")),
        "s": ([time], pa.timestamp("s")),
        "zone": ([time, None], pa.timestamp("us", "Europe/Zurich")),
        "duration": ([5, None], pa.duration("ms")),
        "month_day_nano": ([(1, 2, 3), None], pa.month_day_nano_interval()),
        "fixed": ([b"ab", None], pa.binary(2)),
        "decimal": ([decimal.Decimal("1.10"), None], pa.decimal128(10, 2)),
        "decimal256": ([decimal.Decimal(1)], pa.decimal256(50, 0)),
        "list": ([[1, None], None, []], pa.list_(pa.int64())),
        "large_list": ([["x"], None], pa.large_list(pa.string())),
        "fixed list": ([[1, 2], None], pa.list_(pa.int8(), 2)),
        "map": ([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
        "struct": ([{"x": 1, "y": None}, None], pa.struct([("x", pa.int8()), ("y", pa.string())])),
        "nested": ([[{"x": [1]}]], pa.list_(pa.struct([("x", pa.list_(pa.int8()))]))),
        "string_view": (["x", "a text longer than twelve"], pa.string_view()),
        "binary_view": ([b"x", None, b"y" * 30], pa.binary_view()),
        "list_view": ([[1], None], pa.list_view(pa.int8())),
        "time64 ns": ([1, None], pa.time64("ns")),
        "offset zone": ([time], pa.timestamp("s", "+01:00")),
        "no fields": ([{}, None], pa.struct([])),
        "list of none": ([[], None], pa.list_(pa.int8(), 0)),
        "list of dictionary": ([["y"], ["x", "y"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        "named items": ([[1], None], pa.list_(pa.field("item number", pa.int8(), nullable=False, metadata=META))),
        "named fixed items": ([[1, 2], None], pa.list_(pa.field("item number", pa.int8(), metadata=META), 2)),
        "named fields": ([{"a": 1}, None], pa.struct([pa.field("a", pa.int8(), nullable=False, metadata=META)])),
        "named map": (
            [[("a", 1)], None],
            pa.map_(pa.field("K", pa.string(), nullable=False), pa.field("V", pa.int8())),
        ),
    }
    found |= {f"arrow {name}": pa.array(cells, kind) for name, (cells, kind) in special.items()}
    found["arrow dictionary"] = pa.array(["x", "y", None, "x"]).dictionary_encode()
    words, places = pa.array(["x", "y"]), pa.array([0, 1, None, 1])
    found |= {
        "arrow ordered dictionary": pa.DictionaryArray.from_arrays(places, words, ordered=True),
        "arrow dictionary with null": pa.DictionaryArray.from_arrays(places, pa.array(["x", None])),
        "arrow dictionary twice": pa.DictionaryArray.from_arrays(places, pa.array(["x", "x"])),
        "arrow dictionary of lists": pa.DictionaryArray.from_arrays(places, pa.array([[1], []])),
        "arrow struct of dictionary": pa.StructArray.from_arrays([words.dictionary_encode()], ["d"]),
        "arrow union": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), words]),
        "arrow dense union": pa.UnionArray.from_dense(
            pa.array([1, 0], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), words]
        ),
        "arrow run ends sliced": pa.RunEndEncodedArray.from_arrays(pa.array([2, 5], pa.int32()), words)[1:4],
        "arrow bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
    }
    found["arrow uuid"] = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16)))
    found["arrow run ends"] = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([1, None]))
    found = {name: pa.chunked_array([array]) for name, array in found.items()}
    found["arrow chunks"] = pa.chunked_array([[1, 2], [], [None]])
    found["arrow no chunk"] = pa.chunked_array([], pa.int8())
    return {name: pd.arrays.ArrowExtensionArray(array) for name, array in found.items()}


def cases():
    found = numbers() | times() | nullable() | periods_and_intervals() | sparse() | categoricals() | arrow()
    frames = {name: pd.DataFrame({"x": pd.Series(values)}) for name, values in found.items()}
    frames["all at once"] = pd.DataFrame({name: frame["x"] for name, frame in frames.items() if len(frame) == 3})
    return frames | {
        f"{name}, no rows": frames[name][:0]
        for name in ("i8", "f8", "?", "c16", "Int8", "category str", "period M", "arrow list", "M8[s]")
    }
