"""The user's program: loads it from its file, finds its app, and assigns attributes from the command line."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from .._typenames import suggestion
from ..errors import ConfigError, PayloadError
from ..works import App
from ..works._program import execute

_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def load(program: str) -> App:
    """Execute a program, ``app.py`` or ``app.py:name``, and return its app.

    As with ``python app.py``, the folder of the program is added at the start of ``sys.path``. The
    program becomes a module that is named after the file; the processes of works import it.

    Raises
    ------
    ConfigError
        The program raises an exception, has no app of that name, or has several apps and no name was given.
    FileNotFoundError
        The file was not found.
    """
    path, _, name = program.rpartition(":") if ":" in program and not os.path.exists(program) else (program, "", "")
    path = os.path.abspath(path)
    if os.path.isdir(path) or not path.endswith(".py"):
        raise ConfigError(f"{path} is not a Python file: specify one that ends in .py.", kind="app")
    with open(path, "rb"):
        pass  # so that a missing file is reported in the same way as by the other commands
    sys.path.insert(0, os.path.dirname(path))
    sys.argv[:] = [path]
    return _find_app(_execute(path), os.path.basename(path), name)


def _execute(path: str) -> ModuleType:
    try:
        return execute(path)
    except Exception as error:
        failure = ConfigError(f"Cannot load {path}: {type(error).__name__}: {error}", kind="app")
        failure.add_note(user_traceback(error))
        raise failure from error


def _find_app(module: ModuleType, file: str, name: str) -> App:
    names = {value: name for name, value in vars(module).items() if isinstance(value, App)}
    if name:
        app = vars(module).get(name)
        if not isinstance(app, App):
            hint = suggestion(name, names.values(), 0.6) or f". Its apps: {', '.join(names.values()) or 'none'}."
            raise ConfigError(f"{file} has no App named {name!r}{hint}", kind="app")
        return app
    if not names:
        raise ConfigError(f"{file} has no App: create one at its top level, as in app = App(MyFlow()).", kind="app")
    if len(names) > 1:
        first, all_names = next(iter(names.values())), ", ".join(names.values())
        raise ConfigError(f"{file} has several apps ({all_names}): select one, as in {file}:{first}.", kind="app")
    return next(iter(names))


def assign(app: App, assignments: Sequence[str]) -> None:
    """Assign attributes of the app's works and flows: ``rows=10``, ``src.rows=10``.

    Raises
    ------
    ConfigError
        An assignment is malformed, or its attribute is not declared. Those before it are done.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment}: write NAME=VALUE.", kind="set-option")
        app.assign(path, _value(text))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def user_traceback(error: BaseException) -> str:
    """Return the traceback of `error` without the frames of payloadfs."""
    report = traceback.TracebackException.from_exception(error)
    _remove_own_frames(report)
    if isinstance(error, PayloadError):
        # The message of an error of payloadfs is printed separately, and its causes are of no use to the user.
        return "".join(report.stack.format()).rstrip()
    return "".join(report.format() if report.stack else report.format_exception_only()).rstrip()


def _remove_own_frames(report: traceback.TracebackException | None) -> None:
    while report is not None:
        report.stack[:] = [
            frame for frame in report.stack if not frame.filename.startswith((_PACKAGE_FOLDER, "<frozen importlib"))
        ]
        _remove_own_frames(report.__cause__)
        report = report.__context__
