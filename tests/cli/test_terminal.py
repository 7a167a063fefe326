"""``payloadfs run`` on a terminal: the live view, progress bars, and a terminal that is closed."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios

import pytest

from payloadfs.cli._report import Lines
from payloadfs.works import Event

GATE = """
    import os, sys, time
    from payloadfs import Payload
    from payloadfs.works import App, Flow, Work

    def wait():
        while not os.path.exists("gate"):
            time.sleep(0.02)
"""


class Terminal:
    """A command whose session has its own terminal."""

    def __init__(self, start, *arguments, **more):
        self._ours, theirs = pty.openpty()
        self.process = start(
            *arguments,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),
            **more,
        )
        os.close(theirs)
        self.content = b""

    @property
    def seen(self):
        """What was written, without control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.content.decode(errors="replace"))

    def wait_for(self, pattern):
        # The test's own time limit ends a wait in vain.
        while not re.search(pattern, self.seen):
            self.content += os.read(self._ours, 65_536)

    def close(self):
        os.close(self._ours)

    def finish(self):
        """Read to the end, and return the exit code."""
        with contextlib.suppress(OSError):  # the other end is closed
            while chunk := os.read(self._ours, 65_536):
                self.content += chunk
        self.close()
        return self.process.wait()


@pytest.fixture
def terminal(start, monkeypatch):
    """Return a function that runs a command on its own terminal."""
    monkeypatch.setenv("TERM", "xterm-256color")
    return lambda *arguments, **more: Terminal(start, *arguments, **more)


STEPS = f"""{GATE}
    class Step(Work):
        def __init__(self):
            super().__init__()
            self.out = None

        def run(self, payload=None):
            wait()
            self.out = Payload([payload and payload.value])

    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.first, self.second = Step(), Step()

        def run(self):
            self.first.run()
            self.second.run(self.first.out)
            print("flow:", self.second.out.value)

    app = App(Main())
"""


def test_the_live_view(terminal, program, tmp_path):
    view = terminal(program(STEPS))
    view.wait_for(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] root\.first +\d+\.\d s")
    (tmp_path / "gate").touch()
    assert view.finish() == 0
    assert re.search(r"✓ root\.second +\d+\.\d s  out: list, \d+ B", view.seen)
    assert re.search(r"✓ \S+ finished in .*2 works, 2 calls, 2 payloads", view.seen)
    assert view.seen.count("flow: [[None]]") == view.seen.count("flow:") >= 1
    text = view.content.decode()
    assert re.search(r"(?:\x1b\[2K|\n)flow: ", text), "the output of the flow is mixed with the display"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor stayed hidden"


LOUD = """
    from payloadfs.works import App, Flow, Work

    class Loud(Work):
        def __init__(self, letter):
            super().__init__(parallel=True)
            self.letter = letter

        def run(self):
            for number in range(300):
                for _ in range(8):
                    print(self.letter, end="", flush=number % 50 == 0)
                print(number)

    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.works = [Loud("a"), Loud("b")]

        def run(self):
            for work in self.works:
                work.run()

    app = App(Main())
"""
LOUD_LINES = {f"{letter * 8}{number}" for letter in "ab" for number in range(300)}


def without_names(lines):
    """Return lines without the names of works, which are there while several are running."""
    for line in lines:
        name, separator, text = line.rpartition(" | ")
        assert not separator or name == f"root.works.{'ab'.index(text[0])}", line
        yield text


def test_lines_of_parallel_works_stay_whole(finish, program):
    assert set(without_names(finish(program(LOUD), "--max-workers", 2)[0].splitlines())) == LOUD_LINES


def test_the_live_view_loses_no_line(terminal, program):
    view = terminal(program(LOUD), "--max-workers", 2)
    assert view.finish() == 0
    # Each ends its line; the display before it was erased.
    lines = re.findall(r"(?:root\.works\.\d \| )?(?:a{8}|b{8})\d+(?=\r?\n)", view.seen)
    assert set(without_names(lines)) == LOUD_LINES


def test_a_closed_pipe_ends_the_run(start, program):
    process = start(program(LOUD.replace("300", "300_000")), stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read()
    assert process.wait(60) == 1
    assert "Traceback" not in err
    assert "to resume: " in err


@pytest.mark.parametrize("how", ["--plain", "dumb", "no rich"])
def test_plain_lines_on_a_terminal(terminal, program, monkeypatch, how):
    if how == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    code = "import sys; sys.modules['rich'] = None; from payloadfs.cli import main; sys.exit(main())"
    more = {"command": [sys.executable, "-c", code, "run"]} if how == "no rich" else {}
    view = terminal(program(LOUD), *(["--plain"] if how == "--plain" else []), **more)
    assert view.finish() == 0
    assert b"\x1b" not in view.content
    assert re.search(r"\d\.\ds  root\.works\.0  succeeded in ", view.seen)


BAR = f"""{GATE}
    class Train(Work):
        def __init__(self):
            super().__init__(parallel=True)

        def run(self, is_bar):
            if is_bar:
                for percent in (0, 50):
                    print(f"\\r{{percent:3}}%|###|", end="", file=sys.stderr)
                wait()
                print("\\r100%|###|\\nepoch", file=sys.stderr)
            else:
                print("loading... ", end="", flush=True)
                wait()
                print("loaded")

    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.works = [Train() for _ in range(COUNT)]

        def run(self):
            for number, work in enumerate(self.works):
                work.run(number == 0)

    app = App(Main())
"""


@pytest.mark.parametrize("count", [1, 2])
def test_unfinished_lines_are_shown_in_the_live_view(terminal, program, tmp_path, count):
    """Beside the work; above the display once they are finished."""
    view = terminal(program(BAR.replace("COUNT", str(count))), "--max-workers", count)
    view.wait_for(r"root\.works\.0 +\d+\.\d s +50%\|###\|")
    if count == 2:
        view.wait_for(r"root\.works\.1 +\d+\.\d s +loading\.\.\. ")
    (tmp_path / "gate").touch()
    assert view.finish() == 0
    name = r"(?:root\.works\.\d \| )?" if count == 2 else ""
    above = re.findall(rf"{name}(100%\|###\||epoch|loading\.\.\. loaded)\r?\n", view.seen)
    assert sorted(above) == ["100%|###|", "epoch", "loading... loaded"][: count + 1]


def test_unfinished_lines_are_shown_in_plain_output(terminal, program, tmp_path):
    view = terminal(program(BAR.replace("COUNT", "1")), "--plain")
    view.wait_for(r"\r 50%\|###\|")
    (tmp_path / "gate").touch()
    assert view.finish() == 0
    assert "\r100%|###|\r\nepoch\r\n" in view.seen


def test_progress_bars_of_parallel_works_become_lines_in_plain_output(capsys):
    report = Lines("root", ["a", "b"], 2)
    report(Event("call-started", "run", "a"))
    report(Event("output", "run", "a", "loading... ", "stdout"))
    report(Event("call-started", "run", "b"))
    for text in ("\r  0%", "\r 50%", "\r", "100%\r", "\n\nepoch\r\n", "x" * 9_000, "\r 10%"):
        report(Event("output", "run", "a", text, "stdout"))
    report(Event("call-succeeded", "run", "b"))
    report(Event("output", "run", "a", "\r 20%", "stdout"))
    assert capsys.readouterr().out == f"loading... a | 100%\na | epoch\na | {'x' * 9_000}\n 10%\r 20%"


def test_an_unfinished_line_is_written_when_its_call_ends(terminal, program):
    view = terminal(
        program("""
        from payloadfs.works import App, Flow, Work
        class Ends(Work):
            def run(self):
                print("no end", end="")
        class Main(Flow):
            def __init__(self):
                super().__init__()
                self.work = Ends()
            def run(self):
                self.work.run()
        app = App(Main())
        """)
    )
    assert view.finish() == 0
    assert re.search(r"no end\r?\n", view.seen)


@pytest.mark.parametrize("options", [[], ["--plain"]], ids=["live", "plain"])
def test_a_closed_terminal_stops_the_run_in_an_orderly_way(terminal, program, tmp_path, options):
    """The kernel sends SIGHUP, and nothing can be written any more."""
    name = program(f"""{GATE}
    class Careful(Work):
        def run(self):
            try:
                print("begun")
                wait()
            finally:
                open("cleaned", "w").close()

    class Main(Flow):
        def __init__(self):
            super().__init__()
            self.work = Careful()

        def run(self):
            self.work.run()

    app = App(Main())
    """)
    view = terminal(name, *options, "--store", str(tmp_path / "objects"))
    view.wait_for("begun")
    view.close()
    assert view.process.wait() == 128 + signal.SIGHUP
    assert (tmp_path / "cleaned").exists()
    command = [sys.executable, "-m", "payloadfs", "runs", "--json", "--store", tmp_path / "objects"]
    (run,) = map(json.loads, subprocess.run(command, capture_output=True, check=True).stdout.splitlines())
    assert run["stage"] == "interrupted"
    (tmp_path / "gate").touch()
    view = terminal(name, "--store", str(tmp_path / "objects"), "--resume", run["run"])
    assert view.finish() == 0
