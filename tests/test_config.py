"""Settings: five sources, one order of precedence, no secret in any message, and every misspelling reported."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import cloudpickle
import pytest

from payloadfs import config
from payloadfs._urls import SIGNED_ROOTS
from payloadfs.config import Settings, configure, current, describe, using
from payloadfs.errors import ConfigError
from payloadfs.policy import PickleRule, Policy, UnsignedRule
from payloadfs.signing import Key, KeyRing

CANARY = "CANARY-9f3a"
KEYS = [Key(bytes([n]) * 32) for n in range(4)]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    for name in list(os.environ):
        if name.startswith(("PAYLOADFS_", "XDG_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    config.reset()
    yield home
    config.reset()


def write_toml(home: Path, text: str) -> Path:
    path = home / "config" / "payloadfs" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def origin(name: str) -> str:
    return {row.name: row.origin for row in describe()}[name]


# For each setting: its values in a file and in the environment with what they mean, then
# the values for code and for a context.
LADDER: dict[str, Any] = {
    "url": ('"s3://file"', "s3://file", "s3://environ", "s3://environ", "s3://code", "s3://context"),
    "storage_options": ('{ a = "file" }', {"a": "file"}, '{"a": {"b": 1}}', {"a": {"b": 1}}, {"a": 3}, {"a": 4}),
    "keys_file": ('"/file"', Path("/file"), "/environ", Path("/environ"), Path("/code"), Path("/context")),
    "keys": (None, None, KEYS[1].to_line(), [KEYS[1]], KeyRing([KEYS[2]]), KeyRing([KEYS[3]])),
    "allowed_roots": ('["s3://a"]', ("s3://a",), "s3://b, gs://*", ("s3://b", "gs://*"), ("s3://c",), ("s3://d",)),
    "pickle": ('"never"', "never", "always", "always", "signed", "never"),
    "unsigned": ('"safe"', "safe", "never", "never", "safe", "never"),
    "max_bytes": ("1", 1, "2", 2, 3, None),
    "max_age": ('"1m"', 60, "2h", 7200, 3, None),
    "expires": ('"1m"', 60, "2h", 7200, 3, 9),
    "verify": ('"full"', "full", "auto", "auto", "full", "auto"),
    "digest": ('"sha256"', "sha256", "blake3", "blake3", "sha256", "blake3"),
    "transport": ('"fsspec"', "fsspec", "obstore", "obstore", "auto", "fsspec"),
    "timeout": ("1", 1, "2.5", 2.5, 3, 4.5),
    "compression": ('"zstd"', "zstd", "lz4", "lz4", "none", "zstd"),
    "inline_bytes": ("1", 1, "16384", 16384, 0, 128),
    "fsync": ("false", False, "1", True, False, True),
    "cache": ('"/file"', Path("/file"), "off", None, Path("/code"), Path("/context")),
    "cache_bytes": ("1", 1, "2", 2, 3, 0),
}


def test_the_ladder_has_every_setting() -> None:
    assert set(LADDER) == set(config.TABLE) == set(Settings.__dataclass_fields__) - {"origins"}


@pytest.mark.parametrize("name", LADDER)
def test_stronger_sources_win(name: str, clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_file, of_file, in_environ, of_environ, code, context = LADDER[name]
    assert origin(name) == "default"
    if in_file is not None:
        path = write_toml(clean, f"{name} = {in_file}")
        monkeypatch.setenv("PAYLOADFS_CONFIG", str(path))
        assert getattr(current(), name) == of_file
        assert origin(name) == f"file {path}"
    variable = f"PAYLOADFS_{name.upper()}"
    monkeypatch.setenv(variable, in_environ)
    value = getattr(current(), name)
    assert (list(value.keys) if isinstance(value, KeyRing) else value) == of_environ
    assert origin(name) == f"environment {variable}"
    configure(**{name: code})
    assert getattr(current(), name) == code
    assert origin(name) == "code"
    with using(**{name: context}) as settings:
        assert getattr(settings, name) == context
        assert origin(name) == "context"
        assert getattr(settings.merged(**{name: code}), name) == code
    assert current() is current()
    assert origin(name) == "code"


def test_defaults(clean: Path) -> None:
    settings = current()
    assert settings.url == f"file://{clean.resolve()}/data/payloadfs/objects"
    assert settings.keys_file == clean / "config" / "payloadfs" / "keys"
    assert (settings.pickle, settings.unsigned, settings.verify, settings.digest) == (
        "signed",
        "never",
        "auto",
        "blake3",
    )
    assert (settings.max_bytes, settings.fsync, settings.keys, settings.storage_options) == (None, True, None, {})
    assert (settings.cache, settings.cache_bytes) == (clean / ".cache" / "payloadfs", None)


@pytest.mark.parametrize("base", ["", "relative", "."])
def test_a_relative_xdg_folder_is_ignored(base: str, clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", base)
    monkeypatch.setenv("XDG_DATA_HOME", base)
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    assert current().cache == clean / ".cache/payloadfs"
    assert current().keys_file == clean / ".config/payloadfs/keys"
    assert current().url == f"file://{clean.resolve()}/.local/share/payloadfs/objects"


def test_without_a_home_the_current_folder_is_not_used(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clean)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "relative")
    with pytest.raises(ConfigError, match="'url'"):
        current()
    monkeypatch.setenv("PAYLOADFS_URL", "s3://bucket")
    monkeypatch.setenv("PAYLOADFS_KEYS_FILE", "/keys")
    assert current().url == "s3://bucket"
    assert current().cache is None


def test_the_cache_follows_xdg(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    current()
    monkeypatch.setenv("XDG_CACHE_HOME", str(clean / "xdg"))
    assert current().cache == clean / "xdg" / "payloadfs"
    assert {row.name: row.value for row in describe()}["cache"] == str(clean / "xdg" / "payloadfs")
    assert {row.name: row.value for row in configure(cache="off") and describe()}["cache"] == "off"
    assert configure(cache="~/near").cache == clean / "near"


# --- names and values


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("PAYLOADFS_PICKEL", "PAYLOADFS_PICKLE"),
        ("PAYLOADFS_URI", "PAYLOADFS_URL"),
        ("PAYLOADFS_KEY_FILE", "PAYLOADFS_KEYS_FILE"),
        ("PAYLOADFS_ALOWED_ROOTS", "PAYLOADFS_ALLOWED_ROOTS"),
        ("PAYLOADFS_Unsigned", "PAYLOADFS_UNSIGNED"),
        ("PAYLOADFS_CONFG", "PAYLOADFS_CONFIG"),
    ],
)
def test_a_misspelt_variable_is_named(name: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    current()
    monkeypatch.setenv(name, CANARY)
    with pytest.raises(ConfigError) as caught:
        current()
    assert name in str(caught.value)
    assert near in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.kind == "setting-name"


@pytest.mark.parametrize("name", ["PAYLOADFS_TENANT", "PAYLOADFS_TEST", "PAYLOADFS_S3_URL", "PAYLOAD_URL"])
def test_variables_of_other_tools_are_ignored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert current().origins["url"] == "default"


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in config.VARIABLES:
        monkeypatch.setenv(name, "")
    assert {row.origin for row in describe()} == {"default"}


@pytest.mark.parametrize("say", [configure, lambda **s: using(**s).__enter__(), lambda **s: current().merged(**s)])
def test_unknown_names_in_code(say: Any) -> None:
    for value in ("never", None):
        with pytest.raises(ConfigError, match=r"'pickel'.*'pickle'"):
            say(pickel=value)
    assert current().pickle == "signed"


def test_unknown_names_in_a_file(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_toml(clean, "keys = 'x'")
    with pytest.raises(ConfigError, match=r"'keys' \(file .*did you mean 'keys_file'"):
        current()
    path.write_text("[payloadfs]\nurl = 's3://x'")
    monkeypatch.setenv("PAYLOADFS_PICKLE", "never")
    with pytest.raises(
        ConfigError, match=r"'payloadfs' .*the settings are url, storage_options, keys_file, allowed_roots"
    ):
        current()


WRONG_IN_CODE = [
    ("url", f"s3://me:{CANARY}@bucket"),
    ("url", f"az://box/path?sig={CANARY}"),
    ("url", f"s3://b\0{CANARY}"),
    ("url", 7),
    ("url", " "),
    ("url", f"~{CANARY}/objects"),
    ("storage_options", CANARY),
    ("storage_options", {CANARY.encode(): 1}),
    ("keys_file", f"{CANARY}/keys"),
    ("keys_file", 7),
    ("keys", KEYS[0].to_line()),
    ("allowed_roots", f"s3://{CANARY}"),
    ("allowed_roots", [f"s3://me:{CANARY}@bucket"]),
    ("allowed_roots", [7]),
    ("allowed_roots", ["s3:/*"]),
    ("allowed_roots", ["*"]),
    ("allowed_roots", ["s3://bucket/*"]),
    ("pickle", "yes"),
    ("pickle", ["signed"]),
    ("unsigned", "always"),
    ("max_bytes", -1),
    ("max_age", 0),
    ("max_age", "7 days"),
    ("max_age", "-1d"),
    ("max_age", True),
    ("max_bytes", True),
    ("max_bytes", "7"),
    ("verify", "none"),
    ("digest", "md5"),
    ("timeout", float("inf")),
    ("timeout", 1e9),
    ("fsync", 1),
    ("cache", f"{CANARY}/cache"),
    ("cache", 7),
    ("cache", False),
    ("cache_bytes", -1),
    ("cache_bytes", "7"),
]


@pytest.mark.parametrize(("name", "value"), WRONG_IN_CODE)
def test_wrong_values_in_code(name: str, value: Any) -> None:
    before = current()
    ways: list[Any] = [configure, before.merged, lambda **s: using(**s).__enter__()]
    for say in ways:
        with pytest.raises(ConfigError) as caught:
            say(**{name: value})
        check_message(caught.value, name, "(context)" if "using" in str(say) else "(co")
    assert current().fingerprint() == before.fingerprint()


def check_message(error: ConfigError, name: str, source: str) -> None:
    everything = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert repr(name) in str(error)
    assert source in str(error)
    assert config.TABLE[name].allowed in str(error)
    assert error.kind == "setting-value"
    shown = [line for line in everything.splitlines() if "say(" not in line]
    assert CANARY not in "\n".join(shown)
    assert KEYS[0].to_line().split()[1] not in "\n".join(shown)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


WRONG_IN_ENVIRONMENT = [
    ("PAYLOADFS_URL", f"s3://me:{CANARY}@bucket"),
    ("PAYLOADFS_STORAGE_OPTIONS", f'{{"secret": "{CANARY}"'),
    ("PAYLOADFS_STORAGE_OPTIONS", f'["{CANARY}"]'),
    ("PAYLOADFS_STORAGE_OPTIONS", "[" * 100_000),
    ("PAYLOADFS_KEYS_FILE", KEYS[0].to_line()),
    ("PAYLOADFS_KEYS", f"payloadfs-key-1 {CANARY}"),
    ("PAYLOADFS_KEYS", f"{KEYS[0].to_line()} {CANARY}"),
    ("PAYLOADFS_KEYS", "# no key"),
    ("PAYLOADFS_KEYS_FD", "987654"),
    ("PAYLOADFS_KEYS_FD", "9" * 30),
    ("PAYLOADFS_KEYS_FD", "-1"),
    ("PAYLOADFS_KEYS_FD", KEYS[0].to_line()),
    ("PAYLOADFS_ALLOWED_ROOTS", f"s3://a,s3://me:{CANARY}@bucket"),
    ("PAYLOADFS_PICKLE", "yes"),
    ("PAYLOADFS_UNSIGNED", "Safe"),
    ("PAYLOADFS_MAX_BYTES", "1e6"),
    ("PAYLOADFS_MAX_BYTES", "1_000"),
    ("PAYLOADFS_MAX_BYTES", "-1"),
    ("PAYLOADFS_MAX_BYTES", "9" * 5000),
    ("PAYLOADFS_VERIFY", "none"),
    ("PAYLOADFS_DIGEST", "md5"),
    ("PAYLOADFS_FSYNC", "yes"),
    ("PAYLOADFS_CACHE", "Off"),
    ("PAYLOADFS_CACHE_BYTES", "10G"),
]


@pytest.mark.parametrize(("variable", "text"), WRONG_IN_ENVIRONMENT)
def test_wrong_values_in_the_environment(variable: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)
    name = variable.removeprefix("PAYLOADFS_").removesuffix("_FD").lower()
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            current()
        check_message(caught.value, name, f"(environment {variable})")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f'url = "s3://me:{CANARY}@b"', "url"),
        (f'storage_options = "{CANARY}"', "storage_options"),
        ("keys_file = 'keys'", "keys_file"),
        ("allowed_roots = 's3://a'", "allowed_roots"),
        ("pickle = true", "pickle"),
        ("unsigned = 'x'", "unsigned"),
        ("max_bytes = 1.5", "max_bytes"),
        ("verify = 1979-05-27", "verify"),
        ("digest = 'b3'", "digest"),
        ("fsync = 1", "fsync"),
        ("cache = false", "cache"),
        ("cache_bytes = 1e9", "cache_bytes"),
    ],
)
def test_wrong_values_in_a_file(line: str, name: str, clean: Path) -> None:
    path = write_toml(clean, line)
    with pytest.raises(ConfigError) as caught:
        current()
    check_message(caught.value, name, f"(file {path})")


@pytest.mark.parametrize("content", [f"secret = '{CANARY}".encode(), f"{CANARY} = \xff".encode("latin-1")])
def test_a_file_that_is_not_toml(content: bytes, clean: Path) -> None:
    path = write_toml(clean, "")
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{path}.*TOML") as caught:
        current()
    assert caught.value.kind == "config-file-format"
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("name", "kind"), [("missing.toml", "config-file"), (".", "file-mode")])
def test_a_named_file_must_be_readable(name: str, kind: str, clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYLOADFS_CONFIG", str(clean / name))
    with pytest.raises(ConfigError, match=str(clean)) as caught:
        current()
    assert caught.value.kind == kind


def test_the_default_file_must_be_readable_if_it_is_there(clean: Path) -> None:
    (clean / "config" / "payloadfs" / "config.toml").mkdir(parents=True)
    with pytest.raises(ConfigError, match="must be a regular file"):
        current()


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o620])
@pytest.mark.parametrize("named", [True, False])
def test_a_file_that_others_can_write_is_not_believed(
    clean: Path, monkeypatch: pytest.MonkeyPatch, mode: int, *, named: bool
) -> None:
    path = write_toml(clean, "pickle = 'never'")
    if named:
        monkeypatch.setenv("PAYLOADFS_CONFIG", str(path))
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"{path}.*chmod go-w"):
        current()
    path.chmod(0o644)
    monkeypatch.setenv("PAYLOADFS_FSYNC", "1")  # the file is read again when a variable changes
    assert current().pickle == "never"


@pytest.mark.parametrize("name", ["secret", "key", "aws_session_token"])
@pytest.mark.parametrize("value", ["{}\n", "\t{}", " {}", "{} ", "a b{}", "a\x00{}", "a\x7f{}", "{}\x85"])
def test_credentials_with_white_space_are_refused_by_name(clean: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"option {name!r} .*(white space|control)") as caught:
        configure("s3://bucket", storage_options={name: value.format(CANARY)})
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(ConfigError, match=f"option {name!r}"):
        configure("s3://bucket", storage_options={"client_kwargs": {name: value.format(CANARY)}})


def test_other_options_may_have_spaces_and_lines(clean: Path) -> None:
    options = {
        "password": "two words",
        "pem": "-----BEGIN KEY-----\nMII=\n",
        "token": {"private_key": "-----BEGIN KEY-----\n"},
    }
    assert configure("sftp://host/x", storage_options=options).storage_options == options


def test_settings_are_not_pickled(clean: Path) -> None:
    settings = configure("s3://bucket", storage_options={"secret": CANARY})
    for dumps in (pickle.dumps, cloudpickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled"):
            dumps(settings)
    assert copy.deepcopy(settings) is copy.copy(settings) is settings


def test_the_current_folder_is_not_searched(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = clean / "work"
    for path in ("config.toml", "payloadfs.toml", "payloadfs/config.toml", ".config/payloadfs/config.toml"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("pickle = 'digest'")
    monkeypatch.chdir(folder)
    assert current().pickle == "signed"


# --- secrets


def test_no_message_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "key": CANARY,
        "anon": False,
        "endpoint_url": f"https://me:{CANARY}@host",
        "client_kwargs": {"region_name": "eu-1", "endpoint_url": "http://host:9000", "token": CANARY},
        "list": [CANARY],
    }
    monkeypatch.setenv("PAYLOADFS_STORAGE_OPTIONS", json.dumps(options))
    monkeypatch.setenv("PAYLOADFS_KEYS", KEYS[0].to_line() + "," + Key(b"r" * 32, retired=True).to_line())
    settings = current()
    assert settings.storage_options == options
    for text in (repr(settings), str(settings), f"{settings}", repr(describe()), settings.fingerprint()):
        assert CANARY not in text
        assert KEYS[0].to_line().split()[1] not in text
    assert KEYS[0].id in repr(settings)
    shown = {row.name: row.value for row in describe()}
    assert shown["storage_options"]["client_kwargs"] == {
        "region_name": "eu-1",
        "endpoint_url": "http://host:9000",
        "token": "***",
    }
    assert shown["storage_options"]["anon"] is False
    assert shown["storage_options"]["key"] == shown["storage_options"]["endpoint_url"] == "***"
    json.dumps(shown)


# --- keys


def test_keys_from_a_descriptor_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, f"# ring\n{KEYS[0].to_line()}\n{KEYS[1].to_line()}\n".encode())
    os.close(writer)
    monkeypatch.setenv("PAYLOADFS_KEYS_FD", str(reader))
    ring = current().keys
    assert ring is not None
    assert ring.keys == (KEYS[0], KEYS[1])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)
    with open(os.devnull) as other:  # most likely has the same number now
        monkeypatch.setenv("PAYLOADFS_PICKLE", "never")
        again = current()
        assert again.pickle == "never"
        assert again.keys is not None
        assert again.keys.keys == ring.keys
        os.fstat(other.fileno())
    assert origin("keys") == "environment PAYLOADFS_KEYS_FD"


def test_a_descriptor_that_failed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    spare = os.open(os.devnull, os.O_RDONLY)
    os.close(spare)
    monkeypatch.setenv("PAYLOADFS_KEYS_FD", str(spare))
    with pytest.raises(ConfigError):
        current()
    (clean / "f").write_text(KEYS[0].to_line())
    file = os.open(clean / "f", os.O_RDONLY)
    os.dup2(file, spare)
    with pytest.raises(ConfigError):
        current()
    os.fstat(spare)
    for descriptor in {file, spare}:
        os.close(descriptor)


def test_an_inherited_descriptor(clean: Path) -> None:
    (clean / "ring").write_text(KEYS[2].to_line())
    code = "from payloadfs.config import current; print(current().keys)"
    with open(clean / "ring") as file:
        environ = {**os.environ, "PAYLOADFS_KEYS_FD": str(file.fileno())}
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=environ,
            pass_fds=[file.fileno()],
            capture_output=True,
            text=True,
            check=True,
        )
    assert KEYS[2].id in run.stdout


def test_key_lines_take_precedence_over_descriptor_and_file(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    (clean / "ring").write_text(KEYS[1].to_line())
    monkeypatch.setenv("PAYLOADFS_KEYS_FD", str(os.open(clean / "ring", os.O_RDONLY)))
    monkeypatch.setenv("PAYLOADFS_KEYS_FILE", "/keys")
    monkeypatch.setenv("PAYLOADFS_KEYS", KEYS[0].to_line() + "\n" + KEYS[3].to_line())
    ring = current().keys
    assert ring is not None
    assert ring.keys == (KEYS[0], KEYS[3])


def test_a_stronger_key_file_replaces_weaker_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYLOADFS_KEYS", KEYS[0].to_line())
    with using(keys_file="~/ring") as settings:
        assert settings.keys is None
        assert settings.keys_file == Path.home() / "ring"
    assert current().merged(keys_file="/ring").keys is None
    assert current().merged(pickle="never", keys=None).keys is current().keys


# --- where it holds


def test_contexts_nest_and_end() -> None:
    with using("s3://outer", pickle="never"):
        with using(max_bytes=7) as inner:
            assert (inner.url, inner.pickle, inner.max_bytes) == ("s3://outer", "never", 7)
        assert current().max_bytes is None
        with pytest.raises(RuntimeError), using("s3://inner"):
            raise RuntimeError
        assert current().url == "s3://outer"
    assert current().pickle == "signed"


def test_a_context_applies_only_in_its_thread() -> None:
    configure("s3://all")
    seen: dict[str, tuple[str, str]] = {}

    def look(name: str) -> None:
        before = current().url
        with using(f"s3://{name}"):
            barrier.wait()
            seen[name] = (before, current().url)

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=look, args=(f"t{n}",)) for n in range(4)]
    with using("s3://main"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == {f"t{n}": ("s3://all", f"s3://t{n}") for n in range(4)}


def test_a_context_applies_only_in_its_task() -> None:
    async def task(name: str) -> str:
        with using(f"s3://{name}"):
            await asyncio.sleep(0.01)
            return current().url

    async def both() -> list[str]:
        with using("s3://outer", pickle="never"):
            return [*await asyncio.gather(task("a"), task("b")), current().url]

    assert asyncio.run(both()) == ["s3://a", "s3://b", "s3://outer"]


def test_configure_replaces_only_what_it_names() -> None:
    configure("s3://bucket", pickle="never")
    configure(max_bytes=5)
    settings = configure()
    assert (settings.url, settings.pickle, settings.max_bytes) == ("s3://bucket", "never", 5)
    assert configure(url=None) is settings
    with using("s3://here"):
        assert configure(verify="full").verify == "full"


def test_many_threads_lose_nothing() -> None:
    rows = {
        "pickle": "never",
        "unsigned": "never",
        "verify": "full",
        "digest": "sha256",
        "max_bytes": 3,
        "fsync": False,
    }
    threads = [threading.Thread(target=configure, kwargs={name: value}) for name, value in rows.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: getattr(current(), name) for name in rows} == rows


def test_options_are_a_copy_and_do_not_move_to_another_kind_of_store(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"client_kwargs": {"token": CANARY}}
    configure("s3://a", storage_options=options)
    options["client_kwargs"]["token"] = "changed"
    assert current().storage_options == {"client_kwargs": {"token": CANARY}}
    assert current().merged("s3://b").storage_options == current().storage_options
    assert current().merged("gs://b").storage_options == {}
    with using("gs://b") as settings:
        assert settings.storage_options == {}
        assert origin("storage_options") == "default"
    config.reset()
    monkeypatch.setenv("PAYLOADFS_STORAGE_OPTIONS", '{"anon": true}')
    assert current().merged("s3://b").storage_options == {"anon": True}


def test_the_environment_is_read_again_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = current()
    assert current() is first
    monkeypatch.setenv("PAYLOADFS_MAX_BYTES", "5")
    assert current().max_bytes == 5
    monkeypatch.setenv("PAYLOADFS_MAX_BYTES", "6")
    assert current().max_bytes == 6
    monkeypatch.delenv("PAYLOADFS_MAX_BYTES")
    assert current().max_bytes is None


def test_an_error_is_raised_until_its_cause_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    current()
    monkeypatch.setenv("PAYLOADFS_PICKLE", "nevr")
    for _ in range(2):
        with pytest.raises(ConfigError, match="It is 'nevr'"):
            current()
    monkeypatch.setenv("PAYLOADFS_PICKLE", "never")
    assert current().pickle == "never"


# --- roots


def test_roots_are_wider_only_when_nothing_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current().roots == (current().url, *SIGNED_ROOTS)
    assert current().merged(pickle="never").roots == current().roots
    assert current().merged("/srv/a").roots == ("file:///srv/a",)
    assert current().merged(current().url).roots == (current().url,)
    assert current().merged(allowed_roots=[]).roots == (current().url,)
    with using(allowed_roots=["s3a://more/", "s3://*", Path("/srv")]) as settings:
        assert settings.roots == (settings.url, "s3://more", "s3://*", "file:///srv")
    monkeypatch.setenv("PAYLOADFS_URL", "s3://bucket")
    assert current().roots == ("s3://bucket",)
    assert current().merged(max_bytes=1).roots == ("s3://bucket",)


def test_the_policy_accepts_all_settings() -> None:
    hints = get_type_hints(Settings)
    assert get_args(hints["pickle"]) == get_args(PickleRule)
    assert get_args(hints["unsigned"]) == get_args(UnsignedRule)
    for rule in get_args(PickleRule):
        for unsigned in get_args(UnsignedRule) if rule != "always" else ["safe"]:
            with using(pickle=rule, unsigned=unsigned, max_bytes=0, allowed_roots=["file://*"]) as settings:
                Policy(settings.roots, settings.pickle, settings.unsigned, max_bytes=settings.max_bytes)


# --- fingerprints


def test_fingerprints_cover_everything() -> None:
    base = current().merged("s3://a", storage_options={"a": 1}, keys=KeyRing(KEYS[:2]))
    changes: list[dict[str, Any]] = [
        {"url": "s3://b"},
        {"storage_options": {"a": True}},
        {"storage_options": {"a": "1"}},
        {"storage_options": {"a": [1]}},
        {"storage_options": {"a": {"b": 1}}},
        {"storage_options": {"a": object()}},
        {"keys": KeyRing([KEYS[1], KEYS[0]])},
        {"keys": KeyRing([KEYS[0], Key(KEYS[1].material, retired=True)])},
        {"keys_file": "/k"},
        {"allowed_roots": ["s3://c"]},
        {"pickle": "always"},
        {"unsigned": "safe"},
        {"max_age": "7d"},
        {"max_bytes": 0},
        {"verify": "full"},
        {"digest": "sha256"},
        {"fsync": False},
        {"compression": "lz4"},
    ]
    changed = [base.merged(**change) for change in changes]
    assert len({s.fingerprint() for s in [base, *changed]}) == len(changes) + 1
    same = current().merged("s3://a", storage_options={"a": 1}, keys=KeyRing(KEYS[:2]))
    assert same.fingerprint() == base.fingerprint()
    two = current().merged(storage_options={"a": 1, "b": {"c": 2, "d": 3}})
    assert two.fingerprint() == current().merged(storage_options={"b": {"d": 3, "c": 2}, "a": 1}).fingerprint()
    # The same URL, configured and by default: the roots differ.
    assert current().merged(current().url).fingerprint() != current().fingerprint()


def test_nothing_heavy_is_imported(clean: Path) -> None:
    code = (
        "import sys; before = set(sys.modules); import payloadfs.config as c; c.current(); "
        "print([m for m in ('pandas', 'numpy', 'pyarrow', 'fsspec', 'asyncio', 'difflib', 'tomllib') "
        "if m in sys.modules.keys() - before])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
