"""What `inspect` tells, above all of what is wrong; it fetches nothing that it may not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import payloadfs
from payloadfs import KeyRing, Pointer, StoreError
from payloadfs.cli import _inspect, main
from payloadfs.repository import Repository
from payloadfs.stores import OpenStores


@pytest.fixture
def inspect(capsys):
    def tell(words, code=0):
        assert main(["inspect", "--json", *map(str, words)]) == code
        return json.loads(capsys.readouterr().out)

    return tell


def fields_of(path):
    return json.loads(path.read_text())


def unsigned(fields):
    return {name: value for name, value in fields.items() if name not in ("kid", "mac")}


def stored(fields):
    return Path(fields["root"].removeprefix("file://")) / fields["key"]


def test_a_wrong_signature_fetches_nothing(inspect, refused, pointer_file, monkeypatch):
    fields = fields_of(pointer_file([1, 2])) | {"created": 5}
    monkeypatch.setattr(OpenStores, "at", lambda self, root: pytest.fail("the store was opened"))
    facts = inspect([json.dumps(fields)], code=4)
    assert facts["signature"] == "wrong"
    assert facts["allowed"] is False
    assert "changed after it was signed" in facts["why_not"]
    assert "object" not in facts
    out = refused("inspect", json.dumps(fields), code=4, say="changed after it was signed")
    assert "signature  wrong" in out
    assert "object  not looked for" in out
    assert "1970-01-01 00:00:05 UTC" in out


def test_an_unknown_key(inspect, refused, pointer_file, tmp_path, monkeypatch):
    path = pointer_file([1, 2])
    monkeypatch.setenv("PAYLOADFS_KEYS_FILE", str(tmp_path / "other-keys"))
    assert inspect([path], code=4)["signature"] == "unknown-key"
    out = refused("inspect", path, code=4, say=f"payloadfs keys export {fields_of(path)['kid']}")
    assert "by a key that is not here" in out
    assert not (tmp_path / "other-keys").exists()


def test_no_signature(inspect, pointer_file, monkeypatch):
    fields = unsigned(fields_of(pointer_file([1, 2])))
    facts = inspect([json.dumps(fields)])
    assert (facts["signature"], facts["allowed"], facts["object"]) == ("missing", True, "there")
    monkeypatch.setenv("PAYLOADFS_UNSIGNED", "never")
    facts = inspect([json.dumps(fields)], code=4)
    assert "unsigned='never'" in facts["why_not"]
    assert "object" not in facts


def test_a_pickle_that_may_not_load_is_still_looked_at(inspect, refused, pointer_file, monkeypatch):
    path = pointer_file({1, 2})
    facts = inspect([json.dumps(unsigned(fields_of(path)))], code=4)
    assert facts["executable"] is True
    assert facts["allowed"] is False
    assert facts["object"] == "there"
    assert facts["versions"]["python"]
    monkeypatch.setenv("PAYLOADFS_PICKLE", "never")
    out = refused("inspect", path, code=4, say="pickle='never'")
    assert "allowed here  no: Serializer 'pickle' can run code" in out
    assert "executable  yes" in out


def test_an_unsigned_lie_about_the_serializer(inspect, pointer_file):
    fields = unsigned(fields_of(pointer_file([1, 2])))
    for serializer in ("pickle/1", "pandas/1", "arrow-table/1"):
        facts = inspect([json.dumps(fields | {"serializer": serializer})], code=6)
        assert facts["object"] == "there"


def test_an_unknown_serializer(inspect, pointer_file):
    fields = unsigned(fields_of(pointer_file([1, 2]))) | {"serializer": "acme-image/7"}
    facts = inspect([json.dumps(fields)], code=6)
    assert facts["allowed"] is False
    assert "acme-image/7" in facts["why_not"]
    assert facts["object"] == "there"
    assert "executable" not in facts


def test_policy_forbids_to_look(refused, pointer_file, tmp_path, monkeypatch):
    path = pointer_file([1, 2])
    monkeypatch.setenv("PAYLOADFS_MAX_BYTES", "1")
    assert "not looked for" in refused("inspect", path, code=4, say="max_bytes is 1")
    monkeypatch.delenv("PAYLOADFS_MAX_BYTES")
    refused("inspect", path, "--url", tmp_path / "elsewhere", code=4, say="PAYLOADFS_ALLOWED_ROOTS")
    assert main(["inspect", str(path), "--url", str(tmp_path / "elsewhere"), "--url", fields_of(path)["root"]]) == 0


def test_missing_changed_and_of_another_size(inspect, pointer_file):
    path = pointer_file(b"x" * 1000)
    place = stored(fields_of(path))
    place.chmod(0o600)
    place.write_bytes(b"y" * 1000)
    assert inspect([path], code=5)["object"] == "changed"
    place.write_bytes(b"x" * 1001)
    assert inspect([path], code=5)["object"] == "changed"
    place.unlink()
    facts = inspect([path], code=3)
    assert facts["object"] == "missing"
    assert facts["allowed"] is True


def test_a_store_that_fails(inspect, pointer_file, monkeypatch):
    def fail(self, pointer):
        raise StoreError("The store is out of order.")

    path = pointer_file(b"x")
    monkeypatch.setattr(Repository, "info", fail)
    assert inspect([path], code=1)["object"] == "unreadable"


def test_verify_finds_changed_data(inspect, pointer_file):
    """On our own disk the data of a sealed object is not hashed unless asked for."""
    path = pointer_file([np.zeros(200_000), {1, 2}])
    assert inspect([path])["checked"] == "structure"
    assert inspect([path, "--verify"])["checked"] == "every byte"
    place = stored(fields_of(path))
    place.chmod(0o600)
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    assert inspect([path, "--verify"], code=5)["object"] == "changed"


def test_large_objects_are_not_read_unless_asked_for(inspect, capsys, pointer_file, monkeypatch):
    path = pointer_file(b"x" * 1000)
    monkeypatch.setattr(_inspect, "_READ_UP_TO_BYTES", 100)
    facts = inspect([path])
    assert (facts["object"], facts["checked"]) == ("there", "size")
    assert main(["inspect", str(path)]) == 0
    assert "of the right size; too large to read it all" in capsys.readouterr().out
    assert inspect([path, "--verify"])["checked"] == "every byte"


def test_a_frame_with_a_seal(inspect, capsys, pointer_file):
    path = pointer_file(pd.DataFrame({"a": np.arange(100_000), "s": ["x"] * 100_000}))
    facts = inspect([path])
    assert facts["columns"] == {"a": "int64", "s": "large_string"}
    assert facts["versions"]["pandas"] == pd.__version__
    assert facts["spans"]["data"] >= 1
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "structure (" in out
    assert "--verify checks its data too" in out


def test_names_of_columns_do_not_command_the_terminal(capsys, pointer_file):
    path = pointer_file(pd.DataFrame({"\x1b[2Ja\nb": [1]}))
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "?[2Ja b int64" in out


@pytest.mark.parametrize(
    ("created", "shown"), [(2**53 - 1, "in the future"), (4_000_000_000, "2096-10-02 07:06:40 UTC (in the future)")]
)
def test_times_beyond_any_calendar(capsys, created, shown):
    ring = KeyRing([payloadfs.Key.generate()])
    pointer = Pointer.from_json(payloadfs.default_repository().save(b"x").to_json())
    pointer = dataclasses.replace(pointer, created_s=created).signed(ring)
    payloadfs.configure(keys=ring)
    try:
        assert main(["inspect", pointer.to_json()]) == 0
    finally:
        payloadfs.config._reset()
    assert shown in capsys.readouterr().out
