"""Pickles that an attacker without a key plants wherever bytes reach a reader: none of them ever runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import payloadfs
from payloadfs import Key, KeyRing, PayloadError, Pointer, Repository
from payloadfs._digest import Digest, digest_of
from payloadfs.serializers._pickle.serializer import PickleSerializer
from payloadfs.serializers._registry import SerializerRegistry
from payloadfs.testing.serializers import stored_bytes

KEYS = KeyRing([Key(b"k" * 32)])


class _Gadget:
    """Object whose pickle calls `function` with `args` when it is loaded."""

    def __init__(self, function: Any, *args: Any, state: Any = None, items: Any = None, pairs: Any = None) -> None:
        self._reduced = (function, args, state, items, pairs)

    def __reduce__(self) -> Any:
        return self._reduced


def _gadgets(canary: str) -> dict[str, Any]:
    import builtins
    import functools
    import importlib
    import operator
    import subprocess

    code = f"open({canary!r}, 'w').close()"
    return {
        "mknod": _Gadget(os.mknod, canary),
        "eval": _Gadget(builtins.eval, code),
        "exec": _Gadget(builtins.exec, code),
        "system": _Gadget(os.system, f"touch {canary}"),
        "mkdir": _Gadget(os.mkdir, canary),
        "call": _Gadget(subprocess.call, ["touch", canary]),
        "partial": _Gadget(functools.partial(builtins.eval, code)),
        "methodcaller": _Gadget(operator.methodcaller("touch"), Path(canary)),
        "import": _Gadget(operator.methodcaller("system", f"touch {canary}"), _Gadget(importlib.import_module, "os")),
        "loads": _Gadget(pickle.loads, pickle.dumps(_Gadget(builtins.eval, code))),
    }


PROTOCOLS = range(6)
NAMES = [(name, protocol) for name in _gadgets("x") for protocol in PROTOCOLS]


def _container(stream: bytes) -> bytes:
    """Return a well-formed object of pickle/1 around `stream`."""
    encoded = PickleSerializer().encode({1})
    whole = bytes(stored_bytes(encoded))
    head = pickle.dumps({1}, 5)
    if whole.count(head) != 1:
        pytest.skip("the container changed")
    before, after = whole.split(head)
    patched = bytearray(before)
    patched[32:40] = len(stream).to_bytes(8, "little")
    return bytes(patched) + stream + after


def _npy(stream: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return file.getvalue() + stream


def _arrow(stream: bytes) -> bytes:
    metadata = {b"ARROW:extension:name": b"ray.data.arrow_pickled_object", b"ARROW:extension:metadata": stream}
    schema = pa.schema([pa.field("a", pa.binary(), metadata=metadata)], {b"payloadfs": stream})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([stream])], schema=schema))
    return bytes(sink.getvalue())


def _sidecar(stream: bytes) -> bytes:
    serializer, encoded = SerializerRegistry().encode(pd.DataFrame({"a": [len], "b": [1]}))
    assert serializer.id == "pandas-mixed/1"
    content = bytes(stored_bytes(encoded))
    footer = len(content) - 10 - int.from_bytes(content[-10:-6], "little")
    return content[: content.index(b"payloadfs frames")] + _container(stream) + content[footer:]


CHANNELS: dict[str, tuple[list[str], Callable[[bytes], bytes]]] = {
    "raw bytes": (["pickle/1", "json/1", "text/1", "npy/1", "arrow-table/1", "pandas/1", "polars/1"], lambda s: s),
    "container": (["pickle/1", "tree/1", "json/1", "npy/1", "pandas/1", "zstd-pickle/1"], _container),
    "npy of objects": (["npy/1", "npy-readonly/1"], _npy),
    "Arrow metadata": (["arrow-table/1", "arrow-batch/1", "pandas/1", "pandas-series/1", "polars/1"], _arrow),
    "remainder of a frame": (["pandas-mixed/1", "pandas/1", "arrow-table/1"], _sidecar),
    "zstd": (["zstd-pickle/1", "zstd-npy/1", "lz4-pandas/1"], lambda s: pa.Codec("zstd").compress(s, asbytes=True)),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("objects"), keys=KEYS, fsync=False, inline_bytes=0)


def _forged(repository: Repository, serializer_id: str, content: bytes) -> Pointer:
    pointer = repository.save(b"x", prefix="planted")
    Path(f"{repository.root.removeprefix('file://')}/{pointer.key}").write_bytes(content)
    digest = Digest("b3", digest_of([content], "b3"))
    return pointer.replaced(serializer=serializer_id, size_bytes=len(content), digest=digest, key_id="", signature="")


def _readers(repository: Repository) -> list[Repository]:
    return [
        repository,
        Repository(repository.root, keys=KEYS, unsigned="safe"),
        Repository(repository.root, keys=KEYS, unsigned="safe", pickle="never"),
    ]


@pytest.mark.parametrize(("gadget", "protocol"), NAMES)
def test_nothing_runs(repository: Repository, tmp_path: Path, gadget: str, protocol: int) -> None:
    canary = tmp_path / "canary"
    stream = pickle.dumps(_gadgets(str(canary))[gadget], protocol)
    for name, (ids, wrap) in CHANNELS.items():
        content = wrap(stream)
        for serializer_id in ids:
            pointer = _forged(repository, serializer_id, content)
            for reader in _readers(repository):
                try:
                    value = reader.load(pointer)
                except PayloadError:
                    continue
                # A pickle of protocol 0 is text, and the columns beside a remainder are a table.
                assert isinstance(value, str | pa.Table), name
            # The key holder's pointer to another object does not help either.
            with pytest.raises(PayloadError):
                repository.load(pointer.replaced(key_id=KEYS.keys[0].id, signature="A" * 43))
    # In the state: as a payload's JSON, and as a field of a pointer.
    for text in (json.dumps({"payloadfs": stream.decode("latin-1")}), stream.decode("latin-1")):
        with pytest.raises(PayloadError):
            payloadfs.Payload.from_json(text)
    assert not canary.exists()


@pytest.mark.parametrize(("gadget", "protocol"), NAMES)
def test_the_pickles_would_run(tmp_path: Path, gadget: str, protocol: int) -> None:
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(_gadgets(str(canary))[gadget], protocol))
    assert canary.exists()


def test_the_channels_are_open_to_the_key_holder(repository: Repository, tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing: a signature is what makes the difference."""
    canary = tmp_path / "canary"
    stream = pickle.dumps(_gadgets(str(canary))["eval"], 5)
    for serializer_id, make in (("pickle/1", _container), ("pandas-mixed/1", _sidecar)):
        with contextlib.suppress(PayloadError):
            repository.load(_forged(repository, serializer_id, make(stream)).signed(KEYS))
        assert canary.exists()
        canary.unlink() if canary.is_file() else canary.rmdir()
