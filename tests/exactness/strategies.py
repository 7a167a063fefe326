"""Random frames combined from the corpus: columns, rows, labels and metadata."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from .corpus import cells, columns, facts, indexes


def is_printable(name):
    """Return whether a failure can be printed; lone surrogates in the corpus cannot."""
    return "surrogate" not in name


def can_be_picked(series):
    """Return whether pandas can index it, which it cannot for some Arrow types and byte orders."""
    try:
        series.iloc[[0, 0]]
    except (NotImplementedError, ValueError):
        return False
    return True


COLUMNS = {
    name: frame["x"]
    for name, frame in (columns.cases() | cells.cases()).items()
    if "x" in frame and len(frame) and is_printable(name) and can_be_picked(frame["x"])
}
LABELS = {name: index for name, index in (indexes.labels() | indexes.levels()).items() if is_printable(name)}
ATTRS = {name: attrs for name, attrs in facts.ATTRS.items() if is_printable(name)}
HASHABLE = {name: index for name, index in LABELS.items() if name != "lists"}


@st.composite
def frames(draw):
    """Draw a frame of up to 6 columns and 8 rows."""
    rows = draw(st.integers(0, 8))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), max_size=6))
    kind = draw(st.sampled_from(sorted(LABELS)))
    index = _taken(draw, LABELS[kind], rows)
    made = pd.DataFrame({place: _column(draw, name, rows, index) for place, name in enumerate(names)}, index=index)
    made.columns = _taken(draw, HASHABLE[draw(st.sampled_from(sorted(HASHABLE)))], len(names))
    if draw(st.booleans()):
        # Not st.slices: pyarrow cannot slice with its huge steps.
        start, stop = draw(st.integers(-rows, rows)), draw(st.integers(-rows, rows))
        made = made.iloc[start : stop : draw(st.sampled_from([1, 2, -1, -3]))]
    made.attrs = ATTRS[draw(st.sampled_from(sorted(ATTRS)))] if draw(st.booleans()) else {}
    if kind in HASHABLE and made.columns.is_unique and made.index.is_unique and draw(st.booleans()):
        made.flags.allows_duplicate_labels = False
    return made


def _column(draw, name, rows, index):
    values = _taken(draw, COLUMNS[name], rows)
    values.index = index
    return values


def _taken(draw, labelled, count):
    """Return `count` cells of a series or index, in any order and with repetitions."""
    places = draw(st.lists(st.integers(0, len(labelled) - 1), min_size=count, max_size=count))
    if isinstance(labelled, pd.RangeIndex):
        return labelled[:count] if count <= len(labelled) else pd.RangeIndex(count)
    taken = np.array(places, dtype=np.intp)
    return labelled.iloc[taken] if isinstance(labelled, pd.Series) else labelled.take(taken)
