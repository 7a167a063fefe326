"""Series, indexes, pandas' arrays, scalars and dtypes by themselves."""

import pandas as pd
from payloadfs_corpus_classes import Column

from . import cells, columns, facts, indexes


def cases():
    frames = columns.cases() | cells.cases()
    found = {f"series: {name}": frame.iloc[:, -1].rename(name) for name, frame in frames.items()}
    found |= {f"array: {name}": frame["x"].array for name, frame in columns.cases().items() if "x" in frame}
    found |= {
        f"copied array: {name}": frame["x"].array.copy() for name, frame in columns.cases().items() if "x" in frame
    }
    for name, index in (indexes.labels() | indexes.levels()).items():
        found[f"index: {name}"] = index
        found[f"rows: {name}"] = pd.Series([1.5, 2, 3, 4], index=index)
    found |= {f"name: {name}": pd.Series([1, 2], name=label) for name, label in indexes.NAMES.items()}
    found |= {
        f"freq: {name}": pd.date_range("2020-01-01 10:00", periods=3, freq=offset)
        for name, offset in indexes.OFFSETS.items()
    }
    found |= {f"offset: {name}": offset for name, offset in indexes.OFFSETS.items()}
    found |= {
        f"attrs: {name}": facts.attributed(attrs, pd.Series([1.5], name="s")) for name, attrs in facts.ATTRS.items()
    }
    found |= {f"dtype: {name}": frame["x"].dtype for name, frame in columns.cases().items() if "x" in frame}
    found |= {
        f"scalar: {kind} {place}": value for kind, values in cells.CLASSES.items() for place, value in enumerate(values)
    }
    found |= {f"missing: {name}": value for name, value in cells.MISSING.items()}
    unique = pd.Series([1, 2])
    unique.flags.allows_duplicate_labels = False
    column = Column([1, 2], name="n")
    column.unit = "m"
    accessed = pd.Series(["a", "b"])
    accessed.str.upper()
    long = pd.Series(range(100_000), name="long")
    found |= {
        "no duplicate labels": unique,
        "subclass": column,
        "accessed": accessed,
        "long": long,
        "slice": long[10:15],
        "strided": long[::7],
        "backwards": long[::-1],
    }
    return found
