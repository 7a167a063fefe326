"""``run``: loads a program, runs its app, and reports events as they happen."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from typing import Any, Self

from .. import config
from .._threads import available_cores
from ..errors import ConfigError, PayloadError, StoreError, WorkError, is_interrupt
from ..works import App
from ._live import Live, can_draw
from ._loader import assign, load, user_traceback
from ._report import Json, Lines, Report, indented

_EXIT_IDLE = 8
_SIGHUP: int = getattr(signal, "SIGHUP", -1)  # not on Windows
_SHOW_CURSOR = b"\x1b[?25h\n"


def configure_run(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    parser.add_argument("app", metavar="APP.PY", help="the program; APP.PY:NAME if it has several apps")
    parser.add_argument("--store", metavar="URL", help="folder or URL for payloads and state (default: as configured)")
    parser.add_argument("--executor", metavar="URL", help="where works run: dask://host:port (default: this machine)")
    parser.add_argument(
        "--max-workers", metavar="N", type=int, help="how many works run at the same time (default: one per core)"
    )
    parser.add_argument("--resume", metavar="RUN", help="resume a run; 'payloadfs runs' lists the runs")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set an attribute of the flow, or of a work in it (src.rows=10), before it runs; can be repeated; "
        "VALUE is a string unless it is valid JSON",
    )
    parser.add_argument(
        "--send-secrets", action="store_true", help="send keys and credentials to works through the executor"
    )
    parser.add_argument(
        "--grace", metavar="TIME", default="5s", help="how long a stopped work may take to clean up (default: 5s)"
    )
    parser.add_argument("--plain", action="store_true", help="print plain lines, even on a terminal")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.resume is not None and arguments.set:
        raise ConfigError(
            "--set cannot be used with --resume: a resumed run keeps its saved attributes.", kind="set-option"
        )
    if arguments.executor is not None and arguments.max_workers is not None:
        raise ConfigError(
            "--max-workers cannot be used with --executor: it is for works on this machine.", kind="max-workers"
        )
    app = _load(arguments)
    assign(app, arguments.set)
    report = _new_report(arguments, app)
    with _Interrupts() as interrupts:
        with report:
            error = _drive(app, arguments, report)
        failure = None
        if error is not None and not isinstance(error, KeyboardInterrupt):
            failure = _user_error(error, report, in_json=arguments.json)
        if report.has_begun:
            hint = _resume_command(arguments, app.run_name) if error is not None or app.stage == "idle" else ""
            report.end(_stage(app, error), app.message if error is None else "", hint)
    if isinstance(error, KeyboardInterrupt):
        if report.out.lost is not None and not interrupts.is_hangup:
            raise report.out.lost
        return 128 + interrupts.number
    if failure is not None:
        raise failure
    return _EXIT_IDLE if app.stage == "idle" else 0


def _load(arguments: argparse.Namespace) -> App:
    try:
        return load(arguments.app)
    except ConfigError as error:
        for note in getattr(error, "__notes__", ()):
            raise _with_traceback(error, note, in_json=arguments.json) from error
        raise


def _new_report(arguments: argparse.Namespace, app: App) -> Report:
    with config.using(arguments.store):
        root = config.current().url.removeprefix("file://")
    slots = None if arguments.executor else arguments.max_workers or available_cores()
    report_class = Json if arguments.json else Live if can_draw() and not arguments.plain else Lines
    return report_class(root, app.work_names, slots)


def _drive(app: App, arguments: argparse.Namespace, report: Report) -> BaseException | None:
    try:
        app.run(
            store=arguments.store,
            executor=arguments.executor,
            max_workers=arguments.max_workers,
            resume=arguments.resume,
            send_secrets=arguments.send_secrets,
            on_event=report,
            grace_s=arguments.grace,
        )
    except BaseException as error:
        # The flow may raise anything, but it may also end this process.
        if is_interrupt(error) and not isinstance(error, KeyboardInterrupt):
            raise
        return error
    return None


def _stage(app: App, error: BaseException | None) -> str:
    return app.stage if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _resume_command(arguments: argparse.Namespace, run: str) -> str:
    command = ["payloadfs", "run", arguments.app]
    for option in ("store", "executor", "max_workers"):
        value = getattr(arguments, option)
        command += [f"--{option.replace('_', '-')}", str(value)] if value is not None else []
    command += ["--send-secrets"] if arguments.send_secrets else []
    return shlex.join([*command, "--resume", run])


def _user_error(error: BaseException, report: Report, *, in_json: bool) -> PayloadError:
    """Return the error to report to the user, after printing the traceback unless it was printed before."""
    if isinstance(error, WorkError):
        if error.work not in report.reported_failures:
            return _with_traceback(error, "\n".join(getattr(error, "__notes__", ())), in_json=in_json)
        return error
    if isinstance(error, PayloadError):
        from_flow = report.has_begun and not isinstance(error, StoreError)
        return _with_traceback(error, user_traceback(error) if from_flow else "", in_json=in_json)
    failure = WorkError(f"The flow failed: {type(error).__name__}: {error}", kind="flow")
    return _with_traceback(failure, user_traceback(error), in_json=in_json)


def _with_traceback(error: PayloadError, text: str, *, in_json: bool) -> PayloadError:
    if in_json:
        error.message = "\n".join(filter(None, (error.message, text)))
    elif text and sys.stderr is not None:
        print(indented(text), end="", file=sys.stderr)
    return error


class _Interrupts:
    """A block in which Ctrl-C, SIGTERM and SIGHUP stop the run in an orderly way; a second one exits immediately.

    SIGHUP means that the terminal was closed. It never counts as the second, and neither does the SIGINT of an output
    that was lost with the terminal. After ``nohup`` it stays ignored.
    """

    def __init__(self) -> None:
        self.number = signal.SIGINT.value
        self.is_hangup = self._stopping = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
        if _SIGHUP > 0 and signal.getsignal(_SIGHUP) is not signal.SIG_IGN:
            numbers.append(_SIGHUP)
        self._before = {number: signal.signal(number, self._handle) for number in numbers}
        self._terminal = os.dup(2) if sys.stderr is not None and sys.stderr.isatty() else None
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._terminal is not None:
            os.close(self._terminal)

    def _handle(self, number: int, _: object) -> None:
        if number == _SIGHUP:
            self.is_hangup = True
        if self._stopping and self.is_hangup and number != signal.SIGTERM:
            self.number = _SIGHUP
            return
        if self._stopping:
            if self._terminal is not None:
                os.write(self._terminal, _SHOW_CURSOR)
            os._exit(128 + number)
        self._stopping, self.number = True, number
        raise KeyboardInterrupt
