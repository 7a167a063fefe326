"""Writing to any array of a loaded value changes neither the store, nor other loaded values, nor the original."""

import numpy as np
import pandas as pd
import pytest

from payloadfs import EncodeError, Repository
from payloadfs.testing import describe
from payloadfs.testing.exact import first_difference

from .corpus import family
from .everyday import FRAMES


@pytest.fixture(params=["local", "memory", "payloadfs_moto", pytest.param("payloadfs_seaweedfs", marks=pytest.mark.s3)])
def repository(request, tmp_path, monkeypatch):
    if request.param == "local":
        return Repository(tmp_path)
    if request.param == "memory":
        return Repository(f"memory://isolation{tmp_path}")
    pytest.importorskip("s3fs")
    server = request.getfixturevalue(request.param)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return Repository(f"s3://{server.bucket()}/isolation")


def blocks(value):
    """Yield the arrays in a value; for frames, those that pandas writes to."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from blocks(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from blocks(part)
    elif isinstance(value, (pd.DataFrame, pd.Series)):
        for block in value._mgr.blocks:
            held = [getattr(block.values, name, None) for name in ("_ndarray", "_data", "_mask", "sp_values")]
            found = [part for part in (block.values, *held) if isinstance(part, np.ndarray)]
            assert all(part.flags.writeable for part in found if part.size), block
            yield from found


def bits_of(array):
    """Return the memory of an array as bytes that can be inverted, or None if it is strided or has references."""
    if not (array.size and array.dtype.itemsize and array.flags.writeable and array.flags.forc):
        return None
    if array.dtype.hasobject or array.dtype.kind == "T":
        return None
    flat = array.view(np.ndarray).ravel(order="K")
    assert np.shares_memory(flat, array)
    return flat.view(np.uint8)


def overwrite(value):
    """Invert every writable bit, and return the number of arrays."""
    found = [bits for bits in map(bits_of, blocks(value)) if bits is not None]
    for bits in found:
        bits ^= 255
    return len(found)


def check(repository, name, obj):
    before = list(describe(obj))
    try:
        pointer = repository.save(obj)
    except EncodeError:
        return 0
    mine, other = repository.load(pointer), repository.load(pointer)
    written = overwrite(mine)
    for whole in (obj, other, repository.load(pointer)):
        assert first_difference(iter(before), describe(whole)) is None, name
    return written


def test_everyday_frames(repository):
    names = [
        "feature matrix",
        "read_csv, categories",
        "nullable dtypes",
        "hours in a zone",
        "get_dummies",
    ]
    frames = {name: make() for name, make in FRAMES.items() if name in names}
    large = {"large": pd.DataFrame(np.arange(400_000.0).reshape(100_000, 4)), "nested": {"a": [np.arange(50_000)]}}
    written = {name: check(repository, name, obj) for name, obj in (frames | large).items()}
    assert all(written.values()), written


def test_corpus(tmp_path):
    repository = Repository(tmp_path, fsync=False)
    found = family("columns") | family("arrays")
    assert sum(check(repository, name, obj) for name, obj in found.items()) > 600


def test_views_are_read_only(repository):
    pointer = repository.save({"a": np.zeros(10_000), "f": pd.DataFrame(np.zeros((10_000, 4)))})
    view = repository.load(pointer, view=True)
    assert not view["a"].flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view["f"].iloc[0, 0] = 1.0
    assert overwrite(repository.load(pointer)) == 2
    assert not view["a"].any()
