"""Objects as files: what a value looks like in one, and files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from ..errors import ConfigError, EncodeError

__all__ = ["check_output", "spelled", "write_stdout", "written"]

_INSTEAD = "load it in Python, or write the stored bytes with --raw"


def check_output(path: str | None, *, is_bytes: bool) -> None:
    """Raise if `path`, or standard output, is no place to write to: before anything is fetched."""
    if path is not None:
        if os.path.isdir(path):
            raise ConfigError(f"{path} is a folder: name a file.", kind="output")
    elif is_bytes and sys.stdout.isatty():
        raise ConfigError("These are bytes, and standard output is a terminal: name a file with -o.", kind="terminal")


def write_stdout(content: bytes | bytearray | memoryview) -> None:
    """Write all of `content`: with PYTHONUNBUFFERED one write may take only a part of it."""
    rest = memoryview(content)
    while rest.nbytes:
        rest = rest[sys.stdout.buffer.write(rest) :]


def spelled(value: Any, type_name: str) -> bytes:
    """Return `value` as a file would hold it: text as it is, tables as CSV, JSON values as JSON.

    Parameters
    ----------
    value : object
        Bytes are the caller's own matter.
    type_name : str
        How to call it in an error.

    Raises
    ------
    EncodeError
        It has no such form, or only one from which something would be missing.
    """
    write_csv = _csv_writer(value)
    try:
        if write_csv is not None:
            return write_csv()
        return value.encode("utf-8") if isinstance(value, str) else _json(value)
    except Exception as error:  # each table library has its own error tree
        form = "CSV" if write_csv is not None else "text" if isinstance(value, str) else "JSON"
        raise EncodeError(f"This {type_name} can't be written as {form} ({error}): {_INSTEAD}.") from error


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if json.loads(text) != value:
        raise ValueError("its tuples or keys would become something else")
    return text.encode("utf-8") + b"\n"


def _csv_writer(value: Any) -> Callable[[], bytes] | None:
    # Whoever holds a frame has loaded its library: nothing is imported to find out what a value is not.
    pandas, polars, pyarrow = (sys.modules.get(name) for name in ("pandas", "polars", "pyarrow"))
    if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series)):
        return lambda: str(value.to_csv()).encode("utf-8")
    if polars is not None and isinstance(value, (polars.DataFrame, polars.Series)):
        frame = value.to_frame() if isinstance(value, polars.Series) else value
        return lambda: str(frame.write_csv()).encode("utf-8")
    if pyarrow is not None and isinstance(value, (pyarrow.Table, pyarrow.RecordBatch)):
        return lambda: _arrow_csv(value)
    return None


def _arrow_csv(table: Any) -> bytes:
    import io

    from pyarrow import csv

    file = io.BytesIO()
    csv.write_csv(table, file)
    return file.getvalue()


@contextmanager
def written(path: str) -> Iterator[BinaryIO]:
    """Give a file that becomes `path` once it is whole; on an error nothing is left or changed.

    Links are followed and an existing file keeps its mode, as with ``cp``. What is no regular file
    (a device, a pipe) is written to and never replaced.
    """
    try:
        facts = _facts(path)
        if facts is None or stat.S_ISREG(facts.st_mode):
            with _aside(os.path.realpath(path), facts) as file:
                yield file
        else:
            with open(path, "wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        # Not the name of the temporary file, which nobody knows.
        error.filename, error.filename2 = path, None
        raise


@contextmanager
def _aside(path: str, facts: os.stat_result | None) -> Iterator[BinaryIO]:
    aside = os.path.join(os.path.dirname(path), f".payloadfs-{os.urandom(8).hex()}")
    mode = 0o666 if facts is None else stat.S_IMODE(facts.st_mode) & 0o777
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            if facts is not None:
                os.fchmod(descriptor, mode)
            yield file
        os.replace(aside, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(aside)


def _facts(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
