"""Test suites of other packages. Everything that they pickle or compare is saved, loaded and compared as well.

    python -m tests.exactness.foreign                      all suites, whole: about an hour
    python -m tests.exactness.foreign numpy pandas         some of them
    python -m tests.exactness.foreign --sample 300 pandas  300 tests chosen at random, always the same

Their own verdicts do not count: many test the bytes of pickle, or its out-of-band buffers. What counts is
what came back. `REFUSED` has the reasons for which objects of these suites are refused.
"""

import argparse
import collections
import contextlib
import dataclasses
import importlib.util
import json
import os
import pickle
import random
import re
import subprocess
import sys
import tempfile

import pytest

SUITES = {
    "numpy": ["numpy._core.tests", "numpy.ma.tests", "numpy.random.tests", "-k", "pickle or Pickl or copy"],
    "pyarrow": ["pyarrow.tests", "-k", "pickle or Pickl"],
    "pandas": ["pandas.tests.io.test_pickle", "pandas.tests.frame", "pandas.tests.series", "pandas.tests.indexes"],
    "pandas-more": [f"pandas.tests.{name}" for name in ("reshape", "resample", "groupby", "extension", "scalar", "tseries")],
    "scipy": ["scipy.sparse.tests", "-k", "pickl"],
    "sympy": ["sympy.utilities.tests.test_pickling"],
    "xarray": ["xarray.tests", "-k", "pickl"],
    # In its repository only. Copy the folder as "cloudpickle_tests", add its cloudpickle_testpkg to PYTHONPATH, and
    # set CLOUDPICKLE_TESTS to its cloudpickle_test.py. Run it with --workers 0.
    "cloudpickle": [os.environ.get("CLOUDPICKLE_TESTS", "cloudpickle_tests/cloudpickle_test.py")],
}  # fmt: skip
REFUSED = {
    "PickleBuffer": "it would come back as bytes",
    r"call \.load\(\) first": "its data is still in a file",
    "memoryview": "it would come back as bytes",
    "RaiserOnPickle": "its own __reduce__ raises",
    "_thread|SemLock": "locks and threads cannot be copied",
    "weak": "what a weak reference refers to may be gone",
    "generator": "a generator cannot be copied",
    "frame": "a frame of a running function cannot be copied",
    "TextIOWrapper": "an open file cannot be copied",
    "would lose the attribute": "pandas drops attributes in every operation",
    "_metadata of its class omits": "pandas would lose the name",
    "inherits a __reduce__": "the class says that it is another class",
    "would be stored as the name __main__": "no other process has this name",
    "cannot be reconstructed": "its class does not accept what its reduction stores",
    r"test_delitem_series.* index \d+ is out of bounds": "pandas cannot pickle a Series with such an array after `del series[k]`",
    "dictionary changed size": "a class of sympy changes while it is pickled",
    "Can't (pickle|get local)|not the same object|not found as|cannot pickle": "pickle refuses it too",
}
"""Parts of messages, and why objects are refused."""

CHANGED = {
    r"_mhash|_assumptions": "caches of sympy, which its own __getstate__ leaves out",
    r"test_always_use_up_to_date_copyreg": "a reducer of the test changes the object",
    r"test_builtin_staticmethod": "the interpreter creates it without the attributes that each copy has",
    r"by_value|different_pickling_method": "`describe` sees that a function was stored by value, as the test asked",
    r"_LegacySeriesPickle": "a class of a test whose __reduce__ returns a Series",
    r"instead of obj.*\(pandas\.arrays\.NumpyExtensionArray\)": "only with a function of pandas replaced, as its tests do, has an index such an array",
    r"test_weakset": "a set without an order",
    r"obj\._data\.dask": "caches of dask, which its own __reduce__ leaves out",
    r"combined_lock": "locks of xarray, which are sorted by their addresses",
}
"""Differences that are no concern, and why."""

_MAGIC = b"payloadfs:"


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts by outcome, and the messages of all outcomes but the first.

    The outcomes are ``"same"``, ``"refused"``, ``"changed"``, ``"unreadable"`` and ``"crash"``.
    """

    counts: dict
    messages: dict

    def unexpected(self):
        """Return what must not happen: everything but exact copies and refusals for a known reason."""
        known = {"refused": "|".join(REFUSED), "changed": "|".join(CHANGED)}
        return [
            f"{kind}: {line}"
            for kind, lines in self.messages.items()
            for line in lines
            if kind not in known or not re.search(known[kind], line)
        ]


def _path(module):
    """Return the file or folder of a module of tests; some packages ship them without ``__init__.py``."""
    package, *parts = module.split(".")
    if os.path.exists(module) or (spec := importlib.util.find_spec(package)) is None:
        return module
    path = os.path.join(*spec.submodule_search_locations, *parts)
    return path if os.path.exists(path) else f"{path}.py"


def run(name, sample=0, workers=0):
    """Run a suite in its own process and return the tally."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as report:
        environment = os.environ | {"FOREIGN_REPORT": report.name, "FOREIGN_SAMPLE": str(sample)}
        parallel = ["-n", str(workers)] if workers else ["-p", "no:xdist"]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.exactness.foreign",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
        ]
        flags = [*parallel, "-W", "ignore", "--tb=no", "-m", "not slow and not network and not db and not single_cpu"]
        target = [_path(part) if "." in part else part for part in SUITES[name]]
        done = subprocess.run([*command, *flags, *target], env=environment, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in report]
    messages = collections.defaultdict(list)
    for kind, message in lines:
        if kind != "same":
            messages[kind].append(message)
    if not lines:
        messages["crash"].append(done.stdout[-2000:] + done.stderr[-2000:])
    return Tally(dict(collections.Counter(kind for kind, _ in lines)), dict(messages))


class _Taps:
    """Replacements for functions of pickle and of the suites, which report what comes back."""

    def __init__(self, path):
        from payloadfs import EncodeError
        from payloadfs.serializers import decode, default_serializers
        from payloadfs.testing import describe
        from payloadfs.testing.exact import first_difference
        from payloadfs.testing.serializers import stored_bytes

        self._refusal, self._encode, self._decode = EncodeError, default_serializers.encode, decode
        self._stored, self._describe, self._first_difference = stored_bytes, describe, first_difference
        self._by_id = default_serializers.by_id
        self._path, self._active, self._originals = path, False, {}
        self.test = ""

    def report(self, kind, message=""):
        with open(self._path, "a") as file:
            file.write(json.dumps([kind, f"{self.test}: {message}"[:1000]]) + "\n")

    def check(self, obj):
        """Save, load and compare `obj`. Return serializer id and bytes."""
        self._active = True
        try:
            before = list(self._describe(obj))
            try:
                serializer, encoded = self._encode(obj)
            except self._refusal as error:
                self.report("refused", str(error))
                raise pickle.PicklingError(str(error)) from error
            except RecursionError:
                raise
            except Exception as error:
                self.report("crash", repr(error))
                raise
            content = bytes(self._stored(encoded))
            try:
                value = self._decode(serializer, memoryview(bytearray(content)), trusted=True)
            except Exception as error:
                self.report("unreadable", repr(error))
                raise
            different = self._first_difference(iter(before), self._describe(value))
            self.report("changed" if different else "same", different or "")
            return serializer.id, content
        finally:
            self._active = False

    def dumps(self, module, obj, *args, **kwargs):
        original = self._originals[module, "dumps"]
        if self._active or kwargs.get("buffer_callback"):
            return original(obj, *args, **kwargs)
        serializer_id, content = self.check(obj)
        return _MAGIC + serializer_id.encode() + b":" + content

    def loads(self, module, data, *args, **kwargs):
        if not self._active and bytes(memoryview(data)[: len(_MAGIC)]) == _MAGIC:
            serializer_id, _, content = bytes(data)[len(_MAGIC) :].partition(b":")
            return self._decode(self._by_id(serializer_id.decode()), memoryview(bytearray(content)), trusted=True)
        return self._originals[module, "loads"](data, *args, **kwargs)

    def tap(self, original):
        """Return the assertion `original`, which also checks what it compares."""

        def asserted(left, right, *args, **kwargs):
            for obj in (left, right) if not self._active else ():
                with contextlib.suppress(Exception):  # it is in the report
                    self.check(obj)
            return original(left, right, *args, **kwargs)

        return asserted

    def install(self):
        modules = [pickle, *([__import__("cloudpickle")] if importlib.util.find_spec("cloudpickle") else [])]
        for module in modules:
            for name in ("dumps", "loads"):
                self._originals[module, name] = getattr(module, name)
                setattr(
                    module, name, lambda *args, _m=module, _n=name, **kwargs: getattr(self, _n)(_m, *args, **kwargs)
                )
        with contextlib.suppress(ImportError):
            import pandas._testing as testing

            for name in (
                "assert_frame_equal",
                "assert_series_equal",
                "assert_index_equal",
                "assert_extension_array_equal",
            ):
                setattr(testing, name, self.tap(getattr(testing, name)))


def pytest_configure(config):
    if path := os.environ.get("FOREIGN_REPORT"):
        config.foreign_taps = taps = _Taps(path)
        taps.install()


def pytest_runtest_setup(item):
    if taps := getattr(item.config, "foreign_taps", None):
        taps.test = item.nodeid.rpartition("/")[2]


@pytest.hookimpl(trylast=True)  # after -k
def pytest_collection_modifyitems(items):
    count = int(os.environ.get("FOREIGN_SAMPLE", "0"))
    if count and len(items) > count:
        items[:] = [items[number] for number in sorted(random.Random(7).sample(range(len(items)), count))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", default=[name for name in SUITES if name != "cloudpickle"])
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    failed = False
    for name in options.suites:
        tally = run(name, options.sample, options.workers)
        print(f"{name}: {tally.counts}")
        for line in tally.unexpected():
            failed = True
            print(f"  {line}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
