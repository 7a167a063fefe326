"""``doctor`` and ``cache``, with and without problems."""

import json
import os
from pathlib import Path

import pytest

import payloadfs
from payloadfs._seal import Encoded, Outgoing
from payloadfs.cli import main
from payloadfs.stores import Fetched
from payloadfs.stores._cache import Cache

CHECKS = ["packages", "settings", "keys", "transport", "store", "cache"]


@pytest.fixture
def cache_folder(clean_environment):
    return clean_environment / ".cache" / "payloadfs"


def doctor(capsys, *arguments, code=0):
    capsys.readouterr()
    assert main(["doctor", "--json", *arguments]) == code
    findings = {}
    for finding in json.loads(capsys.readouterr().out):
        assert finding.keys() == {"check", "state", "found", "fix"}
        findings.setdefault(finding["check"], []).append(finding)
    return findings


def states(findings):
    return {check: results[-1]["state"] for check, results in findings.items()}


def fill(folder):
    class Store:
        root = "s3://far"

        def get(self, key, size_bytes):
            return Fetched(memoryview(bytearray(b"x" * size_bytes)))

    body = Outgoing(Encoded([memoryview(b"x" * 20_000)], "bin"), "b3")
    list(body)
    assert Cache(folder).read(Store(), "k", 20_000, body.digest, data=False) is not None


def test_no_problem(capsys, cache_folder):
    payloadfs.default_repository().save([1])
    findings = doctor(capsys, "--write")
    assert list(findings) == [*CHECKS[:-1], "write", "cache"]
    assert set(states(findings).values()) == {"ok"}
    assert "pyarrow" in findings["packages"][0]["found"]
    assert list(payloadfs.default_repository().list("doctor")) == []
    assert not cache_folder.exists()


def test_nothing_is_created_without_write(capsys, clean_environment):
    before = sorted(clean_environment.rglob("*"))
    findings = doctor(capsys)
    assert states(findings) == dict.fromkeys(CHECKS, "ok") | {"keys": "warn"}
    assert "payloadfs keys generate" in findings["keys"][0]["fix"]
    assert sorted(clean_environment.rglob("*")) == before


def test_output_for_people(run):
    out = run("doctor").stdout.decode()
    assert out.startswith("ok    packages")
    assert "\nwarn  keys " in out
    assert "\n                 fix: " in out


def test_a_wrong_setting(capsys, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_PICKLE", "maybe")
    findings = doctor(capsys, code=1)
    assert list(findings) == ["packages", "settings"]
    assert findings["settings"][0]["state"] == "fail"
    assert "PAYLOADFS_PICKLE" in findings["settings"][0]["found"]


def test_a_key_file_readable_by_others(capsys):
    payloadfs.default_repository().save([1])
    os.chmod(payloadfs.default_repository().settings.keys_file, 0o644)
    findings = doctor(capsys, code=1)
    assert states(findings) == dict.fromkeys(CHECKS, "ok") | {"keys": "fail"}


def test_a_folder_that_cannot_be_created(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    findings = doctor(capsys, "--url", str(tmp_path / "file" / "objects"), code=1)
    assert findings["store"][0]["state"] == "fail"
    assert "PAYLOADFS_URL" in findings["store"][0]["fix"]


def test_an_unknown_scheme(capsys):
    assert states(doctor(capsys, "--url", "nosuch://bucket", code=1))["cache"] == "ok"


@pytest.mark.s3
def test_s3(capsys, payloadfs_seaweedfs, monkeypatch):
    for name, value in payloadfs_seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    url = f"s3://{payloadfs_seaweedfs.bucket()}/x"
    findings = doctor(capsys, "--write", "--url", url)
    assert states(findings)["write"] == "ok"
    assert list(payloadfs.Repository(url).list()) == []
    assert doctor(capsys, "--url", "s3://no-such-bucket", code=1)["store"][0]["state"] == "fail"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    findings = doctor(capsys, "--url", url)
    assert findings["store"][0]["state"] == "warn"  # credentials that cannot list may still be able to get
    findings = doctor(capsys, "--write", "--url", url, code=1)
    assert "allow these credentials" in findings["write"][0]["fix"]
    assert "wrong-secret" not in json.dumps(findings)


def test_problems_of_the_cache(capsys, cache_folder, monkeypatch, tmp_path):
    fill(cache_folder)
    assert "20.5 kB of" in doctor(capsys)["cache"][0]["found"]
    cache_folder.chmod(0o777)
    assert "chmod" in doctor(capsys, code=1)["cache"][0]["found"]
    cache_folder.chmod(0o700)
    (tmp_path / "file").touch()
    for value, state, message in (
        ("off", "ok", "off (environment PAYLOADFS_CACHE)"),
        (str(tmp_path / "generate" / "cache"), "ok", "0 B of"),
        (str(tmp_path / "file" / "cache"), "warn", "Not a directory"),
    ):
        monkeypatch.setenv("PAYLOADFS_CACHE", value)
        (finding,) = doctor(capsys)["cache"]
        assert finding["state"] == state
        assert message in finding["found"]
    monkeypatch.delenv("PAYLOADFS_CACHE")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)  # root could write anywhere
        assert "objects are not cached" in doctor(capsys, "--url", "memory://x")["cache"][0]["found"]
    monkeypatch.setattr(Cache, "is_local", False)
    assert "reads the whole object" in doctor(capsys)["cache"][0]["found"]


def test_info_and_clear(capsys, cache_folder):
    assert main(["cache", "info", "--json"]) == 0
    empty = json.loads(capsys.readouterr().out)
    assert empty == {"folder": str(cache_folder.resolve()), "copies": 0, "size": 0, "limit": empty["limit"]}
    assert not cache_folder.exists()
    fill(cache_folder)
    assert main(["cache", "info"]) == 0
    assert "  1 object, 20.5 kB of " in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == "Removed 1 object, 20.5 kB.\n"
    assert main(["cache", "clear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"copies": 0, "size": 0}
    assert not list(cache_folder.glob("*/b3*"))


def test_info_and_clear_without_a_cache(capsys, monkeypatch, cache_folder, refused):
    fill(cache_folder)
    cache_folder.chmod(0o770)
    for step in ("info", "clear"):
        refused("cache", step, code=2, message="chmod go-w")
    monkeypatch.setenv("PAYLOADFS_CACHE", "off")
    assert main(["cache", "info"]) == 0
    assert capsys.readouterr().out == "The cache is off.\n"
    assert main(["cache", "clear", "--json"]) == 0
    assert len(list(Path(cache_folder).glob("*/b3*"))) == 1
