"""Serializer of last resort: pickle, protocol 5, with large buffers out of band in one container.

Memory of numpy, Arrow and pandas, nested anywhere, is written and mapped back without a copy.
Objects that pickle would change silently (an open file, a memoryview) are refused.
"""

from __future__ import annotations

import io
import pickle
import sys
import traceback
import types
from typing import Any, ClassVar

from ..._buffers import as_bytes
from ..._typenames import class_name
from ...errors import DecodeError, EncodeError
from .. import _restore
from .._base import Encoded
from .._container import pack, unpack
from .._imports import import_module
from .._versions import describe_mismatch, versions_here
from .diagnose import contains, find_unpicklable
from .pickler import Stream, dump, dump_by_value

__all__ = ["PickleSerializer", "pickle_container"]

OUT_OF_BAND_FROM_BYTES = 4096
"""Smaller buffers stay in the pickle stream: their padding would cost more than a copy."""

_PLAIN_MEMORY = (bytes, bytearray, memoryview)
"""What a user may have put into a PickleBuffer. Those over other memory come from the reductions of packages."""

_BUFFER_BYTES = 256 * 1024


class PickleSerializer:
    """Serializer of any object that cloudpickle can store without changing it.

    Functions and classes of ``__main__``, lambdas and closures are stored by value.

    Notes
    -----
    Cost of saving: one pass over the object; buffers of 4 KiB and more are not copied.
    Cost of loading: buffers are views of the object's memory.
    """

    id = "pickle/1"
    executable = True

    def encode(self, obj: Any) -> Encoded:
        """Return `obj` as a container.

        Raises
        ------
        EncodeError
            `obj` or a part of it cannot be stored exactly; the message names the path.
        """
        try:
            return pickle_container(obj)
        except Exception as error:
            path, inner = find_unpicklable(obj, _dump)
            raise EncodeError(
                f"{path} ({class_name(type(inner))}) cannot be stored: {_describe_error(error)}. Exclude it, "
                "for example in __getstate__, and recreate it after loading.",
                path=path,
            ) from error

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:  # noqa: ARG002
        """Return the object in the container `buffer`. Runs the pickle."""
        meta, head, buffers = unpack(buffer)
        written = meta["versions"]
        minor = f"{sys.version_info[0]}.{sys.version_info[1]}."
        if meta["code"] and not written["python"].startswith(minor):
            # Bytecode of another Python version crashes the process when it is called.
            raise DecodeError(
                f"The object contains compiled functions and was {describe_mismatch(written)}.", kind="code-version"
            )
        unpicklers: list[Any] = (
            [_ReadOnlyUnpickler, _PatientReadOnlyUnpickler] if buffer.readonly else [_Unpickler, _PatientUnpickler]
        )
        for unpickler in unpicklers:
            try:
                return unpickler(_file(head), buffers=buffers).load()
            except Exception as error:
                if unpickler is unpicklers[0] and _is_in_hash(error):
                    continue
                raise DecodeError(
                    f"Cannot load the pickle: {_describe_error(error)}; it was {describe_mismatch(written)}."
                ) from error
        raise AssertionError("the last unpickler returns or raises")


class _Importing:
    """Mix-in that is safe in many threads of a process that has not imported what the pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        import_module(module)
        if (module, name) == ("cloudpickle.cloudpickle", "subimport"):
            return _import_and_return
        return super().find_class(module, name)  # type: ignore[misc]


def _is_in_hash(error: Exception) -> bool:
    return any(frame.f_code.co_name == "__hash__" for frame, _ in traceback.walk_tb(error.__traceback__))


def _import_and_return(name: str) -> types.ModuleType:
    import_module(name)
    return sys.modules[name]


class _Reader(io.RawIOBase):
    """File of the bytes of `content`, which are not copied as a whole."""

    def __init__(self, content: memoryview) -> None:
        self._remaining = content

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        piece = self._remaining[: len(target)]
        target[: piece.nbytes] = piece
        self._remaining = self._remaining[piece.nbytes :]
        return piece.nbytes


def _file(head: memoryview) -> Any:
    """Return `head` as a file; only small ones are copied."""
    if head.nbytes < _BUFFER_BYTES:
        return io.BytesIO(head)
    return io.BufferedReader(_Reader(head), _BUFFER_BYTES)


class _ReadOnly(_Importing):
    """Mix-in that makes every numpy array read-only, including those in the stream and in frames."""

    def __init__(self, file: Any, *, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)  # type: ignore[call-arg]
        self._arrays: list[Any] = []

    def find_class(self, module: str, name: str) -> Any:
        target = super().find_class(module, name)
        ours = module == _restore.__name__ or module.partition(".")[0] == "numpy"
        if not ours or not isinstance(target, (types.FunctionType, types.BuiltinFunctionType)):
            return target

        def call(*args: Any) -> Any:
            value = target(*args)
            # Not numpy's scalars: they are immutable, but have flags.
            if isinstance(value, getattr(sys.modules.get("numpy"), "ndarray", ())):
                self._arrays.append(value)
            return value

        return call

    def load(self) -> Any:
        value = super().load()  # type: ignore[misc]
        for array in self._arrays:
            array.flags.writeable = False
        return value


class _Patient(pickle._Unpickler):
    """Unpickler in Python that adds items to a set or dict at the end if they have no hash yet.

    The hash of an object may need attributes that lead back to the set or dict, which pickle stores first.
    """

    def __init__(self, file: Any, *, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._later: dict[int, tuple[Any, list[Any]]] = {}

    def load(self) -> Any:
        value = super().load()
        for target, items in self._later.values():
            _add(target, items)
        return value

    def _load_items(self: Any) -> None:
        items = self.pop_mark()
        self._store(self.stack[-1], items)

    def _load_item(self: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._store(self.stack[-1], [key, value])

    def _store(self, target: Any, items: list[Any]) -> None:
        # The order of items stays the same: after one that has to wait, all of this dict wait.
        if id(target) not in self._later:
            try:
                _add(target, items)
            except Exception:  # noqa: BLE001  it is raised again at the end
                self._later[id(target)] = target, list(items)
        else:
            self._later[id(target)][1].extend(items)

    dispatch: ClassVar[Any] = pickle._Unpickler.dispatch | {
        pickle.ADDITEMS[0]: _load_items,
        pickle.SETITEMS[0]: _load_items,
        pickle.SETITEM[0]: _load_item,
    }


def _add(target: Any, items: list[Any]) -> None:
    if isinstance(target, set):
        target.update(items)
        return
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[key] = value


class _Unpickler(_Importing, pickle.Unpickler):
    """The unpickler of C."""


class _ReadOnlyUnpickler(_ReadOnly, pickle.Unpickler):
    """The unpickler of C, for read-only objects."""


class _PatientUnpickler(_Importing, _Patient):
    """The unpickler in Python."""


class _PatientReadOnlyUnpickler(_ReadOnly, _Patient):
    """The unpickler in Python, for read-only objects."""


def pickle_container(obj: Any, *, without: Any = None) -> Encoded:
    """Return the pickle of `obj` as a container. Any exception of the pickler propagates.

    Parameters
    ----------
    obj : object
        The object to pickle.
    without : object, optional
        Raise `pickle.PicklingError` if `obj` contains this object.
    """
    stream, buffers, data = _dump(obj, without)
    return pack(
        {"versions": _versions_in(stream), "code": stream.has_code}, [*map(as_bytes, stream.pieces)], buffers, data
    )


def _dump(obj: Any, without: Any = None) -> tuple[Stream, list[memoryview], set[int]]:
    """Return the pickle stream, the buffers out of band, and which of these are data."""
    buffers: list[memoryview] = []
    data: set[int] = set()

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        if buffer is obj or (type(memoryview(buffer).obj) in _PLAIN_MEMORY and contains(obj, buffer)):
            raise pickle.PicklingError("a PickleBuffer would come back as bytes")
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND_FROM_BYTES:
            return True
        # Arrow's buffers may hold offsets, which it follows without checking.
        if type(memoryview(buffer).obj).__module__ == "numpy":
            data.add(len(buffers))
        buffers.append(as_bytes(raw))
        return False

    try:
        stream = dump(obj, keep_in_band, without)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  cloudpickle supports more, or has a better message
        stream = None
    if stream is None:
        buffers.clear()
        data.clear()
        stream = dump_by_value(obj, keep_in_band, without)
    return stream, buffers, data


def _describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ")


def _versions_in(stream: Stream) -> dict[str, str]:
    """Return the versions that matter for `stream`. Other loaded packages must not change the digest of equal content."""
    used = {"python", "cloudpickle"} if stream.has_code else {"python"}
    return {
        name: version
        for name, version in versions_here().items()
        if name in used or any(name.encode() in piece for piece in stream.pieces)
    }
