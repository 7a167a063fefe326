"""Values that tasks pass on: a DataFrame, a dict of frames, a model and an error."""

import numpy as np
import pandas as pd


class Model:
    """A fitted model of the user."""

    def __init__(self, weights):
        self.weights = weights

    def predict(self, x):
        return float(self.weights @ x)

    def __eq__(self, other):
        return type(other) is Model and np.array_equal(self.weights, other.weights)

    __hash__ = None


def frame():
    return pd.DataFrame({"a": [1, 2, 3], "when": pd.date_range("2026-01-01", periods=3, tz="UTC")}, index=[5, 6, 7])


def values():
    return {
        "frame": frame(),
        "frames": {"train": frame(), "test": frame().head(1), "n": 2},
        "pair": (1, [frame()]),
        "model": Model(np.array([1.0, 2.0])),
        "error": ValueError("bad input", 7),
        "array": np.arange(10_000),
        "plain": {"loss": 0.5, "tags": ["a", None]},
        "lookalike": {"payloadfs": 1, "key": "x"},
    }


def assert_same(actual, expected):
    from payloadfs.testing import assert_exact

    assert_exact(expected, actual)
