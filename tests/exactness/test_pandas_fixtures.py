"""The test fixtures of pandas, and frames created from them."""

import importlib.util
import inspect
import itertools
import pathlib
import warnings

import numpy as np
import pandas as pd
import pytest

from .harness import report, round_trips

MAX_COMBINATIONS = 60
"""Per fixture, over the parameters of it and of the fixtures that it requests."""

KINDS = (
    pd.DataFrame,
    pd.Series,
    pd.Index,
    pd.api.extensions.ExtensionArray,
    np.ndarray,
    pd.api.extensions.ExtensionDtype,
)
SCALARS = (np.generic, pd.Timestamp, pd.Timedelta, pd.Period, pd.Interval, pd.tseries.offsets.BaseOffset)


def conftest():
    """Return pandas' conftest module, by path, because it is not part of the public API."""
    path = pathlib.Path(pd.__file__).parent / "conftest.py"
    spec = importlib.util.spec_from_file_location("pandas_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Request:
    """Stand-in for pytest's request object."""

    def __init__(self, param):
        self.param = param

    def applymarker(self, marker):
        """Ignore marks, which only concern tests."""

    def getfixturevalue(self, name):
        raise LookupError(name)


def fixtures():
    """Return function and parameters of every fixture, by name."""
    found = {}
    for name, value in vars(conftest()).items():
        marker = getattr(value, "_fixture_function_marker", None) or getattr(value, "_pytestfixturefunction", None)
        if marker is not None:
            function = (
                value._get_wrapped_function()
                if hasattr(value, "_get_wrapped_function")
                else value.__pytest_wrapped__.obj
            )
            found[marker.name or name] = function, [_plain(parameter) for parameter in marker.params or [None]]
    return found


def _plain(parameter):
    """Return the value in a ``pytest.param``."""
    return parameter.values[0] if hasattr(parameter, "marks") else parameter


def made(name, known, seen=()):
    """Yield the values of one fixture, over all parameters; nothing if it needs an unknown fixture."""
    if name not in known or name in seen:
        return
    function, parameters = known[name]
    needs = [need for need in inspect.signature(function).parameters if need != "request"]
    for parameter in parameters:
        options = [list(itertools.islice(made(need, known, (*seen, name)), MAX_COMBINATIONS)) for need in needs]
        for arguments in itertools.islice(itertools.product(*options), MAX_COMBINATIONS):
            given = dict(zip(needs, arguments, strict=True))
            if "request" in inspect.signature(function).parameters:
                given["request"] = Request(parameter)
            try:
                value = function(**given)
                yield next(value) if inspect.isgenerator(value) else value
            except (Exception, pytest.skip.Exception):  # noqa: BLE001
                continue  # it needs a package or data set that is not installed


def parts(value):
    """Yield `value`, and its items if it is a collection."""
    if isinstance(value, KINDS + SCALARS):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from parts(part)
    elif isinstance(value, dict):
        yield from parts(list(value.values()))


def derived(value):
    """Yield frames with `value` as a column, as row labels or as column labels."""
    if isinstance(value, pd.DataFrame | pd.api.extensions.ExtensionDtype) or not hasattr(value, "__len__"):
        return
    if getattr(value, "ndim", 1) != 1:
        yield pd.DataFrame(value)
        return
    yield pd.DataFrame({"x": value})
    labels = value if isinstance(value, pd.Index) else pd.Index(value)
    yield pd.DataFrame({"x": range(len(value))}, index=labels)
    if len(value) < 500:
        yield pd.DataFrame([range(len(value))], columns=labels)


@pytest.fixture(scope="module")
def cases():
    known, found = fixtures(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in known:
            for number, value in enumerate(itertools.islice(made(name, known), 400)):
                for place, part in enumerate(parts(value)):
                    found[f"{name} {number}.{place}"] = part
        for name, value in list(found.items()):
            try:
                for number, frame in enumerate(derived(value)):
                    found[f"{name} frame {number}"] = frame
            except (TypeError, ValueError, NotImplementedError):
                continue  # pandas cannot create such a frame
    return found


def test_pandas_fixtures(cases, tmp_path):
    frames = [obj for obj in cases.values() if isinstance(obj, pd.DataFrame)]
    assert len(cases) >= 1_500
    assert len(frames) >= 700
    outcomes = round_trips(cases, tmp_path)
    assert not report(outcomes)
    in_arrow = [
        o for name, o in outcomes.items() if isinstance(cases[name], pd.DataFrame) and o.serializer.startswith("pandas")
    ]
    assert len(in_arrow) > 0.9 * len(frames)
