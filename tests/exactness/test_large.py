"""Strings of more than 2 GiB in one column, beyond 32-bit offsets. Needs 16 GB of memory."""

import numpy as np
import pandas as pd
import pytest

from payloadfs import Repository

TEXT = "0123456789abcdef" * 64  # 1 KiB
ROWS = 2_300_000


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dtype", ["str", "object", "string", "category of object"])
def test_strings_beyond_2_gib(dtype, tmp_path):
    if dtype == "category of object":
        values = pd.Categorical(np.arange(ROWS) % 3, range(3)).rename_categories(
            [TEXT * 300_000 + end for end in "abc"]
        )
    else:
        values = pd.array(np.array([TEXT], dtype=object).repeat(ROWS), dtype=dtype)
    frame = pd.DataFrame({"x": values})
    del values
    repository = Repository(tmp_path, fsync=False)
    pointer = repository.save(frame)
    assert pointer.serializer == "pandas/1"
    loaded = repository.load(pointer)
    assert loaded["x"].dtype == frame["x"].dtype
    for place in (0, 1, 2, ROWS // 2, ROWS - 1):
        assert loaded["x"].iloc[place] == frame["x"].iloc[place]
    if dtype != "category of object":
        assert loaded["x"].str.len().sum() == ROWS * len(TEXT)
