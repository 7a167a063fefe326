"""``payloadfs run``, in a separate process, as used by people, by scripts and on a cluster."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAME = "   col1  col2\n0     1     3\n1     2     4\n"

STEPS = """
    import os, time
    from payloadfs import Payload
    from payloadfs.works import App, Flow, Work

    class Step(Work):
        def __init__(self, label, waits=False):
            super().__init__()
            self.label, self.waits, self.out = label, waits, None

        def run(self, payload=None):
            with open("log", "a") as log:
                print(self.label, file=log)
            while self.waits and not os.path.exists("gate"):
                time.sleep(0.02)
            self.out = Payload([self.label, payload and payload.value])

    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.first, self.second = Step("first"), Step("second", waits=True)

        def run(self):
            self.first.run()
            self.second.run(self.first.out)
            print("flow:", self.second.out.value)

    app = App(Main())
"""


def wait_for(path, text):
    # The test's own time limit ends a wait in vain.
    while not path.exists() or text not in path.read_text():
        time.sleep(0.02)


def resume_arguments(err):
    """Return the arguments of the command that resumes the run, as printed on standard error."""
    (command,) = re.findall(r"to resume: payloadfs run (.*)", err)
    return shlex.split(command)


def check_shared(out, err):
    assert out == f"src {FRAME}dst {FRAME}"
    assert "Traceback" not in err


def test_objects_are_shared_in_the_folder_of_the_user(finish, clean_environment):
    out, err = finish(EXAMPLES / "sharing_objects.py")
    check_shared(out, err)
    assert re.search(r"root\.src +succeeded in \d.*, stored df: pandas.DataFrame, 2.2 kB\n", err)
    assert re.search(r"root\.dst +succeeded in", err)
    assert re.search(r"finished in .* s; 2 works, 2 calls, 1 payload stored \(2.2 kB\)\n$", err)
    assert list((clean_environment / ".local/share/payloadfs/objects/runs").iterdir())


@pytest.mark.s3
def test_objects_are_shared_in_a_bucket(finish, payloadfs_seaweedfs, monkeypatch):
    for name, value in payloadfs_seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    store = f"s3://{payloadfs_seaweedfs.bucket()}/demo"
    out, err = finish(EXAMPLES / "sharing_objects.py", "--store", store)
    check_shared(out, err)
    assert store in err
    listed = subprocess.run(
        [sys.executable, "-m", "payloadfs", "runs", "--store", store], capture_output=True, text=True, check=True
    )
    assert " finished " in listed.stdout


CLUSTER = """
    import sys
    from distributed import LocalCluster

    if __name__ == "__main__":
        options = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
        with LocalCluster(host="127.0.0.1", scheduler_port=0, **options) as cluster:
            print(cluster.scheduler_address, flush=True)
            sys.stdin.read()
"""


@pytest.fixture
def cluster(program, tmp_path):
    """Run a Dask cluster of two worker processes, and yield its address."""
    command = [sys.executable, program(CLUSTER, "cluster.py")]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip().replace("tcp://", "dask://")
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(60)
        finally:
            process.kill()


def test_objects_are_shared_on_a_cluster(finish, program, tmp_path, cluster):
    check_shared(*finish(EXAMPLES / "sharing_objects.py", "--executor", cluster, "--store", tmp_path / "objects"))
    (tmp_path / "met").mkdir()
    name = program(f"""
        import os, time
        from payloadfs.works import App, Flow, Work
        from helper import answer

        class Where(Work):
            def __init__(self):
                super().__init__(parallel=True)
                self.process = None

            def run(self):
                self.process = os.getpid()
                open(os.path.join({str(tmp_path / "met")!r}, str(self.process)), "w").close()
                while len(os.listdir({str(tmp_path / "met")!r})) < 2:  # both run at the same time
                    time.sleep(0.02)

        class Main(Flow):
            def __init__(self):
                super().__init__()
                self.works = [Where(), Where()]

            def run(self):
                for work in self.works:
                    work.run()
                if all(work.has_succeeded for work in self.works):
                    print(answer, len({{os.getpid(), *(work.process for work in self.works)}}))
                    self.stop()

        app = App(Main())
    """)
    program("answer = 42", "helper.py")
    assert finish(name, "--executor", cluster)[0] == "42 3\n"
    assert "--max-workers" in finish(name, "--executor", cluster, "--max-workers", 2, code=2)[1]


def test_the_pipeline(finish):
    out, err = finish(EXAMPLES / "pipeline.py", "--set", "load.rows=5000", "--max-workers", 2)
    assert out.count("\n") == 4
    assert re.match(r"4,\d\d\d flights, 2\d% of them late", out)
    assert sorted(line.split()[0] for line in out.splitlines()[1:]) == ["bayes", "linear", "tree"]
    assert "6 works, 6 calls, 5 payloads" in err


def test_attributes_are_set(finish, program):
    name = program("""
        from payloadfs.works import App, Flow, Work

        class Part(Work):
            def __init__(self):
                super().__init__()
                self.rows, self.label = 1, ""

            def run(self):
                print(self.rows, repr(self.label))

        class Main(Flow):
            def __init__(self):
                super().__init__()
                self.rows = None
                self.src, self.others = Part(), [Part(), Part()]

            def run(self):
                print(self.rows)
                self.src.run()
                self.others[1].run()
                self.stop()

        app = App(Main())
    """)
    arguments = ["--set", 'rows={"a": [1.5]}', "--set", "src.rows=10", "--set", "others.1.label=a=b"]
    assert finish(name, *arguments)[0] == "{'a': [1.5]}\n10 ''\n1 'a=b'\n"
    for argument, message in [
        ("src.row=1", "did you mean 'src.rows'?"),
        ("nothing=1", "Declared: rows, src.rows, src.label"),
        ("src=1", "no attribute 'src'"),
        ("rows", "write NAME=VALUE"),
    ]:
        assert message in finish(name, "--set", argument, code=2)[1]
    assert "--set cannot be used with --resume" in finish(name, "--set", "rows=1", "--resume", "x", code=2)[1]


def test_events_as_json(finish, program):
    name = program(
        STEPS.replace("waits=True", "waits=False").replace('print("flow:"', 'os.system("echo program"); print("flow:"')
    )
    out, err = finish(name, "--json")
    assert err == ""
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["run"] for event in events if "run" in event} == {events[0]["run"]}
    kinds = [(event["kind"], event.get("work", "")) for event in events if event["kind"] != "output"]
    assert kinds == [
        ("run-started", ""),
        ("call-started", "root.first"),
        ("call-succeeded", "root.first"),
        ("call-started", "root.second"),
        ("call-succeeded", "root.second"),
        ("run-finished", ""),
        ("summary", ""),
    ]
    printed = "".join(event["message"] for event in events if event["kind"] == "output")
    assert "flow: ['second', ['first', None]]\n" in printed
    assert "program\n" in printed
    assert events[-1]["works"] == events[-1]["payloads"] == 2
    assert events[-1]["stored_bytes"] == sum(
        stored["size_bytes"] for event in events for stored in event.get("stored", ())
    )


def test_an_interrupted_run_is_resumed(start, finish, program, tmp_path):
    process = start(program(STEPS))
    wait_for(tmp_path / "log", "second")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert " interrupted after " in err
    (tmp_path / "gate").touch()
    out, err = finish(*resume_arguments(err))
    assert out.endswith("flow: ['second', ['first', None]]\n")
    assert " resumed in " in err
    assert (tmp_path / "log").read_text() == "first\nsecond\nsecond\n"


@pytest.mark.parametrize("times", [2, pytest.param(8, marks=pytest.mark.sweep)])
def test_interrupted_while_worker_processes_start(start, program, times):
    name = program(STEPS)
    for _ in range(times):
        process = start(name, "--json", "--max-workers", 4)
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert err == ""


def test_terminated(start, program, tmp_path):
    process = start(program(STEPS))
    wait_for(tmp_path / "log", "second")
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert resume_arguments(err)


def test_a_second_interrupt_ends_the_process(start, program, tmp_path):
    name = program("""
        import time
        from payloadfs.works import App, Flow

        class Main(Flow):
            def run(self):
                try:
                    open("log", "w").write("waits")
                    time.sleep(100)
                except KeyboardInterrupt:
                    try:
                        open("log", "w").write("lingers")
                        time.sleep(100)
                    except KeyboardInterrupt:
                        time.sleep(100)

        app = App(Main())
    """)
    process = start(name)
    for text in ("waits", "lingers"):
        wait_for(tmp_path / "log", text)
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_killed_run_is_resumed(start, finish, program, tmp_path):
    process = start(program(STEPS), "--json")
    wait_for(tmp_path / "log", "second")
    process.kill()
    out, _ = process.communicate(timeout=60)
    name = json.loads(out.splitlines()[0])["run"]
    (tmp_path / "gate").touch()
    assert "flow: ['second', ['first', None]]" in finish("app.py", "--resume", name)[0]
    assert (tmp_path / "log").read_text() == "first\nsecond\nsecond\n"
    # Resumed again, the finished run does nothing.
    out, err = finish("app.py", "--resume", name)
    assert out == ""
    assert " finished in " in err


FAILING = """
    import os
    from payloadfs.works import App, Flow, Work

    class Bad(Work):
        def __init__(self):
            super().__init__(raise_exception=RAISES)

        def run(self):
            if not os.path.exists("gate"):
                broken()

    def broken():
        raise ValueError("no such luck")

    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.bad = Bad()

        def run(self):
            self.bad.run()

    app = App(Main())
"""


def test_a_failed_work_shows_its_traceback_once(finish, program, tmp_path):
    name = program(FAILING.replace("RAISES", "True"))
    _, err = finish(name, code=7)
    assert err.count("Traceback") == 1
    assert re.search(rf'File "{tmp_path / name}", line 11, in run\n +broken\(\)', err)
    assert f'File "{tmp_path / name}", line 14, in broken' in err
    assert "/payloadfs/" not in err.split("Traceback")[1].split("ValueError")[0]
    assert err.endswith("payloadfs: root.bad.run() failed: ValueError: no such luck\n")
    (tmp_path / "gate").touch()
    finish(*resume_arguments(err))


def test_a_tolerated_failure(finish, program):
    name = program(FAILING.replace("RAISES", "False"))
    _, err = finish(name, code=8)
    assert err.count("Traceback") == 1
    assert "1 work, 1 call, 1 failed\n" in err
    assert "idle after" in err
    assert "not all works succeeded, and the flow did not call stop()" in err
    out, _ = finish(name, "--json", code=8)
    assert [json.loads(line)["failed"] for line in out.splitlines() if "summary" in line] == [1]


def test_a_failed_work_in_json(finish, program):
    out, err = finish(program(FAILING.replace("RAISES", "True")), "--json", code=7)
    events = {event["kind"]: event for event in map(json.loads, out.splitlines())}
    assert "line 14, in broken" in events["call-failed"]["message"]
    assert events["summary"]["stage"] == "failed"
    assert events["summary"]["resume"].startswith("payloadfs run app.py --resume ")
    assert json.loads(err)["error"] == "work"


@pytest.mark.parametrize(
    ("line", "code", "error", "message"),
    [
        ("1 / 0", 7, "flow", "ZeroDivisionError"),
        ("raise type('Panic', (BaseException,), {})('rust')", 7, "flow", "The flow failed: Panic: rust"),
        ("self.x = {1}", 6, "state", "wrap it in Payload"),
        ("self.y = 1", 7, "flow", "declare it in __init__"),
    ],
)
def test_a_failed_flow_shows_where(finish, program, tmp_path, line, code, error, message):
    name = program(f"""
        from payloadfs.works import App, Flow

        class Main(Flow):
            def __init__(self):
                super().__init__()
                self.x = None

            def run(self):
                {line}

        app = App(Main())
    """)
    _, err = finish(name, code=code)
    assert f'File "{tmp_path / name}", line 10, in run\n        {line}\n' in err
    assert "_driver.py" not in err
    assert message in err.splitlines()[-1]
    reported = json.loads(finish(name, "--json", code=code)[1])
    assert reported["error"] == error
    assert "line 10, in run" in reported["message"]


APP = "from payloadfs.works import App, Flow\nclass Main(Flow):\n    def run(self): print('ran')\n"


@pytest.mark.parametrize(
    ("text", "argument", "code", "message"),
    [
        (APP, "app.py", 2, "has no App"),
        (APP + "a, b = App(Main()), App(Main())", "app.py", 2, "several apps (a, b): select one, as in app.py:a"),
        (APP + "first = App(Main())", "app.py:frist", 2, "did you mean 'first'?"),
        (APP + "first = App(Main())", "app.py:Main", 2, "Its apps: first"),
        (APP, "other.py", 3, "No such file"),
        (APP, ".", 2, "is not a Python file"),
        (APP + "import nothing_of_that_name", "app.py", 2, 'app.py", line 4, in <module>'),
        ("def f(:\n", "app.py", 2, "SyntaxError"),
    ],
)
def test_programs_that_cannot_be_run(finish, program, text, argument, code, message):
    program(text)
    _, err = finish(argument, code=code)
    assert message in err
    assert "_loader.py" not in err
    assert "importlib" not in err


def test_one_of_two_apps_is_selected(finish, program):
    name = program(APP + "a, b = App(Main()), App(Main())\n")
    assert finish(f"{name}:b", code=8)[0] == "ran\n"


def test_a_lightning_program_with_a_module_beside_it(finish, program):
    program("def answer():\n    return 42\n", "beside.py")
    name = program("""
        import beside
        import payloadfs.lightning as L

        class Work(L.LightningWork):
            def run(self):
                print(beside.answer())

        class Main(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()

            def run(self):
                self.work.run()

        app = L.LightningApp(Main())
    """)
    assert finish(name)[0] == "42\n"
