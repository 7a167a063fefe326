"""What a type checker sees: the public names, their generics, and misspelled settings."""

import re
import subprocess
import sys

PROGRAM = """
import payloadfs
from payloadfs import Payload, Pointer, Repository

payloadfs.configure("memory://x", pickle="never")
payloadfs.configure(urll="memory://x")  # error: urll
payloadfs.configure(pickle="sometimes")  # error: pickle
Repository("memory://x", compression="zip")  # error: compression
Repository("memory://x", verify="full").save(1, compression="brotli")  # error: compression


class Named(Payload[int]):
    pass


def load(pointer: Pointer, text: str) -> None:
    number: int = Payload[int].from_pointer(pointer).value
    word: str = Payload[int].from_pointer(pointer).value  # error: Incompatible types
    named: Named = Named.from_json(text)
    anything = Payload.from_json(text)
    reveal_type(Payload([1]).value)  # note: list[int]
    reveal_type(payloadfs.aio.save)  # note: Pointer
    reveal_type(payloadfs.works.App)  # note: App
"""


def test_a_type_checker_finds_misspelled_settings_and_keeps_the_type_of_a_value(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path / "cache")]
    config = tmp_path / "mypy.ini"
    # Nothing but payloadfs is checked: other packages take most of the time.
    config.write_text(
        "[mypy]\nfollow_imports = skip\nignore_missing_imports = True\n[mypy-payloadfs.*]\nfollow_imports = normal\n"
    )
    run = subprocess.run(
        [*command, "--config-file", str(config), "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    reported: dict[int, str] = {}
    for number, message in re.findall(r"program\.py:(\d+): (.*)", run.stdout):
        reported[int(number)] = reported.get(int(number), "") + message
    expected = {}
    for number, line in enumerate(PROGRAM.splitlines(), start=1):
        if match := re.search(r"# (error|note): (.*)", line):
            expected[number] = match
    assert reported.keys() == expected.keys(), run.stdout + run.stderr
    for number, match in expected.items():
        assert reported[number].startswith(match[1]), reported[number]
        assert match[2] in reported[number], reported[number]
