"""Objects and pointers of every release stay readable. Golden files are added but never changed."""

import importlib.util
import json
import pathlib
import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest

from payloadfs import DecodeError, Payload, Pointer, Repository
from payloadfs.testing import assert_exact

HERE = pathlib.Path(__file__).parent
_spec = importlib.util.spec_from_file_location("golden_make", HERE / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)
POINTERS = sorted(HERE.glob("v*/*.json"))


def test_every_kind_exists():
    assert {path.name.split(".")[0] for path in POINTERS} == set(make.objects())


@pytest.mark.parametrize("path", POINTERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_reads_earlier_releases(path):
    roots = {f"{make.ROOT}/{folder.name}": str(folder / "objects") for folder in HERE.glob("v*")}
    repository = Repository(
        "memory://unused", keys=make.KEYS, root_aliases=roots, allowed_roots=list(roots.values()), verify="full"
    )
    payload = Payload.from_json(path.read_text(), repository=repository)
    name = path.name.split(".")[0]
    # The dtype "str" came with pandas 3, numpy's present module names with numpy 2: older ones must
    # raise an error instead of returning something else.
    needs_pandas = pd.__version__ < "2.3" and (
        name in ("pandas", "pandas-series", "pandas-mixed", "pandas-sealed", "pandas-vocabulary", "tree")
    )
    needs_numpy = np.__version__ < "2" and name in ("pickle-sealed", "pickle-restored", "pandas-mixed")
    if needs_pandas or needs_numpy:
        with pytest.raises(DecodeError, match=r"needs pandas 2\.3|written with python .*, read with python .*"):
            _ = payload.value
        return
    assert_exact(make.objects()[name], payload.value)


@pytest.mark.parametrize("path", POINTERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_pointer_format_is_unchanged(path):
    text = path.read_text()
    pointer = Pointer.from_json(text)
    assert pointer.to_dict() == json.loads(text)
    assert list(pointer.to_dict()) == list(json.loads(text))


@pytest.mark.parametrize("path", sorted(HERE.glob("v*/payload.pickle")), ids=lambda path: path.parent.name)
def test_a_pickled_payload_of_earlier_releases_can_be_loaded(path):
    payload = pickle.loads(path.read_bytes())
    assert type(payload) is Payload
    assert payload.pointer == Pointer.from_json((path.parent / "json.blake3.json").read_text())
    names = {argument for _, argument, _ in pickletools.genops(path.read_bytes()) if isinstance(argument, str)}
    assert {"payloadfs", "Payload"} <= names
    assert not {name for name in names if name.startswith("payloadfs.")}
