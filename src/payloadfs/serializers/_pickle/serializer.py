"""Serializer of last resort: pickle, protocol 5, with large buffers out of band in one container.

Memory of numpy, Arrow and pandas, nested anywhere, is written and mapped back without a copy.
Objects that pickle would change silently (an open file, a memoryview) are refused.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

from ..._buffers import as_bytes
from ..._typenames import class_name
from ...errors import DecodeError, EncodeError
from .._base import Encoded
from .._container import pack, unpack
from .._versions import describe_mismatch, versions_here
from .diagnose import contains, find_unpicklable
from .pickler import Stream, dump, dump_by_value
from .unpickler import is_in_hash, load

OUT_OF_BAND_FROM_BYTES = 4096
"""Smaller buffers stay in the pickle stream: their padding would cost more than a copy."""

_PLAIN_MEMORY = (bytes, bytearray, memoryview)
"""What a user may have put into a PickleBuffer. Packages' reductions create those over other memory."""


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
                "The object contains compiled functions, which only the same minor version of Python can load: it was "
                f"{describe_mismatch(written)}.",
                kind="code-version",
            )
        try:
            return load(head, buffers, readonly=buffer.readonly)
        except Exception as error:
            raise DecodeError(
                f"Cannot load the pickle: {_describe_error(error)}; it was {describe_mismatch(written)}."
            ) from error


def pickle_container(obj: Any, *, without: Any = None) -> Encoded:
    """Return the pickle of `obj` as a container. Any exception of the pickler propagates.

    Raise `pickle.PicklingError` if `obj` contains the object `without`.
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
    _refuse_early_hash(stream, buffers)
    return stream, buffers, data


def _refuse_early_hash(stream: Stream, buffers: list[memoryview]) -> None:
    """Raise `pickle.PicklingError` if the hash of an object needs attributes that are loaded after it.

    The attributes may lead back to a frozenset that contains the object. Nothing in the stream shows this, so the
    stream is loaded, if that is possible.
    """
    if not stream.may_hash_early:
        return
    try:
        load(memoryview(b"".join(stream.pieces)), [buffer.toreadonly() for buffer in buffers], readonly=True)
    except Exception as error:
        # Any other failure may be due to the read-only buffers, which protect the object that is being saved.
        if is_in_hash(error):
            raise pickle.PicklingError(
                f"the hash of a member of a frozenset in it needs attributes that are loaded later ({error})"
            ) from error


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
