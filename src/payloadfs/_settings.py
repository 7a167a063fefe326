"""The settings: their names, allowed values and defaults in one table, and the settings in force as one object."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from ._buffers import COMPRESSIONS
from ._durations import seconds
from ._log import warn_once
from ._secrets import StaysInProcess, copy_options, fingerprint, masked, public_options
from ._typenames import suggestion
from ._urls import SIGNED_ROOTS, canonical_root, is_wildcard, scheme_of
from .errors import ConfigError
from .pointer import MAX_INLINE_BYTES
from .signing import KeyRing

Compression = Literal["none", "zstd", "lz4"]

Layer = dict[str, tuple[Any, str]]  # value and origin of each setting that one source names

_descriptors: dict[str, str] = {}
"""What was read from descriptors, which can be read only once."""

_DURATION = "a duration such as 3600 (seconds) or '7d'"
_LIMITS = ("max_bytes", "max_age")
_LOCAL = frozenset({"keys", "keys_file", "storage_options", "cache", "cache_bytes"})
"""Settings of one machine: secrets and paths."""


def _only(test: Callable[[Any], bool], convert: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not test(value):
            # Without `convert` it is a plain value, which is not secret.
            raise ConfigError("" if convert else f"It is {value!r:.40}.")
        return convert(value) if convert else value

    return check


def user_path(variable: str, fallback: str, name: str) -> Path | None:
    """Return the path of the user's file `name`, or None without a home."""
    # XDG ignores relative values, and "~" stays as it is without a home: both would mean the current folder.
    base = os.environ.get(variable, "")
    base = base if os.path.isabs(base) else os.path.expanduser(fallback)
    return Path(base, "payloadfs", name) if os.path.isabs(base) else None


def _key_lines(text: str) -> Any:
    ring = KeyRing.parse(text.replace(",", "\n"), origin="this setting")
    return ring if ring.keys else text  # a string is refused


def _key_descriptor(number: str) -> Any:
    # It can be read only once, and its number may then be reused for another file, so the result is kept.
    if number not in _descriptors:
        _descriptors[number] = ""
        with open(int(number), "rb", closefd=int(number) > 2) as file:
            _descriptors[number] = file.read(1 << 20).decode("utf-8", "replace")
    return _key_lines(_descriptors[number])


class _Row(NamedTuple):
    """One setting: allowed values, default, and how it is checked, read from a variable and shown."""

    allowed: str
    default: Callable[[], Any]
    check: Callable[[Any], Any]
    read: Callable[[str], Any] = str
    show: Callable[[Any], Any] = lambda value: value
    more: Mapping[str, Callable[[str], Any]] = {}


_absolute = _only(lambda v: os.path.isabs(os.path.expanduser(v)), lambda v: Path(os.path.expanduser(v)))
_whole_number = _only(lambda v: v is None or (type(v) is int and v >= 0))


def _cache_folder(value: Any) -> Path | None:
    folder = None if value == "off" else _absolute(value)
    if sys.platform == "win32" and folder is not None:
        warn_once("Remote objects are not cached on Windows: the setting 'cache' is ignored.")
        folder = None
    return folder


def _allowed_root(root: Any) -> str:
    if isinstance(root, str) and "*" in root and not is_wildcard(root):
        raise ConfigError("A star stands for all roots of one scheme, as in 's3://*'.")
    return root if isinstance(root, str) and is_wildcard(root) else canonical_root(root)


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _lifetime(value: Any) -> int | None:
    return None if value in (None, "never") else seconds(value)


def _choice(*names: str) -> _Row:
    return _Row(f"one of {', '.join(names)}", lambda: names[0], _only(lambda v: isinstance(v, str) and v in names))


TABLE = {
    "url": _Row(
        "a folder or a URL such as s3://bucket/runs",
        lambda: user_path("XDG_DATA_HOME", "~/.local/share", "objects"),
        canonical_root,
    ),
    "storage_options": _Row(
        "a mapping with strings as keys (in a variable: a JSON object)",
        dict,
        _only(lambda v: isinstance(v, Mapping) and all(isinstance(name, str) for name in v), copy_options),
        json.loads,
        masked,
    ),
    "keys_file": _Row(
        "an absolute path (~ is your home)",
        lambda: user_path("XDG_CONFIG_HOME", "~/.config", "keys"),
        _absolute,
        show=str,
    ),
    "keys": _Row(
        "a KeyRing (in a variable: lines printed by 'payloadfs keys export', or a descriptor to read them from)",
        lambda: None,
        _only(lambda v: v is None or isinstance(v, KeyRing), lambda v: v),
        _key_lines,
        lambda ring: ring and [key.id for key in ring.keys],
        {"PAYLOADFS_KEYS_FD": _key_descriptor},
    ),
    "allowed_roots": _Row(
        "a list of folders, URLs, or 's3://*' (in a variable: separated by commas)",
        tuple,
        _only(
            lambda v: isinstance(v, list | tuple),
            lambda v: tuple(map(_allowed_root, v)),
        ),
        lambda text: [part.strip() for part in text.split(",") if part.strip()],
    ),
    "pickle": _choice("signed", "always", "never"),
    "unsigned": _choice("never", "safe"),
    "max_bytes": _Row(
        "a whole number of bytes, 0 or more (in code, None for no limit)", lambda: None, _whole_number, _number
    ),
    "max_age": _Row(_DURATION, lambda: None, _lifetime, _number),
    "expires": _Row(f"{_DURATION}, or 'never'", lambda: None, _lifetime, _number, lambda v: v or "never"),
    "verify": _choice("auto", "full"),
    "digest": _choice("blake3", "sha256"),
    "transport": _choice("auto", "obstore", "fsspec"),
    "timeout": _Row(
        "a number of seconds, above 0 and at most 1,000,000",
        lambda: 15.0,
        _only(lambda v: type(v) in (int, float) and 0 < v <= 1_000_000),
        float,
    ),
    "compression": _choice("none", *COMPRESSIONS),
    "inline_bytes": _Row(
        f"a whole number of bytes, 0 to {MAX_INLINE_BYTES:,}",
        lambda: 128,
        _only(lambda v: type(v) is int and 0 <= v <= MAX_INLINE_BYTES),
        _number,
    ),
    "fsync": _Row(
        "True or False (in a variable: 1, 0, true or false)",
        lambda: True,
        _only(lambda v: isinstance(v, bool)),
        lambda text: {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text),
    ),
    "cache": _Row(
        "an absolute path (~ is your home), or off",
        lambda: (sys.platform != "win32" and user_path("XDG_CACHE_HOME", "~/.cache", "")) or "off",
        _cache_folder,
        show=lambda folder: str(folder or "off"),
    ),
    "cache_bytes": _Row("a whole number of bytes, 0 or more", lambda: None, _whole_number, _number),
}


class KeywordSettings(TypedDict, total=False):
    """The settings that `Repository` takes by name, for type checkers."""

    keys_file: str | os.PathLike[str] | None
    keys: KeyRing | None
    allowed_roots: list[str] | tuple[str, ...] | None
    pickle: Literal["signed", "always", "never"] | None
    unsigned: Literal["never", "safe"] | None
    max_bytes: int | None
    max_age: int | str | datetime.timedelta | None
    expires: int | str | datetime.timedelta | None
    verify: Literal["auto", "full"] | None
    digest: Literal["blake3", "sha256"] | None
    transport: Literal["auto", "obstore", "fsspec"] | None
    timeout: float | None
    compression: Compression | None
    inline_bytes: int | None
    fsync: bool | None
    cache: str | os.PathLike[str] | None
    cache_bytes: int | None


class SaveOptions(TypedDict, total=False):
    """Options of every call that saves; `Repository.save` describes them. For type checkers."""

    prefix: str | None
    compression: Compression | None
    context: str | None
    expires: int | str | datetime.timedelta | None


class AllKeywordSettings(KeywordSettings, total=False):
    """The settings that `configure` and `using` take by name."""

    storage_options: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Settings(StaysInProcess):
    """Settings in force, as `payloadfs.configure` returns them. The constructor checks nothing.

    `repr` shows no secret, and pickling is refused.

    Parameters
    ----------
    url, storage_options : str, Mapping of str to Any
        Canonical root under which objects are stored, and options for its store.
    keys_file, keys : Path, KeyRing or None
        The file with the key ring, and the ring that replaces it, if one is set.
    allowed_roots : tuple of str
        Canonical roots, or ``"s3://*"``, that pointers may name besides `url`.
    pickle, unsigned, max_bytes, max_age : str, str, int or None, int or None
        As in `payloadfs.policy.Policy`; `max_bytes` in bytes and `max_age` in seconds, None for no limit.
    expires : int or None
        Lifetime of new objects in seconds; None for no limit.
    verify, digest, fsync : {"auto", "full"}, {"blake3", "sha256"}, bool
        Whether large data in a folder that only this user can write to is also hashed on load; the hash function of new
        objects; whether they survive a power cut.
    transport, timeout : {"auto", "obstore", "fsspec"}, float
        For remote stores: the client library, and the limit in seconds for operations without progress.
    compression : {"none", "zstd", "lz4"}
        Compression of new objects.
    inline_bytes : int
        Size of the largest object, encoded, that is kept in its pointer; 0 for none.
    cache, cache_bytes : Path or None, int or None
        Where remote objects are cached (None: nowhere), and the size limit of the cache in bytes
        (None: 10 GiB, or half of the free disk space if that is less).
    origins : Mapping of str to str
        Where each setting came from; ``"default"`` if no source names it.
    """

    url: str
    storage_options: Mapping[str, Any]
    keys_file: Path
    keys: KeyRing | None
    allowed_roots: tuple[str, ...]
    pickle: Literal["signed", "always", "never"]
    unsigned: Literal["never", "safe"]
    max_bytes: int | None
    max_age: int | None
    expires: int | None
    verify: Literal["auto", "full"]
    digest: Literal["blake3", "sha256"]
    transport: Literal["auto", "obstore", "fsspec"]
    timeout: float
    compression: Compression
    inline_bytes: int
    fsync: bool
    cache: Path | None
    cache_bytes: int | None
    origins: Mapping[str, str]

    @property
    def roots(self) -> tuple[str, ...]:
        """Roots for the policy: wider, for signed pointers only, if neither `url` nor `allowed_roots` was set."""
        unset = self.origins["url"] == self.origins["allowed_roots"] == "default"
        return (self.url, *self.allowed_roots, *(SIGNED_ROOTS if unset else ()))

    def merged(self, url: Any = None, **settings: Any) -> Settings:
        """Return these settings with some replaced, passed and checked as for `configure`."""
        mine = {name: (getattr(self, name), origin) for name, origin in self.origins.items()}
        return settled([mine, layer({"url": url, **settings}, "code")])

    def public(self) -> dict[str, Any]:
        """Return what other machines may know: the settings that a source names, without keys and credentials."""
        sent = {name: getattr(self, name) for name in TABLE if self.origins[name] != "default" and name not in _LOCAL}
        # Without configuration, pointers may name more roots; the other process must resolve the same ones.
        sent["allowed_roots"] = list(self.roots[1:])
        return sent | {"url": self.url, "storage_options": public_options(self.storage_options)}

    def received(self, public: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `public` settings of another process, with these settings' credentials for the same kind of store."""
        mine = self.storage_options if scheme_of(self.url) == scheme_of(public["url"]) else {}
        return {**public, "storage_options": {**mine, **public["storage_options"]}}

    def fingerprint(self) -> str:
        """Return a string that is equal only for equal settings of this process. It reveals no secret."""
        values = {name: getattr(self, name) for name in TABLE} | {"keys": self.keys and self.keys.to_text()}
        return fingerprint([self.roots, values])

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{n}={row.show(getattr(self, n))!r}' for n, row in TABLE.items())})"


def checked(name: str, value: Any, origin: str, read: Callable[[Any], Any] = lambda value: value) -> tuple[Any, str]:
    """Return the checked `value` of the setting `name` with its origin, or raise `ConfigError`."""
    try:
        return TABLE[name].check(read(value)), origin
    except (TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
        reason = f" {error}".rstrip() if isinstance(error, ConfigError) else ""
    # Outside the except block, so that the cause, which may quote a secret, is not chained.
    raise ConfigError(f"The setting {name!r} ({origin}) must be {TABLE[name].allowed}.{reason}", kind="setting-value")


def layer(given: Mapping[str, Any], origin: str, known: Iterable[str] = tuple(TABLE)) -> Layer:
    """Return the settings of one source, every name and value checked."""
    for name in given:
        if name not in known:
            meant = suggestion(name, known, 0.6) or f"; the settings are {', '.join(n for n in TABLE if n in known)}"
            raise ConfigError(f"Unknown setting {name!r} ({origin}){meant}", kind="setting-name")
    # None means "not given", except where it removes a limit.
    return {n: checked(n, value, origin) for n, value in given.items() if value is not None or n in _LIMITS}


def overridden(weak: Layer, strong: Layer) -> Layer:
    """Return `weak` overridden by `strong`. A new key file drops keys; a new kind of store drops credentials."""
    kept = dict(weak)
    if "keys_file" in strong:
        kept.pop("keys", None)
    url, origin = weak.get("url", ("", "default"))
    if "url" in strong and origin != "default" and scheme_of(url) != scheme_of(strong["url"][0]):
        kept.pop("storage_options", None)
    return kept | strong


def settled(layers: Iterable[Layer]) -> Settings:
    """Return the settings that follow from `layers`, weakest first, and the defaults."""
    full: Layer = {}
    for layer in layers:
        full = overridden(full, layer)
    full = {name: full.get(name) or checked(name, row.default(), "default") for name, row in TABLE.items()}
    return Settings(**{n: value for n, (value, _) in full.items()}, origins={n: o for n, (_, o) in full.items()})


def forget_descriptors() -> None:
    """Forget what was read from descriptors, as in a new process."""
    _descriptors.clear()
