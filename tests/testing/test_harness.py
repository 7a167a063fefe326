"""The harness of the corpus: every outcome that it must distinguish."""

import os
import threading
import warnings

import pytest

from ..exactness.harness import report, round_trips


def made():
    """Return one object for each outcome; its class is pickled by value, since the reader cannot import it."""

    class Reduced:
        def __init__(self, function, *arguments):
            self.reduced = function, arguments

        def __reduce__(self):
            return self.reduced

    class Warning_:
        def __setstate__(self, state):
            warnings.warn("careful", stacklevel=1)
            vars(self).update(state)

    class Counting:
        count = 0

        def __getstate__(self):
            self.count += 1
            return {"count": self.count}

    warns = Warning_()
    warns.x = 1
    return {
        "exact": [1],
        "kills": Reduced(os._exit, 3),
        "exact behind it": {"a": 1.5},
        "kills too": Reduced(os.abort),
        "changed": Reduced(list, [1]),
        "unreadable": Reduced(int, "x"),
        "warns": warns,
        "refused": threading.Lock(),
        "changed by saving": Counting(),
        "last": (1, len),
    }


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return round_trips(made(), tmp_path_factory.mktemp("store"))


def test_every_object_has_an_outcome(outcomes):
    assert {name: outcome.result for name, outcome in outcomes.items()} == {
        "exact": "exact",
        "kills": "crash",
        "exact behind it": "exact",
        "kills too": "crash",
        "changed": "changed",
        "unreadable": "unreadable",
        "warns": "changed",
        "refused": "refused",
        "changed by saving": "changed",
        "last": "exact",
    }


def test_messages_say_what_happened(outcomes):
    assert outcomes["changed"].message.startswith("obj: list instead of ")
    assert "invalid literal for int()" in outcomes["unreadable"].message
    assert "careful" in outcomes["warns"].message
    assert "lock" in outcomes["refused"].message
    assert outcomes["changed by saving"].message.startswith("saving changed the original")
    assert len(report(outcomes).splitlines()) >= 7


def test_executable(outcomes):
    assert [outcomes[name].executable for name in ("exact", "exact behind it", "last")] == [False, False, True]
    assert outcomes["refused"].serializer == ""
