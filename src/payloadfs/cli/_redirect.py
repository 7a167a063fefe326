"""The process's own standard streams, diverted while a report is drawn on them.

Works, their threads and programs, and the flow itself may write to standard output at any time.
While a live view or JSON is written there, all of it goes through a pipe first, so that it comes
out in whole lines and in the right place.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["diverted"]

_DRAIN_S = 2.0
_CHUNK_BYTES = 65_536


@contextmanager
def diverted(name: str, sink: Callable[[str, str], None]) -> Iterator[TextIO]:
    """Hand all that is written to the stream `name`, also by children, to `sink`, in whole lines.

    Gives the stream to where it went before. `sink` is called with `name` and text, in a thread.
    """
    stream = getattr(sys, name)
    try:
        number = stream.fileno()
    except OSError:
        # No stream of the process: whoever put it there sees all of it.
        yield stream
        return
    stream.flush()
    before = os.dup(number)
    reading, writing = os.pipe()
    os.dup2(writing, number)
    os.close(writing)
    stream.reconfigure(line_buffering=True)
    reader = threading.Thread(target=_read, args=(reading, name, sink), daemon=True)
    reader.start()
    try:
        with open(os.dup(before), "w", encoding=stream.encoding, errors="backslashreplace") as original:
            try:
                yield original
            finally:
                stream.flush()
                # Now nobody holds the pipe, unless a program was left running: for that one we don't wait.
                os.dup2(before, number)
                reader.join(_DRAIN_S)
    finally:
        os.close(before)
        stream.reconfigure(line_buffering=os.isatty(number))


def _read(number: int, name: str, sink: Callable[[str, str], None]) -> None:
    with open(number, "rb", buffering=0) as pipe:
        rest = b""
        while chunk := pipe.read(_CHUNK_BYTES):
            rest += chunk
            end = rest.rfind(b"\n") + 1 if len(rest) < _CHUNK_BYTES else len(rest)
            if end:
                sink(name, rest[:end].decode(errors="backslashreplace"))
                rest = rest[end:]
        if rest:
            sink(name, rest.decode(errors="backslashreplace"))
