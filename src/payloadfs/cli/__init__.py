"""The command line: ``payloadfs put | get | inspect | ls | keys | config``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import (
    ConfigError,
    IntegrityError,
    NotFoundError,
    PayloadError,
    PointerError,
    PolicyError,
    SerializerError,
)
from . import _config, _inspect, _keys, _objects

__all__ = ["main"]

_EPILOG = """\
exit codes:
  0  done
  1  the store or the system failed
  2  wrong usage, or a wrong setting
  3  not found
  4  refused: no pointer, wrong signature, unknown key, or not allowed by the policy
  5  the stored bytes are not those that were saved
  6  the object can't be encoded or decoded here

example:
  payloadfs put table.csv > pointer.json && payloadfs get pointer.json -o copy.csv

Settings come from the environment (PAYLOADFS_URL, ...) and a file: see 'payloadfs config show'.
"""

_EXIT_CODES: tuple[tuple[type[PayloadError], int], ...] = (
    (ConfigError, 2),
    (NotFoundError, 3),
    (PointerError, 4),
    (PolicyError, 4),
    (IntegrityError, 5),
    (SerializerError, 6),
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
    arguments = _parser().parse_args(argv)
    if arguments.verbose:
        _log_to_stderr()
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except PayloadError as error:
        return _told(arguments, error.kind, error.message, _exit_code(error))
    except BrokenPipeError:
        # Whoever read our output has enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        kind = "not-found" if isinstance(error, FileNotFoundError) else "system"
        message = f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
        return _told(arguments, kind, message, 3 if kind == "not-found" else 1)
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON, errors too")
    common.add_argument("-v", "--verbose", action="store_true", help="log each operation to standard error")
    parser = argparse.ArgumentParser(
        prog="payloadfs",
        description="Objects as small, signed JSON pointers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"payloadfs {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (_objects, _inspect, _keys, _config):
        module.add_to(commands, common)
    return parser


def _exit_code(error: PayloadError) -> int:
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


def _told(arguments: argparse.Namespace, kind: str, message: str, code: int) -> int:
    line = json.dumps({"error": kind, "message": message}) if arguments.json else f"payloadfs: {message}"
    # Nobody may be listening on standard error either.
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr)
    return code


def _log_to_stderr() -> None:
    import logging

    logger = logging.getLogger("payloadfs")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.DEBUG)
