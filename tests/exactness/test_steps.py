"""Values that tutorial steps return are exact in a fresh process, and nearly all load without pickle."""

import pandas as pd
import pytest

from payloadfs import Repository

from .harness import report, round_trips
from .steps import PAGE, RESULTS, table


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    cases = {name: make() for name, make in RESULTS.items()}
    return round_trips(cases, tmp_path_factory.mktemp("store"), imports=["payloadfs_steps"])


def test_all_are_exact(outcomes):
    assert len(outcomes) >= 200
    assert not report(outcomes)


def test_nearly_all_need_no_pickle(outcomes):
    pickled = [name for name, outcome in outcomes.items() if outcome.executable]
    assert len(pickled) <= 0.1 * len(outcomes), pickled


def test_safe_ones_load_under_the_strictest_policy(outcomes, tmp_path):
    strict = Repository(tmp_path, pickle="never")
    for name, outcome in outcomes.items():
        if not outcome.executable:
            value = RESULTS[name]()
            assert type(strict.load(strict.save(value))) is type(value)


def test_page_is_up_to_date(outcomes):
    if pd.__version__ < "3":
        pytest.skip("the page shows the newest pandas")
    assert PAGE.read_text() == table(outcomes)
    safe = sum(not outcome.executable for outcome in outcomes.values())
    readme = " ".join((PAGE.parents[2] / "README.md").read_text().split())
    assert f"{safe} of {len(outcomes)} [values that tutorial steps return](docs/explanation/step-results.md)" in readme
