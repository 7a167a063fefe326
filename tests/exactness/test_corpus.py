"""Every object of the corpus loads exactly in a fresh process, or is refused when saved."""

import gc

import pytest

import payloadfs

from .corpus import FAMILIES, family, libraries, refused
from .harness import report, round_trips


@pytest.mark.parametrize("name", FAMILIES)
def test_exact_in_fresh_process(name, tmp_path):
    outcomes = round_trips(family(name), tmp_path)
    assert not report(outcomes)


def test_corpus_is_large_and_complete():
    counts = {name: len(family(name)) for name in FAMILIES}
    assert sum(counts.values()) >= 3_500, counts
    assert min(counts.values()) >= 50, counts


def test_libraries_of_corpus_are_installed():
    made = {case.split("/")[1].split()[0] for case in family("libraries")}
    assert made >= set(libraries.REQUIRED) - {"shapely"}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", refused.REFUSED)
def test_refuses_inexact_objects(name, tmp_path, request):
    make, words = refused.REFUSED[name]
    request.addfinalizer(gc.collect)  # open files warn here, where it is expected
    repository = payloadfs.Repository(tmp_path)
    with pytest.raises(payloadfs.EncodeError, match=f"(?s){words}"):
        repository.save(make())
    assert not any(tmp_path.rglob("*.*"))
