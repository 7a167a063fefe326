"""200 values that tutorial steps return, and the table of how they are stored.

python -m tests.exactness.steps      rewrites docs/explanation/step-results.md
"""

import base64
import collections
import datetime as dt
import decimal
import functools
import io
import ipaddress
import json
import pathlib
import sys
import tempfile
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import sklearn.datasets
import sklearn.metrics
from scipy import sparse, stats
from sklearn import (
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_extraction,
    inspection,
    linear_model,
    model_selection,
    neighbors,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from .everyday import CSV, FRAMES, measurements, orders, people
from .harness import IMPORTABLE

sys.path.insert(0, str(IMPORTABLE))
import payloadfs_steps as shop

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "explanation" / "step-results.md"
NOW = dt.datetime(2026, 1, 5, 6, 30, tzinfo=dt.UTC)
ZURICH = zoneinfo.ZoneInfo("Europe/Zurich")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
RESPONSE = {
    "count": 2,
    "next": None,
    "results": [{"id": 1, "name": "ann", "score": 0.5, "tags": ["x"]}, {"id": 2, "name": "bob", "score": None, "tags": []}],
}  # fmt: skip


@functools.cache
def iris():
    data = sklearn.datasets.load_iris(as_frame=True)
    return data.data, data.target


@functools.cache
def split():
    return tuple(model_selection.train_test_split(*iris(), random_state=0))


@functools.cache
def predictions():
    model = linear_model.LogisticRegression(max_iter=500).fit(split()[0], split()[2])
    return split()[3].to_numpy(), model.predict(split()[1]), model.predict_proba(split()[1])


@functools.cache
def search():
    return model_selection.GridSearchCV(svm.SVC(), {"C": [0.1, 1.0], "kernel": ["rbf", "linear"]}, cv=2).fit(*iris())


def binary():
    truth, _, probability = predictions()
    return truth == 1, probability[:, 1]


def fitted(model, *, labelled=True):
    return lambda: model.fit(*iris()) if labelled else model.fit(iris()[0])


def text_model():
    return feature_extraction.text.TfidfVectorizer().fit(["the cat sat", "the dog ran", "a cat ran"])


def pictures():
    return np.random.default_rng(5).integers(0, 255, (4, 8, 8, 3), np.uint8)


AIRFLOW = {
    "extract: orders by number": lambda: json.loads('{"1001": 301.27, "1002": 433.21, "1003": 502.22}'),
    "transform: total": lambda: {"total_order_value": 1236.70},
    "multiple outputs": lambda: {"count": 3, "sum": 1236.7, "largest": ("1003", 502.22)},
    "string": lambda: "s3://bucket/raw/2026-01-05/orders.csv",
    "list of keys in a bucket": lambda: [f"raw/2026-01-05/part-{n:05}.parquet" for n in range(20)],
    "numbers for dynamic tasks": lambda: [1, 2, 3],
    "keyword arguments for dynamic tasks": lambda: [{"table": "orders", "limit": 10}, {"table": "users", "limit": 5}],
    "pairs for starmap": lambda: [("orders", 1), ("users", 2)],
    "branch": lambda: "load_full",
    "branches": lambda: ["load_full", "notify"],
    "short circuit": lambda: True,
    "row count": lambda: 18_231,
    "nothing": lambda: None,
    "rows of a database hook": lambda: [(1, "ann", dt.date(2026, 1, 5), decimal.Decimal("12.50")), (2, "bob", None, None)],
    "first row of a hook": lambda: (1, "ann", dt.datetime(2026, 1, 5, 8, 30)),
    "data interval": lambda: (NOW, NOW + dt.timedelta(days=1)),
    "logical date": lambda: NOW,
    "run configuration": lambda: {"date": dt.date(2026, 1, 5), "tables": {"orders", "users"}, "full": False},
    "response of an API": lambda: RESPONSE,
    "response headers": lambda: {"Content-Type": "application/json", "ETag": 'W/"abc"', "Content-Length": "1024"},
    "sensor: file found": lambda: {"path": pathlib.PurePosixPath("/data/in.csv"), "size": 1024, "mtime": 1767600000.5},
    "DataFrame of a query": FRAMES["read_sql"],
    "DataFrame and count": lambda: {"rows": orders(), "count": 4},
    "several DataFrames": lambda: {"orders": orders(), "people": people()},
    "watermark": lambda: {"last_id": 2**40, "last_seen": NOW},
    "partitions": lambda: [dt.date(2026, 1, day) for day in range(1, 11)],
    "counts by day": lambda: {dt.date(2026, 1, day): day * 3 for day in range(1, 8)},
    "connection test": lambda: {"host": ipaddress.ip_address("10.0.0.1"), "ok": True, "took": dt.timedelta(milliseconds=12)},
}  # fmt: skip
PREFECT = {
    "greeting": lambda: "Hello, Marvin!",
    "temperature": lambda: 21.4,
    "stars of repositories": lambda: {"PrefectHQ/prefect": 15_000, "apache/airflow": 35_000},
    "mapped results": lambda: [n**2 for n in range(10)],
    "list of users": lambda: [{"id": n, "name": f"user {n}", "active": n % 2 == 0} for n in range(10)],
    "registered pydantic model": lambda: shop.User(id=1, name="ann", signed_up=dt.date(2026, 1, 5)),
    "list of registered models": lambda: [shop.User(id=n, name="x", signed_up=dt.date(2026, 1, n + 1), tags=["a"]) for n in range(5)],
    "registered dataclass": lambda: shop.Order(1, shop.Status.PAID, [("a", 2)], NOW),
    "registered dataclasses by key": lambda: {n: shop.Order(n, shop.Status.NEW, [], NOW) for n in (10, 20)},
    "registered enum": lambda: shop.Status.NEW,
    "registered struct": lambda: shop.Event("click", NOW, {"x": 1}),
    "dataclass that is not registered": lambda: shop.Report("t", [1]),
    "run id": lambda: uuid.UUID(int=7),
    "artifact path": lambda: pathlib.Path("out/report.html"),
    "files and sizes": lambda: {pathlib.PurePosixPath(f"a/{n}.csv"): n for n in range(3)},
    "retry delays": lambda: [dt.timedelta(seconds=2**n) for n in range(4)],
    "schedule": lambda: {"interval": dt.timedelta(hours=1), "anchor": dt.datetime(2026, 1, 5, tzinfo=ZURICH), "cron": None},
    "result and error": lambda: ({"a": 1}, None),
    "exception": lambda: ValueError("no rows", 5),
    "validation errors": lambda: collections.defaultdict(list, {"age": ["negative"], "name": []}),
    "page of HTML": lambda: "<html>" + "<p>text ü</p>" * 500 + "</html>",
    "downloaded bytes": lambda: PNG * 100,
    "secret-free settings": lambda: {"url": "https://example.com", "timeout": 5.0, "retries": 3, "tags": ("etl", "daily")},
    "queue of work": lambda: collections.deque([("orders", 1), ("users", 2)], maxlen=100),
    "unique values": lambda: {"CH", "DE", "FR"},
    "word counts": lambda: collections.Counter(["the", "cat", "and", "the", "dog"]),
}  # fmt: skip
DAGSTER = {
    "asset: top story ids": lambda: list(range(40_000_000, 40_000_100)),
    "asset: stories": lambda: pd.DataFrame([{"id": n, "title": f"Story {n}", "score": n * 3, "url": None if n % 3 else "https://x"} for n in range(20)]),
    "asset: most frequent words": lambda: {"python": 12, "data": 9, "rust": 7},
    "asset: chart": lambda: base64.b64encode(PNG).decode(),
    "asset: PNG": lambda: PNG,
    "metadata": lambda: {"num_records": 20, "preview": "| id | title |\n|---|---|", "ratio": 0.25, "path": pathlib.PurePosixPath("/x")},
    "polars DataFrame": lambda: pl.DataFrame({"id": [1, 2], "name": ["a", None], "day": [dt.date(2026, 1, 5), None]}),
    "polars, grouped": lambda: pl.DataFrame({"k": ["a", "b", "a"], "v": [1.5, 2.5, 3.5]}).group_by("k", maintain_order=True).agg(pl.col("v").sum(), pl.col("v").alias("all")),
    "polars Series": lambda: pl.Series("v", [1, None, 3]),
    "dict of polars DataFrames": lambda: {"train": pl.DataFrame({"x": [1.0]}), "test": pl.DataFrame({"x": [2.0]})},
    "polars schema of names": lambda: {"id": "Int64", "name": "String"},
    "Arrow table": lambda: pa.table({"id": [1, 2], "tags": [["x"], []]}),
    "Arrow batches": lambda: pa.table({"id": range(100)}).to_batches(max_chunksize=30),
    "Arrow schema": lambda: pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC"))]),
    "Arrow table of a parquet file with pandas metadata": lambda: pa.Table.from_pandas(orders()),
    "partition keys": lambda: ["2026-01-05", "2026-01-06"],
    "partitioned frames": lambda: dict(iter(orders().groupby("day"))),
    "time window": lambda: (dt.datetime(2026, 1, 5, tzinfo=ZURICH), dt.datetime(2026, 1, 6, tzinfo=ZURICH)),
    "output and statistics": lambda: (people(), {"rows": 60, "nulls": np.int64(0)}),
    "config of a resource": lambda: {"account": "x", "warehouse": None, "options": {"timeout": 3, "ssl": True}},
    "asset check": lambda: {"passed": np.bool_(True), "severity": shop.Level.HIGH, "rows": np.int64(60)},
    "row of a table": lambda: orders().iloc[0],
    "SQL": lambda: "select *\nfrom orders\nwhere day = '2026-01-05'",
    "inserted ids": lambda: [uuid.UUID(int=n) for n in range(5)],
    "prices": lambda: {"CHF": decimal.Decimal("12.50"), "EUR": decimal.Decimal("11.9")},
    "nested lists": lambda: [[1, 2, [3, [4]]], [], [None]],
    "dates of a calendar": lambda: {"holidays": frozenset({dt.date(2026, 1, 1), dt.date(2026, 12, 25)}), "zone": ZURICH},
}  # fmt: skip
METAFLOW = {
    "parameter": lambda: 0.05,
    "artifact: string": lambda: "hello world",
    "movie statistics": lambda: {genre: {"median": 1.5e6, "top": ["A", "B"]} for genre in ("Comedy", "Drama")},
    "movie table": lambda: pd.DataFrame({"title": ["A", "B"], "genres": ["Comedy|Drama", "Drama"], "gross": [1.5e6, np.nan]}),
    "playlist": lambda: [("Movie A", 2010), ("Movie B", 2012)],
    "included CSV file": lambda: CSV,
    "hyperparameters": lambda: {"max_depth": 5, "eta": 0.1, "objective": "reg:squarederror", "subsample": None},
    "grid of hyperparameters": lambda: [{"C": c, "kernel": k} for c in (0.1, 1, 10) for k in ("rbf", "linear")],
    "results of a foreach": lambda: [{"params": {"C": 0.1}, "score": np.float64(0.93)}, {"params": {"C": 1}, "score": np.float64(0.95)}],
    "best of a foreach": lambda: max([(0.93, "svm"), (0.95, "forest")]),
    "registered config": lambda: shop.TrainConfig(0.1, (16,)),
    "registered named tuple of frames": lambda: shop.Split(*split()[:2]),
    "registered attrs class": lambda: shop.Metrics(0.9, {"a": 1.0}),
    "object of a plain class": lambda: shop.Counter(5),
    "weights": lambda: [np.random.default_rng(6).normal(size=shape) for shape in ((8, 4), (4,), (4, 1))],
    "state of a network": lambda: collections.OrderedDict([("fc.weight", np.ones((4, 2), "f4")), ("fc.bias", np.zeros(4, "f4"))]),
    "optimizer state": lambda: {"step": 100, "lr": 1e-3, "betas": (0.9, 0.999), "moments": {0: np.zeros(4), 1: np.ones(4)}},
    "training history": lambda: {"loss": [0.9, 0.5, 0.3], "val_loss": [1.0, 0.7, 0.6]},
    "history of numpy floats": lambda: {"loss": [np.float32(x) for x in (0.9, 0.5)]},
    "images": pictures,
    "images and labels": lambda: (pictures(), np.array([0, 1, 0, 1])),
    "batch of tensors by name": lambda: {"input_ids": np.arange(64).reshape(4, 16), "attention_mask": np.ones((4, 16), bool)},
    "vocabulary": lambda: {word: number for number, word in enumerate(["the", "cat", "sat"])},
    "reversed vocabulary": lambda: {0: "the", 1: "cat", 2: "sat"},
    "tokens": lambda: [["the", "cat"], ["sat"]],
    "embeddings by word": lambda: {word: np.arange(5.0) for word in ("cat", "dog")},
    "seed and generator state": lambda: np.random.default_rng(3).bit_generator.state,
    "range of work": lambda: range(0, 1000, 100),
    "lookup by pairs": lambda: {("CH", 2026): 1.5, ("DE", 2026): 2.5},
    "adjacency": lambda: {"a": {"b", "c"}, "b": set(), "c": {"a"}},
}  # fmt: skip
SKLEARN = {
    "X": lambda: iris()[0],
    "y": lambda: iris()[1],
    "X and y": lambda: (iris()[0], iris()[1]),
    "X and y as arrays": lambda: sklearn.datasets.make_classification(n_samples=50, random_state=0),
    "train_test_split": split,
    "train_test_split by name": lambda: dict(zip(("X_train", "X_test", "y_train", "y_test"), split(), strict=True)),
    "folds": lambda: list(model_selection.KFold(3).split(iris()[0])),
    "load_iris": sklearn.datasets.load_iris,
    "predictions": lambda: predictions()[1],
    "probabilities": lambda: predictions()[2],
    "accuracy": lambda: sklearn.metrics.accuracy_score(*predictions()[:2]),
    "metrics": lambda: {"accuracy": sklearn.metrics.accuracy_score(*predictions()[:2]), "f1": sklearn.metrics.f1_score(*predictions()[:2], average="macro"), "n": len(predictions()[0])},
    "confusion matrix": lambda: sklearn.metrics.confusion_matrix(*predictions()[:2]),
    "classification report": lambda: sklearn.metrics.classification_report(*predictions()[:2], output_dict=True),
    "classification report, text": lambda: sklearn.metrics.classification_report(*predictions()[:2]),
    "precision, recall, f-score, support": lambda: sklearn.metrics.precision_recall_fscore_support(*predictions()[:2]),
    "ROC curve": lambda: sklearn.metrics.roc_curve(*binary()),
    "precision-recall curve": lambda: sklearn.metrics.precision_recall_curve(*binary()),
    "cross_val_score": lambda: model_selection.cross_val_score(linear_model.RidgeClassifier(), *iris(), cv=3),
    "cross_validate": lambda: model_selection.cross_validate(linear_model.RidgeClassifier(), *iris(), cv=3),
    "learning curve": lambda: model_selection.learning_curve(linear_model.RidgeClassifier(), *iris(), cv=2, train_sizes=[0.5, 1.0], shuffle=True, random_state=0),
    "best parameters": lambda: search().best_params_,
    "best score": lambda: search().best_score_,
    "search results": lambda: search().cv_results_,
    "search results as a DataFrame": lambda: pd.DataFrame(search().cv_results_),
    "parameters of a model": lambda: linear_model.Ridge().get_params(),
    "coefficients": lambda: dict(zip(iris()[0].columns, linear_model.LinearRegression().fit(*iris()).coef_, strict=True)),
    "feature importances": lambda: pd.Series(ensemble.RandomForestClassifier(5, random_state=0).fit(*iris()).feature_importances_, iris()[0].columns).sort_values(),
    "permutation importance": lambda: inspection.permutation_importance(linear_model.RidgeClassifier().fit(*iris()), *iris(), n_repeats=2, random_state=0),
    "scaled features": lambda: preprocessing.StandardScaler().fit_transform(iris()[0]),
    "scaled features as a DataFrame": lambda: preprocessing.StandardScaler().set_output(transform="pandas").fit_transform(iris()[0]),
    "mean and scale": lambda: {"mean": iris()[0].mean().to_numpy(), "scale": iris()[0].std().to_numpy()},
    "class weights": lambda: {0: np.float64(1.0), 1: np.float64(2.0)},
    "label mapping": lambda: {"setosa": 0, "versicolor": 1, "virginica": 2},
    "labels": lambda: np.array(["setosa", "versicolor", "virginica"]),
    "object labels": lambda: np.array(["setosa", "versicolor"], dtype=object),
    "clusters": lambda: cluster.KMeans(3, random_state=0, n_init=1).fit_predict(iris()[0]),
    "cluster centres and inertia": lambda: (np.ones((3, 4)), 78.9),
    "PCA components": lambda: decomposition.PCA(2).fit_transform(iris()[0]),
    "explained variance": lambda: decomposition.PCA(2).fit(iris()[0]).explained_variance_ratio_,
    "tf-idf matrix": lambda: text_model().transform(["the cat ran"]),
    "feature names": lambda: text_model().get_feature_names_out().tolist(),
    "sparse matrix": lambda: sparse.random(20, 20, 0.1, format="csr", random_state=0),
    "t-test": lambda: tuple(map(float, stats.ttest_ind([1.0, 2, 3], [2.0, 3, 5]))),
    "LinearRegression": fitted(linear_model.LinearRegression()),
    "Pipeline": fitted(pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())),
    "ColumnTransformer": fitted(compose.make_column_transformer((preprocessing.StandardScaler(), [0, 1])), labelled=False),
    "RandomForestClassifier": fitted(ensemble.RandomForestClassifier(5, random_state=0)),
    "DecisionTreeClassifier": fitted(tree.DecisionTreeClassifier(random_state=0)),
    "KNeighborsClassifier": fitted(neighbors.KNeighborsClassifier()),
    "model and metrics": lambda: {"model": linear_model.Ridge().fit(*iris()), "r2": 0.93},
}  # fmt: skip
PANDAS = {
    "list of chunks": lambda: list(pd.read_csv(io.StringIO(CSV), chunksize=2)),
    "frames by group": lambda: dict(iter(people().groupby("team"))),
    "list of frames": lambda: [people(), orders()],
    "frame and its name": lambda: ("people", people()),
    "shape": lambda: people().shape,
    "columns": lambda: people().columns.tolist(),
    "Index of columns": lambda: people().columns,
    "dtypes": lambda: people().dtypes,
    "dtypes by name": lambda: people().dtypes.astype(str).to_dict(),
    "isna().sum()": lambda: people().isna().sum(),
    "mean": lambda: people()["pay"].mean(),
    "max of dates": lambda: orders()["day"].max(),
    "range of dates": lambda: (orders()["day"].min(), orders()["day"].max()),
    "difference of dates": lambda: orders()["day"].max() - orders()["day"].min(),
    "nunique": lambda: people()["team"].nunique(),
    "unique": lambda: people()["team"].unique(),
    "to_numpy": lambda: people()[["age", "pay"]].to_numpy(),
    "column": lambda: people()["pay"],
    "column of dates": lambda: orders()["day"],
    "value_counts": lambda: people()["team"].value_counts(),
    "value_counts as a dict": lambda: people()["team"].value_counts().to_dict(),
    "to_dict, records": lambda: orders().to_dict("records"),
    "to_dict, list": lambda: people().to_dict("list"),
    "to_dict, index": lambda: orders().set_index("order").to_dict("index"),
    "groupby two keys, as a dict": lambda: people().groupby(["team", "sex"])["pay"].mean().to_dict(),
    "groupby.groups": lambda: dict(people().groupby("team").groups),
    "itertuples": lambda: list(people().head(3).itertuples(index=False, name=None)),
    "to_csv": lambda: people().to_csv(index=False),
    "to_json": lambda: people().to_json(),
    "date_range": lambda: pd.date_range("2026-01-01", periods=5, freq="D", tz="Europe/Zurich"),
    "Period": lambda: pd.Period("2026-01", "M"),
    "Categorical": lambda: pd.Categorical(["a", "b", None]),
    "nullable array": lambda: pd.array([1, None, 3], "Int64"),
    "offset": lambda: pd.offsets.MonthEnd(2),
    "missing value": lambda: pd.NA,
    "summary of several kinds": lambda: {"rows": len(people()), "mean": people()["pay"].mean(), "first": orders()["day"].min(), "by team": people().groupby("team")["pay"].mean()},
    "rolling mean": lambda: measurements()["t"].rolling(5).mean(),
    **{name: FRAMES[name] for name in ("read_csv, parse_dates", "read_csv, categories", "groupby.agg, several functions", "pivot_table with margins", "resample", "describe, all", "cut column", "hours in a zone", "merge, outer with indicator", "dicts of an API")},
}  # fmt: skip
TOOLS = {"Airflow": AIRFLOW, "Prefect": PREFECT, "Dagster": DAGSTER, "Metaflow": METAFLOW, "scikit-learn": SKLEARN, "pandas": PANDAS}  # fmt: skip
RESULTS = {f"{tool}: {name}": make for tool, values in TOOLS.items() for name, make in values.items()}


def table(outcomes):
    """Return the page of the docs for the outcomes of all values."""
    safe, count = sum(not outcome.executable for outcome in outcomes.values()), len(outcomes)
    lines = []
    for tool, values in TOOLS.items():
        lines += ["", f"## {tool}", "", '| value | stored as | loads under `pickle="never"` |', "|---|---|---|"]
        for name in values:
            outcome = outcomes[f"{tool}: {name}"]
            lines.append(f"| {name} | `{outcome.serializer}` | {'no' if outcome.executable else 'yes'} |")
    return "\n".join(
        [
            "# Everyday step results",
            "",
            f"{count} values that tutorial steps return (`tests/exactness/steps.py`) were each saved, loaded by a fresh process,",
            f'and compared strictly. All come back exactly. {safe} ({safe / count:.0%}) load under `pickle="never"`. The others are',
            "mostly fitted models, whose classes only pickle can restore. The user's classes are",
            "[registered](../how-to/register-classes.md), except where the table says otherwise.",
            "[Format](format.md#objects-by-serializer) says what the ids mean. A test generates this page and compares.",
            *lines,
            "",
        ]
    )


def main():
    """Rewrite the page."""
    from .harness import round_trips

    with tempfile.TemporaryDirectory() as folder:
        outcomes = round_trips({name: make() for name, make in RESULTS.items()}, folder, imports=["payloadfs_steps"])
        PAGE.write_text(table(outcomes))


if __name__ == "__main__":
    main()
