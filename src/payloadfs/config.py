"""Settings: where objects are kept and what is trusted. One table lists them all.

Sources, strongest first: arguments of a call, `using`, `configure`, the environment, the TOML file,
defaults. The file is the one that ``PAYLOADFS_CONFIG`` names, else ``payloadfs/config.toml`` in
``$XDG_CONFIG_HOME`` or ``~/.config``; it is read again only when a variable changes. The current
folder is not searched, because anyone who can write to it could change the trust policy.
"""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from ._buffers import COMPRESSIONS
from ._durations import seconds
from ._forks import on_fork
from ._secrets import StaysInProcess, copy_options, fingerprint, masked, public_options
from ._typenames import suggestion
from ._urls import SIGNED_ROOTS, canonical_root, is_wildcard, scheme_of
from .errors import ConfigError
from .pointer import MAX_INLINE_BYTES
from .signing import KeyRing, read_trusted_file

__all__ = [
    "TABLE",
    "VARIABLES",
    "Compression",
    "KeywordSettings",
    "Setting",
    "Settings",
    "configure",
    "current",
    "describe",
    "reset",
    "using",
]

Compression = Literal["none", "zstd", "lz4"]

_Layer = dict[str, tuple[Any, str]]  # value and origin of each setting that one source names
_Read = tuple[list[bytes | None], list[_Layer]]  # the variables, and the layers that follow from them

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


def _user_path(variable: str, fallback: str, name: str) -> Path | None:
    """Return the path of the user's file `name`, or None without a home."""
    # XDG ignores relative values, and "~" stays as it is without a home: both would mean the current folder.
    base = os.environ.get(variable, "")
    base = base if os.path.isabs(base) else os.path.expanduser(fallback)
    return Path(base, "payloadfs", name) if os.path.isabs(base) else None


def _json(text: str) -> Any:
    import json

    return json.loads(text)


def _key_lines(text: str) -> Any:
    ring = KeyRing.parse(text.replace(",", "\n"), origin="there")
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


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _lifetime(value: Any) -> int | None:
    return None if value in (None, "never") else seconds(value)


def _choice(*names: str) -> _Row:
    return _Row(f"one of {', '.join(names)}", lambda: names[0], _only(lambda v: isinstance(v, str) and v in names))


TABLE = {
    "url": _Row(
        "a folder or a URL such as s3://bucket/runs",
        lambda: _user_path("XDG_DATA_HOME", "~/.local/share", "objects"),
        canonical_root,
    ),
    "storage_options": _Row(
        "a mapping with strings as keys (in a variable: a JSON object)",
        dict,
        _only(lambda v: isinstance(v, Mapping) and all(isinstance(name, str) for name in v), copy_options),
        _json,
        masked,
    ),
    "keys_file": _Row(
        "an absolute path (~ is your home)",
        lambda: _user_path("XDG_CONFIG_HOME", "~/.config", "keys"),
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
            lambda v: tuple(r if isinstance(r, str) and is_wildcard(r) else canonical_root(r) for r in v),
        ),
        lambda text: [part.strip() for part in text.split(",") if part.strip()],
    ),
    "pickle": _choice("signed", "always", "never"),
    "unsigned": _choice("never", "safe"),
    "max_bytes": _Row("a whole number of bytes, 0 or more, or in code None", lambda: None, _whole_number, _number),
    "max_age": _Row(_DURATION, lambda: None, _lifetime, _number),
    "expires": _Row(f"{_DURATION}, or 'never'", lambda: None, _lifetime, _number, lambda v: v or "never"),
    "verify": _choice("auto", "full"),
    "digest": _choice("blake3", "sha256"),
    "transport": _choice("auto", "obstore", "fsspec"),
    "timeout": _Row(
        "a number of seconds above 0", lambda: 15.0, _only(lambda v: type(v) in (int, float) and v > 0), float
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
        lambda: _user_path("XDG_CACHE_HOME", "~/.cache", "") or "off",
        lambda v: None if v == "off" else _absolute(v),
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


class AllKeywordSettings(KeywordSettings, total=False):
    """The settings that `configure` and `using` take by name, for type checkers."""

    storage_options: Mapping[str, Any] | None


class Setting(NamedTuple):
    """One setting as `describe` shows it: secrets masked, with its origin."""

    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Settings(StaysInProcess):
    """Settings in force, from `current`: the constructor does not check. `repr` shows no secret; pickling is refused.

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
        For how many seconds new objects live; None for ever.
    verify, digest, fsync : {"auto", "full"}, {"blake3", "sha256"}, bool
        Whether large data in a folder that only this user can write to is hashed on load, too; the hash
        function of new objects; whether they survive a power cut.
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
        """Return these settings with some replaced, given and checked as for `configure`."""
        mine = {name: (getattr(self, name), origin) for name, origin in self.origins.items()}
        return _settled([mine, _layer({"url": url, **settings}, "code")])

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
        """Return a string that equal settings share in this process, and no others. It reveals no secret."""
        values = {name: getattr(self, name) for name in TABLE} | {"keys": self.keys and self.keys.to_text()}
        return fingerprint([self.roots, values])

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{n}={row.show(getattr(self, n))!r}' for n, row in TABLE.items())})"


def _checked(name: str, value: Any, origin: str, read: Callable[[Any], Any] = lambda value: value) -> tuple[Any, str]:
    """Return the checked `value` of the setting `name` with its origin, or raise `ConfigError`."""
    try:
        return TABLE[name].check(read(value)), origin
    except (TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
        reason = f" {error}".rstrip() if isinstance(error, ConfigError) else ""
    # Outside the except block, so that the cause, which may quote a secret, is not chained.
    raise ConfigError(f"The setting {name!r} ({origin}) must be {TABLE[name].allowed}.{reason}", kind="setting-value")


def _layer(given: Mapping[str, Any], origin: str, known: Iterable[str] = tuple(TABLE)) -> _Layer:
    """Return the settings of one source, every name and value checked."""
    for name in given:
        if name not in known:
            raise ConfigError(f"Unknown setting {name!r} ({origin}){suggestion(name, known, 0.6)}", kind="setting-name")
    # None means "not given", except where it removes a limit.
    return {n: _checked(n, value, origin) for n, value in given.items() if value is not None or n in _LIMITS}


def _over(weak: _Layer, strong: _Layer) -> _Layer:
    """Return `weak` overridden by `strong`. Keys and credentials do not outlive their key file and kind of store."""
    kept = dict(weak)
    if "keys_file" in strong:
        kept.pop("keys", None)
    url, origin = weak.get("url", ("", "default"))
    if "url" in strong and origin != "default" and scheme_of(url) != scheme_of(strong["url"][0]):
        kept.pop("storage_options", None)
    return kept | strong


def _settled(layers: Iterable[_Layer]) -> Settings:
    """Return the settings that follow from `layers`, weakest first, and the defaults."""
    full: _Layer = {}
    for layer in layers:
        full = _over(full, layer)
    full = {name: full.get(name) or _checked(name, row.default(), "default") for name, row in TABLE.items()}
    return Settings(**{n: value for n, (value, _) in full.items()}, origins={n: o for n, (_, o) in full.items()})


_READERS = {name: {f"PAYLOADFS_{name.upper()}": row.read, **row.more} for name, row in TABLE.items()}
VARIABLES = ("PAYLOADFS_CONFIG", *(variable for readers in _READERS.values() for variable in readers))
_WATCHED = tuple(
    os.fsencode(name) for name in (*VARIABLES, "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
)


def _environment() -> _Layer:
    for name in sorted(set(os.environ).difference(VARIABLES)):
        # Other tools may have similar variables, but a misspelled one of ours must not mean "default".
        if name.upper().startswith("PAYLOADFS_") and (meant := suggestion(name.upper(), VARIABLES, 0.9)):
            raise ConfigError(f"Unknown variable {name}{meant}", kind="setting-name")
    # Reversed: of two variables for one setting the first wins.
    set_here = [(n, v, read) for n, readers in _READERS.items() for v, read in readers.items() if os.environ.get(v)]
    return {n: _checked(n, os.environ[v], f"environment {v}", read) for n, v, read in reversed(set_here)}


def _file() -> _Layer:
    named = os.path.expanduser(os.environ.get("PAYLOADFS_CONFIG", ""))
    path = Path(named) if named else _user_path("XDG_CONFIG_HOME", "~/.config", "config.toml")
    try:
        content = read_trusted_file(path, "configuration file", secret=False) if path else b""
    except (FileNotFoundError, NotADirectoryError) as error:
        if not named:
            return {}
        raise ConfigError(f"The configuration file {path} does not exist.", kind="config-file") from error
    import tomllib

    try:
        return _layer(tomllib.loads(content.decode()), f"file {path}", TABLE.keys() - {"keys"})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        # Only the position: the message of the error, and the error as a cause, may quote a secret.
        position = str(error).rpartition("(")[2].rstrip(")")
    raise ConfigError(f"The file {path} is not TOML: {position}.", kind="config-file-format")


class _Scope:
    """The layers of nested `using` blocks, and the settings last computed from them."""

    def __init__(self, *layers: _Layer) -> None:
        self.layers = layers
        self.memo: tuple[_Read | None, Settings | None] = None, None


class _Process:
    """The layer of `configure`, and the last known content of the process's other sources."""

    def __init__(self) -> None:
        self.lock, self.scope = threading.Lock(), _Scope()
        self.code: _Layer = {}
        self.read: _Read | None = None


_process = _Process()
_scope: ContextVar[_Scope | None] = ContextVar("payloadfs_settings", default=None)


def configure(url: str | os.PathLike[str] | None = None, **settings: Unpack[AllKeywordSettings]) -> Settings:
    """Change settings for the whole process, keep the others, and return all that are in force here.

    Parameters
    ----------
    url : str or os.PathLike
        Where objects are stored: a folder or any fsspec URL.
    **settings
        Any other parameter of `Settings`. None means "not given", except for `max_bytes` and `max_age`.

    Raises
    ------
    ConfigError
        A name or value is not valid (then nothing was changed), or another source has an error.
    """
    new = _layer({"url": url, **settings}, "code")
    if new:
        with _process.lock:
            _process.code, _process.read = _over(_process.code, new), None
    return current()


@contextmanager
def using(url: str | os.PathLike[str] | None = None, **settings: Unpack[AllKeywordSettings]) -> Iterator[Settings]:
    """Change settings, as `configure` does, for one ``with`` block of this thread or task.

    Examples
    --------
    >>> with using("s3a://bucket/runs/", pickle="never") as settings:
    ...     settings.url, settings.pickle
    ('s3://bucket/runs', 'never')
    """
    outer = _scope.get() or _process.scope
    token = _scope.set(_Scope(*outer.layers, _layer({"url": url, **settings}, "context")))
    try:
        yield current()
    finally:
        _scope.reset(token)


def current() -> Settings:
    """Return the settings in force here: the same object until something changes.

    Raises
    ------
    ConfigError
        A source has an error; the message names the setting and the source, never a secret.
    """
    scope = _scope.get() or _process.scope
    read = _process.read
    if read is None or read[0] != _variables():
        with _process.lock:
            read = _process.read = _variables(), [_file(), _environment(), _process.code]
    origin, settings = scope.memo
    if settings is None or origin is not read:
        settings = _settled([*read[1], *scope.layers])
        scope.memo = read, settings
    return settings


def _variables() -> list[bytes | None]:
    # Not environ.get: it costs a third more, and this runs with every call.
    values: list[bytes | None] = [b"%d" % len(os.environ)]
    for name in _WATCHED:
        try:
            values.append(os.environb[name])
        except KeyError:
            values.append(None)
    return values


def describe() -> list[Setting]:
    """Return every setting in force with its origin; secrets are masked."""
    mine = current()
    return [Setting(name, row.show(getattr(mine, name)), mine.origins[name]) for name, row in TABLE.items()]


def reset() -> None:
    """Forget what `configure` set and what was read, as in a new process. For tests."""
    global _process
    _process = _Process()
    _descriptors.clear()


@on_fork
def _after_fork() -> None:
    # A fork copies locks as they are: a lock held by another thread would never be released.
    _process.lock = threading.Lock()
