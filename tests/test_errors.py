"""The error tree: bases as documented, and every attribute survives pickling."""

from __future__ import annotations

import copy
import pickle
import re
import traceback
from typing import Any

import pytest

from payloadfs import errors
from payloadfs._digest import Digest
from payloadfs.pointer import Pointer

POINTER = Pointer("s3://data", "run/1.bin", "bytes/1", 3, Digest("b3", bytes(32)), 0, "bytes")
# A group is made and pickled with its members: tested by itself, at the end.
CLASSES: list[Any] = [getattr(errors, name) for name in errors.__all__ if name != "BatchError"]

# What a class adds to message, kind and pointer.
OWN_ATTRIBUTES: dict[type, dict[str, Any]] = {
    errors.WorkError: {"work": "root.src"},
    errors.UnknownKeyError: {"key_id": "0123abcd"},
    errors.EncodeError: {"path": "obj.model._lock"},
    errors.StoreError: {"transient": True},
}


def _drawn_tree() -> dict[str, tuple[str, str | None]]:
    """Return class -> (parent, built-in base) as in the module's docstring."""
    tree: dict[str, tuple[str, str | None]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+Error)(?: \((\w+)\))?(?: |$)", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            tree[match[2]] = (path[depth - 1] if depth else "Exception", match[3])
    return tree


def test_the_tree_lists_every_class() -> None:
    assert set(_drawn_tree()) == set(errors.__all__)


@pytest.mark.parametrize(("name", "bases"), _drawn_tree().items())
def test_bases_are_as_documented(name: str, bases: tuple[str, str | None]) -> None:
    parent, builtin = bases
    expected = [parent] + ([builtin] if builtin else [])
    assert [base.__name__ for base in getattr(errors, name).__bases__] == expected


def test_every_exception_in_the_module_is_exported() -> None:
    found = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert found == set(errors.__all__)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_all_attributes(cls: Any, protocol: int) -> None:
    facts = {"kind": "exact-cause", "pointer": POINTER, **OWN_ATTRIBUTES.get(cls, {})}
    error = cls("What happened.", **facts)
    error.add_note("A note by a caller.")
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is cls
        assert twin is not error
        assert str(twin) == twin.message == "What happened."
        assert twin.args == error.args == ("What happened.",)
        assert {name: getattr(twin, name) for name in facts} == facts
        assert twin.__notes__ == ["A note by a caller."]
        assert vars(twin) == vars(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_attribute_is_listed_here(cls: Any) -> None:
    # A new attribute must be added to OWN_ATTRIBUTES, so that pickling it is tested.
    own = OWN_ATTRIBUTES.get(cls, {})
    assert set(vars(cls("Message."))) == {"message", "kind", "pointer", *own}
    assert all(vars(cls("Message."))[name] != value for name, value in own.items()), "the fact must differ from default"


@pytest.mark.parametrize("cls", CLASSES)
def test_str_is_the_message(cls: Any) -> None:
    error = cls("No object under 'run/1.bin': 100 % gone.")
    if isinstance(error, OSError):
        # By itself it would print "[Errno 2] other words" from here on.
        error.errno, error.strerror = 2, "other words"
    assert str(error) == f"{error}" == "No object under 'run/1.bin': 100 % gone."
    assert traceback.format_exception_only(error)[-1].rstrip().endswith(": No object under 'run/1.bin': 100 % gone.")


@pytest.mark.parametrize("cls", CLASSES)
def test_kinds_are_short_and_stable(cls: Any) -> None:
    assert cls("Message.").kind == cls.default_kind
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cls.default_kind)
    assert cls("Message.", kind="other").kind == "other"
    assert cls("Message.").pointer is None


def test_default_kinds_differ() -> None:
    assert len({cls.default_kind for cls in [*CLASSES, errors.BatchError]}) == len(errors.__all__)


def test_a_subclass_with_its_own_arguments_pickles_too() -> None:
    # _rebuild calls the class with the message alone; everything else is restored from __dict__.
    error = pickle.loads(pickle.dumps(errors.UnknownKeyError("Message.", key_id="ffffffff")))
    assert error.key_id == "ffffffff"
    assert isinstance(error, ValueError)


def many() -> errors.BatchError:
    failed: dict[int, Exception] = {1: errors.StoreError("Full.", transient=True), 3: errors.EncodeError("No.")}
    return errors.BatchError("2 of 4.", list(failed.values()), done={0: POINTER, 2: POINTER}, failed=failed)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_a_group_keeps_all_attributes(protocol: int) -> None:
    error = many()
    error.add_note("A note by a caller.")
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is errors.BatchError
        assert (str(twin), twin.message, twin.kind, twin.pointer) == ("2 of 4.", "2 of 4.", "batch", None)
        assert twin.done == {0: POINTER, 2: POINTER}
        assert twin.__notes__ == ["A note by a caller."]
        assert [type(one) for one in twin.exceptions] == [errors.StoreError, errors.EncodeError]
        # The errors by position are those of the group, not copies.
        assert [id(one) for one in twin.failed.values()] == [id(one) for one in twin.exceptions]
        assert twin.failed[1].transient


def test_a_group_is_split_by_class() -> None:
    seen: list[Any] = []
    try:
        try:
            raise many()
        except* errors.StoreError as stores:
            seen.append(stores)
    except* errors.EncodeError as rest:
        seen.append(rest)
    assert [list(part.failed) for part in seen] == [[1], [3]]
    assert all(type(part) is errors.BatchError and part.done == {0: POINTER, 2: POINTER} for part in seen)
    assert issubclass(errors.BatchError, errors.PayloadError)
    assert "Full." in "".join(traceback.format_exception(many()))
