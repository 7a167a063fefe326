"""Everything else: cloudpickle, protocol 5, with large buffers out of band in one container.

Memory of numpy, Arrow and pandas, nested anywhere, is written as it lies and mapped back without
a copy. What pickle would change silently (an open file, a memoryview) is refused.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types
from typing import Any

from ..buffers import view
from ..errors import DecodeError, EncodeError
from ._base import Encoded
from ._culprit import culprit
from ._frames import pack, unpack
from ._versions import told_apart, versions_here

__all__ = ["PickleSerializer"]

OUT_OF_BAND_FROM_BYTES = 4096
"""Smaller buffers stay inside the pickle stream: a page of padding would cost more than a copy."""

_REFUSED = (io.TextIOWrapper, memoryview)


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
            head, buffers, data, has_code = _dump(obj)
        except Exception as error:
            path, inner = culprit(obj, lambda child: _dump(child)[0])
            raise EncodeError(
                f"{path} ({_type_name(inner)}) can't be stored: {_words(error)}. Leave it out, "
                "for example with __getstate__, and make it anew after loading.",
                path=path,
            ) from error
        meta = {"versions": versions_here(), "code": has_code}
        return pack(meta, head, buffers, data)

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
            return pickle.loads(head, buffers=buffers)
        except Exception as error:
            raise DecodeError(f"The pickle can't be loaded: {_words(error)}; it was {told_apart(written)}.") from error


def _dump(obj: Any) -> tuple[memoryview, list[memoryview], set[int], bool]:
    """Return pickle stream, out-of-band buffers, which of them are data, and whether code is in the stream."""
    buffers: list[memoryview] = []
    data: set[int] = set()

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND_FROM_BYTES:
            return True
        # Arrow keeps offsets in such buffers too, and follows them without a look.
        if type(memoryview(buffer).obj).__module__ == "numpy":
            data.add(len(buffers))
        buffers.append(view(raw))
        return False

    stream = io.BytesIO()
    pickler = _pickler()(stream, protocol=5, buffer_callback=keep_in_band)
    pickler.dump(obj)
    return stream.getbuffer(), buffers, data, pickler.has_code


@functools.cache
def _pickler() -> Any:
    """Return the class of picklers: cloudpickle's, but it refuses what would change and notes compiled code."""
    # cloudpickle is only ever needed to save; readers of data never pay for it.
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        has_code = False

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _REFUSED):
                raise pickle.PicklingError(f"a {_type_name(obj)} is not data that can be copied")
            if type(obj) is types.CodeType:
                self.has_code = True
            return super().reducer_override(obj)

    return Pickler


def _type_name(obj: Any) -> str:
    return f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ")
