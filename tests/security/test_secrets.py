"""Twenty canaries, in every spelling of a library, and a dozen sinks in which none of them may appear."""

from __future__ import annotations

import asyncio
import base64
import html
import itertools
import json
import logging
import pickle
import re
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import cloudpickle
import pytest

import payloadfs
from payloadfs import BatchError, Pointer, Repository, StoreError, WorkError, aio
from payloadfs.cli import main
from payloadfs.stores._redaction import ForeignError, Secrets
from payloadfs.works import App, Flow, Work

SOURCE = str(Path(payloadfs.__file__).parent)

CANARIES = [
    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "plainlettersonly",
    "pa/ss+w0rd==",
    "p%2Fcent%25age",
    "quote'single'x",
    'quote"double"x',
    "back\\slash\\x",
    "<xml>&amp;</xml>",
    "dollar$(brace){x}",
    "geheimnis-äöü-ß",
    "秘密のパスワード",
    "emoji-😀-🔑-key",
    "a?b=c&d=e#f",
    "tilde~dot.dash-_",
    "[regex].*(a|b)+^$",
    "x" * 300 + "/+" * 40,
    # Short ones are hidden as whole words.
    "Zx9",
    "q7#",
    "8/+=k",
    "Ωmega",
]

SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "repr": lambda s: repr(s)[1:-1],
    "repr in a list in a repr": lambda s: repr(repr([s]))[1:-1],
    "ascii": lambda s: ascii(s)[1:-1],
    "bytes": lambda s: repr(s.encode())[2:-1],
    "percent": lambda s: quote(s, safe=""),
    "percent, lower case": lambda s: re.sub("%..", lambda match: match[0].lower(), quote(s, safe="")),
    "percent, but slashes": quote,
    "percent, but some": lambda s: quote(s, safe="+=&"),
    "percent twice": lambda s: quote(quote(s, safe=""), safe=""),
    "form": quote_plus,
    "json": lambda s: json.dumps(s)[1:-1],
    "json, unicode": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json, slashes": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "json in json": lambda s: json.dumps(json.dumps(s))[3:-3],
    "html": html.escape,
    "html, apos": lambda s: html.escape(s).replace("&#x27;", "&apos;"),
    "xml": escape,
    "html, numbers": lambda s: "".join(c if c.isascii() and c.isalnum() else f"&#{ord(c)};" for c in s),
    "html, hex": lambda s: "".join(c if c.isascii() and c.isalnum() else f"&#x{ord(c):X};" for c in s),
}


def base64_spellings(secret: str) -> Iterator[tuple[str, str]]:
    for before in ("", "u:", "us:", "user:", "longer-user:"):
        for after in ("", ":x", "\n"):
            content = f"{before}{secret}{after}".encode()
            for name, encode in (("standard", base64.b64encode), ("url", base64.urlsafe_b64encode)):
                encoded = encode(content).decode()
                yield f"base64 {name} {before!r} {after!r}", encoded
                yield f"base64 {name} {before!r} {after!r} without padding", encoded.rstrip("=")
                yield f"base64 {name} {before!r} {after!r} in percent", quote(encoded, safe="")


def spellings(secret: str) -> dict[str, str]:
    simple = {name: spell(secret) for name, spell in SPELLINGS.items()}
    if not secret.isascii():
        # Only ASCII letters and digits bound words, and a percent sequence or an escape ends in some.
        assert len(secret.encode()) >= 6
    return simple | dict(base64_spellings(secret))


def traces(text: str, secret: str) -> list[str]:
    """Return the spellings of `secret` that are in `text`."""
    if len(secret) < 6:
        bounded = {n: rf"(?<![A-Za-z0-9]){re.escape(s)}(?![A-Za-z0-9])" for n, s in spellings(secret).items()}
        return [name for name, pattern in bounded.items() if re.search(pattern, text)]
    return [name for name, spelled in spellings(secret).items() if spelled in text]


@pytest.mark.parametrize("canary", CANARIES)
def test_every_spelling_is_hidden(canary: str) -> None:
    secrets = Secrets({"nested": [{"deep": canary.encode() if len(canary) % 2 else canary}]})
    for name, spelled in spellings(canary).items():
        for before, after in (("", ""), ("at (", "), end"), ('"', '"'), ("Authorization: Basic ", ""), ("x=", ";")):
            hidden = secrets.hide(before + spelled + after)
            assert not traces(hidden, canary), (name, spelled, hidden)
            assert "***" in hidden, (name, spelled, hidden)
            assert hidden.startswith(before), (name, spelled, hidden)
            assert hidden.endswith(after), (name, spelled, hidden)


def test_a_secret_within_other_bytes_at_each_offset() -> None:
    secret = "k9/+Zq~secret"
    secrets = Secrets({"secret": secret})
    for before in range(12):
        for after in range(12):
            encoded = base64.b64encode(b"\xff" * before + secret.encode() + b"\x01" * after).decode()
            hidden = secrets.hide(f"<{encoded}>")
            assert "***" in hidden
            # What is left of it holds no whole character of the secret.
            left, _, right = hidden[1:-1].partition("***")
            assert set(base64.b64decode(left[: len(left) // 4 * 4])) <= {0xFF}
            assert set(base64.b64decode(right[len(right) % 4 :])) <= {1}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("pathological paths of the patient", {"password": "path"}),
        ("the key of keys", {"password": "k"}),
        ("bucket runs-2026 in eu-west-1", {"region": "eu-west-1", "endpoint_url": "http://bucket"}),
        ("nothing at all", {"password": "", "anon": False, "port": 22}),
        ("S3 answered dGhlIGtleXM=", {"password": "the keys of others"}),
    ],
)
def test_what_is_no_secret_stays(text: str, options: dict[str, Any]) -> None:
    assert Secrets(options).hide(text) == text


def test_binary_secrets() -> None:
    key = bytes(range(200, 232))
    secrets = Secrets({"SSECustomerKey": key})
    for spelled in (repr(key), base64.b64encode(key).decode(), base64.b64encode(b"x:" + key).decode()):
        assert "***" in secrets.hide(f"key {spelled} end")


@pytest.mark.timeout(60)
def test_no_message_takes_long() -> None:
    """Whatever a server answers: a regular expression that tries too much would take hours."""
    secrets = [
        "\\" * 30,
        "%" * 30,
        "&" * 30,
        "+" * 30,
        "/" * 30,
        "ab" * 15,
        "=+/" * 40,
        "%25" * 30,
        "\\'" * 20,
        "\\ä" * 20,
    ]
    units = ["\\", "%", "%25", "&", "&amp;", "+", "/", "A", "\\'", "\\u005c", "\\x5c", "\\\\x", "\\\\\\u00e4"]
    for secret in [*secrets, *(f"{one}z" for one in secrets), "\\" * 4, "A" * 1000]:
        hiding = Secrets({"secret": secret})
        for unit in [*units, secret, secret[:-1]]:
            started_s = time.process_time()
            hiding.hide(unit * (1_000_000 // len(unit)))
            assert time.process_time() - started_s < 5, (secret, unit)


def test_a_secret_at_the_end_of_a_long_message() -> None:
    secrets = Secrets({"secret": "geheim-geheim-geheim"})
    for chars in range(19_970, 20_010):
        hidden = secrets.hide("-" * chars + "geheim-geheim-geheim" + "-" * 30_000)
        assert "geheim" not in hidden
        assert len(hidden) > 19_000


def test_credentials_in_variables_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-the-environment")
    assert Secrets({}).hide("with token-of-the-environment") == "with ***"


class LibraryError(Exception):
    """An error as botocore raises it: with a response, arguments and more."""

    def __init__(self, canary: str) -> None:
        spelled = " ; ".join(spellings(canary).values())
        super().__init__(f"failed with ({spelled})", canary)
        self.response = {"Error": {"Message": canary}, "headers": {"authorization": canary}}
        self.kwargs = {"secret": canary}
        self.add_note(f"note: {canary}")


class QuietError(Exception):
    """An error that shows a secret only in an attribute."""

    def __init__(self, canary: str) -> None:
        super().__init__("quiet")
        self.request = {"Authorization": f"Basic {base64.b64encode(b'user:' + canary.encode()).decode()}"}


class PanicError(BaseException):
    """As a Rust library raises it."""


def failing(canary: str, kind: str) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        if kind == "quiet":
            raise QuietError(canary)
        if kind == "panic":
            raise PanicError(canary)
        try:
            raise ValueError(f"inner {canary}")
        except ValueError as inner:
            if kind == "context":
                raise RuntimeError("outer")  # noqa: B904
            raise LibraryError(canary) from inner

    return fail


@dataclass
class Scene:
    """A repository with a canary in its options, whose transport raises errors that hold it."""

    repository: Repository
    pointer: Pointer
    capsys: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture

    def error(self) -> StoreError:
        with pytest.raises(StoreError) as caught:
            self.repository.load(self.pointer)
        return caught.value

    def cli(self, *arguments: str) -> str:
        self.capsys.readouterr()
        main(arguments)
        out, err = self.capsys.readouterr()
        assert out + err
        return out + err


def chain(error: BaseException) -> Iterator[BaseException]:
    yield error
    for other in (error.__cause__, error.__context__):
        if other is not None:
            yield from chain(other)


def everything(error: BaseException) -> str:
    return "\n".join(
        part for one in chain(error) for part in (str(one), repr(one), repr(one.args), repr(vars(one)))
    )  # notes are in vars


def frames_with_locals(error: BaseException) -> str:
    reports = [traceback.TracebackException.from_exception(one, capture_locals=True) for one in chain(error)]
    ours = [frame for report in reports for frame in report.stack if frame.filename.startswith(SOURCE)]
    assert ours
    return "\n".join(f"{frame.name}: {frame.locals}" for frame in ours)


def logged(scene: Scene) -> str:
    with scene.caplog.at_level(logging.DEBUG):
        try:
            scene.repository.load(scene.pointer)
        except StoreError:
            logging.getLogger("payloadfs.tests").exception("failed")
    assert "Traceback" in scene.caplog.text
    return scene.caplog.text


def batch_error(scene: Scene) -> str:
    with pytest.raises(BatchError) as caught:
        scene.repository.load_many([scene.pointer] * 2)
    error = caught.value
    errors = [everything(one) for one in error.exceptions]
    return "\n".join([*errors, *traceback.format_exception(error), everything(error), repr(error.failed)])


def aio_error(scene: Scene) -> str:
    with pytest.raises(StoreError) as caught:
        asyncio.run(aio.load(scene.pointer, repository=scene.repository))
    return everything(caught.value) + "".join(traceback.format_exception(caught.value))


_scene: Scene


class Loads(Work):
    def run(self) -> None:
        _scene.repository.load(_scene.pointer)


class Main(Flow):
    def __init__(self) -> None:
        super().__init__()
        self.work = Loads()

    def run(self) -> None:
        self.work.run()


def work_error(scene: Scene) -> str:
    global _scene
    _scene = scene
    events: list[Any] = []
    with payloadfs.using("memory://secrets/runs"), ThreadPoolExecutor(1) as pool:
        with pytest.raises(WorkError) as caught:
            App(Main()).run(executor=pool, on_event=events.append)
        store = payloadfs.default_repository().store
        records = [bytes(store.get(info.key, info.size_bytes).buffer).decode() for info in store.list("runs/")]
        for info in list(store.list("runs/")):
            store.delete(info.key)
    assert any("Traceback" in record for record in records)
    return "\n".join([everything(caught.value), *records, repr(events)])


def pickled_function(repository: Repository) -> str:
    return cloudpickle.dumps(lambda pointer: repository.load(pointer)).decode("latin-1")


SINKS: dict[str, Callable[[Scene], str]] = {
    "str": lambda scene: str(scene.error()),
    "repr": lambda scene: repr(scene.error()) + repr(scene.repository) + repr(scene.repository.store),
    "traceback": lambda scene: "".join(traceback.format_exception(scene.error())),
    "locals of our frames": lambda scene: frames_with_locals(scene.error()),
    "causes": lambda scene: everything(scene.error()),
    "log": logged,
    "pickled error": lambda scene: pickle.dumps(scene.error(), protocol=0).decode("latin-1"),
    "BatchError": batch_error,
    "aio": aio_error,
    "WorkError": work_error,
    "get": lambda scene: scene.cli("-v", "get", scene.pointer.to_json()),
    "ls": lambda scene: scene.cli("-v", "ls"),
    "doctor": lambda scene: scene.cli("-v", "doctor", "--write"),
    "pickled repository": lambda scene: pickle.dumps(scene.repository, protocol=0).decode("latin-1"),
    "pickled function": lambda scene: pickled_function(scene.repository),
    "pickled method": lambda scene: cloudpickle.dumps(scene.repository.load).decode("latin-1"),
    "config show": lambda scene: scene.cli("-v", "config", "show") + scene.cli("--json", "config", "show"),
}
"""Each returns what a person, a log or another process would see."""


def when(number: int, transport: str, sink: str) -> Any:
    """Return the marker of a case. By default, each canary meets a sixth of the sinks, and the first one all."""
    if number == 0:
        return ()
    # Both transports share the code that hides secrets, so a part of the canaries suffices for the second.
    if transport == "fsspec":
        return pytest.mark.long if number % 4 else pytest.mark.sweep
    return pytest.mark.sweep if (number + list(SINKS).index(sink)) % 6 else ()


@pytest.mark.parametrize(
    ("number", "transport", "sink"),
    [
        pytest.param(*case, marks=when(*case))
        for case in itertools.product(range(len(CANARIES)), ("obstore", "fsspec"), SINKS)
    ],
)
def test_no_canary_reaches_a_sink(
    number: int,
    sink: str,
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    import obstore
    import s3fs

    canary = CANARIES[number]
    # Not every credential can be one of S3, but any can be the value of another option.
    options = {"key": "AKIDEXAMPLE", "secret": canary, "endpoint_url": "http://127.0.0.1:9", "region": "eu-west-1"}
    monkeypatch.setenv("PAYLOADFS_URL", "s3://bucket")
    monkeypatch.setenv("PAYLOADFS_STORAGE_OPTIONS", json.dumps(options))
    monkeypatch.setenv("PAYLOADFS_TRANSPORT", transport)
    monkeypatch.setenv("PAYLOADFS_CACHE", "off")
    kinds = ("loud", "quiet", "panic", "context") if sink in ("traceback", "causes") else ("loud",)
    for kind in kinds:
        fail = failing(canary, kind)
        for name in ("get", "get_range", "head", "list", "put", "delete"):
            monkeypatch.setattr(obstore, name, fail)
        for name in ("cat_file", "info", "ls", "pipe_file", "rm_file"):
            monkeypatch.setattr(s3fs.S3FileSystem, name, fail)
        repository = Repository()
        assert repository.settings.storage_options == options
        pointer = Repository("memory://secrets").save(b"x" * 500).replaced(root="s3://bucket")
        scene = Scene(repository, pointer.signed(repository.keys), capsys, caplog)
        text = SINKS[sink](scene)
        assert not traces(text, canary), text[-2000:]


def test_a_cause_without_secrets_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    error = OSError(5, "the disk is broken")

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(obstore, "head", fail)
    options = {"key": "AKIDEXAMPLE", "secret": "geheim-geheim", "endpoint_url": "http://127.0.0.1:9"}
    repository = Repository("s3://bucket", options, transport="obstore")
    with pytest.raises(StoreError) as caught:
        repository.store.info("a")
    assert caught.value.__cause__ is error
    error.add_note("geheim-geheim")
    with pytest.raises(StoreError) as caught:
        repository.store.info("a")
    assert type(caught.value.__cause__) is ForeignError
    assert str(caught.value.__cause__) == "builtins.OSError: [Errno 5] the disk is broken"


@pytest.mark.parametrize("kind", [TypeError, OSError, PanicError])
def test_opening_a_file_system(kind: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec.core

    error, options = kind("bad geheim-geheim"), {"password": "geheim-geheim"}

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    with pytest.raises(payloadfs.PayloadError) as caught:
        _ = Repository("sftp://host/x", options).store
    assert "geheim" not in everything(caught.value) + "".join(traceback.format_exception(caught.value))
    assert "geheim" not in frames_with_locals(caught.value)
