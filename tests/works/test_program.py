"""The program file: its classes are the same in works, in payloads and after a resume, however it is started."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import dataclasses, enum, functools, json, multiprocessing, os, pickle, sys
from concurrent.futures import ProcessPoolExecutor
from payloadfs import Payload
from payloadfs.works import App, Flow, Work

@dataclasses.dataclass
class Config:
    n: int
    def version(self):
        return "old"

class Color(enum.Enum):
    RED = 1

@functools.cache
def square(n):
    return n * n

def total(numbers):
    return sum(numbers)

class Make(Work):
    def __init__(self):
        super().__init__()
        self.config = self.color = self.squares = None
        self.started = 0

    def run(self):
        self.started += 1
        self.squares = []
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(1) as pool:
                self.squares += pool.map(total, [[1, 2], [3]])
        pickle.loads(pickle.dumps([square, Config(1), Color.RED, Config.version]))
        self.config, self.color = Payload(Config(3)), Payload(Color.RED)

class Use(Work):
    def __init__(self):
        super().__init__()
        self.seen = None
        self.started = 0

    def run(self, config, color):
        self.started += 1
        self.seen = [type(config.value) is Config, config.value == Config(3), color.value is Color.RED]

class Main(Flow):
    def __init__(self):
        super().__init__()
        self.make, self.use, self.seen, self.own = Make(), Use(), None, Payload(Config(3))

    def run(self):
        self.make.run()
        self.use.run(self.own, self.make.color)
        if "DIE" in os.environ:
            os._exit(9)
        self.use.run(self.make.config, self.make.color)
        config, color = self.make.config.value, self.make.color.value
        self.seen = [type(config) is Config, config == Config(3), color is Color.RED]
        self.stop()

app = App(Main())
print("top level")
"""
REPORT = """
make, use, flow = app.flow.make, app.flow.use, app.flow
print(json.dumps([make.squares, use.seen, flow.seen, make.started, use.started, make.config.value.version()]))
"""
RUN = "app.run(store='store', max_workers=2, resume=sys.argv[1] if len(sys.argv) > 1 else None)"
EXPECTED = [[3, 3, 3, 3], [True] * 3, [True] * 3, 1, 1, "old"]


@pytest.fixture
def start(tmp_path):
    """Return a function that runs a program in its folder and returns its exit code and output."""
    environment = os.environ | {"PAYLOADFS_KEYS_FILE": str(tmp_path / "keys.txt")}
    subprocess.run([sys.executable, "-m", "payloadfs", "keys", "generate"], env=environment, check=True)

    def run(*command, **variables):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(params=["guarded", "unguarded", "payloadfs run", "in a function", "-m"])
def program(request, tmp_path, start):
    """Write the program, and return a function that starts it in one of the ways that users do."""
    ways = {
        "guarded": f"if __name__ == '__main__':\n{textwrap.indent(RUN + REPORT, '    ')}",
        "unguarded": RUN + REPORT,
        "in a function": f"def main():\n{textwrap.indent(RUN + REPORT, '    ')}\nmain()\n",
        "-m": f"if __name__ == '__main__':\n{textwrap.indent(RUN + REPORT, '    ')}",
        "payloadfs run": "",
    }
    path = tmp_path / "my-app.py" if request.param == "guarded" else tmp_path / "app.py"
    path.write_text(PROGRAM + ways[request.param])

    def run(*resume, **variables):
        if request.param == "-m":
            return start("-m", "app", *resume, **variables)
        if request.param != "payloadfs run":
            return start(path.name, *resume, **variables)
        options = ["--resume", *resume] if resume else []
        code, out, err = start("-m", "payloadfs", "run", "app.py", "--store", "store", *options, **variables)
        if code == 0:
            runs = json.loads(start("-m", "payloadfs", "runs", "--store", "store", "--json")[1])
            shown = start("-m", "payloadfs", "runs", "show", "--store", "store", "--json", runs["run"])[1]
            states = {name: part["state"] for name, part in json.loads(shown)["components"].items()}
            make, use, flow = (states[name] for name in ("root.make", "root.use", "root"))
            report = [make["squares"], use["seen"], flow["seen"], make["started"], use["started"], "old"]
            out += json.dumps(report)
        return code, out, err

    run.path = path
    return run


def test_classes_of_the_program_keep_their_identity(program):
    code, out, err = program()
    assert code == 0, err
    assert json.loads(out.splitlines()[-1]) == EXPECTED
    assert out.count("top level") == 1


@pytest.mark.parametrize(
    "program",
    [
        "guarded",
        "payloadfs run",
        *(pytest.param(way, marks=pytest.mark.sweep) for way in ("unguarded", "in a function", "-m")),
    ],
    indirect=True,
)
def test_a_resumed_run_has_the_same_classes_and_repeats_nothing(program, tmp_path):
    assert program(DIE="1")[0] == 9
    (name,) = os.listdir(tmp_path / "store" / "runs")
    code, out, err = program(name)
    assert code == 0, err
    assert json.loads(out.splitlines()[-1]) == EXPECTED


def test_a_program_that_was_changed_runs_its_new_code(start, tmp_path):
    path = tmp_path / "app.py"
    path.write_text(PROGRAM + RUN + REPORT)
    assert start("app.py", DIE="1")[0] == 9
    path.write_text(path.read_text().replace('"old"', '"new"'))
    (name,) = os.listdir(tmp_path / "store" / "runs")
    _, out, err = start("app.py", name)
    assert json.loads(out.splitlines()[-1]) == [*EXPECTED[:-1], "new"], err


@pytest.mark.parametrize("name", ["two.dots.py", "sub-app.py"])
def test_names_of_files_that_are_no_names_of_modules(start, tmp_path, name):
    (tmp_path / name).write_text(PROGRAM.replace('("fork", "spawn")', '("fork", "fork")'))
    code, _, err = start("-m", "payloadfs", "run", name, "--store", "store")
    assert code == 0, err


def test_a_program_without_a_file(start):
    """By value: a notebook, or standard input."""
    program = """
        import enum
        from payloadfs import Payload
        from payloadfs.works import App, Flow, Work

        class Color(enum.Enum):
            RED = 1

        class Make(Work):
            def __init__(self):
                super().__init__()
                self.color = None

            def run(self):
                self.color = Payload(Color.RED)

        class Main(Flow):
            def __init__(self):
                super().__init__()
                self.make = Make()

            def run(self):
                self.make.run()
                print(self.make.color.value is Color.RED)
                self.stop()

        App(Main()).run(store="store", max_workers=1)
        """
    assert start("-c", textwrap.dedent(program))[:2] == (0, "True\n")
