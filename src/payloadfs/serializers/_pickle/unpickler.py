"""Unpicklers: that of C, and one in Python for objects whose hash needs attributes that are loaded later."""

from __future__ import annotations

import functools
import io
import pickle
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, ClassVar

from .. import _restore
from .._imports import import_module
from .diagnose import contains

_BUFFER_BYTES = 256 * 1024
_SETTERS = (*(f"{_restore.__name__}{end}.set_" for end in ("", "_code")), "cloudpickle.cloudpickle._function_setstate")


def load(head: memoryview, buffers: list[memoryview], *, readonly: bool) -> Any:
    """Return the object in the pickle stream `head`. Runs the pickle; any exception propagates.

    `buffers` are those out of band. With `readonly`, numpy arrays become read-only.
    """
    fast, patient = _UNPICKLERS[readonly]
    try:
        return fast(_file(head), buffers=buffers).load()
    except Exception as error:
        if not is_in_hash(error):
            raise
    return patient(_file(head), buffers=buffers).load()


def is_in_hash(error: BaseException) -> bool:
    """Return whether `error` was raised by the ``__hash__`` of a class."""
    return any(frame.f_code.co_name == "__hash__" for frame, _ in traceback.walk_tb(error.__traceback__))


class _Importing:
    """Mix-in that is safe in many threads of a process that has not imported what the pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        import_module(module)
        if (module, name) == ("cloudpickle.cloudpickle", "subimport"):
            return _import_and_return
        return super().find_class(module, name)  # type: ignore[misc]


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

        @functools.wraps(target)
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
    """Unpickler in Python that fills a set or dict at the end if an item has no hash yet.

    The hash of an object may need attributes that lead back to the set or dict, which pickle stores first.
    """

    def __init__(self, file: Any, *, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._later: dict[int, tuple[Any, Exception, list[Callable[[], None]]]] = {}

    def load(self) -> Any:
        value = super().load()
        for _, _, steps in self._later.values():
            for step in steps:
                step()
        return value

    def find_class(self, module: str, name: str) -> Any:
        target = super().find_class(module, name)
        if target is not _restore.fill:
            return target
        return lambda obj, state: self._try(obj, lambda: _restore.fill(obj, state))

    def _load_reduce(self: Any) -> None:
        # A function that copies a container, as setting attributes does not, would lose the items that wait.
        called = f"{getattr(self.stack[-2], '__module__', '')}.{getattr(self.stack[-2], '__name__', '')}"
        for target, error, _ in self._later.values() if not called.startswith(_SETTERS) else ():
            if contains(self.stack[-1], target):
                raise error
        pickle._Unpickler.load_reduce(self)  # type: ignore[attr-defined]

    def _load_items(self: Any) -> None:
        items = self.pop_mark()
        self._add(self.stack[-1], items)

    def _load_item(self: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._add(self.stack[-1], [key, value])

    def _add(self, target: Any, items: list[Any]) -> None:
        self._try(target, lambda: _add(target, items))

    def _try(self, target: Any, step: Callable[[], None]) -> None:
        # The order of items stays the same: after one that has to wait, all of this container wait.
        if id(target) not in self._later:
            try:
                step()
            except Exception as error:  # noqa: BLE001  it is raised again at the end
                self._later[id(target)] = target, error, [step]
        else:
            self._later[id(target)][2].append(step)

    dispatch: ClassVar[Any] = pickle._Unpickler.dispatch | {
        pickle.REDUCE[0]: _load_reduce,
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


_UNPICKLERS: dict[bool, Any] = {
    readonly: [type("_Unpickler", (mixin, base), {}) for base in (pickle.Unpickler, _Patient)]
    for readonly, mixin in ((False, _Importing), (True, _ReadOnly))
}
"""The unpickler of C and that in Python, for objects that can be written to and for read-only ones."""
