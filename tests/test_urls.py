"""Root URLs: which are refused, how they become canonical, and which are below which."""

from __future__ import annotations

import os
import pathlib
from typing import Any
from urllib.parse import quote

import pytest
from fsspec.registry import known_implementations
from hypothesis import assume, given
from hypothesis import strategies as st

from payloadfs._urls import (
    MAX_ROOT_CHARS,
    canonical_root,
    is_under,
    is_wildcard,
    local_path,
    resolve_alias,
    root_problem,
    scheme_of,
)
from payloadfs.errors import ConfigError, PolicyError

SECRET = "hunter2"

# Each of these is bad for every protocol that fsspec knows (a file URL must not have the host "bucket").
TEMPLATES = {
    "chained before": "{0}::s3://bucket/x",
    "chained after": "simplecache::{0}://bucket/x",
    "user info": f"{{0}}://user:{SECRET}@bucket/x",
    "query": f"{{0}}://bucket/x?token={SECRET}",
    "fragment": f"{{0}}://bucket/x#{SECRET}",
    "dots": "{0}://bucket/a/../b",
    "dot": "{0}://bucket/./b",
    "empty segment": "{0}://bucket//x",
    "percent": f"{{0}}://bucket/%2e%2e/{SECRET}",
    "backslash": f"{{0}}://bucket\\{SECRET}",
    "newline at the end": "{0}://bucket/x\n",
    "space": f"{{0}}://bucket/x {SECRET}",
}
EVERY_PROTOCOL = [
    pytest.param(template.format(protocol), id=f"{name}-{protocol}")
    for name, template in TEMPLATES.items()
    for protocol in sorted(known_implementations)
]

# Bad wherever they come from: in a pointer and from a user.
BAD = [
    # scheme
    "://bucket", "s3:///x", "s3://", "1s3://bucket", "s_3://bucket", "s3+://bucket", "-s3://bucket", "s3 ://bucket",
    " s3://bucket", "\ns3://bucket", "s3\n://bucket", "s3:\n//bucket", "arrow_hdfs://host/x", "\uff533://bucket", "\u04553://bucket",
    "s³://bucket", "s3\0://bucket", "s3.s3://bucket", "url:s3://bucket", "s3:s3://bucket", f"{SECRET}:x@s3://bucket",
    # host
    "s3://.", "s3://..", "s3://-b", "s3://b-", "s3://_b", "s3://b.", "s3://.b", "s3://b:", "s3://b:x", "s3://b:123456",
    "s3://b:1:2", "s3://[::1]/x", "s3://b:٣", "s3://*", "s3://*/x", "s3://b*", "s3://büro", "s3://b\u200b", "s3://b%41",
    "s3://b\n", "s3://b\r\n", "s3://b\r\n/x", "s3://\nb", "s3://b\t", "s3://b\x7f", "s3://b\0", "s3://b ", "s3://b|c",
    "s3://b/\0", f"s3://{SECRET}@b", f"s3://:{SECRET}@b", f"s3://a:{SECRET}@b:80/x", f"s3://b?{SECRET}", f"s3://b#{SECRET}",
    # path
    "s3://b/..", "s3://b/.", "s3://b/../", "s3://b/x/..", "s3://b/x/.", "s3://b///x", "s3://b/x//y",
    "s3://b/%", "s3://b/%2", "s3://b/%41", "s3://b/%2F", "s3://b/%2e", "s3://b/%00", "s3://b/%0a", "s3://b/%252e",
    "s3://b/x\\..\\y", "s3://b/\\", "s3://b/x:y", "s3://b/x@y", "s3://b/x;y", "s3://b/x&y", "s3://b/x$y", "s3://b/x`y",
    "s3://b/x'y", 's3://b/x"y', "s3://b/x<y", "s3://b/x>y", "s3://b/{x}", "s3://b/[x]", "s3://b/x^y", "s3://b/x!y",
    "s3://b/x*", "s3://b/**", "s3://b/x(y", "s3://b/x,y\n", "s3://b/x\n/y", "s3://b/\n", "s3://b/x\r", "s3://b/x\x0b",
    "s3://b/x\x0c", "s3://b/x\x85", "s3://b/x\u2028", "s3://b/x\x1b[2J", "s3://b/x\x7f", "s3://b/é", "s3://b/e\u0301",
    "s3://b/\u2024\u2024", "s3://b/\uff0e\uff0e", "s3://b/x\uff0fy", "s3://b/x\u2215y", "s3://b/\u202ex", "s3://b/x\ufeff",
    "s3://b/\ud800", "s3://b/\udc80", "s3://b/\U0001f600", "s3://b/\uff11", "s3://b/x::y", "s3://b/x::s3://c", "s3://b://c",
    f"s3://b/x?X-Amz-Signature={SECRET}", f"s3://b/x#{SECRET}", f"s3://b/{SECRET}:y", "s3://b/" + "x" * MAX_ROOT_CHARS,
    "s3://" + "b" * 5000, "s3://b/" + "x/" * 600 + "x", f"a:{SECRET}@b/x?u://b",
    "s3://b/x|y", "s3:////b", "memory://", "memory:///x", "http://h/?q", "https://h:1:2/", "zip://a.zip::s3://b", "s3//b://c",
    # file
    "file://", "file://host", "file://host/", "file://host/x", "file://localhost/x", "file://127.0.0.1/x", "file://./x",
    "file://../x", "file://~/x", "file://x", f"file://u:{SECRET}@h/x", "file://C:/x", "file://\\x", "file:///a\\b",
    "file:///a%5Cb", "file:///%00", "file:///a%00b", "file:///a\0b", "file:///a%0Ab", "file:///a\n", "file:///a\r\n/b",
    "file:///a%7F", "file:///a\x1b", "file:///\ud800", "file:///" + "é" * 400, "file:///" + "x" * MAX_ROOT_CHARS,
]  # fmt: skip

# Not canonical, so no pointer may hold them; from a user they are brought to their one spelling.
LAX = {
    "S3://bucket": "s3://bucket", "s3a://bucket": "s3://bucket", "S3A://bucket/x": "s3://bucket/x", "gcs://b": "gs://b",
    "s3://bucket/": "s3://bucket", "s3://b//": "s3://b", "s3://bucket/x//": "s3://bucket/x", "https://h:8080/x/": "https://h:8080/x",
    "FILE:///no/such": "file:///no/such", "local:///no/such": "file:///no/such", "file:///no/such/": "file:///no/such",
    "file:////no//such": "file:///no/such", "file:///no/./such": "file:///no/such", "file:///no/x/../such": "file:///no/such",
    "file:///no/%73uch": "file:///no/such", "file:///no/a b": "file:///no/a%20b", "file:///no/a%20b/": "file:///no/a%20b",
    "file:///no/é": "file:///no/%C3%A9", "file:///no/%c3%a9": "file:///no/%C3%A9", "file:///no/\udc80": "file:///no/%80",
    "file:///no/100%": "file:///no/100%25", "file:///no/%2e%2e/such": "file:///such", "file:///no%2Fsuch": "file:///no/such",
    "file:///no/a?b#c": "file:///no/a%3Fb%23c", "file:////": "file:///", "//no/such": "file:///no/such", "///": "file:///",
    "/no/~x": "file:///no/~x", "/no/100%41": "file:///no/100%2541", "/no/a::b": "file:///no/a%3A%3Ab",
}  # fmt: skip

GOOD = [
    "s3://b", "s3://bucket", "s3://my.bucket-1/runs/2026", "s3://Bucket/~x/a=b/c+d,e", "s3://b/..x", "s3://b/x..", "s3://b/-",
    "gs://b/x", "az://c/x", "memory://m/x", "https://host:443/x", "abfs://c", "file:///", "file:///a/b", "file:///a%20b",
    "file:///a%25b", "file:///%C3%A9", "file:///..a", "file:///~", "a+b-c://x", "s3://b/" + "x" * (MAX_ROOT_CHARS - 7),
]  # fmt: skip


@pytest.mark.usefixtures("tripwire")
@pytest.mark.parametrize("url", [*EVERY_PROTOCOL, *BAD])
def test_bad_urls_are_refused_and_never_repeated(url: str) -> None:
    problem = root_problem(url)
    assert problem is not None
    with pytest.raises(ConfigError) as caught:
        canonical_root(url)
    assert type(caught.value) is ConfigError
    # Not in the chain of causes either: it is what a traceback shows.
    for text in (problem, str(caught.value), repr(caught.value.__cause__)):
        assert SECRET not in text
        assert text.isprintable()


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("abfss://container@account.dfs.core.windows.net/path", "Write az://container/path, and pass account_name"),
        ("sftp://user@host/path", "Write the URL without user and password, and pass username"),
        ("s3://bad bucket", "Pass credentials and endpoints"),
    ],
)
def test_a_refusal_says_what_to_write(url: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        canonical_root(url)


def test_there_are_enough_bad_urls() -> None:
    assert len(set(BAD)) == len(BAD) >= 150
    assert len(EVERY_PROTOCOL) >= 12 * 50


@pytest.mark.usefixtures("tripwire")
@pytest.mark.parametrize(("url", "canonical"), LAX.items())
def test_lax_urls_are_refused_in_pointers_and_made_canonical_for_users(url: str, canonical: str) -> None:
    assert root_problem(url) is not None
    assert canonical_root(url) == canonical
    assert root_problem(canonical) is None


@pytest.mark.parametrize("root", GOOD)
def test_good_roots_stay_as_they_are(root: str) -> None:
    assert root_problem(root) is None
    assert canonical_root(root) == root


@pytest.mark.parametrize(
    "value", [None, 1, b"/x", b"s3://b", "", [], {"url": SECRET}, ("s3://b",), type("P", (), {})()]
)
def test_other_types_than_string_or_path_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        canonical_root(value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "s3:/b",
        "s3:b",
        "C:\\x",
        "C:/x",
        "a:b",
        f"user:{SECRET}@host/x",
        "simplecache::/x",
        "file:/x",
        "file:x",
        "data:,x",
    ],
)
def test_what_only_looks_like_a_url_is_not_a_folder(text: str) -> None:
    # pathlib makes "s3:/b" of "s3://b": the data must not go to a local folder of that name.
    for value in (text, pathlib.PurePosixPath(text)):
        with pytest.raises(ConfigError) as caught:
            canonical_root(value)
        assert SECRET not in str(caught.value)


def test_folders_are_resolved(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = canonical_root(tmp_path / "real")
    for url in ("real", "./link", "~/link", "link/../real/", f"file://{tmp_path}/link", pathlib.Path("link")):
        assert canonical_root(url) == expected
    # In a URL a tilde is a name, not a home.
    assert canonical_root("file:///~").endswith("/~")
    assert canonical_root(".") == canonical_root(tmp_path)


def test_a_working_directory_that_is_gone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError):
        canonical_root("x")


def test_an_object_with_a_protocol_counts_as_its_url() -> None:
    class Remote(os.PathLike[str]):
        protocol = "s3"

        def __str__(self) -> str:
            return "s3://bucket/x/"

        def __fspath__(self) -> str:
            return "/cache/of/bucket"

    assert canonical_root(Remote()) == "s3://bucket/x"


# Any name that a folder may have, in bytes: all but the separators and control characters.
FOLDER_NAMES = st.binary(min_size=1, max_size=60).filter(
    lambda name: name not in (b".", b"..") and not any(b < 0x20 or b in b"/\\\x7f" for b in name)
)


@given(
    st.lists(FOLDER_NAMES | st.sampled_from([b"a b", b"%", b"%41", b"~", b"\xff", "é".encode(), b"a::b"]), max_size=4)
)
def test_any_folder_name_round_trips(names: list[bytes]) -> None:
    # Below a folder that does not exist, so that no link is involved.
    folder = os.fsdecode(b"/".join([b"/no-such-folder", *names]))
    root = canonical_root(folder)
    assert root_problem(root) is None
    assert local_path(root) == folder
    assert canonical_root(root) == root
    assert scheme_of(root) == "file"


@given(
    st.text(max_size=80)
    | st.tuples(st.sampled_from(["s3://", "file:///", "gcs://b/", "FILE:", "/"]), st.text()).map("".join)
)
def test_canonical_root_is_idempotent_and_has_no_problem(text: str) -> None:
    try:
        root = canonical_root(text)
    except ConfigError:
        return
    assert root_problem(root) is None
    assert root.isascii()
    assert canonical_root(root) == root


@given(st.text(alphabet=st.characters(), max_size=60) | st.text("s3:file/%.~a \n\\@?#2eE0", max_size=30))
def test_root_problem_never_raises_and_passes_only_the_canonical(text: str) -> None:
    if root_problem(text) is None:
        assert canonical_root(text) == text


@pytest.mark.parametrize(
    ("root", "allowed", "expected"),
    [
        ("s3://data", "s3://data", True),
        ("s3://data/runs", "s3://data", True),
        ("s3://data/runs/1", "s3://data/runs", True),
        ("s3://data", "s3://data/runs", False),
        # A prefix of the string is not a parent folder.
        ("s3://database", "s3://data", False),
        ("s3://data/runs2", "s3://data/runs", False),
        ("s3://data.evil", "s3://data", False),
        ("s3://data:80", "s3://data", False),
        ("gs://data", "s3://data", False),
        ("s3://DATA/x", "s3://data", False),
        ("s3://anything/x", "s3://*", True),
        ("s3x://anything", "s3://*", False),
        ("s3+x://anything", "s3://*", False),
        ("gs://anything", "s3://*", False),
        ("file:///etc", "s3://*", False),
        ("file:///srv/x", "file:///srv", True),
        ("file:///srv", "file:///srv", True),
        ("file:///srv2", "file:///srv", False),
        ("file:///srv%2Fx", "file:///srv", False),
        ("file:///srv/x", "file:///", True),
        ("file:///", "file:///", True),
        ("file:///", "file:///srv", False),
        ("s3://data", "file:///", False),
        ("s3://data", "://*", False),
        ("s3://data", "", False),
        ("s3://data", "*", False),
        ("s3://data", "s3://", False),
        ("s3://data", "s3://data/*", False),
        ("s3://data", "s3://da*", False),
        ("s3://data", "S3://*", False),
    ],
)
def test_is_under(root: str, allowed: str, *, expected: bool) -> None:
    assert is_under(root, allowed) is expected


@pytest.mark.parametrize(
    "allowed", ["*", "://*", "S3://*", "s3://b://*", "s3a://*", "local://*", "s3://*/", "s3://*\n", "s3://**"]
)
def test_only_a_scheme_and_a_star_are_a_wildcard(allowed: str) -> None:
    assert not is_wildcard(allowed)
    assert is_wildcard("s3://*")
    assert root_problem("s3://*") is not None, "a pointer can't hold a wildcard"


FILE_ROOTS = st.lists(FOLDER_NAMES, max_size=3).map(
    lambda names: canonical_root(os.fsdecode(b"/" + b"/".join([b"no-such-folder", *names] if names else [])))
)
SEGMENTS = st.text("ab.~=+,-_0", min_size=1, max_size=5).filter(lambda segment: segment not in (".", ".."))
REMOTE_ROOTS = st.tuples(
    st.sampled_from(["s3", "gs", "az"]), st.sampled_from(["old", "new", "a.b"]), st.lists(SEGMENTS, max_size=3)
).map(lambda parts: f"{parts[0]}://{'/'.join([parts[1], *parts[2]])}")
ROOTS = FILE_ROOTS | REMOTE_ROOTS | st.just("file:///")


def below_root(root: str, names: list[str]) -> str:
    return root if not names else "/".join([root if root != "file:///" else "file://", *names])


@given(ROOTS, ROOTS, st.lists(SEGMENTS | FOLDER_NAMES.map(lambda name: quote(name, "._~=+,-")), max_size=3))
def test_an_alias_leads_to_the_same_path_below_the_new_root_or_is_refused(old: str, new: str, below: list[str]) -> None:
    root = below_root(old, below)
    assume(root_problem(root) is None)
    try:
        moved = resolve_alias(root, {old: new})
    except PolicyError:
        # Only a file root can hold percent-encoded names, and no root is longer than 1,024 characters.
        assert "%" in "/".join(below) or len(new) + len(root) > 1000
        return
    assert root_problem(moved) is None
    assert is_under(moved, new)
    assert moved == below_root(new, below)
    # And back again.
    assert resolve_alias(moved, {new: old}) == root


@given(ROOTS, ROOTS, ROOTS)
def test_an_alias_concerns_only_what_is_under_it(root: str, old: str, new: str) -> None:
    assume(not is_under(root, old))
    assert resolve_alias(root, {old: new}) == root


@pytest.mark.parametrize(
    ("root", "moved", "expected"),
    [
        ("s3://b/x", {"s3://b": "file:///"}, "file:///x"),
        ("s3://b", {"s3://b": "file:///"}, "file:///"),
        ("file:///", {"file:///": "s3://b"}, "s3://b"),
        ("file:///x/y", {"file:///": "s3://b/c"}, "s3://b/c/x/y"),
        ("file:///x/y", {"file:///x": "file:///"}, "file:///y"),
        ("s3://bx", {"s3://b": "s3://c"}, "s3://bx"),
        ("file:///old/a%20b", {"file:///old": "s3://b"}, None),
        ("file:///old/%2E%2E", {"file:///old": "s3://b"}, None),
        ("s3://b/..", {"s3://b": "s3://c"}, None),
        ("s3://b/" + "x" * 1000, {"s3://b": "s3://" + "c" * 30}, None),
    ],
)
def test_aliases(root: str, moved: dict[str, str], expected: str | None) -> None:
    if expected is not None:
        assert resolve_alias(root, moved) == expected
        return
    with pytest.raises(PolicyError) as caught:
        resolve_alias(root, moved)
    assert caught.value.kind == "policy-root"
    assert "Nothing was fetched" in caught.value.message


@pytest.mark.parametrize("url", ["memory://", "memory:///x", "s3://", "gs:///x"])
def test_a_url_without_a_name_says_where_it_belongs(url: str) -> None:
    with pytest.raises(ConfigError, match=f"no host or bucket name, as in {scheme_of(url)}://name"):
        canonical_root(url)


@pytest.mark.parametrize("scheme", ["s3", "s3a", "gs", "az"])
def test_an_endpoint_is_not_a_bucket(scheme: str) -> None:
    with pytest.raises(
        ConfigError, match=r"a bucket name has no port. Pass credentials and endpoints in storage_options"
    ):
        canonical_root(f"{scheme}://localhost:9000/bucket")
    assert canonical_root("sftp://host:2222/path") == "sftp://host:2222/path"
