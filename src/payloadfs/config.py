"""Settings: where objects are kept and what is trusted.

Sources, strongest first: arguments of a call, `using`, `configure`, the environment, the TOML file,
defaults. The file is the one that ``PAYLOADFS_CONFIG`` names, else ``payloadfs/config.toml`` in
``$XDG_CONFIG_HOME`` or ``~/.config``; it is read again only when a variable changes. The current
folder is not searched: whoever can write it would choose the trust policy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .settings import TABLE, Layer, Setting, Settings, checked, descriptors, layer, near, over, own_path, settled

__all__ = ["Setting", "Settings", "configure", "current", "describe", "using"]

_Read = tuple[list[bytes | None], list[Layer]]  # the variables as seen, and the layers they led to

_READERS = {name: {f"PAYLOADFS_{name.upper()}": row.read, **row.more} for name, row in TABLE.items()}
_VARIABLES = ("PAYLOADFS_CONFIG", *(variable for readers in _READERS.values() for variable in readers))
_WATCHED = tuple(
    os.fsencode(name) for name in (*_VARIABLES, "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
)


def _environment() -> Layer:
    for name in sorted(set(os.environ).difference(_VARIABLES)):
        # Other tools may have variables of their own, but a mistyped one of ours must not mean "default".
        if name.upper().startswith("PAYLOADFS_") and (meant := near(name.upper(), _VARIABLES, 0.9)):
            raise ConfigError(f"There is no variable {name}{meant}", kind="setting-name")
    # Reversed: of two variables for one setting the first wins.
    set_here = [(n, v, read) for n, readers in _READERS.items() for v, read in readers.items() if os.environ.get(v)]
    return {n: checked(n, os.environ[v], f"environment {v}", read) for n, v, read in reversed(set_here)}


def _file() -> Layer:
    named = os.path.expanduser(os.environ.get("PAYLOADFS_CONFIG", ""))
    path = Path(named) if named else own_path("XDG_CONFIG_HOME", "~/.config", "config.toml")
    try:
        content = path.read_bytes() if path else b""
    except OSError as error:
        if not named and isinstance(error, FileNotFoundError | NotADirectoryError):
            return {}
        raise ConfigError(f"The file {path} can't be read: {error.strerror}.", kind="config-file") from error
    import tomllib

    try:
        return layer(tomllib.loads(content.decode()), f"file {path}", TABLE.keys() - {"keys"})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        # Only the place: the words of the error, and the error as a cause, may quote a secret.
        place = str(error).rpartition("(")[2].rstrip(")")
    raise ConfigError(f"The file {path} is not TOML: {place}.", kind="config-file-format")


class _Scope:
    """What nested `using` say, and the settings that this last came to."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers
        self.memo: tuple[_Read | None, Settings | None] = None, None


class _Process:
    """What `configure` said, and what the sources of the whole process last said."""

    def __init__(self) -> None:
        self.lock, self.scope = threading.Lock(), _Scope()
        self.code: Layer = {}
        self.read: _Read | None = None


_process = _Process()
_scope: ContextVar[_Scope | None] = ContextVar("payloadfs_settings", default=None)


def configure(url: Any = None, **settings: Any) -> Settings:
    """Set settings for the whole process, keep those not named, and return all that are in force here.

    Parameters
    ----------
    url : str or os.PathLike, optional
        Where objects are stored: a folder or any fsspec URL.
    **settings
        Any other parameter of `Settings`. None means "not named", but for `max_bytes`.

    Raises
    ------
    ConfigError
        A name or value is wrong (then nothing was changed), or what another source says is.
    """
    new = layer({"url": url, **settings}, "code")
    if new:
        with _process.lock:
            _process.code, _process.read = over(_process.code, new), None
    return current()


@contextmanager
def using(url: Any = None, **settings: Any) -> Iterator[Settings]:
    """Set settings, as `configure` does, for one ``with`` block of this thread or task.

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
        A source says something wrong; the message names the setting and the source, never a secret.
    """
    scope = _scope.get() or _process.scope
    read = _process.read
    if read is None or read[0] != _seen():
        with _process.lock:
            read = _process.read = _seen(), [_file(), _environment(), _process.code]
    origin, settings = scope.memo
    if settings is None or origin is not read:
        settings = settled([*read[1], *scope.layers])
        scope.memo = read, settings
    return settings


def _seen() -> list[bytes | None]:
    # Not environ.get: it costs a third more, and this runs at every call.
    found: list[bytes | None] = [b"%d" % len(os.environ)]
    for name in _WATCHED:
        try:
            found.append(os.environb[name])
        except KeyError:
            found.append(None)
    return found


def describe() -> list[Setting]:
    """Return every setting in force with its origin; secrets are masked."""
    settings = current()
    return [Setting(n, row.show(getattr(settings, n)), settings.origins[n]) for n, row in TABLE.items()]


def _reset() -> None:
    global _process
    _process = _Process()
    descriptors.clear()


def _forked() -> None:
    # A fork copies locks as they are: one held by another thread would never be freed.
    _process.lock = threading.Lock()


os.register_at_fork(after_in_child=_forked)
