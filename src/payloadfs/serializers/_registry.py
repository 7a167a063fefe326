"""Choice of the serializer for an object: by exact class, base classes, predicate, and finally tree and pickle."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._typenames import SERIALIZER_ID, short_class_name, split_serializer
from ..errors import ConfigError, DecodeError, EncodeError, PayloadError, is_interrupt
from ._base import Encoded, NotExactError, Serializer
from ._compression import Compressed, compress
from ._imports import import_all, import_lock

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


ENTRY_POINTS = "payloadfs.serializers"

_BUILT_IN = {
    "bytes/1": ("_plain", "BytesSerializer", ["builtins.bytes"]),
    "text/1": ("_plain", "TextSerializer", ["builtins.str"]),
    "json/1": (
        "_plain",
        "JsonSerializer",
        [f"builtins.{name}" for name in ("NoneType", "bool", "int", "float", "list", "dict")],
    ),
    "npy/1": ("_numpy", "NumpySerializer", ["numpy.ndarray"]),
    "npy-readonly/1": ("_numpy", "ReadOnlyNumpySerializer", []),
    "arrow-table/1": ("_arrow.tables", "ArrowTableSerializer", ["pyarrow.Table"]),
    "arrow-batch/1": ("_arrow.tables", "ArrowBatchSerializer", ["pyarrow.RecordBatch"]),
    "pandas/1": ("_pandas.serializer", "FrameSerializer", ["pandas.DataFrame"]),
    "pandas-mixed/1": ("_pandas.serializer", "MixedFrameSerializer", []),
    "pandas-series/1": ("_pandas.serializer", "SeriesSerializer", ["pandas.Series"]),
    "polars/1": ("_polars", "PolarsFrameSerializer", ["polars.DataFrame"]),
    "polars-series/1": ("_polars", "PolarsSeriesSerializer", ["polars.Series"]),
    "tree/1": ("_tree.serializer", "TreeSerializer", []),
    "pickle/1": ("_pickle.serializer", "PickleSerializer", []),
}
_BUILT_IN_CLASSES: dict[str, list[str]] = {}
for _id, (_, _, _names) in _BUILT_IN.items():
    for _class in _names:
        _BUILT_IN_CLASSES.setdefault(_class, []).append(_id)
_EXECUTABLE = frozenset({"pandas-mixed/1", "pickle/1"})
_FALLBACKS = ("tree/1", "pickle/1")
_PACKAGES = {"_numpy": ("numpy",), "_arrow.tables": ("pyarrow",), "_polars": ("pyarrow", "polars")} | {
    "_pandas.serializer": ("numpy", "pyarrow", "pandas")
}
"""Packages that a module of serializers imports. They are imported first, by one thread at a time."""


class SerializerRegistry:
    """Mapping of classes and ids to serializers.

    The registry tries the serializers of an object's exact class, then those of its base classes,
    then those with a matching predicate (newest first), then `tree/1`, and finally pickle. It uses the first that
    can store the object exactly. Classes are looked up by name (``"pandas.DataFrame"``: top package
    and class), so choosing a serializer imports nothing.

    Packages add serializers through the entry point group ``payloadfs.serializers``: the entry's
    name is the class, ``"acme.Image"``, its value the `Serializer` or its class. The entry is
    loaded when an object of that class is first saved, or when an unknown id is first read.

    Examples
    --------
    >>> serializer, encoded = SerializerRegistry().encode({"a": [1, 2]})
    >>> serializer.id, bytes(encoded.frames[0])
    ('json/1', b'{"a":[1,2]}')
    """

    def __init__(self) -> None:
        self._by_class: dict[str, list[Serializer]] = {}
        self._predicates: list[tuple[Callable[[Any], bool], Serializer]] = []
        self._by_id: dict[str, Serializer] = {}

    def register(
        self,
        serializer: Serializer,
        *classes: type | str,
        predicate: Callable[[Any], bool] | None = None,
    ) -> None:
        """Add a serializer for objects of `classes` and their subclasses, or for which `predicate` is true.

        Parameters
        ----------
        serializer : Serializer
            Must pass `payloadfs.testing.SerializerTests`.
        *classes : type or str
            Classes, or their names as top package and class, ``"acme.Image"``.
        predicate : callable, optional
            Called with objects that no serializer stored by class.

        Raises
        ------
        ConfigError
            The id is malformed, or taken by another serializer.
        """
        if not SERIALIZER_ID.fullmatch(serializer.id) or split_serializer(serializer.id)[0]:
            raise ConfigError(
                f"{serializer.id!r} is not a valid serializer id; use name/version, for example 'acme-image/1'."
            )
        if serializer.id in _BUILT_IN or self._by_id.get(serializer.id, serializer) is not serializer:
            raise ConfigError(f"The serializer id {serializer.id!r} is already taken.", kind="serializer-id")
        self._by_id[serializer.id] = serializer
        for cls in classes:
            name = cls if isinstance(cls, str) else short_class_name(cls)
            self._by_class.setdefault(name, []).insert(0, serializer)
        if predicate is not None:
            self._predicates.insert(0, (predicate, serializer))

    def copy(self) -> SerializerRegistry:
        """Return an independent registry with the same serializers."""
        twin = SerializerRegistry()
        twin._by_class = {name: list(serializers) for name, serializers in self._by_class.items()}
        twin._predicates = list(self._predicates)
        twin._by_id = dict(self._by_id)
        return twin

    def encode(self, obj: Any, *, compression: str = "none") -> tuple[Serializer, Encoded]:
        """Return the first serializer that stores `obj` exactly, and the encoded object.

        Parameters
        ----------
        obj : object
            The object to store.
        compression : {"none", "zstd", "lz4"}
            Small objects, and those that compression does not shrink, are stored uncompressed.

        Raises
        ------
        EncodeError
            No serializer can store `obj`; the message names the part that fails.
        """
        serializer, encoded = self._encode(obj)
        try:
            return compress(serializer, encoded, compression)
        except ImportError as error:
            raise _missing_package(f"{compression}-{serializer.id}", error) from error

    def _encode(self, obj: Any) -> tuple[Serializer, Encoded]:
        for serializer in self._candidates(obj):
            try:
                return serializer, serializer.encode(obj)
            except NotExactError as declined:
                if declined.instead is not None:
                    return declined.instead
            except ImportError as error:
                raise _missing_package(serializer.id, error) from error
            except Exception:
                raise
            except BaseException as error:
                if is_interrupt(error):
                    raise
                # A panic of Rust is not an `Exception`.
                raise EncodeError(
                    f"Serializer {serializer.id!r} cannot encode the object: {type(error).__name__}: {error}. "
                    "Nothing was written."
                ) from error
        raise AssertionError("pickle declines nothing")

    def by_id(self, serializer_id: str) -> Serializer:
        """Return the serializer with the id `serializer_id`.

        Raises
        ------
        DecodeError
            The id is unknown (``kind="unknown-serializer"``). Nothing was fetched.
        """
        codec, inner = split_serializer(serializer_id)
        if codec and not split_serializer(inner)[0]:
            return Compressed(self.by_id(inner), codec)
        if serializer_id in _BUILT_IN:
            return built_in(serializer_id)
        if serializer_id not in self._by_id:
            for entry in _entry_points().values():
                serializer = _load(entry)
                if serializer.id == serializer_id:
                    return serializer
            raise DecodeError(
                f"Unknown serializer {serializer_id!r}: install the package that provides it, or update payloadfs.",
                kind="unknown-serializer",
            )
        return self._by_id[serializer_id]

    def _candidates(self, obj: Any) -> Iterator[Serializer]:
        for cls in type(obj).__mro__[:-1]:
            name = short_class_name(cls)
            yield from self._by_class.get(name, ())
            if name in _BUILT_IN_CLASSES:
                yield from map(built_in, _BUILT_IN_CLASSES[name])
            elif name in _entry_points():
                yield _load(_entry_points()[name])
        for predicate, serializer in self._predicates:
            if predicate(obj):
                yield serializer
        yield from map(built_in, _FALLBACKS)


def decode(serializer: Serializer, buffer: memoryview, *, trusted: bool, max_bytes: int | None = None) -> Any:
    """Return the object in `buffer`, whose bytes were checked. Any failure becomes a `PayloadError`.

    Objects that would exceed `max_bytes` after decompression are not decompressed. With `trusted`
    false, every serializer refuses what it would not have written.
    """
    try:
        if isinstance(serializer, Compressed):
            buffer = serializer.decompress(buffer, trusted=trusted, max_bytes=max_bytes)
            serializer = serializer.inner
        return serializer.decode(buffer, trusted=trusted)
    except PayloadError:
        raise
    except ImportError as error:
        raise _missing_package(serializer.id, error) from error
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise DecodeError(
            f"Serializer {serializer.id!r} cannot decode the object: {type(error).__name__}: {error}.",
            kind="memory" if isinstance(error, MemoryError) else None,
        ) from error


def _missing_package(serializer_id: str, error: ImportError) -> ConfigError:
    """Return the error for a package that a serializer needs and cannot import."""
    # A package that is installed may conflict with another; only its own message says which.
    problem = f"cannot import a package that it needs: {error}"
    if isinstance(error, ModuleNotFoundError):
        problem = f"needs the package {error.name}, which is not installed: pip install {error.name}"
    return ConfigError(f"Serializer {serializer_id!r} {problem}.", kind="missing-package")


@functools.cache
def built_in(serializer_id: str) -> Serializer:
    """Return the serializer of payloadfs with the id `serializer_id`. Imports nothing until it is used."""
    return _BuiltIn(serializer_id, executable=serializer_id in _EXECUTABLE)


@dataclass(frozen=True)
class _BuiltIn:
    """Serializer of payloadfs whose module, and the packages that it needs, are imported when it is first used."""

    id: str
    executable: bool

    def encode(self, obj: Any) -> Encoded:
        return _import(self.id).encode(obj)

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:
        return _import(self.id).decode(buffer, trusted=trusted)


@functools.cache
def _import(serializer_id: str) -> Serializer:
    module, name, _ = _BUILT_IN[serializer_id]
    import_all(_PACKAGES.get(module, ()))
    with import_lock():
        serializer: Serializer = getattr(importlib.import_module(f".{module}", __package__), name)()
    return serializer


@functools.cache
def _entry_points() -> dict[str, EntryPoint]:
    # Not at the top: it costs as much as all other imports of payloadfs together.
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


@functools.cache
def _load(entry: EntryPoint) -> Serializer:
    with import_lock():
        loaded = entry.load()
    serializer: Serializer = loaded() if isinstance(loaded, type) else loaded
    if serializer.id in _BUILT_IN or not SERIALIZER_ID.fullmatch(serializer.id):
        raise ConfigError(f"The serializer {entry.value!r} has the id {serializer.id!r}, which is invalid or reserved.")
    return serializer
