"""A pandas frame out of decoded columns, in as few blocks as their memory allows."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .._arrow.memory import ObjectBuffer
from .index import decode_column

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["REMAINDER", "blocks", "build_frame"]

REMAINDER = ["rest"]
"""The description of a column that Arrow does not carry."""

Block = tuple[Any, list[int]]


def blocks(
    descriptions: list[Any], arrays: list[pa.Array], rest: dict[str, Any], memory: ObjectBuffer
) -> Iterator[Block]:
    """Yield values and the places of the columns that they are.

    Neighbours of one numeric dtype that lie evenly come as one strided view, the columns as rows.
    """
    stored = iter(arrays)
    for description, run in itertools.groupby(range(len(descriptions)), key=descriptions.__getitem__):
        places = list(run)
        if description == REMAINDER:
            yield from ((rest[str(place)], [place]) for place in places)
            continue
        taken = list(itertools.islice(stored, len(places)))
        block = None
        if len(places) > 1 and description[0] == "numpy" and description[1] != "|b1":
            block = memory.block(taken, description[1])
        if block is not None:
            yield block, places
        else:
            pairs = zip(taken, places, strict=True)
            yield from ((decode_column(description, array, memory), [place]) for array, place in pairs)


def build_frame(found: Iterable[Block], index: pd.Index, labels: pd.Index) -> pd.DataFrame:
    """Return the frame of `found`. No copy.

    Raises
    ------
    ValueError
        A column has another length than the index, or a label no column.
    """
    whole = list(found)
    lengths = {values.shape[-1] for values, _ in whole}
    if lengths - {len(index)} or sum(len(places) for _, places in whole) != len(labels):
        raise ValueError("the frame has another shape than its index and columns")
    return _frame_constructor()(whole, index, labels)


@functools.cache
def _frame_constructor() -> Callable[[list[Block], pd.Index, pd.Index], pd.DataFrame]:
    # Made for those who bring blocks of their own; pandas has it from 3.0 on.
    try:
        from pandas.api.internals import create_dataframe_from_blocks
    except ImportError:
        return _from_columns
    import numpy as np

    def make(whole: list[Block], index: pd.Index, labels: pd.Index) -> pd.DataFrame:
        parts = [
            (values[np.newaxis] if values.ndim == 1 and isinstance(values, np.ndarray) else values, np.array(places))
            for values, places in whole
        ]
        frame: pd.DataFrame = create_dataframe_from_blocks(parts, index, labels)
        return frame

    return make


def _from_columns(whole: list[Block], index: pd.Index, labels: pd.Index) -> pd.DataFrame:
    import pandas as pd

    if len(whole) == 1 and whole[0][0].ndim == 2:
        frame = pd.DataFrame(whole[0][0].T, index=index, copy=False)
    else:
        columns = {}
        for values, places in whole:
            for row, place in zip(values if values.ndim == 2 else [values], places, strict=True):
                # With the dtype given, so that pandas does not infer another from the cells.
                columns[place] = pd.Series(row, index=index, dtype=row.dtype, copy=False)
        frame = pd.DataFrame(columns, index=index, copy=False)
    frame.columns = labels
    return frame
