"""What `inspect` reports, above all about problems; it must not fetch anything that is not allowed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import payloadfs
from payloadfs import KeyRing, Pointer, StoreError
from payloadfs.cli import _inspect, main
from payloadfs.repository import Repository


@pytest.fixture
def inspect(capsys):
    def report(arguments, code=0):
        assert main(["inspect", "--json", *map(str, arguments)]) == code
        return json.loads(capsys.readouterr().out)

    return report


def fields_of(path):
    return json.loads(path.read_text())


def unsigned(fields):
    return {name: value for name, value in fields.items() if name not in ("kid", "sig")}


def stored(fields):
    return Path(fields["root"].removeprefix("file://")) / fields["key"]


def test_an_invalid_signature_fetches_nothing(inspect, refused, pointer_file, monkeypatch):
    fields = fields_of(pointer_file([1, 2])) | {"created": 5}
    monkeypatch.setattr(Repository, "_store_at", lambda self, root: pytest.fail("the store was opened"))
    report = inspect([json.dumps(fields)], code=4)
    assert report["signature"] == "invalid"
    assert report["allowed"] is False
    assert "changed after it was signed" in report["why_not"]
    assert "object" not in report
    out = refused("inspect", json.dumps(fields), code=4, message="changed after it was signed")
    assert "signature  invalid" in out
    assert "object  not checked" in out
    assert "1970-01-01 00:00:05 UTC" in out


def test_an_unknown_key(inspect, refused, pointer_file, tmp_path, monkeypatch):
    path = pointer_file([1, 2])
    monkeypatch.setenv("PAYLOADFS_KEYS_FILE", str(tmp_path / "other-keys"))
    assert inspect([path], code=4)["signature"] == "unknown-key"
    out = refused("inspect", path, code=4, message=f"payloadfs keys export {fields_of(path)['kid']}")
    assert "signed with a key that is not trusted here" in out
    assert not (tmp_path / "other-keys").exists()


def test_no_signature(inspect, pointer_file, monkeypatch):
    fields = unsigned(fields_of(pointer_file([1, 2])))
    monkeypatch.setenv("PAYLOADFS_UNSIGNED", "safe")
    report = inspect([json.dumps(fields)])
    assert (report["signature"], report["allowed"], report["object"]) == ("missing", True, "present")
    monkeypatch.delenv("PAYLOADFS_UNSIGNED")
    report = inspect([json.dumps(fields)], code=4)
    assert "unsigned='never'" in report["why_not"]
    assert "object" not in report


def test_a_pickle_that_must_not_be_loaded_can_be_inspected(inspect, refused, pointer_file, monkeypatch):
    path = pointer_file(len)
    monkeypatch.setenv("PAYLOADFS_UNSIGNED", "safe")
    report = inspect([json.dumps(unsigned(fields_of(path)))], code=4)
    assert report["executable"] is True
    assert report["allowed"] is False
    assert report["object"] == "present"
    assert report["versions"]["python"]
    monkeypatch.setenv("PAYLOADFS_PICKLE", "never")
    out = refused("inspect", path, code=4, message="pickle='never'")
    assert "allowed here  no: Serializer 'pickle' can run code" in out
    assert "executable  yes" in out


def test_a_wrong_serializer_in_an_unsigned_pointer(inspect, pointer_file, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_UNSIGNED", "safe")
    fields = unsigned(fields_of(pointer_file([1, 2])))
    for serializer in ("pickle/1", "pandas/1", "arrow-table/1"):
        report = inspect([json.dumps(fields | {"serializer": serializer})], code=6)
        assert report["object"] == "present"


def test_an_unknown_serializer(inspect, pointer_file, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_UNSIGNED", "safe")
    fields = unsigned(fields_of(pointer_file([1, 2]))) | {"serializer": "acme-image/7"}
    report = inspect([json.dumps(fields)], code=6)
    assert report["allowed"] is False
    assert "acme-image/7" in report["why_not"]
    assert report["object"] == "present"
    assert "executable" not in report


def test_the_policy_can_forbid_reading(refused, pointer_file, tmp_path, monkeypatch):
    path = pointer_file([1, 2])
    monkeypatch.setenv("PAYLOADFS_MAX_BYTES", "1")
    assert "not checked" in refused("inspect", path, code=4, message="max_bytes is 1")
    monkeypatch.delenv("PAYLOADFS_MAX_BYTES")
    refused("inspect", path, "--url", tmp_path / "elsewhere", code=4, message="PAYLOADFS_ALLOWED_ROOTS")
    assert main(["inspect", str(path), "--url", str(tmp_path / "elsewhere"), "--url", fields_of(path)["root"]]) == 0


def test_missing_and_changed_objects(inspect, pointer_file):
    path = pointer_file(b"x" * 1000)
    path_of_object = stored(fields_of(path))
    path_of_object.chmod(0o600)
    path_of_object.write_bytes(b"y" * 1000)
    assert inspect([path], code=5)["object"] == "changed"
    path_of_object.write_bytes(b"x" * 1001)
    assert inspect([path], code=5)["object"] == "changed"
    path_of_object.unlink()
    report = inspect([path], code=3)
    assert report["object"] == "missing"
    assert report["allowed"] is True


def test_a_store_that_fails(inspect, pointer_file, monkeypatch):
    def fail(self, pointer):
        raise StoreError("The store failed.")

    path = pointer_file(b"x")
    monkeypatch.setattr(Repository, "info", fail)
    assert inspect([path], code=1)["object"] == "unreadable"


def test_verify_finds_changed_data(inspect, pointer_file):
    """In a folder of our own, the data of a sealed object is only hashed with --verify."""
    path = pointer_file([np.zeros(200_000), {1, 2}])
    assert inspect([path])["checked"] == "structure"
    assert inspect([path, "--verify"])["checked"] == "every byte"
    path_of_object = stored(fields_of(path))
    path_of_object.chmod(0o600)
    content = bytearray(path_of_object.read_bytes())
    content[len(content) // 2] ^= 1
    path_of_object.write_bytes(content)
    assert inspect([path, "--verify"], code=5)["object"] == "changed"


def test_large_objects_are_read_only_with_verify(inspect, capsys, pointer_file, monkeypatch):
    path = pointer_file(b"x" * 1000)
    monkeypatch.setattr(_inspect, "_READ_UP_TO_BYTES", 100)
    report = inspect([path])
    assert (report["object"], report["checked"]) == ("present", "size")
    assert main(["inspect", str(path)]) == 0
    assert "its size is correct; --verify reads and checks all bytes" in capsys.readouterr().out
    assert inspect([path, "--verify"])["checked"] == "every byte"


def test_a_frame_with_a_seal(inspect, capsys, pointer_file):
    path = pointer_file(pd.DataFrame({"a": np.arange(100_000), "s": ["x"] * 100_000}))
    report = inspect([path])
    assert report["columns"] == {"a": "int64", "s": "large_string"}
    assert report["versions"]["pandas"] == pd.__version__
    assert report["spans"]["data"] >= 1
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "structure (" in out
    assert "--verify checks the data too" in out


def test_column_names_cannot_control_the_terminal(capsys, pointer_file):
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
    pointer = pointer.replaced(created_s=created).signed(ring)
    payloadfs.configure(keys=ring)
    try:
        assert main(["inspect", pointer.to_json()]) == 0
    finally:
        payloadfs.config.reset()
    assert shown in capsys.readouterr().out
