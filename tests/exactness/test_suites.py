"""Suites of others: CPython's tests of pickle and copy, and a part of those of packages (`foreign`).

Run them with ``pytest tests/exactness/test_suites.py``, and the packages' whole suites with
``python -m tests.exactness.foreign``. `LEFT_OUT` lists the tests of CPython that are not about what comes
back, and those of objects that are refused, with the reason.
"""

import copy
import pickle
import unittest

import pytest

from payloadfs.serializers._pickle.serializer import PickleSerializer
from payloadfs.testing.serializers import stored_bytes

from . import foreign

pickletester = pytest.importorskip("test.pickletester")
test_copy = pytest.importorskip("test.test_copy")

PROTOCOL = 5


def trip(obj):
    return PickleSerializer().decode(stored_bytes(PickleSerializer().encode(obj)), trusted=True)


class Suite(pickletester.AbstractPickleTests, unittest.TestCase):
    __test__ = False

    def dumps(self, arg, proto=None, **_):
        return bytes(stored_bytes(PickleSerializer().encode(arg)))

    def loads(self, buf, **_):
        return PickleSerializer().decode(memoryview(buf), trusted=True)


LEFT_OUT = {
    name: reason
    for reason, names in {
        "checks the bytes of the stream": "test_appends_on_non_lists test_bytearray test_bytearray_memoization "
        "test_bytes_memoization test_compat_pickle test_complex_newobj test_complex_newobj_ex test_float_format "
        "test_framed_write_sizes_with_delayed_writer test_framing_large_objects test_framing_many_objects "
        "test_global_ext1 test_global_ext2 test_global_ext4 test_int_pickling_efficiency test_list_chunking "
        "test_dict_chunking test_set_chunking test_long1 test_long4 test_optional_frames test_proto "
        "test_setitems_on_non_dicts test_singletons test_simple_newobj test_short_tuples test_pickle_to_2x",
        "is about old protocols, which are not used": "test_bad_getattr test_c_methods test_py_methods",
        "uses out-of-band buffers of pickle, whose PickleBuffer is refused": "test_in_band_buffers test_oob_buffers "
        "test_oob_buffers_writable_to_readonly test_buffers_error test_buffers_numpy test_buffer_callback_error "
        "test_picklebuffer_error",
        "is refused when it is saved": "test_pickle_setstate_None",
        "expects another error": "test_local_lookup_error test_reduce_bad_iterator",
        "a proxy is refused, because it would come back as what it refers to": "test_newobj_proxies "
        "test_newobj_not_class",
        "expects that immutable objects and functions are the same objects in memory": "test_deepcopy_atomic "
        "test_deepcopy_bound_method test_deepcopy_dont_memo_immutable test_deepcopy_function test_deepcopy_keepalive "
        "test_deepcopy_tuple_of_immutables",
        "weak references are refused": "test_deepcopy_weakkeydict test_deepcopy_weakref test_deepcopy_weakvaluedict",
        "has a __reduce__ that pickle refuses": "test_deepcopy_cant test_deepcopy_reduce test_deepcopy_reduce_ex",
    }.items()
    for name in names.split()
}


def names(suite):
    return sorted(name for name in dir(suite) if name.startswith("test_") and name not in LEFT_OUT)


def run(suite, name, protocols):
    old = pickletester.protocols
    pickletester.protocols = protocols
    try:
        case = suite(name)
        case.debug()
    except unittest.SkipTest as skipped:
        pytest.skip(str(skipped))
    finally:
        pickletester.protocols = old


@pytest.mark.parametrize("name", names(Suite))
def test_cpython_pickle(name):
    run(Suite, name, range(PROTOCOL, PROTOCOL + 1))


@pytest.mark.parametrize("name", [name for name in names(test_copy.TestCopy) if name.startswith("test_deepcopy")])
def test_cpython_deepcopy(name, monkeypatch):
    monkeypatch.setattr(copy, "deepcopy", lambda obj, _=None: trip(obj))
    monkeypatch.setattr(pickle, "HIGHEST_PROTOCOL", PROTOCOL)
    run(test_copy.TestCopy, name, range(PROTOCOL, PROTOCOL + 1))


@pytest.mark.sweep
@pytest.mark.parametrize(("suite", "sample", "least"), [("numpy", 40, 20), ("pyarrow", 20, 25), ("pandas", 40, 40)])
def test_packages(suite, sample, least):
    tally = foreign.run(suite, sample)
    assert not tally.unexpected()
    assert tally.counts["same"] >= least
