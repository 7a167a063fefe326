"""Keys, rings and key files."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import pathlib
import socket
import stat
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payloadfs.errors import ConfigError, SignatureError, UnknownKeyError
from payloadfs.signing import MAC_CHARS, Key, KeyRing, _length_prefixed, read_or_create_keys, write_keys

KEY, OTHER = Key(b"k" * 32), Key(bytes(range(32)))
LINE = KEY.to_line()
FIELDS = st.lists(st.binary(max_size=12) | st.sampled_from([b"1 ", b" ", b"", b"0  ", b"PFSv1 1 "]), max_size=5)


def _independent_mac(secret: bytes, fields: list[bytes]) -> str:
    """HMAC as RFC 2104 writes it, over the encoding as the docs write it: no code is shared with ours."""

    def rfc_2104(key: bytes, message: bytes) -> bytes:
        block = key.ljust(64, b"\0")
        inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + message).digest()
        return hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).digest()

    # RFC 4231's test case 2 says that the few lines above are HMAC-SHA256 (it has no case with our label).
    vector = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert rfc_2104(b"Jefe", b"what do ya want for nothing?").hex() == vector
    message = f"PFSv1 {len(fields)} ".encode()
    for field in fields:
        message += str(len(field)).encode() + b" " + field + b" "
    derived = rfc_2104(secret, b"payloadfs pointer mac v1")
    assert rfc_2104(derived, message) == hmac.new(derived, message, hashlib.sha256).digest()
    return base64.b64encode(rfc_2104(derived, message), altchars=b"-_").decode().rstrip("=")


@given(st.binary(min_size=32, max_size=32), FIELDS)
def test_mac_equals_an_independent_computation(secret: bytes, fields: list[bytes]) -> None:
    mac = Key(secret).mac(fields)
    assert mac == _independent_mac(secret, fields)
    assert len(mac) == MAC_CHARS


def test_mac_and_id_never_change() -> None:
    # Pointers that exist were signed so. Both values come from the command openssl.
    assert KEY.mac([b"a", b"bc"]) == "owq0947XBfvfAXY9GwSU-e3sHuqvUi68LtSvDraXaJc"
    assert KEY.id == "de151a1c"


@given(FIELDS, FIELDS)
def test_different_fields_never_encode_alike(one: list[bytes], two: list[bytes]) -> None:
    assert (_length_prefixed(one) == _length_prefixed(two)) is (one == two)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=4), st.data())
def test_moving_a_border_changes_the_encoding(fields: list[bytes], data: st.DataObject) -> None:
    # The same bytes in a row, cut elsewhere: what a plain concatenation would confuse.
    row = b"".join(fields)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(row)), max_size=3)))
    recut = [row[a:b] for a, b in zip([0, *cuts], [*cuts, len(row)], strict=True)]
    assert (_length_prefixed(recut) == _length_prefixed(fields)) is (recut == fields)


@pytest.mark.parametrize("secret", [b"", b"k", b"k" * 31, b"k" * 33, b"a passphrase"])
def test_a_key_is_32_bytes(secret: bytes) -> None:
    # An empty environment variable must not become a key that everybody has.
    with pytest.raises(ConfigError) as caught:
        Key(secret)
    assert "passphrase" not in str(caught.value)


def test_generated_keys_differ() -> None:
    assert len({Key.generate().secret for _ in range(100)}) == 100


def test_rotation() -> None:
    fields = [b"field"]
    old = KeyRing([KEY])
    signed_old = old.sign(fields)
    rotated = KeyRing([Key(KEY.secret, retired=True), OTHER])
    assert rotated.sign(fields)[0] == OTHER.id != KEY.id
    rotated.verify(*signed_old, fields)
    rotated.verify(*rotated.sign(fields), fields)
    # The first that is not retired signs, wherever it stands; all verify.
    added = KeyRing([OTHER, KEY])
    assert added.sign(fields)[0] == OTHER.id
    added.verify(*signed_old, fields)
    with pytest.raises(UnknownKeyError):
        KeyRing([OTHER]).verify(*signed_old, fields)


@pytest.mark.parametrize("keys", [[], [Key(b"k" * 32, retired=True)]])
def test_nothing_signs_without_a_key_that_may(keys: list[Key]) -> None:
    with pytest.raises(ConfigError, match="payloadfs keys generate") as caught:
        KeyRing(keys).sign([b""])
    assert caught.value.kind == "no-key"


def test_an_unknown_key_is_named_with_the_fix() -> None:
    with pytest.raises(UnknownKeyError) as caught:
        KeyRing([KEY]).verify(OTHER.id, OTHER.mac([b""]), [b""])
    assert caught.value.key_id == OTHER.id
    for words in (repr(OTHER.id), f"payloadfs keys export {OTHER.id}", "payloadfs keys add", "PAYLOADFS_KEYS_FILE"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "mac",
    [
        "",
        "A" * 43,
        KEY.mac([b"b"]),
        OTHER.mac([b"a"]),
        KEY.mac([b"a"])[:-1],
        KEY.mac([b"a"]) + "=",
        "é" * 43,
        "\ud800" * 43,
    ]
    # The last character holds two spare bits: another spelling of the same 32 bytes is another MAC.
    + [KEY.mac([b"a"])[:-1] + c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c != KEY.mac([b"a"])[-1]],
)
def test_a_wrong_mac_is_refused(mac: str) -> None:
    with pytest.raises(SignatureError) as caught:
        KeyRing([KEY]).verify(KEY.id, mac, [b"a"])
    assert type(caught.value) is SignatureError


def test_no_repr_shows_a_secret() -> None:
    ring = KeyRing([KEY, Key(OTHER.secret, retired=True)])
    for text in (repr(KEY), str(KEY), repr(ring), str(ring), f"{ring!r:s}", repr([KEY]), repr({"ring": ring})):
        for key in ring.keys:
            assert repr(key.secret)[2:-1] not in text
            assert key.secret.hex() not in text
            assert key.to_line().split()[1] not in text
    assert KEY.id in repr(ring)


def test_parse_and_write_are_inverse(tmp_path: pathlib.Path) -> None:
    ring = KeyRing([KEY, Key(OTHER.secret, retired=True), Key.generate()])
    write_keys(tmp_path / "new" / "folders" / "keys", ring, replace=False)
    assert read_or_create_keys(tmp_path / "new" / "folders" / "keys", create=False).keys == ring.keys
    assert KeyRing.parse(f"\n# note\n\r\n  {LINE}  \r\n", origin="here").keys == (KEY,)


# Each holds 'hunter2', which no error may repeat.
GARBAGE = {
    "free text": b"hunter2",
    "cut off": LINE[:-1].encode() + b" # hunter2",
    "too long": LINE.encode() + b"hunter2",
    "unknown word": LINE.encode() + b" revoked hunter2",
    "retired twice": LINE.encode() + b" retired retired hunter2",
    "next version": b"payloadfs-key-2 hunter2",
    "two on a line": f"{LINE} {LINE} hunter2".encode(),
    "upper case": LINE.upper().encode() + b"hunter2",
    "standard base64": b"payloadfs-key-1 " + b"hunter2+/" * 4 + b"hunter2",
    "padded": LINE.encode() + b"= hunter2",
    "binary": b"\x7fELF\0hunter2",
    "not UTF-8": b"hunter2\xff\xfe",
    "a key, then bytes that are not UTF-8": LINE.encode() + b"\nhunter2\xff",
    "UTF-16": "hunter2".encode("utf-16"),
    "ssh key": b"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n",
    "JSON": b'{"key": "hunter2"}',
    "indented comment": b" # hunter2",
    "unicode look-alikes": LINE.replace("a", "\u0430").encode() + b"hunter2",
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused_and_never_echoed(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"Line \d+ of the keys from .*keys") as caught:
        read_or_create_keys(path, create=True)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error) + repr(error)
        error = error.__cause__ or error.__context__
    assert path.read_bytes() == content


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o027])
@pytest.mark.parametrize("replace", [True, False])
def test_mode_is_0600_at_every_instant(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, umask: int, *, replace: bool
) -> None:
    modes: list[int] = []

    def note_modes(descriptor: int, real: Any = os.fsync) -> None:
        modes.extend(stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "folder").iterdir())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note_modes)
    before = os.umask(umask)
    try:
        write_keys(tmp_path / "folder" / "keys", KeyRing([KEY]), replace=replace)
    finally:
        os.umask(before)
    # Once for the file, still under its other name, and once for the folder, so that the name lasts.
    assert modes == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    assert [entry.name for entry in (tmp_path / "folder").iterdir()] == ["keys"]


@pytest.mark.parametrize("point", ["fsync", "link"])
def test_a_failed_write_leaves_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, point, fail)
    with pytest.raises(ConfigError, match="No space left") as caught:
        read_or_create_keys(tmp_path / "keys", create=True)
    assert caught.value.kind == "key-file"
    assert list(tmp_path.iterdir()) == []


def test_without_replace_the_first_file_stays(tmp_path: pathlib.Path) -> None:
    write_keys(tmp_path / "keys", KeyRing([KEY]), replace=False)
    write_keys(tmp_path / "keys", KeyRing([OTHER]), replace=False)
    assert read_or_create_keys(tmp_path / "keys", create=True).keys == (KEY,)
    write_keys(tmp_path / "keys", KeyRing([OTHER]), replace=True)
    assert read_or_create_keys(tmp_path / "keys", create=True).keys == (OTHER,)
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]


def test_without_create_a_missing_file_is_an_empty_ring(tmp_path: pathlib.Path) -> None:
    assert read_or_create_keys(tmp_path / "keys", create=False).keys == ()
    assert list(tmp_path.iterdir()) == []


def _make(path: pathlib.Path, kind: str) -> None:
    """Put something at `path` that is no key file of ours alone."""
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "folder":
        path.mkdir(mode=0o700)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path.symlink_to(os.devnull)
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_text(LINE)
        path.chmod(int(kind, 8))


@pytest.mark.timeout(10)  # a FIFO that is opened for reading waits for a writer
@pytest.mark.parametrize(
    "kind", ["fifo", "folder", "socket", "device", "loop", "644", "640", "604", "620", "602", "610", "660"]
)
def test_only_a_private_regular_file_is_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has at most 107 characters
    path = pathlib.Path("keys")
    _make(path, kind)
    open_before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with pytest.raises(ConfigError) as caught:
        read_or_create_keys(path, create=True)
    assert "keys" in str(caught.value)
    if open_before is not None:
        assert len(os.listdir("/proc/self/fd")) == open_before, "a descriptor was left open"


@pytest.mark.parametrize("through_link", [True, False])
def test_a_file_of_someone_else_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *, through_link: bool
) -> None:
    (tmp_path / "theirs").write_text(LINE)
    (tmp_path / "theirs").chmod(0o600)
    (tmp_path / "keys").symlink_to("theirs")
    path = tmp_path / ("keys" if through_link else "theirs")
    # A link to a file of one's own is fine: that is how secrets are often mounted.
    assert read_or_create_keys(path, create=True).keys == (KEY,)
    someone = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: someone)
    with pytest.raises(ConfigError, match="only you can read or write"):
        read_or_create_keys(path, create=True)


RACER = """
import pathlib, sys
from payloadfs.signing import read_or_create_keys
print("ready", flush=True)
sys.stdin.readline()
print(read_or_create_keys(pathlib.Path(sys.argv[1]), create=True).keys[0].id)
"""


def test_racing_processes_end_with_one_key(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "folder" / "keys"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    assert all(racer.stdout is not None and racer.stdout.readline() == "ready\n" for racer in racers)
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    ids = {racer.communicate(timeout=30)[0].strip() for racer in racers}
    assert ids == {read_or_create_keys(path, create=False).keys[0].id}
    assert [entry.name for entry in path.parent.iterdir()] == ["keys"]
