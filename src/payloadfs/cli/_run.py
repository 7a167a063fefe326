"""``run``: a program's app, from its file to its end, with what happens shown as it happens."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from typing import Any, Self

from .. import config
from ..errors import ConfigError, PayloadError, StoreError, WorkError
from ..works import App, Work
from ._common import add_command
from ._live import Live, can_draw
from ._loader import assign, load, told
from ._report import Json, Lines, Report, indented

__all__ = ["add_to"]

_SHOW_CURSOR = b"\x1b[?25h\n"


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the program's parser."""
    run = add_command(
        commands, common, "run", "run the works and flows of a program", "payloadfs run app.py --set rows=1000"
    )
    run.add_argument("app", metavar="APP.PY", help="the program; with several apps in it, APP.PY:NAME")
    run.add_argument("--store", metavar="URL", help="folder or URL for payloads and state; default: as configured")
    run.add_argument("--executor", metavar="URL", help="where works run: dask://host:port; default: on this machine")
    run.add_argument("--max-workers", metavar="N", type=int, help="how many works run at once; default: one a core")
    run.add_argument("--resume", metavar="RUN", help="go on with a run; 'payloadfs runs' lists them")
    run.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="assign an attribute of the flow, or of a part of it (src.rows=10), before it runs; JSON, else text",
    )
    run.add_argument("--send-secrets", action="store_true", help="send keys and credentials through the executor")
    run.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.resume is not None and arguments.set:
        raise ConfigError("--set is for new runs: a resumed one goes on with the attributes it has.", kind="set-option")
    if arguments.executor is not None and arguments.max_workers is not None:
        raise ConfigError("--max-workers is for works on this machine, not for --executor.", kind="max-workers")
    app = _loaded(arguments)
    assign(app, arguments.set)
    report = _report(arguments, app)
    with _Interrupts() as interrupts:
        with report:
            error = _driven(app, arguments, report)
        failure = _explained(error, report, in_json=arguments.json) if isinstance(error, Exception) else None
        if report.has_begun:
            hint = _resume(arguments, app.run_name) if error is not None else ""
            report.end(_stage(error), app.message if error is None else "", hint)
    if isinstance(error, KeyboardInterrupt):
        if report.out.lost is not None:
            raise report.out.lost
        return 128 + interrupts.number
    if failure is not None:
        raise failure
    return 0


def _loaded(arguments: argparse.Namespace) -> App:
    try:
        return load(arguments.app)
    except ConfigError as error:
        for note in getattr(error, "__notes__", ()):
            raise _with_traceback(error, note, in_json=arguments.json) from error
        raise


def _report(arguments: argparse.Namespace, app: App) -> Report:
    with config.using(arguments.store):
        root = config.current().url.removeprefix("file://")
    slots = None if arguments.executor else arguments.max_workers or os.cpu_count()
    kind = Json if arguments.json else Live if can_draw() and not arguments.plain else Lines
    return kind(root, [part.name for part in app.flow._tree() if isinstance(part, Work)], slots)


def _driven(app: App, arguments: argparse.Namespace, report: Report) -> BaseException | None:
    try:
        app.run(
            store=arguments.store,
            executor=arguments.executor,
            max_workers=arguments.max_workers,
            resume=arguments.resume,
            send_secrets=arguments.send_secrets,
            on_event=report,
        )
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  # the flow may raise anything
        return error
    return None


def _stage(error: BaseException | None) -> str:
    return "finished" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _resume(arguments: argparse.Namespace, run: str) -> str:
    words = ["payloadfs", "run", arguments.app]
    for option in ("store", "executor", "max_workers"):
        value = getattr(arguments, option)
        words += [f"--{option.replace('_', '-')}", str(value)] if value is not None else []
    words += ["--send-secrets"] if arguments.send_secrets else []
    return shlex.join([*words, "--resume", run])


def _explained(error: Exception, report: Report, *, in_json: bool) -> PayloadError:
    """Return what the program's user is told, with the traceback unless it was shown already."""
    if isinstance(error, WorkError):
        if error.work not in report.told_failures:
            return _with_traceback(error, "\n".join(getattr(error, "__notes__", ())), in_json=in_json)
        return error
    if isinstance(error, PayloadError):
        inside = report.has_begun and not isinstance(error, StoreError)
        return _with_traceback(error, told(error) if inside else "", in_json=in_json)
    failure = WorkError(f"The flow failed: {type(error).__name__}: {error}", kind="flow")
    return _with_traceback(failure, told(error), in_json=in_json)


def _with_traceback(error: PayloadError, text: str, *, in_json: bool) -> PayloadError:
    if in_json:
        error.message = "\n".join(filter(None, (error.message, text)))
    elif text and sys.stderr is not None:
        print(indented(text), end="", file=sys.stderr)
    return error


class _Interrupts:
    """In its block, Ctrl-C and SIGTERM stop the run in order; the second one ends the process at once."""

    def __init__(self) -> None:
        self.number = signal.SIGINT.value
        self._stopping = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        self._terminal = os.dup(2) if sys.stderr is not None and sys.stderr.isatty() else None
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._terminal is not None:
            os.close(self._terminal)

    def _handle(self, number: int, _: object) -> None:
        if self._stopping:
            if self._terminal is not None:
                os.write(self._terminal, _SHOW_CURSOR)
            os._exit(128 + number)
        self._stopping, self.number = True, number
        raise KeyboardInterrupt
