"""Round trips through a store; a fresh process that knows only the pointers loads the objects."""

import json
import os
import pathlib
import subprocess
import sys
import warnings
from dataclasses import dataclass

from payloadfs import EncodeError, Repository
from payloadfs.testing import describe
from payloadfs.testing.exact import first_difference

IMPORTABLE = pathlib.Path(__file__).parent / "importable"
"""Folder with the classes of the corpus, which both processes can import."""

_READER = """
import importlib, json, sys, traceback, warnings
from payloadfs import Pointer, Repository
from payloadfs.testing import describe

answer, sys.stdout = sys.stdout, sys.stderr
repository = Repository(sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
for line in sys.stdin:
    name, pointer = json.loads(line)
    print(json.dumps([name, "begun"]), file=answer, flush=True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = repository.load(Pointer.from_json(pointer))
        said = [str(warning.message) for warning in caught]
        found = ["described", [*map(list, describe(value)), *([["warnings", str(said)]] if said else [])]]
    except Exception:
        found = ["failed", traceback.format_exc()]
    print(json.dumps([name, *found]), file=answer, flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """Result of one round trip.

    Attributes
    ----------
    result : str
        ``"exact"``, ``"refused"``, ``"changed"``, ``"unreadable"`` or ``"crash"``.
    message : str
        The first difference, or the exception.
    serializer : str
        Serializer id; empty if the object was refused.
    """

    result: str
    message: str = ""
    serializer: str = ""

    @property
    def executable(self):
        """Whether loading it runs a pickle."""
        return self.serializer.startswith(("pickle/", "pandas-mixed/"))


def round_trips(cases, folder, *, imports=()):
    """Save every object of the dict `cases` in `folder`, and load them in a fresh process that only did `imports`."""
    repository = Repository(folder, fsync=False)
    outcomes, pointers, originals = {}, {}, {}
    for name, obj in cases.items():
        before = list(describe(obj))
        try:
            pointers[name] = repository.save(obj, prefix="corpus")
        except EncodeError as error:
            outcomes[name] = Outcome("refused", str(error))
            continue
        changed = first_difference(iter(before), describe(obj))
        if changed:
            outcomes[name] = Outcome("changed", f"saving changed the original: {changed}")
        originals[name] = before
    found = _elsewhere({name: pointer.to_json() for name, pointer in pointers.items()}, repository.root, imports)
    for name, (kind, content) in found.items():
        serializer = pointers[name].serializer
        if kind == "described":
            different = first_difference(iter(originals[name]), ((place, fact) for place, fact in content))
            outcomes.setdefault(name, Outcome("changed" if different else "exact", different or "", serializer))
        else:
            outcomes[name] = Outcome({"failed": "unreadable", "begun": "crash"}[kind], str(content), serializer)
    return outcomes


def _elsewhere(pointers, root, imports):
    """Return the reader's result by name; if an object crashes the process, another one continues after it."""
    found, left = {}, dict(pointers)
    paths = [str(IMPORTABLE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    while left:
        done = subprocess.run(
            [sys.executable, "-c", _READER, root, *imports],
            input="".join(json.dumps([name, pointer]) + "\n" for name, pointer in left.items()),
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        for line in done.stdout.splitlines():
            name, kind, *content = json.loads(line)
            found[name] = kind, content[0] if content else done.stderr[-2000:]
        rest = {name: pointer for name, pointer in left.items() if name not in found}
        if len(rest) == len(left):
            raise RuntimeError(f"the reader cannot start: {done.stderr}")
        left = rest
    return found


def silenced(make):
    """Return the result of `make` without deprecation warnings of the corpus."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def report(outcomes):
    """Return one line for each outcome that is not exact."""
    return "\n".join(
        f"{name}: {outcome.result}: {outcome.message[-600:]}"
        for name, outcome in outcomes.items()
        if outcome.result != "exact"
    )
