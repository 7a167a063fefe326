"""Every object of the corpus loads exactly in a fresh process, or is refused when saved."""

import gc

import pytest

import payloadfs
from payloadfs.serializers import decode, default_serializers
from payloadfs.testing import describe
from payloadfs.testing.exact import first_difference
from payloadfs.testing.serializers import stored_bytes

from .corpus import FAMILIES, family, libraries, refused
from .harness import report, round_trips


@pytest.mark.parametrize("name", FAMILIES)
def test_exact_in_fresh_process(name, tmp_path):
    outcomes = round_trips(family(name), tmp_path)
    assert not report(outcomes)


# By default every second case with each codec; the sweep has the other half.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "codecs", [("zstd", "lz4"), pytest.param(("lz4", "zstd"), marks=pytest.mark.sweep)], ids="-".join
)
@pytest.mark.parametrize("name", FAMILIES)
def test_safe_ones_are_exact_without_trust(name, codecs):
    """What the writer stores as safe passes every check of a reader that trusts no key, compressed or not."""
    refusals = {}
    for number, (case, obj) in enumerate(family(name).items()):
        expected = None
        for compression in ("none", codecs[number % 2]):
            try:
                serializer, encoded = default_serializers.encode(obj, compression=compression)
            except payloadfs.EncodeError:
                break
            if serializer.executable or not (compression == "none" or serializer.id.startswith(compression)):
                break
            try:
                value = decode(serializer, stored_bytes(encoded), trusted=False)
                expected = expected or list(describe(obj))
                different = first_difference(iter(expected), describe(value))
            except payloadfs.DecodeError as error:
                different = str(error)
            if different:
                refusals[case] = serializer.id, different
    assert not refusals


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
