"""Conformance kit for serializers: subclass `SerializerTests` and list objects to store."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import cloudpickle
import pytest

from .._buffers import private_memory
from .._seal import Encoded, Outgoing, check
from .._typenames import SERIALIZER_ID
from ..serializers import NotExactError, Serializer
from .exact import Line, assert_exact, describe, first_difference

__all__ = ["SerializerTests", "describe_in_fresh_process", "stored_bytes"]

_READER = """
import json, sys, cloudpickle
from payloadfs.testing import describe
answer, sys.stdout = sys.stdout, sys.stderr  # modules may print to stdout
serializer, stored = cloudpickle.loads(sys.stdin.buffer.read())
values = (serializer.decode(memoryview(bytearray(content)), trusted=True) for content in stored)
json.dump([list(describe(value)) for value in values], answer)
"""


def stored_bytes(encoded: Encoded) -> memoryview:
    """Return the bytes that a store would hold for `encoded`, in memory as a store returns it."""
    outgoing = Outgoing(encoded, "b3")
    content = b"".join(map(bytes, outgoing))  # pieces may reuse their memory
    assert len(content) == outgoing.size_bytes, "the size of the frames is wrong"
    buffer = private_memory(len(content))
    buffer[:] = content
    check(buffer, outgoing.digest, data=True)
    return buffer


def describe_in_fresh_process(serializer: Serializer, stored: Sequence[memoryview]) -> list[list[Line]]:
    """Return the descriptions of `stored` as decoded by a fresh process without the caller's imports."""
    task = cloudpickle.dumps((serializer, [bytes(content) for content in stored]))
    done = subprocess.run([sys.executable, "-c", _READER], input=task, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [[(path, description) for path, description in lines] for lines in json.loads(done.stdout)]


class SerializerTests:
    """Tests that every serializer must pass; pytest runs them in a subclass.

    Attributes
    ----------
    serializer : Serializer
        The serializer to test.
    exact : dict of str to object
        Named objects that it must restore exactly.
    declined : dict of str to object
        Named objects that it must decline with `NotExactError`.

    Examples
    --------
    >>> from payloadfs.serializers._plain import TextSerializer
    >>> class TestText(SerializerTests):
    ...     serializer = TextSerializer()
    ...     exact = {"empty": "", "greek": "αβγ"}
    ...     declined = {"surrogate": chr(0xD800)}
    >>> TestText().test_exact()
    """

    serializer: ClassVar[Serializer]
    exact: ClassVar[dict[str, Any]]
    declined: ClassVar[dict[str, Any]] = {}

    def test_id_and_executable(self) -> None:
        assert SERIALIZER_ID.fullmatch(self.serializer.id)
        assert isinstance(self.serializer.executable, bool)

    def test_exact(self) -> None:
        for name, obj in self.exact.items():
            stored = stored_bytes(self.serializer.encode(obj))
            assert_exact(obj, self.serializer.decode(stored, trusted=True), path=name)

    def test_exact_in_fresh_process(self) -> None:
        stored = [stored_bytes(self.serializer.encode(obj)) for obj in self.exact.values()]
        for (name, obj), lines in zip(
            self.exact.items(), describe_in_fresh_process(self.serializer, stored), strict=True
        ):
            assert first_difference(describe(obj), iter(lines)) is None, name

    def test_exact_without_trust(self) -> None:
        if self.serializer.executable:
            pytest.skip("executable serializers never decode untrusted bytes")
        for name, obj in self.exact.items():
            stored = stored_bytes(self.serializer.encode(obj))
            assert_exact(obj, self.serializer.decode(stored, trusted=False), path=name)

    def test_declines_inexact_objects(self) -> None:
        for name, obj in self.declined.items():
            try:
                self.serializer.encode(obj)
            except NotExactError:
                continue
            pytest.fail(f"{name} was not declined")

    def test_frames_are_repeatable(self) -> None:
        for name, obj in self.exact.items():
            encoded = self.serializer.encode(obj)
            assert stored_bytes(encoded) == stored_bytes(encoded), name

    def test_decodes_read_only_memory(self) -> None:
        for name, obj in self.exact.items():
            stored = stored_bytes(self.serializer.encode(obj)).toreadonly()
            value = self.serializer.decode(stored, trusted=True)
            assert type(value) is type(obj), name

    def test_truncated_objects_do_not_crash(self) -> None:
        for obj in self.exact.values():
            stored = stored_bytes(self.serializer.encode(obj))
            for size in {0, 1, stored.nbytes // 2, max(stored.nbytes - 1, 0)}:
                # Plain formats do not store their length, so some return a value; the digest
                # protects them. An error is fine too; only a crash of the process is not.
                with contextlib.suppress(Exception):
                    self.serializer.decode(stored[:size], trusted=self.serializer.executable)
