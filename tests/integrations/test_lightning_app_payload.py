"""What the framework requires of a payload in its state, tested without the framework."""

import builtins
import copy
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import types
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

import payloadfs
import payloadfs.integrations.lightning_app as lapp
from payloadfs import EncodeError, Pointer, PointerError
from payloadfs._digest import Digest
from payloadfs.integrations.lightning_app import Payload, StatePayload

COPIES = {
    "type of OrderedDict": lambda payload: type(payload)(OrderedDict(payload)),
    "type of dict": lambda payload: type(payload)(dict(payload)),
    "type of JSON": lambda payload: type(payload)(json.loads(json.dumps(payload))),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy in state": lambda payload: copy.deepcopy({"works": [{"vars": payload}]})["works"][0]["vars"],
} | {
    f"pickle {protocol}": lambda payload, protocol=protocol: pickle.loads(pickle.dumps(payload, protocol))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
}
HEX = st.text("0123456789abcdef", min_size=8, max_size=8)
UNSIGNED = st.builds(
    Pointer,
    root=st.sampled_from(["s3://bucket/a", "file:///srv/objects", "memory://x"]),
    key=st.from_regex(r"[a-z0-9]{1,9}/[a-z0-9]{1,26}\.bin", fullmatch=True),
    serializer=st.sampled_from(["pickle/1", "pandas/1"]),
    size_bytes=st.integers(0, 2**53 - 1),
    digest=st.builds(Digest, st.sampled_from(["b3", "s256"]), st.binary(min_size=32, max_size=32)),
    created_s=st.integers(0, 2**40),
    type_name=st.from_regex(r"[A-Za-z0-9_.]{1,80}", fullmatch=True),
)
SIGNED = st.builds(
    lambda pointer, key: pointer.signed(payloadfs.KeyRing([payloadfs.Key(key * 32)])),
    UNSIGNED,
    st.binary(min_size=1, max_size=1),
)
POINTERS = UNSIGNED | SIGNED
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@pytest.fixture(autouse=True)
def in_memory():
    with payloadfs.using("memory://lightning"):
        yield


@given(POINTERS)
def test_every_copy_is_equal_and_of_the_same_class(pointer):
    payload = Payload.from_pointer(pointer)
    for how, copied in COPIES.items():
        other = copied(payload)
        assert (type(other), other, other.pointer) == (StatePayload, payload, pointer), how
        assert other is not payload, how
        other["key"] = "changed"
        assert payload.pointer == pointer, how


@given(POINTERS)
def test_a_payload_is_its_pointer_as_plain_json(pointer):
    payload = Payload.from_pointer(pointer)
    assert {type(value) for value in payload.values()} <= {str, int}
    assert payload == pointer.to_dict() == json.loads(json.dumps(payload))
    assert payloadfs.Payload.from_dict(payload).pointer == pointer


@given(ANYTHING)
def test_the_class_refuses_values_that_are_not_pointers(value):
    with pytest.raises(PointerError):
        StatePayload(value)


@given(POINTERS, st.data())
def test_the_class_refuses_missing_and_additional_fields(pointer, data):
    fields = pointer.to_dict()
    with pytest.raises(PointerError):
        StatePayload(fields | {data.draw(st.text().filter(lambda name: name not in {*fields, "kid", "sig"})): 1})
    del fields[data.draw(st.sampled_from(sorted(fields.keys() - {"kid", "sig"})))]
    with pytest.raises(PointerError):
        StatePayload(fields)


@pytest.mark.parametrize("value", [None, {}, "", "s3://bucket", [("key", 1)], 0])
def test_the_class_refuses_values_that_the_framework_tries(value, tripwire):
    with pytest.raises(PointerError, match=r"call Payload\(\.\.\.\)"):
        StatePayload(value)


def test_a_copy_with_none_for_each_string_can_be_created_but_not_used():
    payload = Payload([1])
    walked = type(payload)(
        OrderedDict((name, None if type(value) is str else value) for name, value in payload.items())
    )
    for use in (lambda: walked.pointer, lambda: walked.value, lambda: walked.view()):
        with pytest.raises(PointerError):
            use()


def test_the_framework_can_change_field_by_field():
    old, new = Payload([1]), Payload([2, 3])
    old.update({name: value for name, value in new.items() if old[name] != value})
    assert old == new
    assert old.value == [2, 3]


def test_a_mixture_of_two_pointers_is_refused():
    payload = Payload([1])
    payload["key"] = Payload([2])["key"]
    with pytest.raises(payloadfs.SignatureError):
        _ = payload.value


def test_nothing_but_value_and_view_does_io(tmp_path, monkeypatch):
    with payloadfs.using(tmp_path / "objects"):
        payload = Payload([1])
        touched = []
        for module, name in ((builtins, "open"), (os, "open"), (os, "stat"), (socket, "socket")):
            monkeypatch.setattr(module, name, counted(getattr(module, name), touched))
        for copied in COPIES.values():
            assert copied(payload) == payload
        assert payload
        assert payload.pointer.key == payload["key"]
        assert payload.to_dict()
        assert payload["key"] in repr(payload)
        assert isinstance(payload, Payload)
        for old in (None, {}, "text"):
            with pytest.raises(PointerError):
                type(payload)(old)
        assert touched == []
        assert payload.value == payload.view() == [1]
        assert len(touched) >= 2


def counted(call, touched):
    def counting(*arguments, **options):
        touched.append(call.__name__)
        return call(*arguments, **options)

    return counting


@pytest.mark.parametrize("value", [None, [], 0, "text", {"a": [1]}, [("key", 1)], {"key": 1}])
def test_any_object_is_stored_and_truthy(value):
    payload = Payload(value)
    assert (payload.value, payload.view(), bool(payload)) == (value, value, True)


def test_a_payload_can_be_stored_in_a_payload():
    inner = Payload([1])
    assert Payload(inner).value == inner
    assert Payload(inner).value.value == [1]


def test_the_object_is_stored_in_its_state_at_creation():
    value = [1]
    payload = Payload(value)
    value.append(2)
    assert payload.value == [1]
    payload.value.append(3)
    assert payload.value == [1]


def test_calls_are_compared_by_content():
    first, second, other = Payload([1]), Payload([1]), Payload([2])
    assert first != second
    assert first.to_dict() == second.to_dict() != other.to_dict()
    assert first.to_dict() != Payload(b"[1]").to_dict()


def test_an_object_that_cannot_be_stored_raises_at_creation():
    with pytest.raises(EncodeError):
        Payload(threading.Lock())


def test_repository_and_prefix():
    repository = payloadfs.Repository("memory://elsewhere")
    payload = Payload([1], repository=repository, prefix="run-7")
    assert (payload["root"], payload["key"].split("/")[0]) == ("memory://elsewhere", "run-7")
    assert repository.load(payload.pointer) == [1]


def test_the_class_in_annotations():
    assert Payload[list]([1]).value == [1]
    with pytest.raises(AttributeError):
        Payload([1]).anything = 1


def test_a_subclass_is_refused():
    with pytest.raises(TypeError, match="register_serializer"):

        class Mine(Payload):
            pass


def test_a_process_without_this_module_can_read_the_pointer(tmp_path):
    payload = Payload([1, 2], repository=payloadfs.Repository(tmp_path / "objects"))
    reader = "import pickle, sys; print(pickle.load(sys.stdin.buffer).value)"
    command = [sys.executable, "-c", reader]
    (tmp_path / "config.toml").write_text(f'url = "{tmp_path}/objects"')
    environment = os.environ | {"PAYLOADFS_CONFIG": str(tmp_path / "config.toml")}
    done = subprocess.run(command, input=pickle.dumps(payload), capture_output=True, env=environment, check=False)
    assert done.stdout == b"[1, 2]\n", done.stderr.decode()


def test_other_names_come_from_the_framework(monkeypatch):
    framework = types.ModuleType("lightning_app")
    framework.LightningWork, framework.storage = object(), types.SimpleNamespace(Payload=object(), Drive=object())
    monkeypatch.setitem(sys.modules, "lightning_app", framework)
    assert lapp.LightningWork is framework.LightningWork
    assert lapp.storage.Drive is framework.storage.Drive
    assert lapp.storage.Payload is Payload
    for access in (lambda: lapp.LightningWerk, lambda: lapp.storage.Drove, lambda: lapp.__wrapped__):
        with pytest.raises(AttributeError):
            access()


def test_without_the_framework_other_names_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_app", None)
    assert lapp.Payload([1]).value == [1]
    assert not hasattr(lapp, "LightningWork")
    for access in (lambda: lapp.LightningWork, lambda: lapp.storage.Drive):
        with pytest.raises(AttributeError, match=r"pip install 'payloadfs\[lightning\]'"):
            access()


def test_importing_it_loads_nothing_heavy():
    code = "import sys, payloadfs.integrations.lightning_app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {name.partition(".")[0] for name in done.stdout.split()}
    assert not names & {"lightning_app", "pandas", "numpy", "pyarrow", "fsspec", "cloudpickle", "asyncio"}
