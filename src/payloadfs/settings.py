"""The settings: what each may be, its default, how it is read, checked and shown. One table says it all."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ._buffers import COMPRESSIONS
from ._urls import SIGNED_ROOTS, canonical_root, is_wildcard, scheme_of
from .errors import ConfigError
from .signing import KeyRing

__all__ = [
    "TABLE",
    "Layer",
    "Setting",
    "Settings",
    "checked",
    "descriptors",
    "layer",
    "near",
    "over",
    "own_path",
    "settled",
]

Layer = dict[str, tuple[Any, str]]
"""What one source says: value and origin of each setting that it names."""

_SALT = os.urandom(32)
descriptors: dict[str, str] = {}
"""What was read from descriptors, which can be read only once."""
_HARMLESS = frozenset({"anon", "endpoint", "endpoint_url", "profile", "project", "region", "region_name"})


def _only(test: Callable[[Any], bool], then: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not test(value):
            # Without `then` it is a plain value, which may be repeated.
            raise ConfigError("" if then else f"It is {value!r:.40}.")
        return then(value) if then else value

    return check


def own_path(variable: str, fallback: str, name: str) -> Path | None:
    """Return where the file `name` of this user lies, or None if there is no such place."""
    # A relative value is void, as XDG says, and so is "~" without a home: they would mean the current folder.
    base = os.environ.get(variable, "")
    base = base if os.path.isabs(base) else os.path.expanduser(fallback)
    return Path(base, "payloadfs", name) if os.path.isabs(base) else None


def _copied(options: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: _copied(inner) if isinstance(inner, Mapping) else inner for name, inner in options.items()}


def _masked(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {inner: _masked(value[inner], inner) for inner in value}
    # Even an endpoint may hold a password (user:password@) or a signature (?sig=).
    plain = isinstance(value, str | bool) and not {"@", "?"}.intersection(str(value))
    return value if name in _HARMLESS and plain else "***"


def _json(text: str) -> Any:
    import json

    return json.loads(text)


def _key_lines(text: str) -> Any:
    ring = KeyRing.parse(text.replace(",", "\n"), origin="there")
    return ring if ring.keys else text  # a text is refused


def _key_descriptor(number: str) -> Any:
    # It can be read only once, and its number may then go to another file: what was found stands.
    if number not in descriptors:
        descriptors[number] = ""
        with open(int(number), "rb", closefd=int(number) > 2) as file:
            descriptors[number] = file.read(1 << 20).decode("utf-8", "replace")
    return _key_lines(descriptors[number])


class _Row(NamedTuple):
    """One setting: what it may be; its default; how it is checked, read from a variable and shown."""

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


def _choice(*names: str) -> _Row:
    return _Row(f"one of {', '.join(names)}", lambda: names[0], _only(lambda v: isinstance(v, str) and v in names))


TABLE = {
    "url": _Row(
        "a folder or a URL such as s3://bucket/runs",
        lambda: own_path("XDG_DATA_HOME", "~/.local/share", "objects"),
        canonical_root,
    ),
    "storage_options": _Row(
        "a mapping from texts (as variable: a JSON object)",
        dict,
        _only(lambda v: isinstance(v, Mapping) and all(isinstance(name, str) for name in v), _copied),
        _json,
        _masked,
    ),
    "keys_file": _Row(
        "an absolute path (~ is your home)",
        lambda: own_path("XDG_CONFIG_HOME", "~/.config", "keys"),
        _absolute,
        show=str,
    ),
    "keys": _Row(
        "a KeyRing (as variable: lines that 'payloadfs keys export' prints, or a descriptor to read them from)",
        lambda: None,
        _only(lambda v: v is None or isinstance(v, KeyRing), lambda v: v),
        _key_lines,
        lambda ring: ring and [key.id for key in ring.keys],
        {"PAYLOADFS_KEYS_FD": _key_descriptor},
    ),
    "allowed_roots": _Row(
        "a list of folders, URLs, or 's3://*' (as variable: with commas between)",
        tuple,
        _only(
            lambda v: isinstance(v, list | tuple),
            lambda v: tuple(r if isinstance(r, str) and is_wildcard(r) else canonical_root(r) for r in v),
        ),
        lambda text: [part.strip() for part in text.split(",") if part.strip()],
    ),
    "pickle": _choice("signed", "always", "never"),
    "unsigned": _choice("safe", "never"),
    "max_bytes": _Row("a whole number of bytes, 0 or more, or in code None", lambda: None, _whole_number, _number),
    "verify": _choice("auto", "full"),
    "digest": _choice("blake3", "sha256"),
    "transport": _choice("auto", "obstore", "fsspec"),
    "compression": _choice("none", *COMPRESSIONS),
    "fsync": _Row(
        "True or False (as variable: 1, 0, true or false)",
        lambda: True,
        _only(lambda v: isinstance(v, bool)),
        lambda text: {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text),
    ),
    "cache": _Row(
        "an absolute path (~ is your home), or off",
        lambda: own_path("XDG_CACHE_HOME", "~/.cache", "") or "off",
        lambda v: None if v == "off" else _absolute(v),
        show=lambda folder: str(folder or "off"),
    ),
    "cache_bytes": _Row("a whole number of bytes, 0 or more", lambda: None, _whole_number, _number),
}


class Setting(NamedTuple):
    """One setting as `describe` shows it: secrets masked, and where it came from."""

    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Settings:
    """The settings in force; `repr` tells no secret. Get them from `current`: made by hand they are unchecked.

    Parameters
    ----------
    url, storage_options : str, Mapping of str to Any
        Canonical root under which objects are stored, and options for its store.
    keys_file, keys : Path, KeyRing or None
        The file with the key ring, and the ring that replaces it, if one was given.
    allowed_roots : tuple of str
        Canonical roots, or ``"s3://*"``, that pointers may name besides `url`.
    pickle, unsigned, max_bytes : str, str, int or None
        As in `payloadfs.policy.Policy`; `max_bytes` in bytes, None for no limit.
    verify, digest, fsync : {"auto", "full"}, {"blake3", "sha256"}, bool
        Whether data in a folder of ours is hashed too, with what, and whether objects survive a power cut.
    transport : {"auto", "obstore", "fsspec"}
        What carries the bytes of far stores; see `payloadfs.stores.chosen_transport`.
    compression : {"none", "zstd", "lz4"}
        Of new objects.
    cache, cache_bytes : Path or None, int or None
        Where near copies of far objects lie (None: there are none), and what they may take in bytes
        (None: 10 GiB, or half of what is free on that disk if that is less).
    origins : Mapping of str to str
        Where each setting came from; ``"default"`` if nobody set it.
    """

    url: str
    storage_options: Mapping[str, Any]
    keys_file: Path
    keys: KeyRing | None
    allowed_roots: tuple[str, ...]
    pickle: Literal["signed", "always", "never"]
    unsigned: Literal["safe", "never"]
    max_bytes: int | None
    verify: Literal["auto", "full"]
    digest: Literal["blake3", "sha256"]
    transport: Literal["auto", "obstore", "fsspec"]
    compression: Literal["none", "zstd", "lz4"]
    fsync: bool
    cache: Path | None
    cache_bytes: int | None
    origins: Mapping[str, str]

    @property
    def roots(self) -> tuple[str, ...]:
        """Roots for the policy: wider (signed pointers only) if nobody set `url` or `allowed_roots`."""
        unset = self.origins["url"] == self.origins["allowed_roots"] == "default"
        return (self.url, *self.allowed_roots, *(SIGNED_ROOTS if unset else ()))

    def merged(self, url: Any = None, **settings: Any) -> Settings:
        """Return these settings with some replaced, given and checked as for `configure`."""
        mine = {name: (getattr(self, name), origin) for name, origin in self.origins.items()}
        return settled([mine, layer({"url": url, **settings}, "code")])

    def fingerprint(self) -> str:
        """Return a text that only the same settings have, in this process. It tells no secret."""
        spelled = _spelled([self.roots, *(getattr(self, name) for name in TABLE)])
        return hmac.digest(_SALT, spelled.encode(), "sha256").hex()

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{n}={row.show(getattr(self, n))!r}' for n, row in TABLE.items())})"


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{','.join(sorted(f'{_spelled(name)}:{_spelled(value[name])}' for name in value))}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_spelled, value))}]"
    if isinstance(value, KeyRing):
        return _spelled([key.to_line() for key in value.keys])
    # Anything else, such as a session, is only the same as itself. The settings keep it alive.
    return repr(value) if isinstance(value, str | bytes | float | int | Path | None) else f"<{id(value)}>"


def checked(name: str, value: Any, origin: str, read: Callable[[Any], Any] = lambda value: value) -> tuple[Any, str]:
    """Return `value` of the setting `name` as it is kept, with its origin, or raise `ConfigError`."""
    try:
        return TABLE[name].check(read(value)), origin
    except (TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
        reason = f" {error}".rstrip() if isinstance(error, ConfigError) else ""
    # Not inside the except block: the cause may quote a secret, so it is not chained.
    raise ConfigError(f"The setting {name!r} ({origin}) must be {TABLE[name].allowed}.{reason}", kind="setting-value")


def near(name: str, known: Iterable[str], cutoff: float) -> str:
    """Return a question that names the one of `known` that `name` was meant to be, or nothing."""
    import difflib

    return "".join(f"; did you mean {found!r}?" for found in difflib.get_close_matches(name, known, 1, cutoff))


def layer(given: Mapping[str, Any], origin: str, known: Iterable[str] = tuple(TABLE)) -> Layer:
    """Return what one source says, every name and value checked."""
    for name in given:
        if name not in known:
            raise ConfigError(f"There is no setting {name!r} ({origin}){near(name, known, 0.6)}", kind="setting-name")
    # None names nothing, except where it is a value.
    return {n: checked(n, value, origin) for n, value in given.items() if value is not None or n == "max_bytes"}


def over(weak: Layer, strong: Layer) -> Layer:
    """Lay `strong` over `weak`: keys and credentials do not outlive the file and kind of store they were for."""
    kept = dict(weak)
    if "keys_file" in strong:
        kept.pop("keys", None)
    url, origin = weak.get("url", ("", "default"))
    if "url" in strong and origin != "default" and scheme_of(url) != scheme_of(strong["url"][0]):
        kept.pop("storage_options", None)
    return kept | strong


def settled(layers: Iterable[Layer]) -> Settings:
    """Return the settings that `layers`, weakest first, come to over the defaults."""
    full: Layer = {}
    for layer in layers:
        full = over(full, layer)
    full = {name: full.get(name) or checked(name, row.default(), "default") for name, row in TABLE.items()}
    return Settings(**{n: value for n, (value, _) in full.items()}, origins={n: o for n, (_, o) in full.items()})
