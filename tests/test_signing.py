"""Keys, rings and key files."""

from __future__ import annotations

import base64
import copy
import errno
import hashlib
import hmac
import os
import pathlib
import pickle
import socket
import stat
import subprocess
import sys
import time
import types
from typing import Any

import cloudpickle
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from payloadfs import signing
from payloadfs.errors import ConfigError, SignatureError, UnknownKeyError
from payloadfs.signing import Key, KeyFile, KeyRing, _length_prefixed, read_keys, read_trusted_file, write_keys
from payloadfs.testing import disk_fault

KEY, OTHER = Key(b"k" * 32), Key(bytes(range(32)))
LINE = KEY.to_line()
FIELDS = st.lists(st.binary(max_size=12) | st.sampled_from([b"1 ", b" ", b"", b"0  ", b"PFSv1 1 "]), max_size=5)


def _independent_mac(secret: bytes, fields: list[bytes]) -> str:
    """HMAC as in RFC 2104, over the encoding as in the docs; shares no code with the package."""

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
    mac = Key(secret).sign(fields)
    assert mac == _independent_mac(secret, fields)
    assert len(mac) == 43


def test_mac_and_id_never_change() -> None:
    # Pointers that exist were signed so. Both values come from the command openssl.
    assert KEY.sign([b"a", b"bc"]) == "owq0947XBfvfAXY9GwSU-e3sHuqvUi68LtSvDraXaJc"
    assert KEY.id == "de151a1c"


@given(FIELDS, FIELDS)
def test_different_fields_never_encode_alike(one: list[bytes], two: list[bytes]) -> None:
    assert (_length_prefixed(one) == _length_prefixed(two)) is (one == two)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=4), st.data())
def test_moving_a_field_boundary_changes_the_encoding(fields: list[bytes], data: st.DataObject) -> None:
    # The same bytes in a row, cut elsewhere: what a plain concatenation would confuse.
    row = b"".join(fields)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(row)), max_size=3)))
    recut = [row[a:b] for a, b in zip([0, *cuts], [*cuts, len(row)], strict=True)]
    assert (_length_prefixed(recut) == _length_prefixed(fields)) is (recut == fields)


@pytest.mark.parametrize("secret", [b"", b"k", b"k" * 31, b"k" * 33, b"a passphrase"])
def test_a_key_is_32_bytes(secret: bytes) -> None:
    # An empty environment variable must not become a key that is the same everywhere.
    with pytest.raises(ConfigError) as caught:
        Key(secret)
    assert "passphrase" not in str(caught.value)


def test_generated_keys_differ() -> None:
    assert len({Key.generate().material for _ in range(100)}) == 100


def test_rotation() -> None:
    fields = [b"field"]
    old = KeyRing([KEY])
    signed_old = old.sign(fields)
    rotated = KeyRing([Key(KEY.material, retired=True), OTHER])
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
def test_signing_needs_a_key_that_is_not_retired(keys: list[Key]) -> None:
    with pytest.raises(ConfigError, match="payloadfs keys generate") as caught:
        KeyRing(keys).sign([b""])
    assert caught.value.kind == "no-key"


def test_an_unknown_key_is_named_with_the_fix() -> None:
    with pytest.raises(UnknownKeyError) as caught:
        KeyRing([KEY]).verify(OTHER.id, OTHER.sign([b""]), [b""])
    assert caught.value.key_id == OTHER.id
    for words in (repr(OTHER.id), f"payloadfs keys export {OTHER.id}", "payloadfs keys add", "PAYLOADFS_KEYS_FILE"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "A" * 43,
        KEY.sign([b"b"]),
        OTHER.sign([b"a"]),
        KEY.sign([b"a"])[:-1],
        KEY.sign([b"a"]) + "=",
        "é" * 43,
        "\ud800" * 43,
    ]
    # The last character holds two spare bits: another spelling of the same 32 bytes is another MAC.
    + [KEY.sign([b"a"])[:-1] + c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c != KEY.sign([b"a"])[-1]],
)
def test_a_wrong_signature_is_refused(signature: str) -> None:
    with pytest.raises(SignatureError) as caught:
        KeyRing([KEY]).verify(KEY.id, signature, [b"a"])
    assert type(caught.value) is SignatureError


def test_no_repr_shows_a_secret() -> None:
    ring = KeyRing([KEY, Key(OTHER.material, retired=True)])
    for text in (repr(KEY), str(KEY), repr(ring), str(ring), f"{ring!r:s}", repr([KEY]), repr({"ring": ring})):
        for key in ring.keys:
            assert repr(key.material)[2:-1] not in text
            assert key.material.hex() not in text
            assert key.to_line().split()[1] not in text
    assert KEY.id in repr(ring)


def test_parse_and_write_are_inverse(tmp_path: pathlib.Path) -> None:
    both = Key.generate("ed25519")
    ring = KeyRing([KEY, Key(OTHER.material, retired=True), Key.generate(), both, both.public])
    write_keys(tmp_path / "new" / "folders" / "keys", ring, replace=False)
    assert read_keys(tmp_path / "new" / "folders" / "keys").keys == ring.keys
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
def test_invalid_content_is_refused_and_never_repeated(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"Line \d+ of the keys from .*keys") as caught:
        KeyFile(path).ring(create=True)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error) + repr(error)
        error = error.__cause__ or error.__context__
    assert path.read_bytes() == content


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o027])
@pytest.mark.parametrize("replace", [True, False])
def test_mode_is_always_0600(
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
def test_a_failed_write_leaves_nothing(tmp_path: pathlib.Path, point: str) -> None:
    with disk_fault(point, errno.ENOSPC), pytest.raises(ConfigError, match="No space left") as caught:
        KeyFile(tmp_path / "keys").ring(create=True)
    assert caught.value.kind == "key-file"
    assert list(tmp_path.iterdir()) == []


def test_without_replace_the_first_file_stays(tmp_path: pathlib.Path) -> None:
    write_keys(tmp_path / "keys", KeyRing([KEY]), replace=False)
    write_keys(tmp_path / "keys", KeyRing([OTHER]), replace=False)
    assert KeyFile(tmp_path / "keys").ring(create=True).keys == (KEY,)
    write_keys(tmp_path / "keys", KeyRing([OTHER]), replace=True)
    assert KeyFile(tmp_path / "keys").ring(create=True).keys == (OTHER,)
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]


def test_without_create_a_missing_file_is_an_empty_ring(tmp_path: pathlib.Path) -> None:
    assert read_keys(tmp_path / "keys").keys == ()
    assert list(tmp_path.iterdir()) == []


def _make(path: pathlib.Path, kind: str) -> None:
    """Create something at `path` that is not a private key file."""
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
        KeyFile(path).ring(create=True)
    assert "keys" in str(caught.value)
    if open_before is not None:
        assert len(os.listdir("/proc/self/fd")) == open_before, "a descriptor was left open"


ME, OTHER_USER, ROOT = 1000, 1001, 0
# (owner, mode, read-only file system) -> may it be read as a key file, as a configuration file?
TRUSTED = {
    (ME, 0o600, False): (True, True),
    (ME, 0o400, False): (True, True),
    (ME, 0o644, False): (False, True),
    (ME, 0o440, False): (False, True),  # the owner can always change the mode
    (ME, 0o444, True): (False, True),
    (ME, 0o620, False): (False, False),
    (ME, 0o602, False): (False, False),
    (ROOT, 0o600, False): (True, True),
    (ROOT, 0o440, False): (True, True),  # Kubernetes, with a group of the pod
    (ROOT, 0o444, False): (True, True),  # Docker
    (ROOT, 0o644, True): (True, True),  # Kubernetes, by default
    (ROOT, 0o644, False): (False, True),
    (ROOT, 0o640, False): (False, True),
    (ROOT, 0o664, True): (False, False),
    (ROOT, 0o666, False): (False, False),
    (OTHER_USER, 0o600, False): (False, False),
    (OTHER_USER, 0o444, True): (False, False),
}


@pytest.mark.parametrize(("owner", "mode", "read_only"), TRUSTED)
def test_which_files_are_trusted(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, *, read_only: bool
) -> None:
    # As Kubernetes mounts a secret: the name is a link, which leads through another link.
    (tmp_path / "..2026_11_28").mkdir()
    (tmp_path / "..2026_11_28" / "keys").write_text(LINE)
    (tmp_path / "..data").symlink_to("..2026_11_28")
    (tmp_path / "keys").symlink_to("..data/keys")
    monkeypatch.setattr(os, "geteuid", lambda: ME)
    real = os.stat(tmp_path / "keys")
    fields = {name: getattr(real, name) for name in dir(real) if name.startswith("st_")}
    fields |= {"st_mode": stat.S_IFREG | mode, "st_uid": owner}
    monkeypatch.setattr(os, "fstat", lambda _: types.SimpleNamespace(**fields))
    monkeypatch.setattr(os, "fstatvfs", lambda _: types.SimpleNamespace(f_flag=os.ST_RDONLY if read_only else 0))
    for secret, expected in zip((True, False), TRUSTED[owner, mode, read_only], strict=True):
        if expected:
            assert read_trusted_file(tmp_path / "keys", "file", secret=secret) == LINE.encode()
            continue
        with pytest.raises(ConfigError, match=r"other user|by others") as caught:
            read_trusted_file(tmp_path / "keys", "file", secret=secret)
        assert caught.value.kind == "file-mode"
        assert str(tmp_path / "keys") in str(caught.value)


def test_a_huge_file_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    os.truncate(path, 1 << 40)
    with pytest.raises(ConfigError, match="1 MiB"):
        read_keys(path)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("age_s", [0, 3600])
def test_a_key_that_is_removed_or_retired_counts_at_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *, in_place: bool, age_s: int
) -> None:
    path = tmp_path / "keys"
    file = KeyFile(path)

    def write(ring: KeyRing) -> None:
        if in_place and path.exists():
            path.write_text(ring.to_text())
        else:
            write_keys(path, ring, replace=True)

    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + age_s * 1_000_000_000)
    for keys in ([KEY, OTHER], [OTHER, KEY], [OTHER], [], [KEY], [Key(KEY.material, retired=True)]):
        write(KeyRing(keys))
        assert file.ring().keys == file.ring().keys == tuple(keys)
    path.unlink()
    assert file.ring().keys == ()


def test_an_unchanged_file_is_not_read_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    write_keys(path, KeyRing([KEY]), replace=False)
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 3_600_000_000_000)
    file = KeyFile(path)
    assert file.ring() is file.ring()
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        file.ring()


SECRET_OBJECTS = {"key": KEY, "ring": KeyRing([KEY]), "public key": Key.generate("ed25519").public}


@pytest.mark.parametrize("name", SECRET_OBJECTS)
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps, pickle._dumps])  # type: ignore[attr-defined]
def test_keys_are_not_pickled(name: str, dumps: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            dumps(SECRET_OBJECTS[name], protocol)
    assert copy.copy(SECRET_OBJECTS[name]) is copy.deepcopy(SECRET_OBJECTS[name]) is SECRET_OBJECTS[name]


# The first test vector of RFC 8032, section 7.1, gives the private and the public half.
RFC_8032 = bytes.fromhex(
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
)


@given(FIELDS)
def test_ed25519(fields: list[bytes]) -> None:
    key = Key(RFC_8032, "ed25519")
    signature = key.sign(fields)
    message = b"payloadfs pointer mac v1" + _length_prefixed(fields)
    raw = base64.urlsafe_b64decode(signature + "==")
    ed25519.Ed25519PublicKey.from_public_bytes(RFC_8032[32:]).verify(raw, message)
    assert len(signature) == 86
    assert key.is_valid(signature, fields)
    assert key.public.is_valid(signature, fields)
    assert not key.public.is_valid(signature, [*fields, b""])


def test_a_public_half_verifies_and_cannot_sign() -> None:
    key = Key.generate("ed25519")
    reader = KeyRing([key.public])
    reader.verify(*KeyRing([key]).sign([b"a"]), [b"a"])
    assert key.public.id == key.id
    assert not key.public.can_sign
    with pytest.raises(ConfigError, match="public") as caught:
        reader.sign([b"a"])
    assert caught.value.kind == "no-key"
    with pytest.raises(ConfigError, match="public key"):
        key.public.sign([b"a"])
    with pytest.raises(ConfigError, match="--kind ed25519"):
        _ = KEY.public
    # A ring may hold both kinds; the first key that can sign signs.
    assert KeyRing([key.public, KEY]).sign([b"a"])[0] == KEY.id


def test_an_ed25519_signature_has_one_spelling() -> None:
    key = Key(RFC_8032, "ed25519")
    signature = key.sign([b"a"])
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = [c for c in last if key.is_valid(signature[:-1] + c, [b"a"])]
    assert accepted == [signature[-1]]
    for wrong in ("", signature[:-1], signature + "=", signature + "A", "A" * 86, "é" * 86, KEY.sign([b"a"])):
        assert not key.is_valid(wrong, [b"a"])


def test_halves_that_do_not_match_do_not_sign() -> None:
    with pytest.raises(ConfigError, match="do not match"):
        Key(RFC_8032[:32] + bytes(32), "ed25519").sign([b""])


def test_ed25519_without_cryptography(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    key = Key(RFC_8032, "ed25519", retired=True)
    signature = key.sign([b"a"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    signing._private_key.cache_clear()
    signing._public_key.cache_clear()
    # The other keys of the file stay usable.
    write_keys(tmp_path / "keys", KeyRing([key, KEY]), replace=False)
    ring = read_keys(tmp_path / "keys")
    assert ring.sign([b"a"])[0] == KEY.id
    for use in (
        lambda: ring.verify(key.id, signature, [b"a"]),
        lambda: Key.generate("ed25519"),
        lambda: Key(RFC_8032, "ed25519").sign([b""]),
    ):
        with pytest.raises(ConfigError, match=r"payloadfs\[crypto\]"):
            use()


@pytest.mark.parametrize("kind", ["rsa", "", None, "HMAC"])
def test_an_unknown_kind_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="kind must be one of"):
        Key(b"k" * 32, kind)


RACER = """
import pathlib, sys
from payloadfs.signing import KeyFile
print("ready", flush=True)
sys.stdin.readline()
print(KeyFile(pathlib.Path(sys.argv[1])).ring(create=True).keys[0].id)
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
    ids = {racer.communicate(timeout=90)[0].strip() for racer in racers}
    assert ids == {read_keys(path).keys[0].id}
    assert [entry.name for entry in path.parent.iterdir()] == ["keys"]
