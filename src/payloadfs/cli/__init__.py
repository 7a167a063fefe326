"""The command line: ``payloadfs run | runs | put | get | inspect | ls | keys | cache | doctor | config``."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence

from .. import __version__
from ..errors import (
    ConfigError,
    IntegrityError,
    NotFoundError,
    PayloadError,
    PointerError,
    PolicyError,
    SerializerError,
    WorkError,
)
from . import _cache, _config, _doctor, _inspect, _keys, _objects, _run, _runs
from ._common import printable

__all__ = ["main"]

_EPILOG = """\
for example:
  payloadfs run app.py
  payloadfs put table.csv > pointer.json
  payloadfs get pointer.json -o copy.csv

exit codes:
  0    done
  1    the store or the system failed, or 'doctor' found what has to be mended
  2    wrong usage, or a wrong setting
  3    not found
  4    refused: no pointer, wrong signature, unknown key, or not allowed by the policy
  5    the stored bytes are not those that were saved
  6    the object can't be encoded or decoded here
  7    a work, or the flow itself, failed
  130  interrupted

Where objects lie, keys and trust are settings: environment variables (PAYLOADFS_URL, ...) or a
file; 'payloadfs config show' prints them. Passwords never go on the command line.
"""

_EXIT_CODES: tuple[tuple[type[PayloadError], int], ...] = (
    (ConfigError, 2),
    (NotFoundError, 3),
    (PointerError, 4),
    (PolicyError, 4),
    (IntegrityError, 5),
    (SerializerError, 6),
    (WorkError, 7),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The words behind the program's name; by default those of this process.

    Returns
    -------
    int
        As ``payloadfs --help`` lists them; what went wrong is one sentence on standard error.
    """
    in_json = False
    try:
        _check_stdout()
        try:
            arguments = _parser().parse_args(argv)
            in_json = arguments.json
            with _logging(arguments.verbose):
                code: int = arguments.run(arguments)
        finally:
            _flush_stdout()
    except PayloadError as error:
        return _told(in_json, error.kind, error.message, _exit_code(error))
    except BrokenPipeError:
        # Whoever read our output has enough.
        return 1
    except OSError as error:
        kind = "not-found" if isinstance(error, FileNotFoundError) else "system"
        place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "Reading or writing failed"
        return _told(in_json, kind, f"{place}: {error.strerror or error}.", 3 if kind == "not-found" else 1)
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="payloadfs",
        parents=[_common()],
        description="Objects as small, signed JSON pointers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"payloadfs {__version__}")
    parser.set_defaults(json=False, verbose=False)
    commands = parser.add_subparsers(title="commands", required=True)
    # Options of its own: a parser shares them with its parents, and these defaults would go along.
    common = _common()
    for module in (_run, _runs, _objects, _inspect, _keys, _cache, _doctor, _config):
        module.add_to(commands, common)
    return parser


def _common() -> argparse.ArgumentParser:
    """Return the options that may stand before or behind the command; neither place undoes the other."""
    common, unset = argparse.ArgumentParser(add_help=False), argparse.SUPPRESS
    common.add_argument("--json", action="store_true", default=unset, help="print JSON, errors too")
    common.add_argument(
        "-v", "--verbose", action="store_true", default=unset, help="log each operation to standard error"
    )
    return common


def _check_stdout() -> None:
    # A shell's >&- leaves None there, and what a command prints (the pointer) would be lost without a word.
    if sys.stdout is None:
        raise OSError(errno.EBADF, "closed", "standard output")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that this terminal can't show is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush_stdout() -> None:
    # Here, not at exit, where Python would tell of a full disk or a closed pipe in its own way.
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _exit_code(error: PayloadError) -> int:
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


def _told(in_json: bool, kind: str, message: str, code: int) -> int:
    line = json.dumps({"error": kind, "message": message}) if in_json else f"payloadfs: {printable(message)}"
    # Nobody may be listening on standard error either; print() would take None for standard output.
    if sys.stderr is not None:
        with contextlib.suppress(BrokenPipeError):
            print(line, file=sys.stderr)
    return code


@contextlib.contextmanager
def _logging(verbose: bool) -> Iterator[None]:
    """Let the library's log go to standard error inside the block, if `verbose`."""
    if not verbose:
        yield
        return
    import logging

    logger, handler = logging.getLogger("payloadfs"), logging.StreamHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
