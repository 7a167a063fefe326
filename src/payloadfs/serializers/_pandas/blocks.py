"""Construction of a pandas frame from decoded columns, in as few blocks as their memory allows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from .._arrow.memory import ObjectBuffer
from .columns import decode_block
from .expected import check_type
from .index import decode_column

try:
    # pandas' public function for callers that already have blocks.
    from pandas.api.internals import create_dataframe_from_blocks
except ImportError:  # before pandas 3.0
    create_dataframe_from_blocks = None

REMAINDER = ["rest"]
"""Description of a column that is pickled. The tag is part of the format."""

Block = tuple[Any, Sequence[int]]


def blocks(
    descriptions: list[Any], arrays: list[pa.Array], remainder: dict[str, Any], memory: ObjectBuffer
) -> Iterator[Block]:
    """Yield values and the positions of their columns.

    Adjacent columns of one numeric dtype with even spacing become one strided view, columns as rows.
    So do the columns that were stored as one array.
    """
    stored, start = iter(arrays), 0
    for description, group in itertools.groupby(descriptions):
        count = len(list(group))
        if description[0] == "block":
            for _ in range(count):
                array, width = next(stored), description[1]
                if not memory.trusted:
                    check_type(description, array.type)
                yield decode_block(array, memory, *description[1:]), range(start, start + width)
                start += width
            continue
        positions = range(start, start + count)
        start += count
        if description == REMAINDER:
            yield from ((remainder[str(pos)], [pos]) for pos in positions)
            continue
        taken = list(itertools.islice(stored, count))
        block = None
        if count > 1 and description[0] == "numpy" and description[1] != "|b1":
            if not memory.trusted:
                for array in taken:
                    check_type(description, array.type)
            block = memory.block(taken, description[1])
        if block is not None:
            yield block, positions
        else:
            pairs = zip(taken, positions, strict=True)
            yield from ((decode_column(description, array, memory), [pos]) for array, pos in pairs)


def build_frame(column_blocks: Iterable[Block], index: pd.Index, labels: pd.Index) -> pd.DataFrame:
    """Return the frame made of `column_blocks`. No copy.

    Raise `ValueError` if they do not match `index` and `labels`.
    """
    whole = list(column_blocks)
    lengths = {values.shape[-1] for values, _ in whole}
    if lengths - {len(index)} or sum(len(positions) for _, positions in whole) != len(labels):
        raise ValueError("the shape of the frame does not match its index and columns")
    if create_dataframe_from_blocks is None:
        return _from_columns(whole, index, labels)
    parts = [
        (values[np.newaxis] if values.ndim == 1 and isinstance(values, np.ndarray) else values, np.array(positions))
        for values, positions in whole
    ]
    frame: pd.DataFrame = create_dataframe_from_blocks(parts, index, labels)
    return frame


def _from_columns(whole: list[Block], index: pd.Index, labels: pd.Index) -> pd.DataFrame:
    if len(whole) == 1 and whole[0][0].ndim == 2:
        frame = pd.DataFrame(whole[0][0].T, index=index, copy=False)
    else:
        columns = {}
        for values, positions in whole:
            for row, pos in zip(values if values.ndim == 2 else [values], positions, strict=True):
                # The dtype is explicit, so that pandas does not infer another from the cells.
                columns[pos] = pd.Series(row, index=index, dtype=row.dtype, copy=False)
        frame = pd.DataFrame(columns, index=index, copy=False)
    frame.columns = labels
    return frame
