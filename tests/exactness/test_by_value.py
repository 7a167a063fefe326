"""Classes and functions of a program, loaded by a process that does not have the program."""

import json
import subprocess
import sys

from .harness import IMPORTABLE

READER = """
import json, sys, traceback
from payloadfs import Payload, Pointer, Repository
repository = Repository(sys.argv[1])
found = {}
cases = {name: (Pointer.from_json(pointer), check) for name, (pointer, check) in json.load(sys.stdin).items() if pointer}
for name, (pointer, check) in cases.items():
    found[name] = []
    try:
        many = repository.load_many([pointer, pointer])
        for x in (repository.load(pointer), repository.load(pointer), repository.load(pointer, view=True), many[1]):
            found[name].append(bool(eval(check)))
    except Exception:
        found[name].append(traceback.format_exc())
print(json.dumps(found))
"""


def run(*command, text=None):
    done = subprocess.run([sys.executable, *command], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_classes_and_functions_of_a_program_are_exact(tmp_path):
    saved = run(str(IMPORTABLE / "payloadfs_corpus_program.py"), str(tmp_path / "o"))
    loaded = run("-c", READER, str(tmp_path / "o"), text=json.dumps(saved))
    assert len(saved) > 40
    assert {name: check for name, (pointer, check) in saved.items() if not pointer} == {}
    assert {name: found for name, found in loaded.items() if found != [True] * 4} == {}
