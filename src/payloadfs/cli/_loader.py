"""The user's program: loaded from its file, its app found, its attributes set from the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from ..config import suggestion
from ..errors import ConfigError, PayloadError
from ..works import App
from ..works._component import Component

__all__ = ["assign", "load", "told"]

_MODULE = "payloadfs_app"
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def load(word: str) -> App:
    """Return the app in the file that `word` names, ``app.py`` or ``app.py:name``. Runs the file.

    Its folder becomes the first place where Python looks for modules, as with ``python app.py``.
    What the file defines travels to the processes of works by value.

    Raises
    ------
    ConfigError
        The file fails, or holds no app of that name, or several and none is named.
    FileNotFoundError
        There is no such file.
    """
    path, _, name = word.rpartition(":") if ":" in word and not os.path.exists(word) else (word, "", "")
    path = os.path.abspath(path)
    if os.path.isdir(path) or not path.endswith(".py"):
        raise ConfigError(f"{path} is no Python file: name one that ends in .py.", kind="app")
    with open(path, "rb"):
        pass  # a file that is not there is told as by the other commands
    sys.path.insert(0, os.path.dirname(path))
    sys.argv[:] = [path]
    return _found(_executed(path), os.path.basename(path), name)


def _executed(path: str) -> ModuleType:
    import cloudpickle

    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    cloudpickle.register_pickle_by_value(module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        failure = ConfigError(f"{path} can't be loaded: {type(error).__name__}: {error}", kind="app")
        failure.add_note(told(error))
        raise failure from error
    return module


def _found(module: ModuleType, file: str, name: str) -> App:
    names = {value: name for name, value in vars(module).items() if isinstance(value, App)}
    if name:
        app = vars(module).get(name)
        if not isinstance(app, App):
            meant = suggestion(name, names.values(), 0.6) or f"; its apps: {', '.join(names.values()) or 'none'}."
            raise ConfigError(f"{file} has no App {name!r}{meant}", kind="app")
        return app
    if not names:
        raise ConfigError(f"{file} has no App: write one at its top level, app = App(MyFlow()).", kind="app")
    if len(names) > 1:
        first, others = next(iter(names.values())), ", ".join(names.values())
        raise ConfigError(f"{file} has several apps ({others}): name one, as in {file}:{first}.", kind="app")
    return next(iter(names))


def assign(app: App, words: Sequence[str]) -> None:
    """Assign attributes of the app's works and flows: ``rows=10``, ``src.rows=10``.

    Raises
    ------
    ConfigError
        Such an attribute is not declared. Those before it are assigned.
    """
    places = {place: (part, name) for part in app.flow._tree() for place, name in _places(part)}
    for word in words:
        place, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"--set {word}: write name=value.", kind="set-option")
        if place not in places:
            meant = suggestion(place, places, 0.6) or f"; declared are: {', '.join(places) or 'none'}."
            raise ConfigError(f"--set: there is no attribute {place!r}{meant}", kind="set-option")
        part, name = places[place]
        setattr(part, name, _value(text))


def _places(part: Component) -> Iterator[tuple[str, str]]:
    above = part.name.partition(".")[2]
    return ((f"{above}.{name}".lstrip("."), name) for name in part._values())


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def told(error: BaseException) -> str:
    """Return the traceback of `error` as far as it is about the user's code: without our frames."""
    report = traceback.TracebackException.from_exception(error)
    _strip(report)
    if isinstance(error, PayloadError):
        # What our own errors say is shown anyhow, and what led to them is our matter.
        return "".join(report.stack.format()).rstrip()
    return "".join(report.format() if report.stack else report.format_exception_only()).rstrip()


def _strip(report: traceback.TracebackException | None) -> None:
    while report is not None:
        report.stack[:] = [f for f in report.stack if not f.filename.startswith((_OURS, "<frozen importlib"))]
        _strip(report.__cause__)
        report = report.__context__
