"""Every object of the corpus comes back exactly in a fresh process, or is refused when saved."""

import gc

import pytest

import payloadfs

from .corpus import FAMILIES, family, libraries, refused
from .harness import report, round_trips


@pytest.mark.parametrize("name", FAMILIES)
def test_comes_back_exactly_in_a_fresh_process(name, tmp_path):
    outcomes = round_trips(family(name), tmp_path)
    assert not report(outcomes)


def test_the_corpus_is_large_and_whole():
    counts = {name: len(family(name)) for name in FAMILIES}
    assert sum(counts.values()) >= 3_500, counts
    assert min(counts.values()) >= 50, counts


def test_the_libraries_of_the_corpus_are_there():
    made = {case.split("/")[1].split()[0] for case in family("libraries")}
    assert made >= set(libraries.REQUIRED) - {"shapely"}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", refused.REFUSED)
def test_refuses_what_would_change(name, tmp_path, request):
    make, words = refused.REFUSED[name]
    request.addfinalizer(gc.collect)  # what was left open complains here, where it is expected
    repository = payloadfs.Repository(tmp_path)
    with pytest.raises(payloadfs.EncodeError, match=f"(?s){words}"):
        repository.save(make())
    assert not any(tmp_path.rglob("*.*"))
