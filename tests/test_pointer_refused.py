"""Bad pointers, class by class: each is refused with PointerError and never another exception."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from payloadfs._keys import check_key
from payloadfs.errors import PointerError
from payloadfs.pointer import MAX_POINTER_BYTES, Pointer
from payloadfs.signing import Key, KeyRing

FIELDS: dict[str, Any] = {
    "payloadfs": 1,
    "root": "s3://data/runs",
    "key": "2026/1.bin",
    "serializer": "pandas/1",
    "size": 1234,
    "digest": "b3:" + "0f" * 32,
    "created": 1_795_380_000,
    "type": "pandas.DataFrame",
}
SIGNED: dict[str, Any] = dict(Pointer.from_dict(FIELDS).signed(KeyRing([Key(b"k" * 32)])).to_dict())
TEXT = json.dumps(SIGNED)
TEXT_FIELDS = [name for name, value in SIGNED.items() if isinstance(value, str)]
INT_FIELDS = [name for name, value in SIGNED.items() if isinstance(value, int)]


class _Text(str):
    pass


class _Int(int):
    pass


def _with(**changes: Any) -> dict[str, Any]:
    return {**SIGNED, **changes}


def _spelled(name: str, spelling: str) -> str:
    """Return the signed pointer's JSON with the value of `name` spelled exactly like this."""
    return json.dumps(_with(**{name: "@"})).replace('"@"', spelling)


# Values that a field must not have, whatever signature goes with them.
BAD_VALUES: dict[str, list[Any]] = {
    "payloadfs": [0, 2, 3, 2**53, 10**5000, "1", 1.0, True, None, [1]],
    "key": [
        "../x", "a/../b", "a/..", "..", ".", "./a", "a/.", "a/./b", ".hidden", "a/.hidden", "a/.git/config", "/abs", "//a",
        "a//b", "a/", "/", "a\\b", "..\\x", "a b", "a%2e%2e/b", "%2e%2e/x", "a:b", "C:/x", "~", "~/x", "a/~x", "a?b", "a#b",
        "a*b", "a@b", "a+b", "a,b", "a;b", "a|b", "$HOME", "`x`", "a\u2024\u2024/b", "a\uff0fb", "s3://b/k", "a\n/b",
    ],
    "root": [
        "s3://", "data", "/srv", "S3://data", "s3a://data", "local:///srv", "file://", "file://host/x", "file:///a/../b",
        "file:///%2e%2e", "file:///a%2fb", "file:///a%00", "file:///\udc80", "file:///%C3é", "file:///a/", "s3://data/",
        "s3://*", "file://*", "s3://u:p@data", "s3://data?x", "s3://data#x", "s3://data//x", "zip::s3://data", "s3:/data",
        "simplecache::file:///etc", "s3://data/..", "javascript:alert(1)", "http://h/?u=s3://x", "\\\\host\\share",
    ],
    "serializer": [
        "pickle", "pickle/", "/1", "pickle/0", "pickle/01", "pickle/-1", "pickle/1.0", "pickle/1/2", "Pickle/1", "pickle/10000",
        "pickle.loads/1", "os:system/1", "builtins.eval", "os.system", "my_module/1", "../pickle/1", "pickle/1 ", "-p/1",
        "1p/1", "a" * 41 + "/1", "pickle/\u0661", "p\u0456ckle/1", "none", "pickle/latest", "pickle/1\n",
    ],
    "digest": [
        "none:", "none:" + "0" * 64, "md5:" + "0" * 32, "sha1:" + "0" * 40, "b3", "b3:", "b3:" + "0" * 63, "b3:" + "0" * 65,
        "0" * 64, "b3:" + "0F" * 32, "B3:" + "0" * 64, "s512:" + "0" * 64, "b3-seal-seal:" + "0" * 64, "b3-SEAL:" + "0" * 64,
        "b3 :" + "0" * 64, "s256-:" + "0" * 64, "seal:" + "0" * 64, "b3::" + "0" * 64, "b3:" + "\u0660" * 64, "crc32:0",
    ],
    "type": ["a b", "a/b", "os.system()", "a\u0430", "<script>alert(1)</script>", "a" * 81, "%s", "{0}", "a;b", "'a'"],
    "kid": ["0", "0" * 7, "0" * 9, "g" * 8, "ABCDEF01", "../../..", "\u0660" * 8, "none0000"],
    "context": ["", "c" * 65, "a\nb", "\ud800", "\u00fc" * 11, "\0", "a\u2028b", "\u202eabc"],
    "sig": ["A" * 42, "A" * 44, "A" * 85, "A" * 87, "A" * 84 + "==", "A" * 42 + "=", "+" * 43, "/" * 43, "none", "é" * 43, "A" * 42 + "\n"],
}  # fmt: skip

# JSON strings and bytes that are not exactly one pointer.
BAD_JSON: dict[str, list[str | bytes]] = {
    "JSON of something else": [
        "", " ", "null", "true", "1", '"x"', "[]", "{}", "{", "}", "nul", f"[{TEXT}]", json.dumps(TEXT), "'" + TEXT + "'",
    ],
    "garbage around": [
        TEXT + "x", TEXT + TEXT, TEXT + ",", TEXT + "\0", TEXT + "}", "x" + TEXT, TEXT[:-1], TEXT[1:], TEXT + "//c",
    ],
    "JSON with extras": [
        "//c\n" + TEXT, "/*c*/" + TEXT, TEXT.replace(",", ",/*c*/", 1), "#c\n" + TEXT, TEXT[:-1] + ",}", TEXT.replace('"', "'"),
    ],
    "odd white space": [
        "\ufeff" + TEXT, "\u00a0" + TEXT, TEXT + "\u2028", TEXT.replace(": ", ":\u3000", 1), "\x0b" + TEXT, "\x0c" + TEXT,
    ],
    "bytes that are not ASCII": [
        b"\xef\xbb\xbf" + TEXT.encode(), TEXT.encode("utf-16"), TEXT.encode("utf-32"), b"\x80" + TEXT.encode(), b"", b"\xff",
    ],
    "depth": ["[" * 1000, "[" * 1000 + "]" * 1000, '{"a":' * 340, '{"payloadfs":' + "[" * 900 + "]" * 900 + "}"],
    "oversize": [
        TEXT + " " * MAX_POINTER_BYTES, "[" * 10**6, "9" * 10**5, b" " * 10**6, json.dumps(_with(x="y" * 3000)),
    ],
}  # fmt: skip

# Values that are not a mapping with exactly the pointer's fields.
BAD_MAPPINGS: dict[str, list[Any]] = {
    "no mapping": [None, 1, True, [], [SIGNED], [*SIGNED.items()], (), set(), object(), FIELDS.items(), dict, 1.5, {}],
    "half a signature": [
        {**FIELDS, "kid": SIGNED["kid"]},
        {**FIELDS, "sig": SIGNED["sig"]},
        {**FIELDS, "kid": "", "sig": ""},
        {**FIELDS, "kid": None, "sig": None},
    ],
    "unknown field": [
        {**SIGNED, unknown: "none"}
        for unknown in (
            "x",
            "alg",
            "algorithm",
            "endpoint",
            "Root",
            "root ",
            "",
            "root\0",
            "__class__",
            "r\u043eot",
            "x" * 999,
        )
    ],
    "field name that is not a string": [{**SIGNED, odd: 1} for odd in (1, None, (), b"root", 10**5000, 1.5)],
}


def _any_field() -> Iterator[tuple[str, Any]]:
    for name in SIGNED:
        yield "missing field", {key: value for key, value in SIGNED.items() if key != name}
        yield "null", _with(**{name: None})
        yield "null", _spelled(name, "null")
        yield "empty", _with(**{name: ""})
        yield "nested", _with(**{name: [SIGNED[name]]})
        yield "nested", _spelled(name, '{"a":1}')
        yield "duplicate field", TEXT[:-1] + f", {json.dumps(name)}: {json.dumps(SIGNED[name])}}}"
        yield "duplicate field", f'{{"\\u{ord(name[0]):04x}{name[1:]}": 0, ' + TEXT[1:]
        yield "field name in other letters", {key.upper() if key == name else key: SIGNED[key] for key in SIGNED}
        yield "boolean", _with(**{name: True})
        yield "boolean", _spelled(name, "false")


def _text_fields() -> Iterator[tuple[str, Any]]:
    for name in TEXT_FIELDS:
        value = SIGNED[name]
        yield "number for text", _with(**{name: 1})
        yield "bytes for text", _with(**{name: value.encode()})
        yield "subclass of str", _with(**{name: _Text(value)})
        for end in ("\n", "\r\n", " ", "\0", "\u2028", "\t"):
            yield "more behind a value", _with(**{name: value + end})
        for front in ("\n", " ", "\ufeff"):
            yield "more before a value", _with(**{name: front + value})
        for odd in ("\x1b", "\x7f", "é", "\ud800", "\udcff", "\u0660", "\uff11"):
            yield "control or non-ASCII character", _with(**{name: value[:-1] + odd})
        yield "control character in the JSON", _spelled(name, f'"{value}\n"')
        yield "escaped control character", _spelled(name, f'"{value}\\u0000"')
        yield "escaped lone surrogate", _spelled(name, f'"{value}\\ud800"')
        yield "too long a value", _with(**{name: value + "a" * 1200})


def _int_fields() -> Iterator[tuple[str, Any]]:
    for name in INT_FIELDS:
        yield "text for number", _with(**{name: str(SIGNED[name])})
        yield "subclass of int", _with(**{name: _Int(SIGNED[name])})
        for value in (float(SIGNED[name]), float("nan"), float("inf"), 1j, -1, -(2**70), 2**53, 10**400, 10**5000):
            yield "number out of range", _with(**{name: value})
        for text in (
            "1.0",
            "1e3",
            "1E0",
            "NaN",
            "Infinity",
            "-Infinity",
            "-1",
            "9007199254740992",
            "9" * 1000,
            "1e400",
        ):
            yield "number spelled badly", _spelled(name, text)
        for text in ("01", "+1", "0x1", "1_0", ".5", "5.", "- 1", "--1", "\u0661", "1n"):
            yield "no JSON number", _spelled(name, text)


CASES: list[tuple[str, Any]] = [
    *_any_field(),
    *_text_fields(),
    *_int_fields(),
    *((f"bad {name}", _with(**{name: value})) for name, values in BAD_VALUES.items() for value in values),
    *((kind, case) for kind, cases in (*BAD_JSON.items(), *BAD_MAPPINGS.items()) for case in cases),
]


@pytest.mark.parametrize(("kind", "case"), CASES, ids=[kind.replace(" ", "-") for kind, _ in CASES])
def test_bad_pointers_are_refused(kind: str, case: Any) -> None:
    with pytest.raises(PointerError) as caught:
        Pointer.from_json(case) if isinstance(case, (str, bytes)) else Pointer.from_dict(case)
    # The message may be logged: no control characters, and long strings are cut off.
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    if isinstance(case, str):
        # The same in bytes, as from a socket or a database.
        with pytest.raises(PointerError):
            Pointer.from_json(case.encode("utf-8", "surrogatepass"))


def test_there_are_enough_bad_pointers() -> None:
    # The original passes, so each case fails for what was changed.
    assert Pointer.from_dict(SIGNED) == Pointer.from_json(TEXT)
    assert len(CASES) >= 300
    assert len({kind for kind, _ in CASES}) >= 20


@pytest.mark.parametrize("value", [bytearray(TEXT, "ascii"), memoryview(TEXT.encode()), None, 1, SIGNED, [TEXT]])
def test_from_json_accepts_only_a_string_or_bytes(value: Any) -> None:
    with pytest.raises(PointerError, match="must be JSON in a str or bytes"):
        Pointer.from_json(value)


@pytest.mark.parametrize("key", ["a", "A-Z_0=9.bin", "a/b/c", "a..b", "a.", "-", "=", "x" * 512])
def test_good_keys(key: str) -> None:
    assert check_key(key) == key
