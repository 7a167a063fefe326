"""Where settings come from.

Strongest first: arguments of a call, `using`, `configure`, the environment, the TOML file,
defaults. The file is the one that ``PAYLOADFS_CONFIG`` names, else ``payloadfs/config.toml`` in
``$XDG_CONFIG_HOME`` or ``~/.config``; it is read again only when a variable changes. The current
folder is not searched, because anyone who can write to it could change the trust policy.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from ._forks import PerProcess
from ._settings import (
    TABLE,
    AllKeywordSettings,
    Layer,
    Settings,
    checked,
    forget_descriptors,
    layer,
    overridden,
    settled,
    user_path,
)
from ._typenames import suggestion
from .errors import ConfigError
from .signing import read_trusted_file

__all__ = [
    "TABLE",
    "VARIABLES",
    "Setting",
    "Settings",
    "config_file",
    "configure",
    "current",
    "describe",
    "reset",
    "using",
]

_Read = tuple[list[Any], list[Layer]]  # the variables, and the layers that follow from them


class Setting(NamedTuple):
    """One setting as `describe` shows it: secrets masked, with its origin."""

    name: str
    value: Any
    origin: str


_READERS = {name: {f"PAYLOADFS_{name.upper()}": row.read, **row.more} for name, row in TABLE.items()}
VARIABLES = ("PAYLOADFS_CONFIG", *(variable for readers in _READERS.values() for variable in readers))
_WATCHED: tuple[Any, ...] = (*VARIABLES, "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
_environ: Mapping[Any, str | bytes]
if sys.platform == "win32":
    _WATCHED, _environ = (*_WATCHED, "USERPROFILE"), os.environ
else:
    # Bytes, because they cost less to look up.
    _WATCHED, _environ = tuple(map(os.fsencode, _WATCHED)), os.environb


def _environment() -> Layer:
    for name in sorted(set(os.environ).difference(VARIABLES)):
        # Other tools may have similar variables, but a misspelled one of ours must not mean "default".
        if name.upper().startswith("PAYLOADFS_") and (meant := suggestion(name.upper(), VARIABLES, 0.9)):
            raise ConfigError(f"Unknown variable {name}{meant}", kind="setting-name")
    # Reversed: of two variables for one setting the first wins.
    set_here = [(n, v, read) for n, readers in _READERS.items() for v, read in readers.items() if os.environ.get(v)]
    return {n: checked(n, os.environ[v], f"environment {v}", read) for n, v, read in reversed(set_here)}


def config_file() -> Path | None:
    """Return the path of the TOML file, whether it exists or not; None without a home folder."""
    named = os.path.expanduser(os.environ.get("PAYLOADFS_CONFIG", ""))
    return Path(named) if named else user_path("XDG_CONFIG_HOME", "~/.config", "config.toml")


def _file() -> Layer:
    path = config_file()
    try:
        content = read_trusted_file(path, "configuration file", secret=False) if path else b""
    except (FileNotFoundError, NotADirectoryError) as error:
        if not os.environ.get("PAYLOADFS_CONFIG"):
            return {}
        raise ConfigError(f"The configuration file {path} does not exist.", kind="config-file") from error
    import tomllib

    try:
        return layer(tomllib.loads(content.decode()), f"file {path}", TABLE.keys() - {"keys"})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        # Only the position: the message of the error, and the error as a cause, may quote a secret.
        position = str(error).rpartition("(")[2].rstrip(")")
    raise ConfigError(f"The file {path} is not TOML: {position}.", kind="config-file-format")


class _Scope:
    """The layers of nested `using` blocks, and the settings last computed from them."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers
        self.memo: tuple[_Read | None, Settings | None] = None, None


class _Process:
    """The layer of `configure`, and the last known content of the process's other sources."""

    def __init__(self) -> None:
        self.scope = _Scope()
        self.code: Layer = {}
        self.read: _Read | None = None


_process = _Process()
_locks = PerProcess(threading.Lock)
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
    new = layer({"url": url, **settings}, "code")
    if new:
        with _locks[os.getpid()]:
            _process.code, _process.read = overridden(_process.code, new), None
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
    token = _scope.set(_Scope(*outer.layers, layer({"url": url, **settings}, "context")))
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
        with _locks[os.getpid()]:
            read = _process.read = _variables(), [_file(), _environment(), _process.code]
    origin, settings = scope.memo
    if settings is None or origin is not read:
        settings = settled([*read[1], *scope.layers])
        scope.memo = read, settings
    return settings


def _variables() -> list[Any]:
    # Not environ.get: it costs a third more, and this runs with every call.
    values: list[Any] = [len(os.environ)]
    for name in _WATCHED:
        try:
            values.append(_environ[name])
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
    forget_descriptors()
