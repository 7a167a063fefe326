"""Batched pickles of long lists and dicts: exact or declined; shared mutable objects are never duplicated."""

import copy
import copyreg
import datetime
import decimal
import tempfile
import uuid
import zoneinfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payloadfs import EncodeError, Repository
from payloadfs._typenames import class_name
from payloadfs.serializers import NotExactError, default_serializers
from payloadfs.serializers._pandas.object_columns import SCALAR_TYPES
from payloadfs.serializers._pickle import batched
from payloadfs.serializers._pickle.batched import BatchedPickleSerializer
from payloadfs.serializers._plain import IMMUTABLE_SCALARS
from payloadfs.testing import SerializerTests, assert_exact, describe
from payloadfs.testing.serializers import stored_bytes

UTC = datetime.UTC
REAL_FROM_ITEMS = batched.FROM_ITEMS
FROM_ITEMS = 400
MANY = range(FROM_ITEMS + 100)


@pytest.fixture(autouse=True)
def low_threshold(monkeypatch):
    """Lower the thresholds: they decide the time that the tests take, not the format."""
    monkeypatch.setattr(batched, "FROM_ITEMS", FROM_ITEMS)
    monkeypatch.setattr(batched, "_BATCH_ITEMS", 100)


# The bytes keep these rows from being stored as JSON.
def rows(make=lambda n: {"id": n, "name": f"name {n}", "price": n * 0.5, "raw": b"x"}):
    return [make(n) for n in MANY]


def with_one(odd, at=-1):
    """Return rows, one of which contains `odd`."""
    made = rows()
    made[at]["odd"] = odd
    return made


def changed(change):
    made = rows()
    change(made)
    return made


def deep():
    inner = []
    for _ in range(100_000):
        inner = [inner]
    return inner


class Text(str):
    __slots__ = ()


class FakeTimezone(datetime.tzinfo):
    def utcoffset(self, when):
        return datetime.timedelta(0)


FakeTimezone.__qualname__ = FakeTimezone.__name__ = "timezone"

ROW = {"at": 0}


class TestBatchedPickle(SerializerTests):
    serializer = BatchedPickleSerializer()
    exact = {
        "dicts": rows(),
        "numbers": list(MANY),
        "tuples": rows(lambda n: (n, f"{n}", None)),
        "dict": {f"key {n}": {"n": n} for n in MANY},
        "dict by tuples": {(n, "x"): n for n in MANY},
        "nested": rows(lambda n: {"tags": [str(n), "x"], "at": {"x": n, "y": [(n,), {n}]}, "none": (), "empty": {}}),
        "atoms": rows(
            lambda n: {
                "day": datetime.date.fromordinal(n + 1),
                "when": datetime.datetime(2026, 1, 1, tzinfo=UTC) + datetime.timedelta(seconds=n),
                "plain": datetime.datetime(2026, 1, 1, fold=n % 2),
                "offset": datetime.time(1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
                "long": datetime.timedelta(n),
                "money": decimal.Decimal(n).scaleb(-2),
                "id": uuid.UUID(int=n),
                "bytes": bytes(n % 7),
                "flag": n % 2 == 0,
                "big": n**20,
                "nan": float("nan"),
            }
        ),
        "surrogates": rows(lambda n: "\ud800" * (n % 3)),
        "mixed": [*range(150), *rows(lambda n: [n]), None, "x"],
        "a constant": rows(
            lambda n: {"n": n, "kind": "one and the same text, which is longer than the ones around it"}
        ),
    }
    declined = {
        "short": list(range(FROM_ITEMS - 1)),
        "list subclass": type("Rows", (list,), {})(MANY),
        "text subclass": with_one(Text("x")),
        "key subclass": changed(lambda made: made[-1].update({Text("odd"): 1})),
        "frozenset": with_one(frozenset()),
        "function": with_one(len),
        "a named zone": with_one(datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich"))),
        "a zone that claims to be fixed": with_one(datetime.datetime(2026, 1, 1, tzinfo=FakeTimezone())),
        "the same row twice": changed(lambda made: made.append(made[0])),
        "the same row next to itself": changed(lambda made: made.insert(0, made[0])),
        "the same list in two rows": changed(lambda made: [made[n].update(tags=ROW) for n in (0, -1)]),
        "a shared tuple with a list": changed(lambda made, odd=([],): [made[n].update(odd=odd) for n in (0, -1)]),
        "contains itself": changed(lambda made: made[-1].update(rows=made)),
        "a row in itself": changed(lambda made: made[-1].update(row=made[-1])),
        "deep": changed(lambda made: made.append(deep())),
    }


def test_short_list_is_one_pickle():
    assert default_serializers.encode([(n,) for n in range(100)])[0].id == "pickle/1"
    assert default_serializers.encode(rows())[0].id == "pickle-batches/1"


@pytest.fixture
def small_batches(monkeypatch):
    """Use batches of three items, so that every value occurs near a batch boundary."""
    monkeypatch.setattr(batched, "FROM_ITEMS", 1)
    monkeypatch.setattr(batched, "_BATCH_ITEMS", 3)
    monkeypatch.setattr(batched, "_IN_MEMORY_BYTES", 50)


ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)


@st.composite
def graphs(draw):
    """Draw a list or dict whose parts may occur several times, even inside themselves."""
    parts = draw(st.lists(ATOMS, max_size=5))
    for _ in range(draw(st.integers(0, 12))):
        inner = draw(st.lists(st.sampled_from(parts), max_size=3)) if parts else []
        kind = draw(st.sampled_from([list, tuple, dict]))
        parts.append({str(n): part for n, part in enumerate(inner)} if kind is dict else kind(inner))
        if draw(st.booleans()) and type(parts[-1]) is list:
            parts[-1].append(draw(st.sampled_from(parts)))
    items = draw(st.lists(st.sampled_from(parts), min_size=1, max_size=20)) if parts else [1]
    whole = items if draw(st.booleans()) else dict(enumerate(items))
    if draw(st.booleans()):
        part = draw(st.sampled_from(items))
        if type(part) is list:
            part.append(whole)
    # A copy has no references from outside.
    return copy.deepcopy(whole)


def check_exact_or_declined(obj):
    try:
        encoded = BatchedPickleSerializer().encode(obj)
    except NotExactError:
        return
    assert list(describe(BatchedPickleSerializer().decode(stored_bytes(encoded), trusted=True))) == list(describe(obj))


def check_exact(items):
    # Evaluated from the repr, so that every container has exactly one owner, as after parsing.
    obj = eval(repr(items), {"nan": float("nan"), "inf": float("inf")})
    encoded = BatchedPickleSerializer().encode(obj)
    assert_exact(obj, BatchedPickleSerializer().decode(stored_bytes(encoded), trusted=True))


TREES = st.lists(st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)), min_size=1)
FIXTURE = [HealthCheck.function_scoped_fixture]


@settings(max_examples=150, suppress_health_check=FIXTURE)
@given(obj=graphs())
def test_any_graph_is_exact_or_declined(small_batches, obj):
    check_exact_or_declined(obj)


@pytest.mark.long
@settings(max_examples=2000, deadline=None, suppress_health_check=FIXTURE)
@given(obj=graphs())
def test_many_graphs_are_exact_or_declined(small_batches, obj):
    check_exact_or_declined(obj)


@settings(max_examples=50, suppress_health_check=FIXTURE)
@given(items=TREES)
def test_tree_is_never_declined(small_batches, items):
    check_exact(items)


@pytest.mark.long
@settings(max_examples=1000, deadline=None, suppress_health_check=FIXTURE)
@given(items=TREES)
def test_many_trees_are_never_declined(small_batches, items):
    check_exact(items)


def test_exact_at_real_threshold(monkeypatch):
    monkeypatch.undo()
    items = [{"id": n, "tags": [str(n)]} for n in range(REAL_FROM_ITEMS)]
    serializer, encoded = default_serializers.encode(items)
    assert serializer.id == "pickle-batches/1"
    assert_exact(items, serializer.decode(stored_bytes(encoded), trusted=True))
    assert default_serializers.encode(items[:-1])[0].id == "pickle/1"


def test_scalar_sets_agree():
    assert {*map(class_name, SCALAR_TYPES), "NoneType"} == IMMUTABLE_SCALARS


def test_copyreg_reducers_of_plain_classes_are_ignored(monkeypatch):
    monkeypatch.setitem(copyreg.dispatch_table, decimal.Decimal, lambda _: (list, ()))
    made = rows(decimal.Decimal)
    assert_exact(
        made, BatchedPickleSerializer().decode(stored_bytes(BatchedPickleSerializer().encode(made)), trusted=True)
    )


def test_outside_references_do_not_decline():
    made = rows()
    held = {row["id"]: row for row in made}
    assert len(held) == len(made)
    assert BatchedPickleSerializer().encode(made).frames


def test_long_strings_shared_by_batches_are_limited(monkeypatch):
    strings = [f"{n} " * 1000 for n in range(200)]
    made = rows(lambda n: {"id": n, "text": strings[n % 200], "raw": b"x"})
    serializer, encoded = default_serializers.encode(made)
    assert serializer.id == "pickle-batches/1"
    monkeypatch.setattr(batched, "_MAX_REPEATED_BYTES", 500_000)
    serializer, encoded = default_serializers.encode(made)
    assert serializer.id == "pickle/1"
    assert len(stored_bytes(encoded)) < 3_000_000


def test_large_values_are_declined(small_batches):
    with pytest.raises(NotExactError):
        BatchedPickleSerializer().encode([bytes([n]) * 20_000 for n in range(10)])


def test_full_disk_for_temporary_file(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: open("/dev/full", "wb", buffering))  # noqa: SIM115
    monkeypatch.setattr(batched, "_IN_MEMORY_BYTES", 1000)
    repository = Repository(tmp_path / "objects")
    with pytest.raises(
        EncodeError, match=r"Cannot write the object to a temporary file: .*No space left.* set TMPDIR .* Nothing was"
    ):
        repository.save(rows())
    assert list(repository.list()) == []


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_save_and_load(tmp_path, compression, monkeypatch):
    monkeypatch.setattr(batched, "_IN_MEMORY_BYTES", 5_000)
    repository = Repository(tmp_path / "objects", compression=compression, verify="full")
    made = rows()
    pointer = repository.save(made)
    assert pointer.serializer.endswith("pickle-batches/1")
    first, second = repository.load(pointer), repository.load(pointer)
    assert_exact(made, first)
    first[0]["id"] = "changed"
    assert second[0]["id"] == 0
