"""Redirection of the standard streams of the process while a live view or JSON is written to them.

Works, their threads and child processes, and the flow itself can write to the standard streams at
any time. While a report is written there, their output goes through a pipe first, so that it
appears in whole lines and does not break the report.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_DRAIN_TIMEOUT_S = 2.0
_CHUNK_BYTES = 65_536


@contextmanager
def redirect_fd(name: str, sink: Callable[[str, str], None]) -> Iterator[TextIO]:
    """Pass everything that is written to the stream `name`, including by child processes, to `sink`, in whole lines.

    Yields a stream that writes to the original destination. `sink` is called with `name` and a
    string, in another thread.
    """
    stream = getattr(sys, name)
    try:
        descriptor = stream.fileno()
    except OSError:
        # Not a stream of the process: the code that replaced it receives all output.
        yield stream
        return
    stream.flush()
    original_fd = os.dup(descriptor)
    read_end, write_end = os.pipe()
    os.dup2(write_end, descriptor)
    os.close(write_end)
    stream.reconfigure(line_buffering=True)
    reader = threading.Thread(target=_read, args=(read_end, name, sink), daemon=True)
    reader.start()
    try:
        with open(os.dup(original_fd), "w", encoding=stream.encoding, errors="backslashreplace") as original:
            try:
                yield original
            finally:
                stream.flush()
                # This closes the pipe, unless a child process is still running; we do not wait for it.
                os.dup2(original_fd, descriptor)
                reader.join(_DRAIN_TIMEOUT_S)
    finally:
        os.close(original_fd)
        stream.reconfigure(line_buffering=os.isatty(descriptor))


def _read(descriptor: int, name: str, sink: Callable[[str, str], None]) -> None:
    with open(descriptor, "rb", buffering=0) as pipe:
        incomplete = b""
        while chunk := pipe.read(_CHUNK_BYTES):
            incomplete += chunk
            end = incomplete.rfind(b"\n") + 1 if len(incomplete) < _CHUNK_BYTES else len(incomplete)
            if end:
                sink(name, incomplete[:end].decode(errors="backslashreplace"))
                incomplete = incomplete[end:]
        if incomplete:
            sink(name, incomplete.decode(errors="backslashreplace"))
