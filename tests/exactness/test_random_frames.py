"""Random frames load exactly: many in this process, some in a fresh one."""

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from payloadfs.serializers import default_serializers
from payloadfs.testing import assert_exact
from payloadfs.testing.serializers import stored_bytes

from .harness import report, round_trips
from .strategies import frames

RELAXED = {"deadline": None, "suppress_health_check": list(HealthCheck), "verbosity": Verbosity.quiet}


def check(frame):
    serializer, encoded = default_serializers.encode(frame)
    stored = stored_bytes(encoded)
    assert_exact(frame, serializer.decode(stored, trusted=True))
    if not serializer.executable:
        assert_exact(frame, serializer.decode(stored_bytes(encoded), trusted=False))


@settings(max_examples=200, **RELAXED)
@given(frames())
def test_in_this_process(frame):
    check(frame)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=20_000, **RELAXED)
@given(frames())
def test_many_in_this_process(frame):
    check(frame)


@settings(max_examples=3, phases=[Phase.generate], **RELAXED)  # shrinking would take hours
@given(st.lists(frames(), min_size=60, max_size=80))
def test_in_a_fresh_process(tmp_path_factory, many):
    outcomes = round_trips({str(number): frame for number, frame in enumerate(many)}, tmp_path_factory.mktemp("store"))
    assert not report(outcomes)
