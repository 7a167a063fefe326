"""The program file as a module with the same name in the driver and its worker processes.

Classes and functions of the program are then pickled by reference, like those of any module: they keep their
identity in works, in payloads and in a resumed run, and ``multiprocessing``, joblib and other libraries
can pickle them inside works. A program without a file, such as a notebook, has no such module; its
classes are pickled by value.

A worker process imports the program when the first call needs it. Output of the import is
dropped, because the driver has already printed it. `App.run` at the top level ends the import there:
worker processes see the program as the driver had executed it when the app started.
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

_VARIABLE = "_PAYLOADFS_PROGRAM"
"""Environment variable of worker processes and their children: name and path of the program."""


class Program(NamedTuple):
    """Module name and path of the program."""

    name: str
    path: str


class _EndOfImport(BaseException):
    """Control flow: ends the import of the program in a worker process."""


_executed: Program | None = None
_is_importing = False


def execute(path: str) -> ModuleType:
    """Execute the program at the absolute `path` as a module that is named after the file, and return it."""
    global _executed
    _executed = Program(_module_name(path), path)
    spec = importlib.util.spec_from_file_location(*_executed)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_executed.name] = module
    spec.loader.exec_module(module)
    return module


def current() -> Program | None:
    """Return the program of this process, or None if it has no file. In a worker process, return that of its driver."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if _executed is not None or path is None or not path.endswith(".py"):
        return _executed
    path, spec = os.path.abspath(path), getattr(main, "__spec__", None)
    name = _module_name(path) if spec is None else spec.name
    return Program(name if sys.modules.get(name, main) is main else _unusual(name), path)


def adopt_main() -> None:
    """Make ``__main__`` a module under the name of its file, as if the program had been imported.

    Its classes and functions get that name as their ``__module__``. Those of a notebook stay unchanged.
    """
    program = current()
    if program is not None and program is not _executed:
        main = sys.modules["__main__"]
        sys.modules[program.name] = main
        _rename(main, program.name)


def _rename(owner: Any, name: str) -> None:
    for value in list(vars(owner).values()):
        function = getattr(value, "__func__", value)  # of a class method or static method
        if isinstance(function, (type, FunctionType)) and function.__module__ == "__main__":
            function.__module__ = name
            if isinstance(function, type):
                _rename(function, name)
        elif getattr(function, "__dict__", {}).get("__module__") == "__main__":
            function.__module__ = name  # a wrapper, such as that of functools.cache


def _module_name(path: str) -> str:
    """Return the module name, the same in every process: the name of the file, unless it is taken."""
    name = os.path.basename(path).removesuffix(".py").replace(".", "_")
    taken = sys.modules.get(name)
    is_other = taken is not None and taken is not sys.modules.get("__main__") and getattr(taken, "__file__", "") != path
    return _unusual(name) if is_other or name in sys.stdlib_module_names else name


def _unusual(name: str) -> str:
    return f"program_{name.replace('.', '_')}"


@contextmanager
def pickled_by_value() -> Iterator[None]:
    """Pickle classes and functions of the program by value inside the block, for processes that cannot import it."""
    import cloudpickle

    program = current()
    module = sys.modules.get(program.name) if program is not None else None
    if module is None or module.__name__ in cloudpickle.list_registry_pickle_by_value():
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def import_in_worker(program: Program) -> None:
    """Prepare this worker process to import `program` when a call needs it."""
    global _executed
    _executed = Program(*program)
    os.environ[_VARIABLE] = "\n".join(_executed)
    sys.meta_path.insert(0, _Finder(_executed))
    # Processes that multiprocessing spawns execute the main module of their parent again: this one prepares them.
    sys.modules["__main__"].__spec__ = ModuleSpec(f"{__package__}._spawned", None)


def import_in_spawned() -> None:
    """Prepare a process that a work spawned to import the program, as the worker process did."""
    name, path = os.environ[_VARIABLE].split("\n", 1)
    sys.meta_path.insert(0, _Finder(Program(name, path)))


def is_import_for_worker() -> bool:
    """Return whether the caller runs because a worker process, or a child of one, imports the program.

    Where possible, ends the import instead.
    """
    if _is_importing:
        raise _EndOfImport
    path, frame = os.environ.get(_VARIABLE, "").rpartition("\n")[2], sys._getframe(1)
    while path and frame is not None:
        code = frame.f_code
        if code.co_name == "<module>" and code.co_filename == path and frame.f_globals.get("__name__") != "__main__":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class _Finder:
    """An importer of one module from its file, whatever its name and location."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        if name != self._program.name:
            return None
        return importlib.util.spec_from_file_location(*self._program, loader=_Loader(*self._program))


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        global _is_importing
        _is_importing = True
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                super().exec_module(module)
        except _EndOfImport:
            pass  # not an error: `App.run` at the top level ends the import
        finally:
            _is_importing = False
