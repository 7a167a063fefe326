"""Everything else: pickle, protocol 5, with large buffers out of band in one container.

Memory of numpy, Arrow and pandas, nested anywhere, is written as it lies and mapped back without
a copy. What pickle would change silently (an open file, a memoryview) is refused.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
from typing import Any

from ..._buffers import as_bytes
from ...errors import DecodeError, EncodeError
from .. import _restore
from .._base import Encoded
from .._versions import told_apart, versions_here
from .container import pack, unpack
from .diagnose import culprit
from .pickler import Stream, dump, dump_by_value
from .reducers import type_name

__all__ = ["PickleSerializer", "container"]

OUT_OF_BAND_FROM_BYTES = 4096
"""Smaller buffers stay inside the pickle stream: a page of padding would cost more than a copy."""


class PickleSerializer:
    """Stores any object that cloudpickle can, and refuses what it would change.

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
            `obj` or something inside it can't be stored exactly; names the path to it.
        """
        try:
            return container(obj)
        except Exception as error:
            path, inner = culprit(obj, _dump)
            raise EncodeError(
                f"{path} ({type_name(inner)}) can't be stored: {_words(error)}. Leave it out, "
                "for example with __getstate__, and make it anew after loading.",
                path=path,
            ) from error

    def decode(self, buffer: memoryview, *, trusted: bool) -> Any:  # noqa: ARG002
        """Return the object in the container `buffer`. Runs what the pickle says."""
        meta, head, buffers = unpack(buffer)
        written = meta["versions"]
        minor = f"{sys.version_info[0]}.{sys.version_info[1]}."
        if meta["code"] and not written["python"].startswith(minor):
            # Bytecode of another Python would not fail but crash, and only when it is called.
            raise DecodeError(
                f"The object holds compiled functions and was {told_apart(written)}.", kind="code-version"
            )
        try:
            return _ReadOnly(head, buffers).load() if buffer.readonly else pickle.loads(head, buffers=buffers)
        except Exception as error:
            raise DecodeError(f"The pickle can't be loaded: {_words(error)}; it was {told_apart(written)}.") from error


class _ReadOnly(pickle.Unpickler):
    """Loads a pickle and locks every numpy array in it, also those inside the stream and inside frames."""

    def __init__(self, head: memoryview, buffers: list[memoryview]) -> None:
        super().__init__(io.BytesIO(head), buffers=buffers)
        self._arrays: list[Any] = []

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        ours = module == _restore.__name__ or module.partition(".")[0] == "numpy"
        if not ours or not isinstance(found, (types.FunctionType, types.BuiltinFunctionType)):
            return found

        def make(*arguments: Any) -> Any:
            made = found(*arguments)
            if hasattr(made, "flags"):
                self._arrays.append(made)
            return made

        return make

    def load(self) -> Any:
        value = super().load()
        for array in self._arrays:
            array.flags.writeable = False
        return value


def container(obj: Any, *, without: Any = None) -> Encoded:
    """Return the pickle of `obj` as a container, whatever error that takes.

    Parameters
    ----------
    without : object, optional
        It is an error if `obj` holds this object.
    """
    stream, buffers, data = _dump(obj, without)
    return pack({"versions": versions_here(), "code": stream.has_code}, [*map(as_bytes, stream.pieces)], buffers, data)


def _dump(obj: Any, without: Any = None) -> tuple[Stream, list[memoryview], set[int]]:
    """Return the pickle stream, the buffers out of band, and which of these are data."""
    buffers: list[memoryview] = []
    data: set[int] = set()

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND_FROM_BYTES:
            return True
        # Arrow keeps offsets in such buffers too, and follows them without a look.
        if type(memoryview(buffer).obj).__module__ == "numpy":
            data.add(len(buffers))
        buffers.append(as_bytes(raw))
        return False

    try:
        stream = dump(obj, keep_in_band, without)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  cloudpickle can more, or says better what is wrong
        stream = None
    if stream is None:
        buffers.clear()
        data.clear()
        stream = dump_by_value(obj, keep_in_band, without)
    return stream, buffers, data


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ")
