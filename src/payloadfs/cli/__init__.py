"""The command line: ``payloadfs init | run | runs | put | get | ls | rm | gc | verify | inspect | keys | ...``."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
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
    contained,
)
from ._common import add_command, printable

__all__ = ["main"]

_COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": (
        "_init",
        "write the configuration file and a signing key, and print the settings for other machines",
        "payloadfs init s3://acme-payloads/prod",
    ),
    "run": ("_run", "run the works and flows of a program", "payloadfs run app.py --set rows=1000"),
    "runs": ("_runs", "list the runs in the store, oldest first", "payloadfs runs"),
    "put": ("_objects", "store a file and print a pointer to it", "payloadfs put report.pdf > pointer.json"),
    "get": (
        "_objects",
        "write the object that a pointer identifies: bytes and strings unchanged, tables as CSV, others as JSON",
        "payloadfs get pointer.json -o report.pdf",
    ),
    "ls": ("_objects", "list stored objects", "payloadfs ls 2026-11-22"),
    "rm": ("_retention", "delete the objects under a prefix, or one object", "payloadfs rm run-7 --older-than 30d"),
    "gc": (
        "_retention",
        "delete expired objects, and objects that no pointer refers to",
        "payloadfs gc --refs pointers.jsonl --apply",
    ),
    "verify": ("_retention", "read objects back and check every byte", "payloadfs verify pointers.jsonl"),
    "lifecycle": (
        "_retention",
        "print lifecycle rules that make an S3 bucket delete expired objects and abandoned uploads",
        "payloadfs lifecycle --url s3://acme-payloads/prod",
    ),
    "inspect": (
        "_inspect",
        "show a pointer and its object without decoding it",
        "payloadfs inspect pointer.json --verify",
    ),
    "keys": ("_keys", "list, generate, export, add and retire signing keys", "payloadfs keys list"),
    "cache": ("_cache", "show or clear the cache of remote objects", "payloadfs cache info"),
    "doctor": (
        "_doctor",
        "check settings, keys, packages, store and cache, and suggest fixes",
        "payloadfs doctor --write",
    ),
    "config": ("_config", "show the settings", "payloadfs config show"),
}
"""Each command: its module, what it does, and an example. The module is only loaded to run the command or its help."""

_EPILOG = """\
examples:
  payloadfs run app.py
  payloadfs put table.csv > pointer.json
  payloadfs get pointer.json -o copy.csv

exit codes:
  0    success
  1    the store or the system failed, or 'doctor' found a problem
  2    wrong usage or a wrong setting
  3    not found
  4    refused: not a pointer, invalid signature, unknown key, or forbidden by the policy
  5    the stored bytes were changed or damaged
  6    the object cannot be encoded or decoded here
  7    a work or the flow failed
  8    nothing was left to do, but not all works succeeded, and the flow did not call stop()
  130  interrupted

Storage location, keys and policy are settings: environment variables (PAYLOADFS_URL, ...) or a
file. 'payloadfs config show' prints them. Never pass passwords on the command line.
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
        The arguments after the program name. Default: those of this process.

    Returns
    -------
    int
        As listed by ``payloadfs --help``. An error is reported as one sentence on standard error.
    """
    argv = sys.argv[1:] if argv is None else argv
    in_json = False
    try:
        _check_stdout()
        try:
            arguments = _parser(argv).parse_args(argv)
            in_json = arguments.json
            with _logging(arguments.verbose), contained():
                code: int = arguments.run(arguments)
        finally:
            _flush_stdout()
    except PayloadError as error:
        return _print_error(in_json, error.kind, error.message, _exit_code(error))
    except BrokenPipeError:
        # The reader of our output closed the pipe, as `head` does.
        return 1
    except OSError as error:
        kind = "not-found" if isinstance(error, FileNotFoundError) else "system"
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "Reading or writing failed"
        return _print_error(in_json, kind, f"{path}: {error.strerror or error}.", 3 if kind == "not-found" else 1)
    except KeyboardInterrupt:
        return 130
    return code


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser for `argv`: complete for the command in it, with one line of help for each other command."""
    parser = argparse.ArgumentParser(
        prog="payloadfs",
        parents=[_common_options()],
        description="Store Python objects and pass them around as small, signed JSON pointers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"payloadfs {__version__}")
    parser.set_defaults(json=False, verbose=False)
    commands = parser.add_subparsers(title="commands", required=True)
    # A second parser of the same options: set_defaults on `parser` also changes the options of its parents.
    common = _common_options()
    # All options before the command are flags, so the first other argument is the command.
    requested = next((argument for argument in argv if not argument.startswith("-")), None)
    for name, (module, summary, example) in _COMMANDS.items():
        command = add_command(commands, common, name, summary, example)
        if name == requested:
            getattr(importlib.import_module(f".{module}", __name__), f"configure_{name}")(command, common)
    return parser


def _common_options() -> argparse.ArgumentParser:
    """Return the options that are accepted both before and after the command; neither position resets the other."""
    common, unset = argparse.ArgumentParser(add_help=False), argparse.SUPPRESS
    common.add_argument("--json", action="store_true", default=unset, help="print JSON, including errors")
    common.add_argument(
        "-v", "--verbose", action="store_true", default=unset, help="log each operation to standard error"
    )
    return common


def _check_stdout() -> None:
    # A shell's >&- sets it to None, and then the output (for example the pointer) would be lost silently.
    if sys.stdout is None:
        raise OSError(errno.EBADF, "closed", "standard output")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that this terminal cannot display must not make the command fail.
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush_stdout() -> None:
    # Here and not at exit, where Python would report a full disk or a closed pipe in its own format.
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _exit_code(error: PayloadError) -> int:
    return next((code for cls, code in _EXIT_CODES if isinstance(error, cls)), 1)


def _print_error(in_json: bool, kind: str, message: str, code: int) -> int:
    line = json.dumps({"error": kind, "message": message}) if in_json else f"payloadfs: {printable(message)}"
    # Standard error may be closed too; print() would take None for standard output.
    if sys.stderr is not None:
        with contextlib.suppress(BrokenPipeError):
            print(line, file=sys.stderr)
    return code


@contextlib.contextmanager
def _logging(verbose: bool) -> Iterator[None]:
    """Send the library's log to standard error inside the block if `verbose`."""
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
