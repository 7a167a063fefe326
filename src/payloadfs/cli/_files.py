"""Values as files: how a value is written to a file, and files that appear complete or not at all."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from .._atomic import atomic_file
from ..errors import ConfigError, EncodeError

_ALTERNATIVE = "load it in Python, or use --raw to write the stored bytes"


def check_output(path: str | None, *, is_bytes: bool) -> None:
    """Raise ConfigError if the output cannot go to `path`, or to standard output if None. Called before any request."""
    if path is not None:
        if os.path.isdir(path):
            raise ConfigError(f"{path} is a folder: specify a file.", kind="output")
    elif is_bytes and sys.stdout.isatty():
        raise ConfigError("Not writing bytes to a terminal: specify a file with -o.", kind="terminal")


def write_stdout(content: bytes | bytearray | memoryview) -> None:
    """Write all of `content`; with PYTHONUNBUFFERED, one write may write only a part."""
    remaining = memoryview(content)
    while remaining.nbytes:
        remaining = remaining[sys.stdout.buffer.write(remaining) :]


def to_file_bytes(value: Any, type_name: str) -> bytes:
    """Return the content of a file for `value`: strings as UTF-8, tables as CSV, JSON values as JSON.

    Parameters
    ----------
    value : object
        Anything but bytes.
    type_name : str
        Name of its type, for the error message.

    Raises
    ------
    EncodeError
        `value` has no such form, or a part of it would be lost.
    """
    write_csv = _csv_writer(value)
    try:
        if write_csv is not None:
            return write_csv()
        return value.encode("utf-8") if isinstance(value, str) else _json(value)
    except Exception as error:  # each table library has its own error tree
        form = "CSV" if write_csv is not None else "text" if isinstance(value, str) else "JSON"
        raise EncodeError(f"This {type_name} cannot be written as {form} ({error}): {_ALTERNATIVE}.") from error


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if json.loads(text) != value:
        raise ValueError("its tuples or keys would change")
    return text.encode("utf-8") + b"\n"


def _csv_writer(value: Any) -> Callable[[], bytes] | None:
    # The library of a frame is loaded already, so nothing is imported to check the type.
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
def atomic_output(path: str) -> Iterator[BinaryIO]:
    """Yield a file that becomes `path` at the end of the block. On an error, `path` is left as it was.

    Links are followed and an existing file keeps its mode, as with ``cp``. Anything that is not a
    regular file (a device, a pipe) is written to directly and never replaced.
    """
    try:
        st = _stat(path)
        if st is None or stat.S_ISREG(st.st_mode):
            mode = 0o666 if st is None else stat.S_IMODE(st.st_mode) & 0o777
            with atomic_file(os.path.realpath(path), replace=True, mode=mode, fsync=False) as file:
                if st is not None and sys.platform != "win32":
                    os.fchmod(file.fileno(), mode)
                yield file
        else:
            with open(path, "wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        # The error must name the user's path, not the temporary file.
        error.filename, error.filename2 = path, None
        raise


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
