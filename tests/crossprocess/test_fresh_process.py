"""Objects saved here and loaded by a process that has only the pointer, the key and the root."""

import os
import subprocess
import sys

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import payloadfs
from payloadfs import Repository
from payloadfs.testing import assert_exact

READER = """
import sys, cloudpickle, payloadfs
values = [payloadfs.Payload.from_json(line).value for line in sys.stdin]
sys.stdout.buffer.write(cloudpickle.dumps(values))
"""

JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)
ARRAYS = st.builds(
    lambda data, dtype, order: np.asarray(np.array(data).astype(dtype), order=order),
    st.lists(st.lists(st.integers(0, 100), min_size=3, max_size=3), max_size=50),
    st.sampled_from(["i1", "u8", "f4", ">f8", "c16", "M8[s]", "S3", "U2", "?"]),
    st.sampled_from("CF"),
)
CELLS = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(width=64),
    "bool": st.booleans(),
    "str": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "Int8": st.none() | st.integers(-128, 127),
    "boolean": st.none() | st.booleans(),
    "string": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "category": st.sampled_from(["u", "v", None]),
    "datetime64[us]": st.none() | st.datetimes(),
    "object": st.none() | st.integers() | st.text(max_size=3) | st.floats(),
}


@st.composite
def frames(draw):
    rows = draw(st.integers(0, 6))
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=5))
    columns = [pd.Series(draw(st.lists(CELLS[kind], min_size=rows, max_size=rows)), dtype=kind) for kind in kinds]
    frame = pd.concat(columns, axis=1)
    frame.columns = draw(
        st.sampled_from([pd.RangeIndex(len(kinds)), pd.Index([f"c{n}" for n in range(len(kinds))]), ["x"] * len(kinds)])
    )
    index = draw(st.sampled_from(["range", "days", "text"]))
    if index == "days":
        frame.index = pd.date_range("2020", periods=rows, freq="D", name="day")
    elif index == "text":
        frame.index = [f"r{number}" for number in range(rows)]
    return frame


def loaded_elsewhere(pointers, **environment):
    lines = "".join(pointer.to_json() + "\n" for pointer in pointers)
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=lines.encode(),
        capture_output=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr.decode()
    return cloudpickle.loads(done.stdout)


def check_through_a_fresh_process(objects):
    """Save `objects`, load them here and in another process, and compare strictly."""
    repository = payloadfs.default_repository()
    pointers = [repository.save(obj) for obj in objects]
    for obj, pointer in zip(objects, pointers, strict=True):
        assert_exact(obj, repository.load(pointer))
    for obj, value in zip(objects, loaded_elsewhere(pointers), strict=True):
        assert_exact(obj, value)


# Many small objects per example: a process costs a second, an object a millisecond.
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(JSON_LIKE | ARRAYS | frames(), min_size=30, max_size=60))
def test_random_objects(objects):
    check_through_a_fresh_process(objects)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(JSON_LIKE | ARRAYS | frames())
def test_random_objects_in_this_process(obj):
    repository = Repository("memory://random")
    assert_exact(obj, repository.load(repository.save(obj)))


@pytest.mark.long
@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(JSON_LIKE | ARRAYS | frames())
def test_many_random_objects_in_this_process(obj):
    repository = Repository("memory://random")
    assert_exact(obj, repository.load(repository.save(obj)))


def test_large_objects_of_every_kind():
    numbers = np.random.default_rng(1).random(200_000)
    check_through_a_fresh_process(
        [
            bytes(2_000_000),
            "ü" * 1_000_000,
            numbers,
            np.asfortranarray(numbers.reshape(400, 500)),
            {"weights": [numbers, numbers[:100]], "step": 3},
            pd.DataFrame({"a": numbers, "b": np.arange(200_000)}),
            pd.DataFrame(
                {"a": numbers[:10_000], "c": ["x" * 200] * 10_000}
            ),  # few cells, which are compared one by one
            pd.DataFrame(numbers.reshape(50_000, 4), copy=False),
            pa.table({"a": numbers}),
            pl.DataFrame({"a": numbers}),
            [pd.DataFrame({"a": numbers})] * 2,
            [{"id": number, "name": f"{number:0200}"} for number in range(5_000)],
        ]
    )


class OfMain:
    """A class as in a script."""


OfMain.__module__ = "__main__"
sys.modules["__main__"].OfMain = OfMain


def test_functions_and_classes_of_main():
    factor = 3
    made = OfMain()
    made.numbers = np.arange(5)
    pointers = [payloadfs.default_repository().save(obj) for obj in (made, lambda x: x * factor, OfMain)]
    other, function, cls = loaded_elsewhere(pointers)
    assert other.numbers.tolist() == [0, 1, 2, 3, 4]
    assert function(2) == 6
    assert cls.__name__ == "OfMain"


def test_the_error_without_the_key_says_what_to_do(tmp_path):
    pointer = payloadfs.default_repository().save([1])
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=pointer.to_json().encode(),
        capture_output=True,
        check=False,
        env=os.environ | {"HOME": str(tmp_path), "PAYLOADFS_URL": pointer.root},
    )
    assert f"payloadfs keys export {pointer.key_id}".encode() in done.stderr
    assert done.returncode == 1


def test_a_reader_with_the_key_in_the_environment(tmp_path):
    repository = payloadfs.default_repository()
    pointer = repository.save([1])
    line = repository.keys.keys[0].to_line()
    environment = {"HOME": str(tmp_path), "PAYLOADFS_ALLOWED_ROOTS": pointer.root}
    assert loaded_elsewhere([pointer], PAYLOADFS_KEYS=line, **environment) == [[1]]
    keys = tmp_path / "keys"
    keys.write_text(line)
    keys.chmod(0o600)
    assert loaded_elsewhere([pointer], PAYLOADFS_KEYS_FILE=str(keys), **environment) == [[1]]
